/**
 * Traces of servers without an agent: users connect to them through this web server. In: a user's session, a server, its
 * password. Out: a connection that the follower of traces uses, until the user leaves; what of the server is known to PEM
 * (bindings, who is connected). Owns the reporter (reporter.ts), the links to the servers, and the passwords (connections.ts).
 *
 * 1. A connection ends when its user disconnects, when his session ends (looked at each second), when the server does not take
 *    the password any more, when PEM gives the server to somebody else, and after `idleMs` without a trace under way. Its
 *    password is forgotten then. What a link was opened with goes with whom it belonged to.
 * 2. A trace goes on at its server while nobody is connected; its own limits end it. Who connects next reads the rest.
 * 3. PEM's database away: nobody's session can be looked at. Connections stay for `blindMs`, then all of them end.
 * 4. Nothing here costs anything before somebody connects for the first time; a folder that was used before is shipped from
 *    at the start.
 */
import type { Lender, ServerLink } from '../../agent/probes/link.js';
import type { FollowLimits } from '../../agent/profiler/limits.js';
import type { Session, Sessions } from '../auth/sessions.js';
import { Throttle } from '../auth/throttle.js';
import type { Conninfo } from '../base/conninfo.js';
import { asUser, type Pool } from '../base/db.js';
import { errorCode, errorText, PemError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { HttpError } from '../http/message.js';
import { Connections, type Holder } from './connections.js';
import { hasTraced } from './instance.js';
import type { Reporter } from './reporter.js';
import { checkServer, openLink, type UnmanagedServer } from './server.js';

export interface TracerOptions {
  /** PEM's database as pem_web. */
  readonly db: Conninfo;
  readonly pool: Pool;
  readonly sessions: Sessions;
  /** Where spool and positions are kept; without it this web server does not trace. */
  readonly folder: string | undefined;
  readonly log: Log;
  /** For tests: bounds of following, and times. */
  readonly limits?: FollowLimits;
  readonly idleMs?: number;
}

const tickMs = 1000;
const defaultIdleMs = 30 * 60_000;
const blindMs = 60_000;
const mostChecks = 4;
const heardWithinMs = 5000;
/** Rights are looked at less often than sessions. */
const looksPerCheck = 10;

/** A server as it is connected to. */
interface Connected {
  readonly server: UnmanagedServer;
  link: ServerLink;
  /** By whose password it is opened. */
  holder: Holder;
  /** PEM's definitions have named it. */
  isBound: boolean;
  busyAtMs: number;
}

const keyOf = (session: Session): string => session.tokenHash.toString('base64');

const roleKey = ({ host, port, user }: UnmanagedServer): string => `${host.toLowerCase()} ${port} ${user}`;

/** Nobody is connected: what a follower is told. The same one each time: the profiler compares. */
const nobody: Lender = {
  lend: () =>
    Promise.reject(
      new PemError(
        'server_not_connected',
        'nobody is connected to this server: connect to it with its password; until then a running trace goes on there up to its limits',
        'operator',
      ),
    ),
};

export class Tracer {
  readonly #options: TracerOptions;
  readonly #connections = new Connections();
  readonly #connected = new Map<number, Connected>();
  /** Of a role at an address, by however many names PEM knows it; of a user. */
  readonly #ofRole = new Throttle({ capacity: 5, refillMs: 12_000, maxKeys: 10_000 });
  readonly #ofUser = new Throttle({ capacity: 20, refillMs: 6_000, maxKeys: 10_000 });
  /** Who has left, until PEM knows. */
  readonly #released = new Map<string, { readonly targetId: number; readonly username: string }>();
  /** What PEM's definitions name. */
  #targets: ReadonlySet<number> = new Set();
  #looks = 0;
  #checks = 0;
  #starting: Promise<Reporter> | null = null;
  #reporter: Reporter | null = null;
  #timer: NodeJS.Timeout | null = null;
  #looking: Promise<void> = Promise.resolve();
  #seenAtMs = performance.now();
  #stopped = false;

  constructor(options: TracerOptions) {
    this.#options = options;
  }

  /** May this web server trace at all? */
  get isOn(): boolean {
    return this.#options.folder !== undefined;
  }

  /** Goes on where the process before ended, if it traced. Trouble is logged: the web server starts all the same. */
  async start(): Promise<void> {
    const { folder, log } = this.#options;
    if (folder === undefined) return;
    try {
      if (hasTraced(folder)) await this.#begin();
    } catch (error) {
      log.error(
        { code: errorCode(error), reason: errorText(error) },
        'servers without an agent are not traced',
      );
    }
  }

  /** Is this session connected to it? */
  isConnected(session: Session, targetId: number): boolean {
    return this.#connections.has(targetId, keyOf(session));
  }

  /**
   * Tries the password and keeps it for as long as the session is connected.
   * @throws HttpError with what is wrong and what to do
   */
  async connect(session: Session, targetId: number, password: string): Promise<void> {
    if (this.#options.folder === undefined)
      throw new HttpError(
        409,
        'tracer_off',
        'this web server has no folder to trace from; its operator starts it with --state DIRECTORY',
      );
    const { pool, log } = this.#options;
    const { username } = session;
    const server = await this.#server(username, targetId);
    this.#connections.checkRoom(targetId, keyOf(session));
    const waitMs = this.#take(server, username);
    if (waitMs > 0) {
      const seconds = Math.ceil(waitMs / 1000);
      throw new HttpError(429, 'too_many_attempts', `too many tries at this server; wait ${seconds} s`, {
        'retry-after': String(seconds),
      });
    }
    const audit = { user: username, target: targetId, host: server.host, port: server.port };
    if (this.#checks >= mostChecks)
      throw new HttpError(503, 'tracer_busy', 'many connections are being made; try again', {
        'retry-after': '1',
      });
    this.#checks++;
    try {
      await checkServer(server, password);
    } catch (error) {
      const code = errorCode(error);
      if (code.startsWith('trace_')) this.#giveBack(server, username); // The password was right.
      log.warn({ ...audit, code }, 'connection to a server without an agent refused');
      throw error;
    } finally {
      this.#checks--;
    }
    this.#giveBack(server, username);
    const reporter = await this.#begin();
    if (!(await reporter.heard(heardWithinMs)))
      throw new HttpError(503, 'tracer_busy', 'the way of traces into PEM is not up; try again', {
        'retry-after': '2',
      });
    await asUser(pool, username, (client) =>
      client.query('SELECT pem.hold_server($1, $2)', [targetId, reporter.agentId]),
    );
    this.#seenAtMs = performance.now();
    this.#connections.add(targetId, { session: keyOf(session), username, sinceMs: Date.now(), password });
    log.info(audit, 'connected to a server without an agent');
    this.#lead(server);
    reporter.syncNow();
    // The session may have ended while the server was asked.
    if ((await this.#options.sessions.stillOpen([session.tokenHash])).size === 0 || this.#stopped) {
      await this.disconnect(session, targetId);
      throw new HttpError(401, 'not_signed_in', 'the session has ended meanwhile');
    }
  }

  /** The session leaves the server; its password is forgotten. */
  async disconnect(session: Session, targetId: number): Promise<void> {
    await this.#forget(targetId, (holder) => holder.session === keyOf(session), 'asked for');
  }

  /** The session is over: so is all it was connected to. */
  async signedOut(session: Session): Promise<void> {
    await this.#forgetSessions((key) => key === keyOf(session), 'signed out');
  }

  /** The server is known no more. */
  async removed(targetId: number): Promise<void> {
    await this.#forget(targetId, () => true, 'removed');
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#looking;
    const reporter = await this.#starting?.catch(() => null);
    await reporter?.stop();
    for (const targetId of this.#connections.targets) this.#leave(targetId, () => true, 'stopping');
    await this.#release();
  }

  /** Takes one try. @returns 0, or how long to wait for one, ms */
  #take(server: UnmanagedServer, username: string): number {
    const nowMs = performance.now();
    return this.#ofUser.take(username, nowMs) || this.#ofRole.take(roleKey(server), nowMs);
  }

  #giveBack(server: UnmanagedServer, username: string): void {
    const nowMs = performance.now();
    this.#ofUser.giveBack(username, nowMs);
    this.#ofRole.giveBack(roleKey(server), nowMs);
  }

  async #server(username: string, targetId: number): Promise<UnmanagedServer> {
    return asUser(this.#options.pool, username, async (client) => {
      const { rows } = await client.query(
        'SELECT host, port, database, username AS user, sslmode FROM pem.unmanaged_server($1)',
        [targetId],
      );
      return { targetId, ...(rows[0] as Omit<UnmanagedServer, 'targetId'>) };
    });
  }

  /** The reporter, started where it is not running. */
  async #begin(): Promise<Reporter> {
    if (this.#stopped) throw new HttpError(503, 'tracer_busy', 'the web server is stopping');
    this.#starting ??= this.#startReporter().catch((error: unknown) => {
      // The next one who asks tries again.
      this.#starting = null;
      throw error;
    });
    return this.#starting;
  }

  async #startReporter(): Promise<Reporter> {
    const { folder, db, pool, log, limits } = this.#options;
    const { Reporter } = await import('./reporter.js');
    const reporter = await Reporter.start({
      folder: folder as string,
      ...{ db, pool, log },
      ...(limits === undefined ? {} : { limits }),
      lenderOf: (targetId) => this.#connected.get(targetId)?.link ?? nobody,
      onTargets: (targets) => this.#bound(targets),
    });
    this.#reporter = reporter;
    this.#timer = setInterval(() => {
      this.#looking = this.#looking.then(() => this.#look()).catch((error: unknown) => this.#complain(error));
    }, tickMs);
    return reporter;
  }

  /** The link is that of the eldest connection; it changes where that one left or gave another password. */
  #lead(server: UnmanagedServer): void {
    const { targetId } = server;
    const [eldest] = this.#connections.of(targetId);
    const now = this.#connected.get(targetId);
    if (now !== undefined && now.holder === eldest) return;
    now?.link.close();
    if (eldest === undefined) this.#connected.delete(targetId);
    else {
      const onRefused = (): void => {
        void this.#forget(targetId, (holder) => holder === eldest, 'its password is not taken any more');
      };
      const link = openLink(server, eldest.password, onRefused);
      const isBound = now?.isBound ?? this.#targets.has(targetId);
      this.#connected.set(targetId, { server, link, holder: eldest, isBound, busyAtMs: performance.now() });
    }
    if (!this.#stopped) this.#reporter?.apply();
  }

  #bound(targets: ReadonlySet<number>): void {
    this.#targets = targets;
    for (const [targetId, connected] of this.#connected) {
      if (targets.has(targetId)) connected.isBound = true;
      else if (connected.isBound) void this.#forget(targetId, () => true, 'it is no longer traced from here');
    }
  }

  async #forgetSessions(isOver: (session: string) => boolean, why: string): Promise<void> {
    for (const targetId of this.#connections.targets)
      await this.#forget(targetId, (holder) => isOver(holder.session), why);
  }

  /** Passwords and links go at once; then PEM is told. */
  async #forget(targetId: number, isLeaving: (holder: Holder) => boolean, why: string): Promise<void> {
    if (this.#leave(targetId, isLeaving, why)) await this.#release();
  }

  /** @returns whether somebody has left, of which PEM is to be told */
  #leave(targetId: number, isLeaving: (holder: Holder) => boolean, why: string): boolean {
    const left = this.#connections.remove(targetId, isLeaving);
    const connected = this.#connected.get(targetId);
    if (left.length > 0 && connected !== undefined) this.#lead(connected.server);
    for (const { username } of left) {
      const what = { user: username, target: targetId, why };
      this.#options.log.info(what, 'disconnected from a server without an agent');
      this.#released.set(`${targetId} ${username}`, { targetId, username });
    }
    return left.length > 0;
  }

  /** What PEM was not told yet of who has left. */
  async #release(): Promise<void> {
    const agentId = this.#reporter?.agentId;
    for (const [key, { targetId, username }] of [...this.#released]) {
      const isBack = this.#connections.of(targetId).some((holder) => holder.username === username);
      try {
        if (!isBack && agentId !== undefined)
          await this.#options.pool.query('SELECT pem.release_server($1, $2, $3)', [
            agentId,
            targetId,
            username,
          ]);
        this.#released.delete(key);
      } catch (error) {
        // The next look tries again.
        this.#complain(error);
        return;
      }
    }
  }

  async #look(): Promise<void> {
    this.#looks += 1;
    await this.#release();
    const nowMs = performance.now();
    for (const [targetId, connected] of this.#connected) {
      if (this.#reporter?.isBusy(targetId) === true) connected.busyAtMs = nowMs;
      else if (nowMs - connected.busyAtMs > (this.#options.idleMs ?? defaultIdleMs))
        await this.#forget(targetId, () => true, 'no trace for a while');
    }
    const { sessions } = this.#connections;
    try {
      const open = await this.#options.sessions.stillOpen(sessions.map((key) => Buffer.from(key, 'base64')));
      this.#seenAtMs = performance.now();
      // One who connected meanwhile was not asked for.
      await this.#forgetSessions((key) => sessions.includes(key) && !open.has(key), 'the session has ended');
    } catch (error) {
      if (performance.now() - this.#seenAtMs <= blindMs) throw error;
      await this.#forgetSessions(() => true, "PEM's database does not answer");
    }
    if (this.#looks % looksPerCheck === 0) await this.#checkRights();
  }

  /** Whoever may not connect any more does not stay connected. */
  async #checkRights(): Promise<void> {
    for (const targetId of this.#connections.targets) {
      for (const { username } of this.#connections.of(targetId)) {
        try {
          await this.#server(username, targetId);
        } catch (error) {
          if (!['PE021', 'PE022', '42501'].includes(errorCode(error))) throw error;
          await this.#forget(targetId, (holder) => holder.username === username, 'the right to it has ended');
        }
      }
    }
  }

  #complain(error: unknown): void {
    const code = errorCode(error);
    this.#options.log.warn(
      { code, reason: errorText(error) },
      'connections to servers without an agent not looked at',
    );
  }
}
