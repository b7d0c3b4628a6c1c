/**
 * One run: one trace on the server, from its start to the removal of its files. In: what is remembered of it, the server's
 * list of traces, a session. Out: the trace on the server, rows (follower.ts), a report. Owns the follower; what is
 * remembered belongs to the trace it is a run of (trace.ts).
 *
 * States. *Starting*: nothing is known of the server; the trace is found there by its name or started. *Running*: it is
 * followed. *Ending*: it is not wanted any more or has ended by itself; what is left is read, then its files are removed.
 * *Ended*: the report waits for PEM to take it. Every step may fail and is tried again from where it stood.
 *
 * 1. The name is written down before the start is asked for: a start whose answer was lost is found again.
 * 2. A trace that is on the server and not in what was remembered is gone on with at its end: what lies before may have been
 *    sent by whoever forgot it. The rows are counted as skipped.
 * 3. At the end the server's count of rows is held against ours: what we have too many came twice, and is said.
 */
import { rmSync } from 'node:fs';
import { errorCode } from '../../src/base/errors.js';
import type { Log } from '../../src/base/log.js';
import type { RunReport } from '../link/sync.js';
import type { DurableOutbox } from '../outbox.js';
import type { Clock } from '../scheduler/clock.js';
import type { TraceStats } from '../stats.js';
import { Follower, type Travelling } from './follower.js';
import type { FollowLimits } from './limits.js';
import type { RunMemory } from './memory.js';
import { keptCounts, type RunCounts } from './positions.js';
import type { ProfilerSession, ServerTrace } from './session.js';

export interface RunOptions {
  readonly memory: RunMemory;
  readonly targetId: number;
  readonly positionFile: string;
  readonly outbox: DurableOutbox;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: FollowLimits;
  readonly stats: TraceStats;
  /** Writes what is remembered down. */
  readonly save: () => void;
  /** Was it remembered, or begun by this process? Else it was found on the server. */
  readonly isRemembered: boolean;
}

/** What a run is to do for its trace. */
export interface RunWishes {
  readonly options: Readonly<Record<string, unknown>>;
  readonly travelling: Travelling;
  /** It is to go on. */
  readonly isWanted: boolean;
  /** Why not. */
  readonly endReason: string;
  readonly keepFiles: boolean;
  /** Not even what is there is to be read. */
  readonly isDiscarded: boolean;
}

export class Run {
  readonly memory: RunMemory;
  readonly #options: RunOptions;
  #follower: Follower | null = null;
  #server: ServerTrace | null = null;
  #startedHere: boolean;
  /** Since when nothing new came of a trace that has ended, ms. */
  #quietSinceMs: number | null = null;
  /** Counts of the process before, until there is a follower. */
  readonly #kept: Readonly<RunCounts>;

  constructor(options: RunOptions) {
    this.#options = options;
    this.memory = options.memory;
    this.#kept = keptCounts(options.positionFile);
    this.#startedHere = options.isRemembered;
  }

  get counts(): Readonly<RunCounts> {
    return this.#follower?.counts ?? this.#kept;
  }

  get lagBytes(): number {
    return this.#follower?.lagBytes ?? 0;
  }

  /** Time that the server has spent on reading for it, ms. */
  get serverMs(): number {
    return this.#follower?.serverMs ?? 0;
  }

  /** The session is another one. */
  reconnected(): void {
    this.#follower?.reconnected();
  }

  lost(): void {
    this.#follower?.lost();
  }

  /**
   * Goes one step.
   * @param list the server's traces as they are since the last step that changed one
   * @throws PemError, PgError: nothing is lost, the same step comes again
   */
  async step(session: ProfilerSession, list: readonly ServerTrace[], wishes: RunWishes): Promise<StepResult> {
    const { memory } = this;
    this.#server = list.find((trace) => trace.name === memory.name) ?? null;
    if (memory.phase === 'starting') {
      await this.#start(session, wishes);
      return changedServer;
    }
    const server = this.#server;
    if (memory.phase === 'ended') return { more: false, changed: false };
    if (server === null) {
      await this.#follower?.flush();
      this.giveUp('dropped on the server');
      return { more: false, changed: false };
    }
    if (memory.phase === 'running') {
      if (!server.running)
        this.#ending(stopReasons[server.stopReason ?? ''] ?? server.stopReason ?? 'unknown');
      else if (!wishes.isWanted) this.#ending(wishes.endReason);
    }
    if (memory.phase === 'ending' && server.running) {
      await session.stop(server.id);
      return changedServer;
    }
    if (memory.phase === 'ending' && wishes.isDiscarded) {
      await this.#end(session, server, wishes);
      return changedServer;
    }
    const follower = await this.#follow(session, server, wishes);
    const rows = await follower.step(session);
    if (memory.phase !== 'ending') return { more: !follower.isThrough, changed: false };
    const nowMs = this.#options.clock.monotonicMs();
    if (rows > 0 || !follower.isThrough) this.#quietSinceMs = nowMs;
    this.#quietSinceMs ??= nowMs;
    if (nowMs - this.#quietSinceMs < this.#options.limits.settleMs)
      return { more: !follower.isThrough, changed: false };
    await this.#end(session, server, wishes);
    return changedServer;
  }

  report(): RunReport {
    const { memory } = this;
    if (memory.phase === 'ended' && memory.report !== undefined) return memory.report as unknown as RunReport;
    return this.#reportNow();
  }

  /** The process ends: what was counted travels, the next start goes on. */
  async close(): Promise<void> {
    await this.#follower?.flush();
    this.#follower?.close();
    this.#follower = null;
  }

  /** It comes to nothing: refused by the server, or nobody knows its server any more. */
  giveUp(reason: string): void {
    this.memory.reason = reason;
    this.#finish(this.#reportNow());
  }

  async #start(session: ProfilerSession, wishes: RunWishes): Promise<void> {
    const { memory } = this;
    if (this.#server === null) {
      if (!wishes.isWanted) {
        this.giveUp(wishes.endReason);
        return;
      }
      const leftUs = memory.untilUs === null ? null : memory.untilUs - Number(this.#options.clock.wallUs());
      const duration = leftUs === null ? {} : { duration_s: Math.max(1, Math.ceil(leftUs / 1_000_000)) };
      this.#startedHere = true;
      memory.serverId = await session.start(memory.name, { ...wishes.options, ...duration });
      memory.startedUs = Number(this.#options.clock.wallUs());
    } else {
      memory.serverId = this.#server.id;
      memory.startedUs = this.#server.startedUs;
    }
    memory.phase = 'running';
    this.#options.save();
  }

  async #follow(session: ProfilerSession, server: ServerTrace, wishes: RunWishes): Promise<Follower> {
    const { positionFile, targetId, outbox, clock, log, limits, stats } = this.#options;
    let follower = this.#follower;
    if (follower === null) {
      follower = new Follower({
        ...{ targetId, positionFile, outbox, clock, log, limits, stats },
        serverId: server.id,
        travelling: wishes.travelling,
      });
      this.#follower = follower;
      follower.serverBytes = server.bytes;
      if (!follower.isResumed && !this.#startedHere) await follower.skip(session);
    }
    follower.travelling = wishes.travelling;
    follower.serverBytes = server.bytes;
    return follower;
  }

  #ending(reason: string): void {
    this.memory.phase = 'ending';
    this.memory.reason ??= reason;
    this.#quietSinceMs = null;
    this.#options.save();
  }

  async #end(session: ProfilerSession, server: ServerTrace, wishes: RunWishes): Promise<void> {
    await this.#follower?.flush();
    const report = this.#reportNow();
    if (!wishes.keepFiles) {
      await session.drop(server.id).catch((error: unknown) => {
        // Somebody was quicker.
        if (errorCode(error) !== '42704') throw error;
      });
    }
    this.#finish(report);
  }

  #finish(report: RunReport): void {
    this.#follower?.close();
    this.#follower = null;
    rmSync(this.#options.positionFile, { force: true });
    this.memory.phase = 'ended';
    const stoppedUs = report.stoppedUs ?? Number(this.#options.clock.wallUs());
    const { reason } = this.memory;
    this.memory.report = { ...report, state: 'ended', stoppedUs, stopReason: reason, lagBytes: 0 };
    this.#options.save();
  }

  #reportNow(): RunReport {
    const { memory } = this;
    const server = this.#server;
    const { rowsRead, bytesRead, eventsSent, eventsDropped, rowsSkipped, badRows } = this.counts;
    const all = rowsRead + badRows + rowsSkipped;
    return {
      run: memory.run,
      serverId: memory.serverId,
      serverName: memory.name,
      state: memory.phase,
      startedUs: memory.startedUs,
      stoppedUs: server?.stoppedUs ?? null,
      untilUs: memory.untilUs,
      stopReason: memory.reason,
      ...{ rowsRead, bytesRead, eventsSent, eventsDropped, rowsSkipped, badRows },
      // Of a trace that goes on rows come between two looks.
      repeatedRows: server === null || server.running ? 0 : Math.max(0, all - server.rows),
      lagBytes: this.lagBytes,
      serverRows: server?.rows ?? null,
      serverBytes: server?.bytes ?? null,
      serverLostRows: server?.lostRows ?? null,
      serverLostReason: server?.lostReason ?? null,
    };
  }
}

/** There may be more to read at once; something of the server's list of traces has changed. */
export interface StepResult {
  readonly more: boolean;
  readonly changed: boolean;
}

const changedServer: StepResult = { more: true, changed: true };

/** The server's words for what PEM calls otherwise. */
const stopReasons: Readonly<Record<string, string>> = { requested: 'stopped on the server' };
