/**
 * All traces of one monitored server. In: their definitions, what is remembered, a way to the server. Out: runs, rows in the
 * spool, what is to be said. Owns one connection while a run is under way, and none otherwise; it waits for its turn where
 * probes and a task have theirs.
 *
 * 1. One loop, one step after the other: traces of a server share its connection and its time. Reading takes a quarter of
 *    that time at most.
 * 2. What ends the session is said of all traces that need it, and tried again: soon, then up to every ten seconds, where
 *    the server was away (the gate of probes/gate.ts may say later), after half a minute where somebody has to act there.
 * 3. On stop what was counted goes to the spool; traces go on at the server and are found again.
 */
import { errorCode, errorText, PemError } from '../../src/base/errors.js';
import type { Log } from '../../src/base/log.js';
import type { ServerTarget, TraceDefinition } from '../../src/wire/config.js';
import type { TraceReport } from '../link/sync.js';
import type { DurableOutbox } from '../outbox.js';
import type { Lender } from '../probes/link.js';
import type { Clock } from '../scheduler/clock.js';
import type { TraceStats } from '../stats.js';
import type { FollowLimits } from './limits.js';
import type { Memory } from './memory.js';
import { ProfilerSession, type ServerTrace } from './session.js';
import { type TargetTravelling, Trace } from './trace.js';
import { newMemory } from './wanted.js';

export interface ServerTracesOptions {
  readonly target: ServerTarget;
  readonly link: Lender;
  readonly memory: Memory;
  readonly positionFile: (trace: number, run: string) => string;
  readonly outbox: DurableOutbox;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: FollowLimits;
  readonly stats: TraceStats;
}

/** Codes after which somebody has to do something on the server. */
const needsOperator = new Set([
  'trace_extension_missing',
  'trace_not_loaded',
  'trace_not_permitted',
  'server_not_connected',
]);
const longestWaitMs = 60_000;
const stopWithinMs = 500;

export class ServerTraces {
  readonly #options: ServerTracesOptions;
  readonly #traces = new Map<number, Trace>();
  #travelling: TargetTravelling = {
    events: undefined,
    statements: undefined,
    texts: undefined,
    intervalMs: 10_000,
  };
  #session: ProfilerSession | null = null;
  #list: readonly ServerTrace[] | null = null;
  #listedAtMs = 0;
  #lastTrouble = '';
  #isDefined = false;
  /** In a row. */
  #failures = 0;
  readonly #leave = new AbortController();
  /** Something changed since the loop began its step. */
  #isCalled = false;
  #wake: () => void = () => undefined;
  readonly #loop: Promise<void>;

  constructor(options: ServerTracesOptions) {
    this.#options = options;
    for (const [id, memory] of options.memory.traces) {
      if (memory.targetId === options.target.targetId) this.#add(id, true);
    }
    this.#loop = this.#run();
  }

  get traces(): readonly Trace[] {
    return [...this.#traces.values()];
  }

  /** Definitions of this server's traces, all of them, and what is to travel. */
  apply(definitions: readonly TraceDefinition[], travelling: TargetTravelling): void {
    this.#travelling = travelling;
    this.#isDefined = true;
    const wanted = new Map(definitions.map((definition) => [definition.id, definition]));
    for (const [id, definition] of wanted) {
      // Another trace of that number: PEM's database was restored. What is left of the other one ends by its own limits.
      if (this.#traces.get(id)?.memory.token !== definition.token) this.#traces.delete(id);
      if (!this.#traces.has(id)) {
        const isRemembered = this.#options.memory.traces.get(id)?.token === definition.token;
        if (!isRemembered) this.#options.memory.traces.set(id, newMemory(definition));
        this.#add(id, isRemembered);
      }
    }
    for (const trace of this.traces) trace.define(wanted.get(trace.id) ?? null);
    this.#call();
  }

  reports(): TraceReport[] {
    return this.traces.map((trace) => trace.report());
  }

  told(report: TraceReport): void {
    const trace = this.#traces.get(report.id);
    trace?.told(report);
    if (trace?.isOver === true) this.#call();
  }

  get lagBytes(): number {
    return this.#sum((run) => run.lagBytes);
  }

  get running(): number {
    return this.#sum((run) => (run.memory.phase === 'running' ? 1 : 0));
  }

  /** Something was lost on its way to PEM. */
  lost(): void {
    for (const trace of this.traces) trace.lost();
  }

  async stop(): Promise<void> {
    this.#leave.abort(new PemError('server_unreachable', 'the agent stops following', 'outside'));
    this.#call();
    // A server that does not answer is not waited for: positions agree with the spool at any time.
    const cancel = this.#options.clock.after(stopWithinMs, () => this.#session?.close());
    await this.#loop;
    cancel();
    for (const trace of this.traces) await trace.close();
    this.#close();
  }

  /** The agent no longer monitors this server: runs are over for it, and forgotten. */
  async abandon(): Promise<void> {
    await this.stop();
    for (const trace of this.traces) {
      trace.abandon();
      this.#options.memory.traces.delete(trace.id);
    }
    this.#options.memory.save();
  }

  async #run(): Promise<void> {
    while (!this.#leave.signal.aborted) {
      let waitMs: number;
      this.#isCalled = false;
      try {
        waitMs = await this.#step();
      } catch (error) {
        waitMs = this.#failed(error);
      }
      if (!this.#leave.signal.aborted && !this.#isCalled) await this.#sleep(waitMs);
    }
  }

  /** @returns how long to wait, ms */
  async #step(): Promise<number> {
    const { clock, limits } = this.#options;
    // Before the definitions are here, what is idle and what was deleted look alike.
    if (!this.#isDefined) return longestWaitMs;
    const nowUs = Number(clock.wallUs());
    let nextUs = nowUs + longestWaitMs * 1000;
    for (const trace of this.traces) {
      nextUs = Math.min(nextUs, trace.decide(nowUs) ?? nextUs);
      if (!trace.isOver) continue;
      this.#traces.delete(trace.id);
      this.#options.memory.traces.delete(trace.id);
      this.#options.memory.save();
    }
    const busy = this.traces.filter((trace) => trace.needsServer);
    if (busy.length === 0) {
      this.#close();
      return Math.max(1, (nextUs - nowUs) / 1000);
    }
    const session = await this.#open();
    const nowMs = clock.monotonicMs();
    if (this.#list === null || nowMs - this.#listedAtMs >= limits.listMs) {
      this.#list = await session.list();
      this.#listedAtMs = nowMs;
    }
    const list = this.#list;
    const serverMs = this.#serverMs();
    const rowsBefore = this.#rows();
    let more = false;
    for (const trace of busy) {
      const result = await trace.step(session, list, this.#travelling);
      more ||= result.more;
      if (result.changed) this.#list = null;
    }
    this.#lastTrouble = '';
    this.#failures = 0;
    const restMs = (this.#serverMs() - serverMs) * (1 / limits.readShare - 1);
    const pollMs = more ? 0 : this.#rows() > rowsBefore ? limits.busyPollMs : limits.idlePollMs;
    return Math.max(restMs, Math.min(pollMs, this.#list === null ? limits.busyPollMs : pollMs));
  }

  #failed(error: unknown): number {
    const { limits, log, target } = this.#options;
    const code = errorCode(error);
    const isFinal = needsOperator.has(code);
    for (const trace of this.traces) if (trace.needsServer) trace.blocked(error, isFinal);
    this.#close();
    if (this.#leave.signal.aborted) return 0;
    if (code !== this.#lastTrouble) {
      this.#lastTrouble = code;
      log.warn({ code, target: target.targetId, reason: errorText(error) }, 'traces are not followed');
    }
    if (isFinal) return limits.refusedRetryMs;
    return Math.min(limits.unreachableRetryMs * 2 ** this.#failures++, limits.longestRetryMs);
  }

  async #open(): Promise<ProfilerSession> {
    if (this.#session !== null && !this.#session.closed) return this.#session;
    const { link, target } = this.#options;
    this.#session = new ProfilerSession(await link.lend(this.#leave.signal), target.database, target.user);
    this.#list = null;
    for (const trace of this.traces) trace.reconnected();
    return this.#session;
  }

  #close(): void {
    this.#session?.close();
    this.#session = null;
    this.#list = null;
  }

  #add(id: number, isRemembered: boolean): void {
    const { memory, positionFile, outbox, clock, log, limits, stats } = this.#options;
    const known = memory.traces.get(id);
    if (known === undefined) return;
    this.#traces.set(
      id,
      new Trace({
        ...{ id, memory: known, isRemembered, outbox, clock, log, limits, stats },
        positionFile: (run) => positionFile(id, run),
        save: () => memory.save(),
      }),
    );
  }

  #serverMs(): number {
    return this.#sum((run) => run.serverMs);
  }

  #rows(): number {
    return this.#sum((run) => run.counts.rowsRead);
  }

  #sum(pick: (run: Trace['runs'][number]) => number): number {
    return this.traces.flatMap((trace) => trace.runs).reduce((sum, run) => sum + pick(run), 0);
  }

  #call(): void {
    this.#isCalled = true;
    this.#wake();
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(delayMs, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }
}
