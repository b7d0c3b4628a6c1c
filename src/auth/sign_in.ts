/**
 * Sign-in with PostgreSQL's own roles: the password is tried where it belongs, by connecting with it. In: name,
 * password, address; out: the name, or a refusal with a code. Invariants:
 * 1. A superuser is never let in, nor a role outside pem_user, nor one that pem_web may not become.
 * 2. A wrong name and a wrong password look the same, also by the time they take, and both cost an attempt of the name's
 *    and the address's. An address without attempts costs no name any.
 * 3. At most `maxConnections` tries are open towards PostgreSQL at once.
 * The password lives in the request and in the one connection; it is neither kept nor logged.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Conninfo } from '../base/conninfo.js';
import { clientConfig } from '../base/db.js';
import { errorCode, errorText, PemError } from '../base/errors.js';
import { HttpError } from '../http/message.js';
import { networkOf, Throttle } from './throttle.js';

export interface SignInOptions {
  /** Where passwords are tried: host, port, dbname, TLS. A user or client certificate in it is not used. */
  readonly conninfo: Conninfo;
  readonly maxConnections?: number;
  readonly perUser?: { capacity: number; refillMs: number };
  readonly perAddress?: { capacity: number; refillMs: number };
  readonly now?: () => number;
  /** For tests: how it waits. */
  readonly pause?: (ms: number) => Promise<unknown>;
}

/** A refusal takes so long: PostgreSQL is quicker with a name it does not know than with a wrong password. */
const refusalMs = 250;

/** SQLSTATEs that say "not with this name and password". */
const refusals = new Set(['28P01', '28000', '3D000', '42501', '55000']);

export class SignIn {
  readonly #conninfo: Conninfo;
  readonly #perUser: Throttle;
  readonly #perAddress: Throttle;
  readonly #now: () => number;
  readonly #pause: (ms: number) => Promise<unknown>;
  readonly #maxConnections: number;
  #open = 0;

  constructor(options: SignInOptions) {
    const { user: _user, sslcert: _cert, sslkey: _key, ...rest } = options.conninfo;
    this.#conninfo = rest;
    this.#perUser = new Throttle({
      ...(options.perUser ?? { capacity: 6, refillMs: 10_000 }),
      maxKeys: 20_000,
    });
    this.#perAddress = new Throttle({
      ...(options.perAddress ?? { capacity: 30, refillMs: 2_000 }),
      maxKeys: 20_000,
    });
    this.#now = options.now ?? (() => performance.now());
    this.#pause = options.pause ?? sleep;
    this.#maxConnections = options.maxConnections ?? 4;
  }

  /** @throws HttpError too_many_attempts | sign_in_failed | sign_in_superuser | sign_in_not_user | sign_in_busy */
  async check(username: string, password: string, address: string): Promise<string> {
    if (username === '' || password === '' || username.includes('\0') || Buffer.byteLength(username) > 63) {
      throw new HttpError(401, 'sign_in_failed', 'the user name or the password is wrong');
    }
    this.attempt(address, username);
    if (this.#open >= this.#maxConnections) {
      throw new HttpError(503, 'sign_in_busy', 'many sign-ins at once; try again', { 'retry-after': '1' });
    }
    const beganMs = this.#now();
    this.#open++;
    try {
      await this.#connect(username, password).finally(() => {
        this.#open--;
      });
    } catch (error) {
      await this.#pause(Math.max(0, refusalMs - (this.#now() - beganMs)));
      throw error;
    }
    this.succeeded(address, username);
    return username;
  }

  /** Takes an attempt. @throws HttpError too_many_attempts */
  attempt(address: string, username?: string): void {
    const now = this.#now();
    let waitMs = this.#perAddress.take(networkOf(address), now);
    // In this order: an address that is out of attempts must not use up those of other people's names.
    if (waitMs === 0 && username !== undefined) waitMs = this.#perUser.take(username, now);
    if (waitMs > 0) {
      const seconds = Math.ceil(waitMs / 1000);
      const message = `too many sign-in attempts; try again in ${seconds} s`;
      throw new HttpError(429, 'too_many_attempts', message, { 'retry-after': String(seconds) });
    }
  }

  /** Gives a successful attempt back. */
  succeeded(address: string, username?: string): void {
    const now = this.#now();
    this.#perAddress.giveBack(networkOf(address), now);
    if (username !== undefined) this.#perUser.giveBack(username, now);
  }

  async #connect(username: string, password: string): Promise<void> {
    const client = newClient(this.#conninfo, username, password);
    try {
      await client.connect();
      const { rows } = await client.query<{ rolsuper: boolean; member: boolean; usable: boolean }>(
        `SELECT r.rolsuper, r.rolname <> 'pem_web' AND pg_has_role(r.oid, 'pem_user', 'member') AS member,
                pg_has_role('pem_web', r.oid, 'member') AS usable
           FROM pg_roles r WHERE r.rolname = session_user`,
      );
      const role = rows[0];
      if (role === undefined || role.rolsuper) {
        throw new HttpError(
          403,
          'sign_in_superuser',
          'superusers do not sign in; use a role made by "pem user add"',
        );
      }
      if (!role.member || !role.usable) {
        throw new HttpError(
          403,
          'sign_in_not_user',
          'this role is no PEM user; make one with "pem user add"',
        );
      }
    } catch (error) {
      if (refusals.has(errorCode(error))) {
        throw new HttpError(401, 'sign_in_failed', 'the user name or the password is wrong');
      }
      throw error;
    } finally {
      client.end().catch(() => undefined);
    }
  }
}

function newClient(conninfo: Conninfo, user: string, password: string): pg.Client {
  const client = new pg.Client({
    ...clientConfig({ ...conninfo, user }),
    password,
    application_name: 'pem sign-in',
    connectionTimeoutMillis: 5_000,
    statement_timeout: 5_000,
  });
  client.on('error', () => undefined);
  return client;
}

/**
 * Refuses to start where a password means nothing: connects over the sign-in's own road as `role` with a random
 * password, which must fail.
 * @throws PemError sign_in_unsafe | sign_in_unreachable
 */
export async function refuseTrustingDatabase(conninfo: Conninfo, role: string): Promise<void> {
  const { user: _user, sslcert: _cert, sslkey: _key, ...rest } = conninfo;
  const client = newClient(rest, role, randomBytes(24).toString('base64url'));
  try {
    await client.connect();
  } catch (error) {
    const code = errorCode(error);
    if (code === '28P01') return;
    // "no pg_hba.conf entry" and failed peer authentication let nobody in, but no user with a right password either.
    const hint =
      code === '28000'
        ? 'pg_hba.conf needs a scram-sha-256 line for the members of pem_user'
        : 'is PEM\'s database running, and is "--db" right?';
    throw new PemError(
      'sign_in_unreachable',
      `sign-in does not work: ${errorText(error)}; ${hint}`,
      'operator',
      {
        cause: error,
      },
    );
  } finally {
    client.end().catch(() => undefined);
  }
  throw new PemError(
    'sign_in_unsafe',
    `PEM's database let role "${role}" in with a random password; change "trust" to scram-sha-256 in pg_hba.conf`,
    'operator',
  );
}
