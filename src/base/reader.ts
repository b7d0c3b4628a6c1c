/**
 * Reads of PEM's database in a user's own role over native connections: COPY results become blocks in C. In: a user and
 * statements we wrote; out: whatever `work` makes of them. The reader owns a small pool; each read is one read-only
 * transaction with SET LOCAL ROLE, so nothing of one user is left for the next.
 * Full: more than `maxWaiting` reads in the queue are refused (`reader_busy`). Stop: idle connections close at once, those
 * in use at the end of their read.
 */
import { connect, type PgConn } from '../../native/index.js';
import type { Conninfo } from './conninfo.js';
import { PemError } from './errors.js';

export interface ReaderOptions {
  readonly applicationName: string;
  /** Most connections. */
  readonly max: number;
  readonly maxWaiting?: number;
  readonly statementTimeoutMs?: number;
}

interface Waiter {
  resolve(conn: PgConn): void;
  reject(error: unknown): void;
}

/** A name as SQL writes it. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export class RoleReader {
  readonly #params: Readonly<Record<string, string>>;
  readonly #max: number;
  readonly #maxWaiting: number;
  readonly #idle: PgConn[] = [];
  readonly #waiting: Waiter[] = [];
  #open = 0;
  #stopped = false;

  constructor(conninfo: Conninfo, options: ReaderOptions) {
    const timeoutMs = options.statementTimeoutMs ?? 20_000;
    this.#params = {
      ...conninfo,
      application_name: options.applicationName,
      options: `-c statement_timeout=${timeoutMs} -c idle_in_transaction_session_timeout=${timeoutMs}`,
    };
    this.#max = options.max;
    this.#maxWaiting = options.maxWaiting ?? 512;
  }

  /**
   * Runs `work` in one read-only transaction as `user`; all its statements see one snapshot.
   * @throws PemError reader_busy
   */
  async read<T>(user: string, work: (conn: PgConn) => Promise<T>): Promise<T> {
    const conn = await this.#acquire();
    try {
      await conn.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
      await conn.query(`SET LOCAL ROLE ${quoteName(user)}`);
      const result = await work(conn);
      await conn.query('COMMIT');
      return result;
    } catch (error) {
      if (!conn.closed) await conn.query('ROLLBACK').catch(() => conn.close());
      throw error;
    } finally {
      this.#release(conn);
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const conn of this.#idle.splice(0)) conn.close();
    for (const waiter of this.#waiting.splice(0)) waiter.reject(stopped());
  }

  async #acquire(): Promise<PgConn> {
    if (this.#stopped) throw stopped();
    for (let conn = this.#idle.pop(); conn !== undefined; conn = this.#idle.pop()) {
      if (!conn.closed) return conn;
      this.#open--;
    }
    if (this.#open < this.#max) return this.#connect();
    if (this.#waiting.length >= this.#maxWaiting) {
      throw new PemError('reader_busy', 'too many reads wait for the database; try again', 'refused');
    }
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  async #connect(): Promise<PgConn> {
    this.#open++;
    try {
      return await connect({ params: this.#params, timeoutMs: 5_000 });
    } catch (error) {
      this.#open--;
      // Whoever waits for a connection waits for one that is not coming.
      for (const waiter of this.#waiting.splice(0)) waiter.reject(error);
      throw error;
    }
  }

  #release(conn: PgConn): void {
    if (this.#stopped) {
      conn.close();
      return;
    }
    const waiter = this.#waiting.shift();
    if (conn.closed) {
      this.#open--;
      if (waiter !== undefined) this.#connect().then(waiter.resolve, waiter.reject);
    } else if (waiter !== undefined) waiter.resolve(conn);
    else this.#idle.push(conn);
  }
}

function stopped(): PemError {
  return new PemError('reader_busy', 'the server is stopping', 'refused');
}
