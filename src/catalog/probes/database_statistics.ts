import { counter, gauge, key, label } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

const sessionColumns = ['session_time', 'active_time', 'idle_in_transaction_time'] as const;
const sessionCounts = ['sessions', 'sessions_abandoned', 'sessions_fatal', 'sessions_killed'] as const;
const parallelCounts = ['parallel_workers_to_launch', 'parallel_workers_launched'] as const;

/** Columns a server version lacks are NULL, so that every version has one shape. */
const select = (version: number): string => {
  const since = (names: readonly string[], type: string, minimum: number): string =>
    names.map((name) => (version >= minimum ? `s.${name}` : `NULL::${type} AS ${name}`)).join(', ');
  return `SELECT s.datname AS database_name, s.numbackends AS backends, s.xact_commit, s.xact_rollback, s.blks_read, s.blks_hit,
       s.tup_returned, s.tup_fetched, s.tup_inserted, s.tup_updated, s.tup_deleted,
       s.conflicts, s.temp_files, s.temp_bytes, s.deadlocks, s.checksum_failures, s.blk_read_time, s.blk_write_time,
       ${since(sessionColumns, 'float8', 140000)}, ${since(sessionCounts, 'int8', 140000)},
       ${since(parallelCounts, 'int8', 180000)},
       age(d.datfrozenxid) AS frozen_xid_age, d.datconnlimit AS connection_limit, s.stats_reset
  FROM pg_stat_database s JOIN pg_database d ON d.oid = s.datid`;
};

/** pg_stat_database, one row a database. */
export const databaseStatistics: ProbeDefinition = {
  name: 'database_statistics',
  title: 'Database statistics',
  description:
    'Transactions, blocks, tuples, temporary files, deadlocks, session times and transaction ID age of each database.',
  version: 1,
  level: 'server',
  collector: 'sql',
  columns: [
    key('database_name', 'name', 'Database'),
    gauge('backends', 'int4', 'count', 'Sessions'),
    counter('xact_commit', 'int8', 'count', 'Commits'),
    counter('xact_rollback', 'int8', 'count', 'Rollbacks'),
    counter('blks_read', 'int8', 'blocks', 'Blocks read'),
    counter('blks_hit', 'int8', 'blocks', 'Blocks found in the cache'),
    counter('tup_returned', 'int8', 'count', 'Rows read'),
    counter('tup_fetched', 'int8', 'count', 'Rows fetched by index'),
    counter('tup_inserted', 'int8', 'count', 'Rows inserted'),
    counter('tup_updated', 'int8', 'count', 'Rows updated'),
    counter('tup_deleted', 'int8', 'count', 'Rows deleted'),
    counter('conflicts', 'int8', 'count', 'Statements cancelled by recovery'),
    counter('temp_files', 'int8', 'count', 'Temporary files'),
    counter('temp_bytes', 'int8', 'bytes', 'Temporary bytes'),
    counter('deadlocks', 'int8', 'count', 'Deadlocks'),
    counter('checksum_failures', 'int8', 'count', 'Checksum failures'),
    counter('blk_read_time', 'float8', 'ms', 'Time reading blocks'),
    counter('blk_write_time', 'float8', 'ms', 'Time writing blocks'),
    counter('session_time', 'float8', 'ms', 'Time of sessions (14 and later)'),
    counter('active_time', 'float8', 'ms', 'Time executing statements (14 and later)'),
    counter('idle_in_transaction_time', 'float8', 'ms', 'Time idle in transactions (14 and later)'),
    counter('sessions', 'int8', 'count', 'Sessions begun (14 and later)'),
    counter('sessions_abandoned', 'int8', 'count', 'Sessions lost (14 and later)'),
    counter('sessions_fatal', 'int8', 'count', 'Sessions ended by fatal errors (14 and later)'),
    counter('sessions_killed', 'int8', 'count', 'Sessions killed (14 and later)'),
    counter('parallel_workers_to_launch', 'int8', 'count', 'Parallel workers planned (18 and later)'),
    counter('parallel_workers_launched', 'int8', 'count', 'Parallel workers launched (18 and later)'),
    gauge('frozen_xid_age', 'int4', 'count', 'Age of the frozen transaction ID'),
    gauge('connection_limit', 'int4', 'count', 'Connection limit (-1: none)'),
    label('stats_reset', 'timestamptz', 'Statistics reset'),
  ],
  sql: [130000, 140000, 180000].map((minVersion) => ({ minVersion, text: select(minVersion) })),
  mode: 'full',
  history: true,
  intervalMs: 1000,
  retentionDays: 30,
  partition: 'day',
};
