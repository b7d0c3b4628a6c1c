import { counter, gauge, key, label } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

/** What each probe costs on a target, as its agent counts it: of each target a block of its own, for who sees the target. */
export const agentProbes: ProbeDefinition = {
  name: 'agent_probes',
  title: 'Cost per probe',
  description:
    'Runs, time, rows, bytes and errors of each probe on this target, and whether it slowed itself down.',
  version: 1,
  level: 'target',
  collector: 'self',
  columns: [
    key('probe', 'text', 'Probe'),
    label('state', 'text', 'State: normal, slowed or backed off'),
    gauge('interval_ms', 'float8', 'ms', 'Interval in use'),
    gauge('last_ms', 'float8', 'ms', 'Last run'),
    gauge('mean_ms', 'float8', 'ms', 'Mean run'),
    gauge('max_ms', 'float8', 'ms', 'Longest run'),
    counter('total_ms', 'float8', 'ms', 'Time of all runs'),
    counter('runs', 'int8', 'count', 'Runs'),
    counter('rows', 'int8', 'count', 'Rows measured'),
    counter('bytes', 'int8', 'bytes', 'Bytes of blocks'),
    counter('errors', 'int8', 'count', 'Failed runs'),
    counter('skipped', 'int8', 'count', 'Ticks skipped'),
    counter('slowdowns', 'int8', 'count', 'Times slowed down'),
    counter('cut_values', 'int8', 'count', 'Values cut at the byte limit'),
    label('last_error_code', 'text', 'Last error'),
    label('last_error', 'text', 'Last error, in words'),
    label('last_error_at', 'timestamptz', 'Time of the last error'),
  ],
  mode: 'full',
  history: true,
  intervalMs: 10_000,
  retentionDays: 7,
  partition: 'day',
};
