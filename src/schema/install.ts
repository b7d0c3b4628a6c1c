/**
 * Makes and upgrades PEM's schema. In: a connection, once a superuser's (`installSchema`: roles and privileges), later
 * that of any member of pem_owner (`migrate`, `syncCatalogue`). Out: the schemas of the design, or a coded error and an
 * unchanged database. Owns pem.migration.
 *
 * 1. A migration runs once, in one transaction together with its row in pem.migration; one advisory lock lets one
 *    installer work at a time. Killed anywhere, the next run goes on at the first one that is missing.
 * 2. A released migration is never edited: its SHA-256 is compared.
 * 3. Nothing after installation needs a superuser.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ClientBase } from 'pg';
import { PemError } from '../base/errors.js';
import type { ProbeDefinition } from '../catalog/types.js';
import { syncCatalogue } from './catalogue.js';

const here = dirname(fileURLToPath(import.meta.url));
/** SQL files stand in the source tree; a compiled program reads them from there. */
const folder = existsSync(join(here, 'cluster.sql')) ? here : join(here, '../../../src/schema');
const lockKey = 0x70656d01;

export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
  readonly sha256: string;
}

/** All migrations in order. */
export function migrations(): readonly Migration[] {
  return readdirSync(join(folder, 'migrations'))
    .filter((file) => file.endsWith('.sql'))
    .sort()
    .map((file, index) => {
      const match = /^(\d{4})_([a-z0-9_]+)\.sql$/.exec(file);
      if (match === null || Number(match[1]) !== index + 1) {
        throw new Error(`migrations are numbered without gaps: ${file}`);
      }
      const sql = readFileSync(join(folder, 'migrations', file), 'utf8');
      return {
        version: index + 1,
        name: match[2] as string,
        sql,
        sha256: createHash('sha256').update(sql).digest('hex'),
      };
    });
}

/** One hash over everything that makes a schema, for caches of installed databases. */
export function schemaHash(probes: readonly ProbeDefinition[]): string {
  const hash = createHash('sha256');
  for (const file of ['cluster.sql', 'registrar.sql']) hash.update(readFileSync(join(folder, file)));
  for (const migration of migrations()) hash.update(migration.sha256);
  return hash.update(JSON.stringify(probes)).digest('hex');
}

async function inTransaction(client: ClientBase, work: () => Promise<void>): Promise<void> {
  await client.query('BEGIN');
  try {
    await work();
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}

/**
 * Runs what is missing. The connection's role is a member of pem_owner (or a superuser).
 * @returns names of the migrations that ran
 * @throws PemError migration_edited | migration_newer
 */
export async function migrate(client: ClientBase): Promise<readonly string[]> {
  const ran: string[] = [];
  await client.query('SET ROLE pem_owner');
  try {
    await client.query('SELECT pg_advisory_lock($1)', [lockKey]);
    try {
      await client.query(`CREATE TABLE IF NOT EXISTS pem.migration (
        version int PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`);
      const applied = new Map(
        (
          await client.query<{ version: number; sha256: string }>('SELECT version, sha256 FROM pem.migration')
        ).rows.map((row) => [row.version, row.sha256]),
      );
      const known = migrations();
      const newest = Math.max(0, ...applied.keys());
      if (newest > known.length) {
        throw new PemError(
          'migration_newer',
          `the database has schema version ${newest}, this program knows ${known.length}; upgrade the program`,
          'operator',
        );
      }
      for (const migration of known) {
        const sha256 = applied.get(migration.version);
        if (sha256 === migration.sha256) continue;
        if (sha256 !== undefined) {
          throw new PemError(
            'migration_edited',
            `migration ${migration.version} (${migration.name}) was changed after it ran in this database`,
            'operator',
          );
        }
        await inTransaction(client, async () => {
          await client.query(migration.sql);
          await client.query('INSERT INTO pem.migration (version, name, sha256) VALUES ($1, $2, $3)', [
            migration.version,
            migration.name,
            migration.sha256,
          ]);
        });
        ran.push(migration.name);
      }
    } finally {
      await client.query('SELECT pg_advisory_unlock($1)', [lockKey]);
    }
  } finally {
    await client.query('RESET ROLE');
  }
  return ran;
}

export interface InstallOptions {
  readonly probes: readonly ProbeDefinition[];
}

export interface InstallResult {
  readonly migrations: readonly string[];
  readonly probes: readonly string[];
  /** Other databases of the cluster that PUBLIC may connect to: pg_hba.conf must keep agents out of them. */
  readonly openDatabases: readonly string[];
}

/** The part of `installSchema` that needs a superuser: roles, what PUBLIC loses, the doors to CREATEROLE. */
export async function installRoles(superuserClient: ClientBase): Promise<void> {
  const version = await superuserClient.query<{ num: number }>(
    `SELECT current_setting('server_version_num')::int AS num`,
  );
  if ((version.rows[0]?.num ?? 0) < 150000) {
    throw new PemError('server_too_old', "PEM's own database needs PostgreSQL 15 or newer", 'operator');
  }
  await inTransaction(superuserClient, async () => {
    await superuserClient.query(readFileSync(join(folder, 'cluster.sql'), 'utf8'));
    await superuserClient.query(readFileSync(join(folder, 'registrar.sql'), 'utf8'));
  });
}

/**
 * Everything on an existing, empty or older database: roles, privileges, migrations, catalogue. Repeatable.
 * @param superuserClient connected to PEM's database as a superuser
 */
export async function installSchema(
  superuserClient: ClientBase,
  options: InstallOptions,
): Promise<InstallResult> {
  await installRoles(superuserClient);
  const ran = await migrate(superuserClient);
  const changed = await syncCatalogue(superuserClient, options.probes);
  const open = await superuserClient.query<{ datname: string }>(
    `SELECT datname FROM pg_database d WHERE datallowconn AND datname <> current_database()
       AND EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
                    WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT') ORDER BY 1`,
  );
  return { migrations: ran, probes: changed, openDatabases: open.rows.map((row) => row.datname) };
}
