/**
 * From a probe's SQL to the COPY that runs it. In: a definition, a server version, the columns that the bare statement
 * yields when prepared. Out: the text of a COPY, or a coded error. Pure.
 *
 * The bare text is prepared first, on its own: what is not exactly one statement (`select 1) to program …`) fails there,
 * before it is put into parentheses.
 */
import type { FieldDescription } from '../../native/index.js';
import { errorCode, errorText, PemError } from '../../src/base/errors.js';
import type { ColumnType, ProbeRuntime } from '../../src/wire/config.js';

/** pg_type.oid of every type a column may have. */
export const typeOids: Readonly<Record<ColumnType, number>> = {
  bool: 16,
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  oid: 26,
  xid: 28,
  json: 114,
  float4: 700,
  float8: 701,
  inet: 869,
  'text[]': 1009,
  timestamptz: 1184,
  interval: 1186,
  numeric: 1700,
  name: 19,
  pg_lsn: 3220,
  jsonb: 3802,
};

/** The newest text that the server's version has. @throws PemError probe_no_sql */
export function sqlFor(probe: ProbeRuntime, serverVersion: number): string {
  let best: { minVersion: number; text: string } | undefined;
  for (const sql of probe.sql ?? [])
    if (sql.minVersion <= serverVersion && (best === undefined || sql.minVersion > best.minVersion))
      best = sql;
  if (best === undefined)
    throw new PemError(
      'probe_no_sql',
      `probe ${probe.name} has no SQL for server version ${serverVersion}`,
      'operator',
    );
  return best.text;
}

/** @throws PemError probe_column_type when the statement does not yield the definition's columns */
export function checkColumns(probe: ProbeRuntime, fields: readonly FieldDescription[]): void {
  for (const column of probe.columns) {
    const found = fields.filter((field) => field.name === column.name);
    const wanted = typeOids[column.type];
    const oids = found.map((field) => field.typeOid);
    if (oids.length === 1 && oids[0] === wanted) continue;
    const what =
      oids.length === 0
        ? 'is missing'
        : oids.length > 1
          ? 'appears more than once'
          : `has the type with oid ${oids[0]}, not ${wanted}`;
    throw new PemError(
      'probe_column_type',
      `probe ${probe.name}: column ${column.name} (${column.type}) ${what} in what its SQL yields`,
      'operator',
    );
  }
}

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** The COPY that yields the definition's columns in their order. */
export function copyText(probe: ProbeRuntime, sql: string): string {
  const columns = probe.columns.map((column) => `q.${quote(column.name)}::pg_catalog.${column.type}`);
  // The line break ends a comment that the text may end with.
  return `COPY (SELECT ${columns.join(', ')} FROM (\n${sql}\n) q) TO STDOUT (FORMAT binary)`;
}

/** Errors of a probe's statement in the words of this product; others pass as they are. */
export function explain(probe: ProbeRuntime, error: unknown): unknown {
  const code = errorCode(error);
  if (code === '42501')
    return new PemError(
      'probe_not_permitted',
      `not permitted: ${errorText(error)}; it needs ${probe.needs ?? 'the role pg_monitor'}`,
      'operator',
      { cause: error },
    );
  if (code === '42601')
    return new PemError(
      'probe_sql',
      `probe ${probe.name} is not one statement: ${errorText(error)}`,
      'operator',
      { cause: error },
    );
  return error;
}
