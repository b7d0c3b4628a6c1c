/**
 * The door to PEM's own database for everything that is not hot: a `pg` pool with PEM's session settings. The hot roads
 * (inbox, COPY, charts) use native/pgconn. Passwords come from PGPASSFILE, client certificates from sslcert/sslkey.
 */
import { readFileSync } from 'node:fs';
import pg from 'pg';
import type { Conninfo } from './conninfo.js';
import { PemError } from './errors.js';

// int8 and timestamptz stay text at the driver's edge: a JavaScript number would lose digits, a Date microseconds.
export type Row = Record<string, unknown>;
export type Pool = pg.Pool;
export type Client = pg.PoolClient;

export interface PoolOptions {
  readonly applicationName: string;
  /** Most connections the pool opens. */
  readonly max: number;
  readonly statementTimeoutMs?: number;
}

const sslModes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'];

/**
 * libpq keywords → `pg` client settings; as in libpq, verify-ca (and require with a sslrootcert) checks the chain only,
 * verify-full the name as well.
 * @throws PemError conninfo_syntax where sslmode is none of libpq's: a slip of the pen must not switch TLS off
 */
export function clientConfig(conninfo: Conninfo): pg.ClientConfig {
  const config: pg.ClientConfig = {
    host: conninfo.host ?? conninfo.hostaddr ?? '/var/run/postgresql',
    port: Number(conninfo.port ?? 5432),
    database: conninfo.dbname ?? 'pem',
    user: conninfo.user ?? 'pem_web',
  };
  const mode = conninfo.sslmode ?? 'prefer';
  if (!sslModes.includes(mode)) {
    throw new PemError('conninfo_syntax', `sslmode "${mode}" is none of ${sslModes.join(', ')}`, 'operator');
  }
  if (mode === 'require' || mode === 'verify-ca' || mode === 'verify-full') {
    config.ssl = {
      rejectUnauthorized: mode !== 'require' || conninfo.sslrootcert !== undefined,
      ...(conninfo.sslrootcert === undefined ? {} : { ca: readFileSync(conninfo.sslrootcert) }),
      ...(conninfo.sslcert === undefined ? {} : { cert: readFileSync(conninfo.sslcert) }),
      ...(conninfo.sslkey === undefined ? {} : { key: readFileSync(conninfo.sslkey) }),
      ...(mode !== 'verify-full' ? { checkServerIdentity: () => undefined } : {}),
    };
  }
  return config;
}

export function openPool(conninfo: Conninfo, options: PoolOptions): Pool {
  const pool = new pg.Pool({
    ...clientConfig(conninfo),
    application_name: options.applicationName,
    max: options.max,
    connectionTimeoutMillis: 10_000,
    idleTimeoutMillis: 60_000,
    statement_timeout: options.statementTimeoutMs ?? 30_000,
  });
  // An idle connection that dies is opened anew at its next use; without a listener it would end the process.
  pool.on('error', () => undefined);
  // The same while it is lent out: its query fails by itself, and it is not taken back.
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}

/**
 * Runs `work` in one transaction in the role of a user. Only statements we wrote may run in it: SET ROLE is no sandbox.
 */
export async function asUser<T>(pool: Pool, user: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query('BEGIN READ WRITE');
    await client.query(`SET LOCAL ROLE ${client.escapeIdentifier(user)}`);
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch((failure: Error) => {
      broken = failure;
    });
    throw error;
  } finally {
    client.release(broken);
  }
}
