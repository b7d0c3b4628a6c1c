/**
 * What the catalog says of the tables that plans read. In: their names. Out: tables with columns, indexes and sizes; a partition
 * comes as the whole partitioned table, since an index is advised for all of it. System catalogs, foreign and temporary
 * tables are left out: nobody makes indexes there.
 */
import type { ColumnInfo, IndexInfo, TableInfo } from './candidates.js';
import type { AdviceSession } from './session.js';

/** Beyond so many partitions the rest is not asked about. */
const mostLeaves = 200;

/** $1: JSON list of [schema, name]. */
const tablesSql = `WITH named AS (
    SELECT CASE WHEN c.relispartition THEN pg_catalog.pg_partition_root(c.oid)::oid ELSE c.oid END AS root
      FROM pg_catalog.jsonb_array_elements($1::jsonb) AS x
      JOIN pg_catalog.pg_namespace n ON n.nspname = x ->> 0
      JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = x ->> 1
     WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't'
       AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_')
SELECT t.root::text AS root, n.nspname AS schema, c.relname AS name, c.relkind = 'p' AS partitioned,
    l.leaves::text AS leaves, l.rows::text AS rows, l.visible::text AS visible,
    l.updates::text AS updates, l.hot::text AS hot,
    (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname,
          'type', pg_catalog.format_type(a.atttypid, a.atttypmod), 'distinct', s.distinct))
       FROM pg_catalog.pg_attribute a
       LEFT JOIN LATERAL (SELECT CASE WHEN s.n_distinct < 0 THEN -s.n_distinct * l.rows ELSE s.n_distinct END AS distinct
            FROM pg_catalog.pg_stats s
           WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
           ORDER BY s.inherited DESC LIMIT 1) s ON true
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)::text AS columns,
    (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('schema', n.nspname, 'name', ic.relname,
          'definition', pg_catalog.pg_get_indexdef(i.indexrelid),
          'keys', (SELECT pg_catalog.json_agg(ia.attname ORDER BY k.place)
             FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
             LEFT JOIN pg_catalog.pg_attribute ia ON ia.attrelid = i.indrelid AND ia.attnum = k.attnum AND k.attnum > 0
            WHERE k.place <= i.indnkeyatts),
          'plain', am.amname = 'btree' AND i.indisvalid AND i.indpred IS NULL,
          'unique', i.indisunique)), '[]')
       FROM pg_catalog.pg_index i
       JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
       JOIN pg_catalog.pg_am am ON am.oid = ic.relam
      WHERE i.indrelid = c.oid)::text AS indexes
  FROM (SELECT DISTINCT root FROM named) t
  JOIN pg_catalog.pg_class c ON c.oid = t.root
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_object('oid', lc.oid::text, 'schema', ln.nspname, 'name', lc.relname,
          'direct', p.direct) ORDER BY ln.nspname, lc.relname) AS leaves,
        sum(greatest(lc.reltuples, 0)) AS rows,
        coalesce(sum(lc.relallvisible) / nullif(sum(lc.relpages), 0)::float8, 0) AS visible,
        coalesce(sum(st.n_tup_upd), 0) AS updates, coalesce(sum(st.n_tup_hot_upd), 0) AS hot
      FROM (SELECT c.oid AS relid, true AS direct WHERE c.relkind <> 'p'
            UNION ALL
            SELECT tree.relid, tree.parentrelid = c.oid
              FROM pg_catalog.pg_partition_tree(c.oid) tree WHERE c.relkind = 'p' AND tree.isleaf
            LIMIT ${mostLeaves}) p
      JOIN pg_catalog.pg_class lc ON lc.oid = p.relid AND lc.relkind IN ('r', 'm')
      JOIN pg_catalog.pg_namespace ln ON ln.oid = lc.relnamespace
      LEFT JOIN pg_catalog.pg_stat_all_tables st ON st.relid = lc.oid) l
 WHERE l.leaves IS NOT NULL`;

interface ColumnRow {
  readonly name: string;
  readonly type: string;
  readonly distinct: number | null;
}

export const tableKey = (schema: string, name: string): string => JSON.stringify([schema, name]);

/** Tables by the names under which plans show them. */
export async function readTables(
  session: AdviceSession,
  names: readonly { readonly schema: string; readonly name: string }[],
): Promise<Map<string, TableInfo>> {
  const found = new Map<string, TableInfo>();
  if (names.length === 0) return found;
  const wanted = new Map(names.map(({ schema, name }) => [tableKey(schema, name), [schema, name]]));
  const rows = await session.catalog(tablesSql, [JSON.stringify([...wanted.values()])]);
  for (const row of rows) {
    const columns = JSON.parse(row.columns ?? '[]') as ColumnRow[];
    const table: TableInfo = {
      oid: row.root ?? '',
      schema: row.schema ?? '',
      name: row.name ?? '',
      rows: Number(row.rows),
      leaves: JSON.parse(row.leaves ?? '[]') as TableInfo['leaves'],
      partitioned: row.partitioned === 't',
      columns: new Map(columns.map((column): [string, ColumnInfo] => [column.name, column])),
      indexes: JSON.parse(row.indexes ?? '[]') as IndexInfo[],
      allVisible: Number(row.visible),
      updates: Number(row.updates),
      hotUpdates: Number(row.hot),
    };
    found.set(tableKey(table.schema, table.name), table);
    for (const leaf of table.leaves) found.set(tableKey(leaf.schema, leaf.name), table);
  }
  return found;
}

/** Names of relations in these schemas that a new index cannot have. */
export async function takenNames(session: AdviceSession, schemas: readonly string[]): Promise<Set<string>> {
  const rows = await session.catalog(
    `SELECT n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class c
       JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname IN (SELECT pg_catalog.jsonb_array_elements_text($1::jsonb))`,
    [JSON.stringify([...new Set(schemas)])],
  );
  return new Set(rows.map(({ schema, name }) => tableKey(schema ?? '', name ?? '')));
}
