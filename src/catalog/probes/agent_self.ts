import { counter, gauge, label } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

/** The agent about itself, one row. */
export const agentSelf: ProbeDefinition = {
  name: 'agent_self',
  title: 'Agent',
  description:
    'The agent itself: memory, CPU, delay of its event loop, spool, what it shipped and what it had to drop.',
  version: 1,
  level: 'host',
  collector: 'self',
  columns: [
    label('agent_version', 'text', 'Version'),
    label('boot', 'text', 'Boot'),
    gauge('uptime_s', 'float8', 's', 'Uptime of the worker'),
    gauge('rss_bytes', 'int8', 'bytes', 'Memory'),
    gauge('cpu_percent', 'float8', 'percent', 'CPU'),
    gauge('loop_delay_ms', 'float8', 'ms', 'Longest delay of the event loop'),
    gauge('lag_ms', 'float8', 'ms', 'Age of the oldest batch not yet received'),
    gauge('spool_bytes', 'int8', 'bytes', 'Spool'),
    gauge('spool_batches', 'int8', 'count', 'Batches not yet received'),
    counter('shipped_batches', 'int8', 'count', 'Batches shipped'),
    counter('shipped_bytes', 'int8', 'bytes', 'Bytes shipped'),
    counter('dropped_batches', 'int8', 'count', 'Batches dropped by the spool bound'),
    counter('dropped_rows', 'int8', 'count', 'Rows dropped by the spool bound'),
    counter('ship_errors', 'int8', 'count', 'Failed attempts to ship'),
    label('connected', 'bool', 'Connected to PEM'),
    counter('runs', 'int8', 'count', 'Probe runs'),
    counter('rows', 'int8', 'count', 'Rows measured'),
    counter('bytes', 'int8', 'bytes', 'Bytes of blocks'),
    counter('probe_errors', 'int8', 'count', 'Failed probe runs'),
    counter('skipped', 'int8', 'count', 'Ticks skipped'),
    counter('slowdowns', 'int8', 'count', 'Times a probe slowed itself down'),
    counter('server_connects', 'int8', 'count', 'Connections opened to monitored servers'),
  ],
  mode: 'full',
  history: true,
  intervalMs: 5000,
  retentionDays: 30,
  partition: 'day',
};
