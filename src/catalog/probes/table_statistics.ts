import { counter, gauge, key, label } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

/**
 * No relation is opened: counters come from the statistics system and sizes from pg_class, so a table under ACCESS
 * EXCLUSIVE is reported like any other. The frozen transaction ID is sent as it stands: its age would change in every row
 * with every transaction, and nothing else would travel.
 */
const select = (version: number): string => {
  const from16 = (name: string, type: string): string =>
    version >= 160000 ? `s.${name}` : `NULL::${type} AS ${name}`;
  return `SELECT current_database() AS database_name, s.schemaname AS schema_name, s.relname AS table_name, s.relid,
       s.seq_scan, s.seq_tup_read, s.idx_scan, s.idx_tup_fetch,
       s.n_tup_ins, s.n_tup_upd, s.n_tup_del, s.n_tup_hot_upd, ${from16('n_tup_newpage_upd', 'int8')},
       s.n_live_tup, s.n_dead_tup, s.n_mod_since_analyze, s.n_ins_since_vacuum,
       s.last_vacuum, s.last_autovacuum, s.last_analyze, s.last_autoanalyze,
       ${from16('last_seq_scan', 'timestamptz')}, ${from16('last_idx_scan', 'timestamptz')},
       s.vacuum_count, s.autovacuum_count, s.analyze_count, s.autoanalyze_count,
       c.reltuples AS estimated_rows,
       c.relpages::int8 * current_setting('block_size')::int8 AS estimated_bytes,
       c.relfrozenxid AS frozen_xid
  FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
 WHERE c.relpersistence <> 't'`;
};

/** One row a table, only changed rows travel; run in each database in turn. */
export const tableStatistics: ProbeDefinition = {
  name: 'table_statistics',
  title: 'Table statistics',
  description:
    'Scans, changes, live and dead rows, vacuum and analyze times, estimated size and frozen transaction ID of each table.',
  version: 1,
  level: 'database',
  collector: 'sql',
  columns: [
    key('database_name', 'name', 'Database'),
    key('schema_name', 'name', 'Schema'),
    key('table_name', 'name', 'Table'),
    label('relid', 'oid', 'Object ID'),
    counter('seq_scan', 'int8', 'count', 'Sequential scans'),
    counter('seq_tup_read', 'int8', 'count', 'Rows read by sequential scans'),
    counter('idx_scan', 'int8', 'count', 'Index scans'),
    counter('idx_tup_fetch', 'int8', 'count', 'Rows fetched by index scans'),
    counter('n_tup_ins', 'int8', 'count', 'Rows inserted'),
    counter('n_tup_upd', 'int8', 'count', 'Rows updated'),
    counter('n_tup_del', 'int8', 'count', 'Rows deleted'),
    counter('n_tup_hot_upd', 'int8', 'count', 'Rows updated in place (HOT)'),
    counter('n_tup_newpage_upd', 'int8', 'count', 'Rows updated to a new page (16 and later)'),
    gauge('n_live_tup', 'int8', 'count', 'Live rows'),
    gauge('n_dead_tup', 'int8', 'count', 'Dead rows'),
    gauge('n_mod_since_analyze', 'int8', 'count', 'Changes since analyze'),
    gauge('n_ins_since_vacuum', 'int8', 'count', 'Inserts since vacuum'),
    label('last_vacuum', 'timestamptz', 'Last vacuum'),
    label('last_autovacuum', 'timestamptz', 'Last autovacuum'),
    label('last_analyze', 'timestamptz', 'Last analyze'),
    label('last_autoanalyze', 'timestamptz', 'Last autoanalyze'),
    label('last_seq_scan', 'timestamptz', 'Last sequential scan (16 and later)'),
    label('last_idx_scan', 'timestamptz', 'Last index scan (16 and later)'),
    counter('vacuum_count', 'int8', 'count', 'Vacuums'),
    counter('autovacuum_count', 'int8', 'count', 'Autovacuums'),
    counter('analyze_count', 'int8', 'count', 'Analyzes'),
    counter('autoanalyze_count', 'int8', 'count', 'Autoanalyzes'),
    gauge('estimated_rows', 'float4', 'count', 'Estimated rows'),
    gauge('estimated_bytes', 'int8', 'bytes', 'Size at the last vacuum or analyze'),
    label('frozen_xid', 'xid', 'Frozen transaction ID'),
  ],
  sql: [130000, 160000].map((minVersion) => ({ minVersion, text: select(minVersion) })),
  scopeColumn: 'database_name',
  mode: 'delta',
  history: true,
  intervalMs: 30_000,
  retentionDays: 30,
  partition: 'day',
};
