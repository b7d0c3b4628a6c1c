/**
 * What a probe's definition is, and the check that every definition passes before it makes a table or reaches an agent.
 * In: the files of src/catalog/probes; out: coded errors at definition time, never at run time. Owns nothing.
 *
 * Rules a definition keeps (each is a code of `checkDefinition`):
 * 1. Names are lower_snake_case of at most 50 bytes, columns unique, none of the reserved ones.
 * 2. Keys come before metrics: pemdata and pemhistory have their columns in this order.
 * 3. Keys have a type that a unique index takes and that never surprises by rounding.
 * 4. A probe that sends deltas has a key; one that runs in each database names the key that holds the database.
 * 5. Columns are only ever added; a changed type is a new column (checked against the database by `syncCatalogue`).
 */
import { PemError } from '../base/errors.js';
import { type ColumnType, columnTypes, type ProbeColumn, type ProbeRuntime } from '../wire/config.js';

export interface ProbeDefinition extends ProbeRuntime {
  readonly title: string;
  readonly description: string;
  /** Rows are kept in pemhistory.<name>; without it only the latest row of each key is. */
  readonly history: boolean;
  readonly intervalMs: number;
  readonly retentionDays: number;
  /** Width of the history's partitions. */
  readonly partition: 'day' | 'month';
  /** What the monitoring role needs beyond pg_monitor, as a sentence for people. */
  readonly needs?: string;
  /** Scheduled where nobody says otherwise; default true. */
  readonly enabled?: boolean;
}

/** Column names that the tables of a probe use themselves. */
export const reservedColumns: readonly string[] = [
  'recorded_at',
  'target_id',
  'gone',
  '_arrival',
  '_seq',
  '_gone',
];

const keyTypes: ReadonlySet<ColumnType> = new Set<ColumnType>([
  'bool',
  'int2',
  'int4',
  'int8',
  'numeric',
  'text',
  'name',
  'oid',
  'pg_lsn',
  'inet',
  'timestamptz',
]);

const identifier = /^[a-z][a-z0-9_]{0,49}$/;

function fail(code: string, probe: string, what: string): never {
  throw new PemError(code, `probe ${probe}: ${what}`, 'operator');
}

function checkColumns(probe: string, columns: readonly ProbeColumn[]): void {
  const seen = new Set<string>();
  let metrics = 0;
  for (const column of columns) {
    if (reservedColumns.includes(column.name)) {
      fail('probe_column_reserved', probe, `column name "${column.name}" is reserved`);
    }
    if (!identifier.test(column.name)) {
      fail(
        'probe_column_name',
        probe,
        `column name "${column.name}" is not lower_snake_case of at most 50 bytes`,
      );
    }
    if (seen.has(column.name)) fail('probe_column_duplicate', probe, `column "${column.name}" stands twice`);
    seen.add(column.name);
    if (!columnTypes.includes(column.type)) {
      fail(
        'probe_column_type',
        probe,
        `column "${column.name}" has the unsupported type "${column.type}"; supported are ${columnTypes.join(', ')}`,
      );
    }
    if (column.role === 'metric') metrics += 1;
    else if (metrics > 0) {
      fail('probe_column_order', probe, `key "${column.name}" stands after a metric; keys come first`);
    } else if (!keyTypes.has(column.type)) {
      fail('probe_key_type', probe, `type ${column.type} of "${column.name}" cannot be a key`);
    }
  }
  if (metrics === 0) fail('probe_no_metric', probe, 'no column is a metric');
}

/**
 * Holds a definition against the rules above and returns it.
 * @throws PemError probe_name | probe_version | probe_column_* | probe_key_type | probe_no_metric | probe_no_key |
 *   probe_scope | probe_level | probe_sql | probe_interval | probe_retention | probe_no_table
 */
export function checkDefinition(definition: ProbeDefinition): ProbeDefinition {
  const { name } = definition;
  if (!identifier.test(name))
    fail('probe_name', name, 'the name is not lower_snake_case of at most 50 bytes');
  if (!Number.isInteger(definition.version) || definition.version < 1) {
    fail('probe_version', name, 'the version is not a whole number from 1 on');
  }
  checkColumns(name, definition.columns);
  const keys = definition.columns.filter((column) => column.role === 'key');
  if (definition.mode === 'delta' && keys.length === 0) {
    fail('probe_no_key', name, 'a delta needs a key to say which row changed');
  }
  if (definition.level === 'database' && definition.scopeColumn === undefined) {
    fail('probe_scope', name, 'a probe that runs in each database needs a scopeColumn');
  }
  if (definition.scopeColumn !== undefined) {
    const scope = keys.find((column) => column.name === definition.scopeColumn);
    if (scope === undefined || (scope.type !== 'text' && scope.type !== 'name')) {
      fail('probe_scope', name, `scopeColumn "${definition.scopeColumn}" is not a key of type text or name`);
    }
  }
  const sql = definition.sql ?? [];
  if (definition.collector === 'trace' && definition.level !== 'server') {
    fail('probe_level', name, 'traces are of servers');
  }
  if ((definition.collector === 'sql') !== sql.length > 0) {
    fail('probe_sql', name, 'SQL belongs to collector sql and to it alone');
  }
  if (sql.some((entry, index) => index > 0 && entry.minVersion <= (sql[index - 1]?.minVersion ?? 0))) {
    fail('probe_sql', name, 'SQL texts are not in ascending order of minVersion');
  }
  if (!Number.isInteger(definition.intervalMs) || definition.intervalMs < 1000) {
    fail('probe_interval', name, 'intervalMs is not a whole number from 1000 on');
  }
  if (!Number.isInteger(definition.retentionDays) || definition.retentionDays < 1) {
    fail('probe_retention', name, 'retentionDays is not a whole number from 1 on');
  }
  if (definition.mode === 'append' && !definition.history) {
    fail('probe_no_table', name, 'events are kept in history only, and this probe has none');
  }
  return definition;
}
