/**
 * One trace as PEM wants it, and its runs. In: its definition (none: it was deleted), what is remembered, the server's list of
 * traces. Out: runs begun and ended (run.ts), what is to be said of it. Owns what is remembered of the trace.
 *
 * States as they are told: idle, starting, running, stopping (read to the end), blocked (code and error say by what; it is
 * tried again). A trace with a run under way needs a session on its server; an idle one only once, to see whether it could
 * run at all and whether the server has a run that was forgotten.
 */
import { errorCode, errorText } from '../../src/base/errors.js';
import type { Log } from '../../src/base/log.js';
import type { TraceDefinition } from '../../src/wire/config.js';
import type { TraceReport } from '../link/sync.js';
import type { DurableOutbox } from '../outbox.js';
import type { Clock } from '../scheduler/clock.js';
import type { TraceStats } from '../stats.js';
import type { Travelling } from './follower.js';
import type { FollowLimits } from './limits.js';
import type { RunMemory, TraceMemory } from './memory.js';
import { Run, type StepResult } from './run.js';
import type { ProfilerSession, ServerTrace } from './session.js';
import { decide, endCurrent } from './wanted.js';

export interface TraceOptions {
  readonly id: number;
  readonly memory: TraceMemory;
  /** It was remembered; else it is new, or forgotten. */
  readonly isRemembered: boolean;
  /** Where a run keeps its positions. */
  readonly positionFile: (run: string) => string;
  readonly outbox: DurableOutbox;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: FollowLimits;
  readonly stats: TraceStats;
  readonly save: () => void;
}

/** What the probes of traces say for a target. */
export type TargetTravelling = Omit<Travelling, 'eventsPerS'>;

/** Reasons of the server after which a run that is still wanted is followed by another. */
const goesOnAfter = new Set(['restart']);
const goesOnWhenContinuous = new Set(['max_total_bytes', 'sql_profiler.max_directory_bytes']);
/** Runs that have ended and that PEM has not been told of: of more the oldest are forgotten. */
const mostEnded = 12;

interface Trouble {
  readonly code: string;
  readonly error: string;
}

const namePattern = /^pem_(\d+)_([ms]\d+)(?:\.(\d+))?_([0-9a-f]{8})$/;

export class Trace {
  definition: TraceDefinition | null = null;
  readonly id: number;
  readonly memory: TraceMemory;
  readonly #options: TraceOptions;
  readonly #runs = new Map<string, Run>();
  #trouble: Trouble | null = null;
  #hasLooked: boolean;
  #nextUs: number | null = null;
  #lastRun: string | null = null;
  #endReason = 'requested';
  /** When the schedule is to be asked again, µs; 0: now. */
  #decideAtUs = 0;

  constructor(options: TraceOptions) {
    this.#options = options;
    this.id = options.id;
    this.memory = options.memory;
    this.#hasLooked = options.isRemembered;
    for (const memory of this.memory.runs) this.#keep(memory, true);
  }

  get runs(): readonly Run[] {
    return [...this.#runs.values()].filter((run) => run.memory.phase !== 'ended');
  }

  /** Nothing is left to do or to say of it. */
  get isOver(): boolean {
    return this.definition === null && this.#runs.size === 0;
  }

  get needsServer(): boolean {
    return this.runs.length > 0 || this.memory.current !== null || !this.#hasLooked;
  }

  /** The definition as it is now; null: deleted. */
  define(definition: TraceDefinition | null): void {
    this.definition = definition;
    this.#decideAtUs = 0;
    if (definition === null) this.memory.current = null;
  }

  /** Moves on to what should be running now. @returns when to come again at the latest, µs, or null */
  decide(nowUs: number): number | null {
    const { definition, memory } = this;
    if (definition === null) return null;
    const untilUs = memory.current?.untilUs ?? null;
    if (nowUs < this.#decideAtUs && (untilUs === null || nowUs < untilUs)) return this.#decideAtUs;
    try {
      const { changed, ended, nextUs } = decide(definition, memory, nowUs);
      this.#nextUs = nextUs;
      if (ended !== null) this.#endReason = ended;
      if (changed) {
        if (memory.current !== null || ended !== null) this.#trouble = null;
        this.#options.save();
      }
    } catch (error) {
      this.#trouble = { code: errorCode(error), error: errorText(error) };
      this.#nextUs = null;
    }
    const untilNext = memory.current === null ? this.#nextUs : memory.current.untilUs;
    this.#decideAtUs = untilNext ?? Number.MAX_SAFE_INTEGER;
    return untilNext;
  }

  /** The session failed before anything of this trace was tried. */
  blocked(error: unknown, isFinal: boolean): void {
    this.#trouble = { code: errorCode(error), error: errorText(error) };
    // A look at a trace that nobody wants now is not worth a connection every half minute.
    if (isFinal && this.memory.current === null && this.runs.length === 0) this.#hasLooked = true;
  }

  reconnected(): void {
    for (const run of this.#runs.values()) run.reconnected();
  }

  lost(): void {
    for (const run of this.#runs.values()) run.lost();
  }

  /**
   * One step of each run.
   * @throws what ends the session; what concerns this trace alone is kept as its trouble
   */
  async step(
    session: ProfilerSession,
    list: readonly ServerTrace[],
    travelling: TargetTravelling,
  ): Promise<StepResult> {
    if (!this.#hasLooked) {
      this.#recall(list);
      this.#trouble = null;
    }
    this.#hasLooked = true;
    this.#begin();
    const result = { more: false, changed: false };
    let trouble: Trouble | null = null;
    for (const run of this.runs) {
      try {
        const { more, changed } = await run.step(session, list, this.#wishes(run, travelling));
        result.more ||= more;
        result.changed ||= changed;
      } catch (error) {
        if (session.closed) throw error;
        trouble ??= { code: errorCode(error), error: errorText(error) };
        if (errorCode(error) === 'trace_refused') this.#refused(run);
      }
      if (run.memory.phase === 'ending' || run.memory.phase === 'ended') this.#consider(run);
    }
    // What is over keeps its last word until something new begins.
    if (trouble !== null || this.runs.length > 0) this.#trouble = trouble;
    return result;
  }

  /** Its server is not this agent's any more: nothing can be done there. */
  abandon(): void {
    for (const run of this.runs) run.giveUp('no longer monitored by this agent');
  }

  async close(): Promise<void> {
    for (const run of this.#runs.values()) await run.close();
  }

  report(): TraceReport {
    const { memory } = this;
    const live = this.runs;
    const current = live.find((run) => run.memory.phase !== 'ending') ?? live[0];
    const isWanted = memory.current !== null || live.length > 0;
    const state =
      this.#trouble !== null && isWanted
        ? 'blocked'
        : !isWanted
          ? 'idle'
          : current === undefined || current.memory.phase === 'starting'
            ? 'starting'
            : current.memory.phase === 'running'
              ? 'running'
              : 'stopping';
    return {
      id: this.id,
      handledSeq: memory.handledSeq,
      state,
      code: this.#trouble?.code ?? null,
      error: this.#trouble?.error.slice(0, 1000) ?? null,
      run: current?.memory.run ?? this.#lastRun,
      nextAtUs: memory.current === null ? this.#nextUs : null,
      runs: [...this.#runs.values()].map((run) => run.report()),
    };
  }

  /** PEM has these reports: runs that have ended are forgotten. */
  told(report: TraceReport): void {
    let forgotten = false;
    for (const { run, state } of report.runs) {
      if (state !== 'ended' || this.#runs.get(run)?.memory.phase !== 'ended') continue;
      this.#forget(run);
      forgotten = true;
    }
    if (forgotten) this.#options.save();
  }

  #wishes(run: Run, travelling: TargetTravelling): Parameters<Run['step']>[2] {
    const { definition, memory } = this;
    const isWanted = memory.current !== null && run.memory.run === partOf(memory.current);
    return {
      options: definition?.options ?? {},
      travelling: {
        ...travelling,
        events: definition?.events === false ? undefined : travelling.events,
        eventsPerS: definition?.eventsPerS ?? 1,
      },
      isWanted,
      endReason: definition === null ? 'deleted' : this.#endReason,
      keepFiles: definition?.keepFiles ?? false,
      isDiscarded: definition === null,
    };
  }

  /** A run for what is wanted and has none. */
  #begin(): void {
    const { definition, memory } = this;
    const { current } = memory;
    if (definition === null || current === null) return;
    current.parts = Math.max(1, current.parts);
    const name = partOf(current);
    const known = this.#runs.get(name);
    if (known?.memory.phase === 'ended') {
      // The process ended between the end of the run and what follows from it.
      this.#consider(known);
      return;
    }
    if (known !== undefined) return;
    this.#add({
      run: name,
      name: `pem_${this.id}_${name}_${definition.token}`,
      serverId: null,
      startedUs: null,
      untilUs: current.untilUs,
      phase: 'starting',
      reason: null,
    });
  }

  /** A run has ended, or is about to: another follows, or what was wanted is over. */
  #consider(run: Run): void {
    const { definition, memory } = this;
    const { current } = memory;
    if (current === null || partOf(current) !== run.memory.run) return;
    const reason = run.memory.reason ?? '';
    if (goesOnAfter.has(reason) || (definition?.continuous === true && goesOnWhenContinuous.has(reason))) {
      current.parts += 1;
    } else endCurrent(memory);
    this.#decideAtUs = 0;
    this.#options.save();
  }

  /** The server does not take it, and will not take it the next time. */
  #refused(run: Run): void {
    run.giveUp('refused');
    endCurrent(this.memory);
    this.#options.save();
  }

  /** Runs on the server that nobody here knows of. */
  #recall(list: readonly ServerTrace[]): void {
    const { definition, memory } = this;
    if (definition === null) return;
    for (const server of list) {
      const [, id, key, part, token] = namePattern.exec(server.name) ?? [];
      if (Number(id) !== this.id || token !== definition.token || key === undefined) continue;
      const run = part === undefined ? key : `${key}.${part}`;
      if (this.#runs.has(run) || (!server.running && definition.keepFiles)) continue;
      const untilUs =
        definition.durationS === null ? null : server.startedUs + definition.durationS * 1_000_000;
      const isStopped =
        definition.request === 'stop' &&
        (key.startsWith('m') || definition.handledSeq < definition.requestSeq);
      const isOurs = !isStopped && (memory.current === null || memory.current.key === key);
      if (server.running && isOurs) {
        memory.current = { key, untilUs: memory.current?.untilUs ?? untilUs, parts: Number(part ?? 1) };
      }
      this.#add(
        {
          run,
          name: server.name,
          serverId: server.id,
          startedUs: server.startedUs,
          untilUs,
          phase: server.running && isOurs ? 'running' : 'ending',
          reason: server.running && isOurs ? null : 'found on the server',
        },
        false,
      );
      this.#options.log.warn(
        { code: 'trace_found', trace: this.id, run },
        'a forgotten run of a trace is gone on with',
      );
    }
  }

  /** A new run. */
  #add(memory: RunMemory, isRemembered = true): void {
    this.#keep(memory, isRemembered);
    this.memory.runs.push(memory);
    const ended = this.memory.runs.filter((each) => each.phase === 'ended');
    for (const each of ended.slice(0, Math.max(0, ended.length - mostEnded))) this.#forget(each.run);
    this.#options.save();
  }

  #keep(memory: RunMemory, isRemembered: boolean): void {
    const { positionFile, outbox, clock, log, limits, stats, save } = this.#options;
    const run = new Run({
      ...{ memory, outbox, clock, log, limits, stats, save, isRemembered },
      targetId: this.memory.targetId,
      positionFile: positionFile(memory.run),
    });
    this.#runs.set(memory.run, run);
    this.#lastRun = memory.run;
  }

  #forget(run: string): void {
    this.#runs.delete(run);
    this.memory.runs = this.memory.runs.filter((each) => each.run !== run);
  }
}

/** The name of the newest run of what is wanted. */
function partOf(current: { readonly key: string; readonly parts: number }): string {
  return current.parts <= 1 ? current.key : `${current.key}.${current.parts}`;
}
