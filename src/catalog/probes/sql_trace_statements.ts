import { gauge, key, label } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

const count = (name: string, title: string) => gauge(name, 'int8', 'count', title);
const blocks = (name: string, title: string) => gauge(name, 'int8', 'blocks', title);
const us = (name: string, title: string) => gauge(name, 'int8', 'us', title);

/**
 * One row per interval and statement: what the calls that ended in it came to. The agent counts from the rows of the trace,
 * bounded: statements beyond the bound are in rows with fingerprint 0, so that sums are exact; a statement's true calls lie
 * between calls and calls + missed_calls. Rows of one statement are merged by adding, histograms too
 * (native/core/AGGREGATE.md has their form).
 */
export const sqlTraceStatements: ProbeDefinition = {
  name: 'sql_trace_statements',
  title: 'Statements of traces',
  description:
    'One row per interval, database, user and normalised statement of a trace: calls, times, histogram, rows, blocks, WAL.',
  version: 1,
  level: 'server',
  collector: 'trace',
  columns: [
    key('trace', 'int4', 'Trace on the server'),
    key('database', 'name', 'Database'),
    key('username', 'name', 'User'),
    key('nested', 'bool', 'Called by another statement, whose figures contain these'),
    key('query_id', 'int8', 'Query ID, 0: none'),
    key('fingerprint', 'int8', 'Fingerprint, 0: all that had no room'),
    label('tag', 'text', 'Command'),
    label('first_at', 'timestamptz', 'First end'),
    label('last_at', 'timestamptz', 'Last end'),
    count('calls', 'Calls'),
    count('timed', 'Calls with a known execution time'),
    count('planned', 'Calls with a known planning time'),
    count('errors', 'Errors'),
    count('cancelled', 'Cancelled'),
    label('last_sqlstate', 'text', 'Last SQLSTATE'),
    us('exec_us', 'Execution time'),
    us('min_us', 'Shortest execution'),
    us('max_us', 'Longest execution'),
    label('histogram', 'text', 'Latency histogram'),
    us('elapsed_us', 'Elapsed time'),
    us('plan_us', 'Planning time'),
    gauge('rows', 'int8', 'rows', 'Rows'),
    blocks('shared_hit', 'Shared blocks hit'),
    blocks('shared_read', 'Shared blocks read'),
    blocks('shared_dirtied', 'Shared blocks dirtied'),
    blocks('shared_written', 'Shared blocks written'),
    blocks('local_hit', 'Local blocks hit'),
    blocks('local_read', 'Local blocks read'),
    blocks('local_dirtied', 'Local blocks dirtied'),
    blocks('local_written', 'Local blocks written'),
    blocks('temp_read', 'Temporary blocks read'),
    blocks('temp_written', 'Temporary blocks written'),
    us('shared_read_us', 'Shared blocks: time to read'),
    us('shared_write_us', 'Shared blocks: time to write'),
    us('local_read_us', 'Local blocks: time to read'),
    us('local_write_us', 'Local blocks: time to write'),
    us('temp_read_us', 'Temporary blocks: time to read'),
    us('temp_write_us', 'Temporary blocks: time to write'),
    gauge('wal_records', 'int8', 'records', 'WAL records'),
    gauge('wal_fpi', 'int8', 'images', 'WAL full page images'),
    gauge('wal_bytes', 'int8', 'bytes', 'WAL bytes'),
    us('jit_us', 'JIT time'),
    us('cpu_user_us', 'CPU time, user'),
    us('cpu_system_us', 'CPU time, system'),
    count('missed_calls', 'Calls that may be missing'),
    us('missed_us', 'Execution time that may be missing'),
  ],
  mode: 'append',
  history: true,
  intervalMs: 10_000,
  retentionDays: 30,
  partition: 'day',
  needs: 'the extension sql_profiler, and the role pg_read_all_stats (pg_monitor has it)',
};
