import { gauge, key } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

/** Share of time each CPU spent in each state since the run before. From /proc/stat. */
export const cpuUsage: ProbeDefinition = {
  name: 'cpu_usage',
  title: 'CPU usage',
  description:
    'Share of time the host, and each of its CPUs, spent in user code, kernel, waiting for I/O, stolen and idle.',
  version: 1,
  level: 'host',
  collector: 'os',
  columns: [
    key('cpu', 'text', "CPU ('all' for the host)"),
    gauge('busy_percent', 'float8', 'percent', 'Busy'),
    gauge('user_percent', 'float8', 'percent', 'User'),
    gauge('nice_percent', 'float8', 'percent', 'Nice'),
    gauge('system_percent', 'float8', 'percent', 'System'),
    gauge('iowait_percent', 'float8', 'percent', 'I/O wait'),
    gauge('irq_percent', 'float8', 'percent', 'Interrupts'),
    gauge('steal_percent', 'float8', 'percent', 'Stolen'),
    gauge('idle_percent', 'float8', 'percent', 'Idle'),
  ],
  mode: 'full',
  history: true,
  intervalMs: 1000,
  retentionDays: 30,
  partition: 'day',
};
