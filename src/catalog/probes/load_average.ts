import { gauge } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

/** Load of the host. From /proc/loadavg. */
export const loadAverage: ProbeDefinition = {
  name: 'load_average',
  title: 'Load average',
  description: 'Runnable and uninterruptible tasks of the host, averaged over 1, 5 and 15 minutes.',
  version: 1,
  level: 'host',
  collector: 'os',
  columns: [
    gauge('load_1m', 'float8', 'count', '1 minute'),
    gauge('load_5m', 'float8', 'count', '5 minutes'),
    gauge('load_15m', 'float8', 'count', '15 minutes'),
    gauge('running', 'int4', 'count', 'Runnable tasks'),
    gauge('tasks', 'int4', 'count', 'Tasks'),
  ],
  mode: 'full',
  history: true,
  intervalMs: 1000,
  retentionDays: 30,
  partition: 'day',
};
