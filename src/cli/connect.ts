/**
 * Where PEM's database is, for every command: --db, then `db` in the file of --config, then the desk of this machine.
 * None of them holds a password: that is PGPASSFILE's, ~/.pgpass's or nobody's (peer, certificate).
 */
import { readFileSync } from 'node:fs';
import pg from 'pg';
import { parse } from 'smol-toml';
import * as v from 'valibot';
import { type Conninfo, parseConninfo } from '../base/conninfo.js';
import { clientConfig } from '../base/db.js';
import { errorText, PemError } from '../base/errors.js';
import { defaultHome, knownDesk } from './desk/home.js';

/** The settings file: what else would stand on every command line. Command line options win. */
const settingsSchema = v.strictObject({
  db: v.optional(v.string()),
  ca: v.optional(v.string()),
  listen: v.optional(v.string()),
  push_directory: v.optional(v.string()),
  state_directory: v.optional(v.string()),
  tls_certificate: v.optional(v.string()),
  tls_key: v.optional(v.string()),
  hosts: v.optional(v.array(v.string())),
});

export type Settings = v.InferOutput<typeof settingsSchema>;

/** @throws PemError settings_missing | settings_syntax */
export function readSettings(file: string | undefined): Settings {
  if (file === undefined) return {};
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new PemError('settings_missing', `cannot read --config ${file}: ${errorText(error)}`, 'operator', {
      cause: error,
    });
  }
  try {
    return v.parse(settingsSchema, parse(text));
  } catch (error) {
    const at = v.isValiError(error) ? `${v.getDotPath(error.issues[0]) ?? ''}: ` : '';
    throw new PemError('settings_syntax', `${file}: ${at}${errorText(error)}`, 'operator', { cause: error });
  }
}

/** @throws PemError no_database where nothing says where it is */
export function findDatabase(db: string | undefined, settings: Settings, role: string): Conninfo {
  const given = db ?? settings.db;
  if (given !== undefined) return { user: role, dbname: 'pem', ...parseConninfo(given) };
  const desk = knownDesk(defaultHome());
  if (desk === undefined) {
    throw new PemError(
      'no_database',
      `which database? Give --db "host=… port=… dbname=pem", or "db" in --config, or PEM_HOME of a desk (none in ${defaultHome()})`,
      'operator',
    );
  }
  return { host: desk.socketDirectory, port: String(desk.databasePort), dbname: 'pem', user: role };
}

/** Runs `work` on one connection of an operator; `pg` reads PGPASSFILE and ~/.pgpass itself. */
export async function withClient<T>(conninfo: Conninfo, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    ...clientConfig(conninfo),
    application_name: 'pem',
    connectionTimeoutMillis: 10_000,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
  } catch (error) {
    // The driver's way to say that it was asked for a password and found none.
    if (!errorText(error).includes('client password must be a string')) throw error;
    throw new PemError(
      'password_missing',
      `PostgreSQL asks for a password of "${conninfo.user ?? ''}": put it into ~/.pgpass, or a file that PGPASSFILE names (0600)`,
      'operator',
      { cause: error },
    );
  }
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/**
 * A program's look at its database before it starts. One that cannot be reached is waited for by the program itself.
 * @throws PemError schema_missing | password_missing
 */
export async function checkSchema(conninfo: Conninfo): Promise<void> {
  let found: boolean;
  try {
    found = await withClient(conninfo, async (client) => {
      const { rows } = await client.query<{ there: boolean }>(
        `SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                         WHERE n.nspname = 'pem' AND c.relname = 'migration') AS there`,
      );
      return rows[0]?.there === true;
    });
  } catch (error) {
    if (error instanceof PemError) throw error;
    return;
  }
  if (found) return;
  throw new PemError(
    'schema_missing',
    `the database "${conninfo.dbname ?? ''}" has no schema of PEM; is it the right one? "pem init" makes it`,
    'operator',
  );
}
