/**
 * The connections to one monitored server. In: work that needs a connection. Out: its results. Owns at most three
 * connections: one is kept for cluster-wide probes; two are for whose turn it is of a visitor of databases (closed when nobody
 * needs it), a follower of traces (while there are any) and a task in one database.
 *
 * 1. Never more than these, also while one is being replaced: a connection counts until it is closed. Where all three want
 *    the two, they come one after the other (slots.ts): a visitor gives way before each database, a task when it is done,
 *    and waits so long at most as it says itself.
 * 2. Work on a connection goes one at a time; visits that want the same database share its connection.
 * 3. Every session is read-only, has time limits, no JIT, no parallel workers and search_path = pg_catalog, so that
 *    nothing a user of the server created can stand in for what a probe calls.
 * 4. lock_timeout goes with the start packet: a session needs catalog locks before its first statement could set it.
 *    All else is SET after it, so that pg_settings.reset_val still shows the server's own values.
 * 5. A server that does not answer costs one try, then the gate refuses at once; nothing waits in line for it.
 */
import type { ConnectOptions, PgConn } from '../../native/index.js';
import { errorCode, errorText, PemError } from '../../src/base/errors.js';
import { type Clock, pause } from '../scheduler/clock.js';
import type { ConnectGate } from './gate.js';
import { explainPassword } from './passfile.js';
import { type Release, Slots } from './slots.js';

export type Connect = (options: ConnectOptions) => Promise<PgConn>;

/** Time limits towards a monitored server. */
export const linkLimits = {
  connectMs: 5000,
  lockMs: 100,
  /** On the kept connection: its probes run each second, a slow one holds up the others. */
  clusterStatementMs: 5000,
  visitStatementMs: 30_000,
  /** Beyond statement_timeout, which the server itself keeps, before the call is given up here. */
  graceMs: 2000,
  idleSessionMs: 600_000,
  idleInTransactionMs: 10_000,
  /** A backend that was left may still count against the role's CONNECTION LIMIT: a refusal so soon is tried again. */
  settleMs: 2500,
} as const;

/** The role's CONNECTION LIMIT is one more: the kept connection. */
const connectionsBeside = 2;
/** A server without a processor to spare takes long to end one. */
const settlePausesMs = [100, 400, 1500] as const;

const oldestSupported = 130000;

export interface LinkOptions {
  readonly connect: Connect;
  readonly clock: Clock;
  readonly gate: ConnectGate;
  /** libpq keywords for a database of the server; undefined: the one it is monitored through. */
  readonly params: (database?: string) => Readonly<Record<string, string>>;
  readonly onConnect: () => void;
}

/** A connection that is lent; the borrower closes it. */
export interface LentConnection {
  readonly closed: boolean;
  run<Result>(work: (connection: PgConn) => Promise<Result>): Promise<Result>;
  close(): void;
}

/** A way to a server for who follows its traces. */
export interface Lender {
  /** @throws PemError server_unreachable, or why else there is no connection; what the signal was aborted with */
  lend(signal: AbortSignal): Promise<LentConnection>;
}

interface Visit {
  readonly remaining: Set<string>;
  readonly work: (connection: PgConn, database: string) => Promise<void>;
  readonly failures: Map<string, Error>;
  readonly end: () => void;
}

/** What a connection is opened for. */
interface Purpose {
  readonly statementMs: number;
  /** A refusal is no reason to keep others waiting. */
  readonly mayRefuse?: boolean;
  /** What decides about plans and names stays as the server has it. */
  readonly asOthers?: boolean;
  readonly signal?: AbortSignal;
}

/** Settings of every session; idle_session_timeout came with 14. */
function settingsSql(serverVersion: number, { statementMs, asOthers }: Purpose): string {
  const settings: Record<string, string> = {
    statement_timeout: String(statementMs),
    idle_in_transaction_session_timeout: String(linkLimits.idleInTransactionMs),
    ...(serverVersion >= 140000 ? { idle_session_timeout: String(linkLimits.idleSessionMs) } : {}),
    standard_conforming_strings: 'on',
    default_transaction_read_only: 'on',
    ...(asOthers === true
      ? {}
      : { jit: 'off', max_parallel_workers_per_gather: '0', search_path: 'pg_catalog' }),
  };
  const calls = Object.entries(settings).map(
    ([name, value]) => `pg_catalog.set_config('${name}', '${value}', false)`,
  );
  return `SELECT ${calls.join(', ')}`;
}

export class ServerLink implements Lender {
  /** server_version_num of the last session; 0 before the first. */
  serverVersion = 0;
  /** Of the first session that could see it. */
  systemIdentifier: string | null = null;
  private kept: PgConn | null = null;
  private keptQueue: Promise<unknown> = Promise.resolve();
  private readonly visits: Visit[] = [];
  private visiting: PgConn | null = null;
  private visitor: Promise<void> | null = null;
  private lent: LentConnection | null = null;
  private readonly borrowed = new Set<PgConn>();
  private readonly slots = new Slots(connectionsBeside);
  /** Aborted by close(). */
  private readonly over = new AbortController();
  private leftAtMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly options: LinkOptions) {}

  /** Why the server cannot be reached, '' when it can. */
  get trouble(): string {
    return this.options.gate.trouble;
  }

  /** Runs work on the kept connection, after the work that came before it. */
  cluster<Result>(work: (connection: PgConn) => Promise<Result>): Promise<Result> {
    const result = this.keptQueue.then(async () => {
      if (this.kept === null || this.kept.closed)
        this.kept = await this.open(undefined, { statementMs: linkLimits.clusterStatementMs });
      return this.guard(this.kept, work);
    });
    this.keptQueue = result.catch(() => undefined);
    return result;
  }

  /** Runs work in each of the databases, in turn; resolves with the databases where it failed. */
  visit(
    databases: readonly string[],
    work: (connection: PgConn, database: string) => Promise<void>,
  ): Promise<Map<string, Error>> {
    return new Promise((resolve) => {
      const failures = new Map<string, Error>();
      this.visits.push({
        remaining: new Set(databases),
        work,
        failures,
        end: () => resolve(failures),
      });
      this.visitor ??= this.travel().finally(() => {
        this.visitor = null;
      });
    });
  }

  /**
   * A connection to the database that the server is monitored through; there is one at a time. Waits for its turn until the
   * signal is aborted, and counts until the borrower closes it.
   */
  async lend(signal: AbortSignal): Promise<LentConnection> {
    if (this.lent !== null && !this.lent.closed) throw new Error('the connection is lent already');
    this.lent?.close();
    const either = AbortSignal.any([signal, this.over.signal]);
    const release = await this.slots.take(either);
    try {
      // One too many for the role's limit is no reason to keep probes waiting.
      const purpose = { statementMs: linkLimits.clusterStatementMs, mayRefuse: true, signal: either };
      const connection = await this.open(undefined, purpose);
      const lent: LentConnection = {
        get closed() {
          return connection.closed;
        },
        run: (work) => this.guard(connection, work),
        close: () => {
          this.leave(connection);
          release();
        },
      };
      this.lent = lent;
      return lent;
    } catch (error) {
      release();
      throw error;
    }
  }

  /**
   * Runs a task over a connection of its own to a database, with the server's own search_path and settings of the planner.
   * @throws PemError connections_busy where there was no turn within `waitMs`; server_unreachable; what the task throws
   */
  async borrow<Result>(
    database: string,
    waitMs: number,
    task: (connection: PgConn) => Promise<Result>,
  ): Promise<Result> {
    const wait = new AbortController();
    const cancel = this.options.clock.after(waitMs, () => wait.abort(busy(waitMs)));
    const release = await this.slots.take(AbortSignal.any([wait.signal, this.over.signal])).finally(cancel);
    let connection: PgConn | undefined;
    try {
      const purpose = { statementMs: linkLimits.visitStatementMs, mayRefuse: true, asOthers: true };
      connection = await this.open(database, purpose);
      this.borrowed.add(connection);
      return await this.guard(connection, task);
    } finally {
      if (connection !== undefined) {
        this.borrowed.delete(connection);
        this.leave(connection);
      }
      release();
    }
  }

  /** Closes all connections; running and waiting work fails. */
  close(): void {
    this.over.abort(noLongerWatched());
    this.kept?.close();
    this.visiting?.close();
    this.lent?.close();
    for (const connection of this.borrowed) connection.close();
  }

  private async travel(): Promise<void> {
    let at: string | null = null;
    let refusals = 0;
    let release: Release | null = null;
    const leaveDatabase = (): void => {
      this.leave(this.visiting);
      this.visiting = null;
      at = null;
    };
    for (;;) {
      for (let index = this.visits.length - 1; index >= 0; index--)
        if (this.visits[index]?.remaining.size === 0) this.visits.splice(index, 1)[0]?.end();
      const here: string | null = at;
      const next: string | undefined =
        here !== null && this.visits.some((visit) => visit.remaining.has(here))
          ? here
          : this.visits[0]?.remaining.values().next().value;
      if (next === undefined) break;
      const guests = this.visits.filter((visit) => visit.remaining.delete(next));
      try {
        // Who waits for a slot gets this one, also where there is always somebody who wants this database.
        if (next !== at || this.slots.wanted || this.visiting === null || this.visiting.closed) {
          leaveDatabase();
          if (this.slots.wanted) {
            release?.();
            release = null;
          }
          release ??= await this.slots.take(this.over.signal);
          // One database may refuse us (dropped meanwhile, no CONNECT); several in a row are the server.
          const purpose = { statementMs: linkLimits.visitStatementMs, mayRefuse: refusals < 2 };
          this.visiting = await this.open(next, purpose);
          at = next;
          refusals = 0;
        }
      } catch (error) {
        refusals++;
        for (const guest of guests) guest.failures.set(next, asError(error));
        continue;
      }
      for (const guest of guests) {
        try {
          await this.guard(this.visiting, (connection) => guest.work(connection, next));
        } catch (error) {
          guest.failures.set(next, asError(error));
        }
      }
    }
    // Kept open it would stand in the way of DROP DATABASE.
    leaveDatabase();
    release?.();
  }

  private leave(connection: PgConn | null): void {
    if (connection === null || connection.closed) return;
    connection.close();
    this.leftAtMs = this.options.clock.monotonicMs();
  }

  private async open(database: string | undefined, purpose: Purpose): Promise<PgConn> {
    const { gate } = this.options;
    const connection = await this.connect(database, purpose);
    try {
      this.over.signal.throwIfAborted();
      if (connection.serverVersion < oldestSupported)
        throw new PemError(
          'server_version',
          `server version ${connection.serverVersion} is older than 13`,
          'operator',
        );
      this.serverVersion = connection.serverVersion;
      await this.guard(connection, (fresh) =>
        fresh.query(settingsSql(fresh.serverVersion, purpose), [], { timeoutMs: linkLimits.connectMs }),
      );
      if (purpose.asOthers !== true) this.systemIdentifier ??= await this.guard(connection, identify);
    } catch (error) {
      connection.close();
      throw error;
    }
    gate.succeeded();
    return connection;
  }

  private async connect(database: string | undefined, purpose: Purpose): Promise<PgConn> {
    const { gate, clock } = this.options;
    for (const settleMs of [...settlePausesMs, null]) {
      gate.check();
      await aborting(gate.turn(), purpose.signal ?? this.over.signal);
      gate.check();
      this.options.onConnect();
      const params = this.options.params(database);
      try {
        return await this.options.connect({ params, timeoutMs: linkLimits.connectMs });
      } catch (error) {
        const why = explainPassword(errorText(error), params.passfile);
        const isUnanswered = errorCode(error) === 'connect_timeout';
        // Two connections would leave the role one to spare.
        const isSettling = this.slots.isFull && clock.monotonicMs() - this.leftAtMs < linkLimits.settleMs;
        if (!isUnanswered && isSettling && settleMs !== null) {
          await aborting(pause(clock, settleMs), purpose.signal ?? this.over.signal);
          continue;
        }
        if (isUnanswered) gate.failed('unanswered', why);
        else if (purpose.mayRefuse !== true) gate.failed('refused', why);
        throw new PemError('server_unreachable', why, 'outside', { cause: error });
      }
    }
    throw new Error('unreachable: the last try returns or throws');
  }

  /**
   * A call that the server never answered has closed its connection here, not there: the backend hangs on. Another one
   * beside it would hang too, so this counts like an unanswered connect.
   */
  private async guard<Result>(
    connection: PgConn,
    work: (connection: PgConn) => Promise<Result>,
  ): Promise<Result> {
    try {
      return await work(connection);
    } catch (error) {
      if (connection.closed && errorCode(error) === 'query_timeout')
        this.options.gate.failed('unanswered', errorText(error));
      throw error;
    }
  }
}

/** What a promise resolves with, unless the signal is aborted first. */
async function aborting<Result>(promise: Promise<Result>, signal: AbortSignal): Promise<Result> {
  let leave: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    leave = () => reject(signal.reason);
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}

function busy(waitMs: number): PemError {
  return new PemError(
    'connections_busy',
    `the agent's three connections to this server were all in use for ${Math.round(waitMs / 1000)} s (probes, a trace): ` +
      'nothing was asked; try again later',
    'outside',
  );
}

function noLongerWatched(): PemError {
  return new PemError('server_unreachable', 'the agent no longer monitors this server');
}

/** A managed server may hide it: then the agent does without. */
async function identify(connection: PgConn): Promise<string | null> {
  try {
    const sql = 'SELECT system_identifier FROM pg_control_system()';
    const { rows } = await connection.query(sql, [], { timeoutMs: linkLimits.connectMs });
    return rows[0]?.system_identifier ?? null;
  } catch (error) {
    if (errorCode(error) === '42501') return null;
    throw error;
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
