/**
 * The catalogue's tables. In: probe definitions; out: pemdata.<probe> (latest, one row a key), pemhistory.<probe> (parent
 * of partitions that src/history makes in pempart) and the row in pem.probe. Columns are only ever added.
 *
 * History belongs to pem_history, so that ingesters attach and agent 1 detaches partitions without being the owner of
 * anything else. Runs as pem_owner, one transaction, no superuser.
 */
import type { ClientBase } from 'pg';
import { PemError } from '../base/errors.js';
import { checkDefinition, type ProbeDefinition } from '../catalog/types.js';
import type { ProbeColumn } from '../wire/config.js';

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;

const columnText = (column: ProbeColumn): string =>
  `${quote(column.name)} ${column.type}${column.role === 'key' ? ' NOT NULL' : ''}`;

interface Existing {
  readonly name: string;
  readonly type: string;
  readonly key: boolean;
}

async function existingColumns(
  client: ClientBase,
  relation: string,
): Promise<readonly Existing[] | undefined> {
  const result = await client.query<Existing>(
    `SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS key
       FROM pg_attribute a WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
    [relation],
  );
  return result.rows.length === 0 ? undefined : result.rows;
}

/** format_type's spelling of the catalogue's types. */
const spelling: Readonly<Record<string, string>> = {
  bool: 'boolean',
  int2: 'smallint',
  int4: 'integer',
  int8: 'bigint',
  float4: 'real',
  float8: 'double precision',
  timestamptz: 'timestamp with time zone',
};

/** Adds what is missing; @returns whether anything was. */
async function extendTable(
  client: ClientBase,
  relation: string,
  probe: ProbeDefinition,
  existing: readonly Existing[],
): Promise<boolean> {
  let changed = false;
  for (const column of probe.columns) {
    const there = existing.find((other) => other.name === column.name);
    if (there === undefined) {
      if (column.role === 'key') {
        throw new PemError(
          'catalogue_key_changed',
          `${relation}: "${column.name}" is a new key; a probe with other keys is another probe`,
          'operator',
        );
      }
      await client.query(`ALTER TABLE ${relation} ADD COLUMN ${columnText(column)}`);
      changed = true;
    } else if (there.type !== (spelling[column.type] ?? column.type)) {
      throw new PemError(
        'catalogue_type_changed',
        `${relation}: "${column.name}" is ${there.type} in the database and ${column.type} in the catalogue; ` +
          'a changed type is a new column',
        'operator',
      );
    } else if (there.key !== (column.role === 'key')) {
      throw new PemError(
        'catalogue_key_changed',
        `${relation}: "${column.name}" is ${there.key ? '' : 'not '}a key in the database`,
        'operator',
      );
    }
  }
  return changed;
}

async function syncLatest(client: ClientBase, probe: ProbeDefinition): Promise<boolean> {
  const relation = `pemdata.${quote(probe.name)}`;
  const existing = await existingColumns(client, relation);
  if (existing !== undefined) return extendTable(client, relation, probe, existing);
  const keys = probe.columns.filter((column) => column.role === 'key');
  const metrics = probe.columns.filter((column) => column.role === 'metric');
  await client.query(`CREATE TABLE ${relation} (
    target_id bigint NOT NULL,
    ${keys.map((column) => `${columnText(column)},`).join('\n    ')}
    recorded_at timestamptz NOT NULL,
    ${metrics.map((column) => `${columnText(column)},`).join('\n    ')}
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean NOT NULL DEFAULT false,
    PRIMARY KEY (${['target_id', ...keys.map((column) => quote(column.name))].join(', ')})
  ) WITH (fillfactor = 50)`);
  await client.query(`SELECT pem.guard($1, 'latest')`, [relation]);
  await client.query(`GRANT SELECT ON ${relation} TO pem_user`);
  await client.query(`GRANT SELECT, INSERT, UPDATE, DELETE ON ${relation} TO pem_ingest`);
  return true;
}

async function syncHistory(client: ClientBase, probe: ProbeDefinition): Promise<boolean> {
  const relation = `pemhistory.${quote(probe.name)}`;
  const existing = await existingColumns(client, relation);
  if (existing !== undefined) return extendTable(client, relation, probe, existing);
  await client.query(`CREATE TABLE ${relation} (
    recorded_at timestamptz NOT NULL,
    target_id bigint NOT NULL,
    ${probe.mode === 'delta' ? 'gone boolean NOT NULL,' : ''}
    ${probe.columns.map((column) => columnText(column)).join(',\n    ')}
  ) PARTITION BY RANGE (recorded_at)`);
  // Charts and snapshots ask for one target and a span of time.
  await client.query(`CREATE INDEX ${quote(`${probe.name}_at`)} ON ${relation} (target_id, recorded_at)`);
  await client.query(`SELECT pem.guard($1, 'target')`, [relation]);
  await client.query(`GRANT SELECT ON ${relation} TO pem_user`);
  await client.query(`GRANT SELECT, INSERT ON ${relation} TO pem_ingest`);
  await client.query(`ALTER TABLE ${relation} OWNER TO pem_history`);
  return true;
}

/**
 * Brings tables and pem.probe up to the catalogue; a probe that left it is retired, its tables stay.
 * @param client connected as a member of pem_owner
 * @returns names of the probes that changed; when there are any, all agents get a new configuration
 * @throws PemError of `checkDefinition`, catalogue_type_changed | catalogue_key_changed | catalogue_older |
 *   catalogue_duplicate
 */
export async function syncCatalogue(
  client: ClientBase,
  probes: readonly ProbeDefinition[],
): Promise<readonly string[]> {
  const names = new Set<string>();
  for (const probe of probes) {
    checkDefinition(probe);
    if (names.has(probe.name)) {
      throw new PemError('catalogue_duplicate', `two probes are called ${probe.name}`, 'operator');
    }
    names.add(probe.name);
  }
  const changed: string[] = [];
  await client.query('BEGIN');
  try {
    await client.query('SET LOCAL ROLE pem_owner');
    // A table that is being altered stands still for ingesters: better to fail than to queue behind somebody's transaction.
    await client.query(`SET LOCAL lock_timeout = '5s'`);
    await client.query('LOCK TABLE pem.probe IN SHARE ROW EXCLUSIVE MODE');
    const there = await client.query<{ name: string; version: number }>(
      'SELECT name, version FROM pem.probe',
    );
    for (const probe of probes) {
      const version = there.rows.find((row) => row.name === probe.name)?.version ?? 0;
      if (version > probe.version) {
        throw new PemError(
          'catalogue_older',
          `the database has version ${version} of probe ${probe.name}, this program ${probe.version}; upgrade the program`,
          'operator',
        );
      }
      const latest = probe.mode !== 'append' && (await syncLatest(client, probe));
      const history = probe.history && (await syncHistory(client, probe));
      const row = await client.query(
        `INSERT INTO pem.probe AS p (name, version, level, collector, definition, interval_ms, retention_days, enabled)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (name) DO UPDATE SET version = excluded.version, level = excluded.level,
           collector = excluded.collector, definition = excluded.definition, interval_ms = excluded.interval_ms,
           retention_days = excluded.retention_days, enabled = excluded.enabled, retired = false
         WHERE (p.version, p.level, p.collector, p.definition, p.interval_ms, p.retention_days, p.enabled, p.retired)
           IS DISTINCT FROM (excluded.version, excluded.level, excluded.collector, excluded.definition,
             excluded.interval_ms, excluded.retention_days, excluded.enabled, false)`,
        [
          probe.name,
          probe.version,
          probe.level,
          probe.collector,
          JSON.stringify(probe),
          probe.intervalMs,
          probe.retentionDays,
          probe.enabled ?? true,
        ],
      );
      if (latest || history || row.rowCount === 1) changed.push(probe.name);
    }
    const retired = await client.query<{ name: string }>(
      'UPDATE pem.probe SET retired = true WHERE NOT retired AND NOT (name = ANY ($1)) RETURNING name',
      [[...names]],
    );
    changed.push(...retired.rows.map((row) => row.name));
    if (changed.length > 0) await client.query('SELECT pem.bump_config()');
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
  return changed;
}
