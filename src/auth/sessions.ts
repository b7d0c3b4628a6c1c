/**
 * Sessions. A token is 256 random bits that the browser alone has; PEM keeps its SHA-256 in pem.web_session, so a
 * session survives a restart of the web process and a read of the table gives nobody a session. Invariants:
 * 1. The right to log in (rolcanlogin, valid until, pem_user, not a superuser) and the session's end are read again
 *    where the last look is older than `freshMs`; a failed look lets nobody in.
 * 2. A cookie's row has a CSRF token, an API token's has none; neither serves as the other.
 * Full: the cache holds at most `maxCached` sessions, the oldest look goes first.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Pool } from '../base/db.js';

export interface Session {
  readonly username: string;
  /** Empty for API tokens. */
  readonly csrf: string;
  readonly tokenHash: Buffer;
}

export const sessionSeconds = 12 * 3600;
export const apiTokenSeconds = 20 * 60;

/** What "may log in" means; `r` is pg_roles. pem_web is a member of all its users, yet no user. */
export const mayLogIn = `r.rolcanlogin AND NOT r.rolsuper AND r.rolname <> 'pem_web' AND (r.rolvaliduntil IS NULL OR r.rolvaliduntil > now())
  AND pg_has_role(r.oid, 'pem_user', 'member') AND pg_has_role('pem_web', r.oid, 'member')`;

const hash = (token: string): Buffer => createHash('sha256').update(token).digest();

export class Sessions {
  readonly #pool: Pool;
  readonly #freshMs: number;
  readonly #maxCached: number;
  readonly #cache = new Map<string, { looked: Promise<Session | undefined>; atMs: number }>();

  constructor(pool: Pool, options: { freshMs?: number; maxCached?: number } = {}) {
    this.#pool = pool;
    this.#freshMs = options.freshMs ?? 900;
    this.#maxCached = options.maxCached ?? 10_000;
  }

  /** Opens a session for somebody who has signed in. */
  async open(username: string, kind: 'cookie' | 'token'): Promise<{ token: string; session: Session }> {
    const token = randomBytes(32).toString('base64url');
    const session = {
      username,
      csrf: kind === 'cookie' ? randomBytes(24).toString('base64url') : '',
      tokenHash: hash(token),
    };
    const seconds = kind === 'cookie' ? sessionSeconds : apiTokenSeconds;
    await this.#pool.query('DELETE FROM pem.web_session WHERE expires_at < now()');
    await this.#pool.query(
      `INSERT INTO pem.web_session (token_hash, username, created_at, expires_at, csrf)
       VALUES ($1, $2, now(), now() + make_interval(secs => $3), $4)`,
      [session.tokenHash, username, seconds, session.csrf],
    );
    return { token, session };
  }

  /** The session of a token, or undefined where it has none, has ended, or its user may not log in any more. */
  find(token: string, kind: 'cookie' | 'token'): Promise<Session | undefined> {
    if (!/^[\w-]{43}$/.test(token)) return Promise.resolve(undefined);
    return this.#find(hash(token), kind);
  }

  async #find(tokenHash: Buffer, kind: 'cookie' | 'token'): Promise<Session | undefined> {
    const key = tokenHash.toString('base64');
    const now = performance.now();
    let entry = this.#cache.get(key);
    if (entry === undefined || now - entry.atMs > this.#freshMs) {
      entry = { looked: this.#look(tokenHash), atMs: now };
      this.#cache.delete(key);
      this.#cache.set(key, entry);
      entry.looked.catch(() => this.#cache.delete(key));
      if (this.#cache.size > this.#maxCached) {
        const oldest = this.#cache.keys().next();
        if (oldest.done !== true) this.#cache.delete(oldest.value);
      }
    }
    const session = await entry.looked;
    if (session === undefined) this.#cache.delete(key);
    if (session === undefined || (kind === 'cookie') !== (session.csrf !== '')) return undefined;
    return session;
  }

  async #look(tokenHash: Buffer): Promise<Session | undefined> {
    const { rows } = await this.#pool.query<{ username: string; csrf: string | null }>(
      `SELECT s.username, s.csrf FROM pem.web_session s JOIN pg_roles r ON r.rolname = s.username
        WHERE s.token_hash = $1 AND s.expires_at > now() AND ${mayLogIn}`,
      [tokenHash],
    );
    const row = rows[0];
    return row === undefined ? undefined : { username: row.username, csrf: row.csrf ?? '', tokenHash };
  }

  /** Ends a session. */
  async close(session: Session): Promise<void> {
    this.#cache.delete(session.tokenHash.toString('base64'));
    await this.#pool.query('DELETE FROM pem.web_session WHERE token_hash = $1', [session.tokenHash]);
  }

  /** Of the given sessions those that still hold: for sockets, which outlive requests. */
  async stillOpen(tokenHashes: readonly Buffer[]): Promise<Set<string>> {
    if (tokenHashes.length === 0) return new Set();
    const { rows } = await this.#pool.query<{ token_hash: Buffer }>(
      `SELECT s.token_hash FROM pem.web_session s JOIN pg_roles r ON r.rolname = s.username
        WHERE s.token_hash = ANY ($1) AND s.expires_at > now() AND ${mayLogIn}`,
      [tokenHashes],
    );
    return new Set(rows.map((row) => row.token_hash.toString('base64')));
  }

  /** Takes a one-time link. @returns whose it was, or undefined where it is unknown, used or too old */
  async takeLink(token: string): Promise<string | undefined> {
    const { rows } = await this.#pool.query<{ username: string }>(
      `UPDATE pem.one_time_link l SET used_at = now() FROM pg_roles r
        WHERE l.token_hash = $1 AND l.used_at IS NULL AND l.expires_at > now() AND r.rolname = l.username AND ${mayLogIn}
        RETURNING l.username`,
      [hash(token)],
    );
    return rows[0]?.username;
  }

  /** PEM's own roles that the user is a member of. */
  async roles(username: string): Promise<string[]> {
    const { rows } = await this.#pool.query<{ rolname: string }>(
      `SELECT g.rolname FROM pg_roles g, pg_roles r
        WHERE r.rolname = $1 AND g.rolname LIKE 'pem\\_%' AND pg_has_role(r.oid, g.oid, 'member') ORDER BY 1`,
      [username],
    );
    return rows.map((row) => row.rolname);
  }

  /** Browsers' sessions that have not ended. */
  async count(): Promise<number> {
    const { rows } = await this.#pool.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM pem.web_session WHERE expires_at > now() AND csrf <> ''`,
    );
    return rows[0]?.n ?? 0;
  }
}

/** Compares secrets without telling where they differ. */
export function sameSecret(a: string, b: string): boolean {
  return timingSafeEqual(hash(a), hash(b));
}
