import { gauge, label } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

const blocks = (name: string, title: string) => gauge(name, 'int8', 'blocks', title);
const us = (name: string, title: string) => gauge(name, 'int8', 'us', title);

/**
 * One row a statement of a trace that asks for them. Names and types are those of a trace file's columns
 * (native/core/csv_columns.h), except the last ones; profiler-ext/COLUMNS.md says what each means. recorded_at is when the
 * agent read the row, end_time when the statement ended by the server's clock. What a row leaves out, and how it is read
 * all the same, stands in src/wire/events.ts.
 *
 * The order is that of a table's row: what nearly each row has comes first, by width, so that nothing is lost between.
 */
export const sqlTraceEvents: ProbeDefinition = {
  name: 'sql_trace_events',
  title: 'Traced statements',
  description:
    'One row a statement of a SQL profiler trace; a figure that is NULL is unknown, or 0 where its bit of zeros is set.',
  version: 2,
  level: 'server',
  collector: 'trace',
  columns: [
    label('line', 'int8', 'Row number in its slot'),
    label('end_time', 'timestamptz', 'End'),
    us('exec_us', 'Execution time'),
    us('elapsed_us', 'Elapsed time'),
    label('serial', 'int8', 'Serial number'),
    label('backend_start', 'timestamptz', 'Session since'),
    label('fingerprint', 'int8', 'Fingerprint of the normalised statement'),
    label('query_id', 'int8', 'Query ID'),
    gauge('rows', 'int8', 'rows', 'Rows'),
    blocks('shared_hit', 'Shared blocks hit'),
    label('trace', 'int4', 'Trace on the server'),
    label('slot', 'int4', 'Backend slot'),
    label('pid', 'int4', 'Process ID'),
    label('zeros', 'int4', 'Figures left out because they are 0, a bit each'),
    label('flags', 'int4', 'Flags'),
    label('level', 'int4', 'Nesting level'),
    label('parent', 'int8', 'Serial number of the calling statement'),
    us('plan_us', 'Planning time'),
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
    us('temp_read_us', 'Temporary blocks: time to read'),
    us('temp_write_us', 'Temporary blocks: time to write'),
    gauge('wal_records', 'int8', 'records', 'WAL records'),
    gauge('wal_fpi', 'int8', 'images', 'WAL full page images'),
    gauge('wal_bytes', 'int8', 'bytes', 'WAL bytes'),
    us('jit_us', 'JIT time'),
    us('cpu_user_us', 'CPU time, user'),
    us('cpu_system_us', 'CPU time, system'),
    gauge('major_faults', 'int8', 'faults', 'Major page faults'),
    gauge('voluntary_switches', 'int8', 'switches', 'Voluntary context switches'),
    gauge('involuntary_switches', 'int8', 'switches', 'Involuntary context switches'),
    gauge('workers_planned', 'int4', 'processes', 'Workers planned'),
    gauge('workers_launched', 'int4', 'processes', 'Workers launched'),
    label('xid', 'xid', 'Transaction'),
    label('vxid', 'text', 'Virtual transaction'),
    label('database_name', 'text', 'Database'),
    label('user_name', 'text', 'User'),
    label('application', 'text', 'Application'),
    label('client', 'text', 'Client address'),
    label('tag', 'text', 'Command'),
    label('sqlstate', 'text', 'SQLSTATE'),
    label('error', 'text', 'Error'),
    label('query', 'text', 'Statement'),
    label('params', 'text', 'Parameters'),
    label('plan', 'text', 'Plan'),
    // Of agents before version 2, whose rows have them instead of the texts above: a name takes 64 bytes.
    label('database', 'name', 'Database'),
    label('username', 'name', 'User'),
  ],
  mode: 'append',
  history: true,
  intervalMs: 1000,
  retentionDays: 7,
  partition: 'day',
  needs: 'the extension sql_profiler, and the role pg_read_all_stats (pg_monitor has it)',
};
