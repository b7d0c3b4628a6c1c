/**
 * When each probe runs. In: jobs (a target, a probe, an interval, what to run). Out: calls of the jobs, counts in
 * AgentStats, one log line at each change of state. Owns its timers; `stop` ends them and waits for runs under way.
 *
 * 1. A job never runs twice at the same time, also not when it is taken away and comes again.
 * 2. Runs lie on a grid: start + phase + n × interval by the monotonic clock; the phase is a hash of target and probe,
 *    so it is the same after every restart and spreads the fleet. The first run comes within a second.
 * 3. A grid point that passes while the job runs, or while the process was busy or asleep, is skipped and counted, never
 *    made up for.
 * 4. Each run has one recorded_at, taken from the system clock as it begins.
 * 5. One job's failure, slowness or hang touches no other job.
 */
import { errorCode, errorText } from '../../src/base/errors.js';
import type { Log } from '../../src/base/log.js';
import { type AgentStats, costOf, type ProbeCost } from '../stats.js';
import { Budget, type BudgetLimits, type Change, defaultLimits } from './budget.js';
import type { Clock } from './clock.js';

export interface RunContext {
  readonly recordedAtUs: bigint;
  /** The interval in use, slowed or not. */
  readonly intervalUs: bigint;
}

/** What a run cost. `ms` is the work alone, without waiting for a turn. */
export interface RunResult {
  readonly ms: number;
  readonly rows: number;
  readonly bytes: number;
  readonly cutValues?: number;
  /** A part of the run failed (one database of several): counted and logged, but no reason to back off. */
  readonly failure?: { readonly code: string; readonly message: string };
}

export interface Job {
  readonly targetId: number;
  readonly probe: string;
  readonly intervalMs: number;
  run(context: RunContext): Promise<RunResult>;
}

/** Codes of errors that are the server's trouble, not the probe's: they do not make it back off. */
const notTheProbe = new Set(['server_unreachable']);
/** Shortest interval anything may have. */
const shortestMs = 1000;
/** The first run comes within this time. */
const firstWithinMs = 1000;

interface Entry {
  job: Job;
  readonly name: string;
  readonly cost: ProbeCost;
  readonly startMs: number;
  budget: Budget;
  dueMs: number;
  cancel: () => void;
  failing: string | null;
}

export interface TimetableOptions {
  readonly clock: Clock;
  readonly stats: AgentStats;
  readonly log: Log;
  readonly limits?: BudgetLimits;
}

/** FNV-1a over the text, as a share in [0, 1). Stable across processes and versions. */
export function phaseOf(targetId: number, probe: string): number {
  let hash = 0x811c9dc5;
  for (const character of `${targetId}/${probe}`) {
    hash ^= character.codePointAt(0) ?? 0;
    hash = Math.imul(hash, 0x01000193) >>> 0;
  }
  // The low bits of short texts differ more than the high ones: mix before taking the share.
  hash = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b) >>> 0;
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}

export class Timetable {
  private readonly entries = new Map<string, Entry>();
  private readonly running = new Map<string, Promise<void>>();
  private stopped = false;

  constructor(private readonly options: TimetableOptions) {}

  /** Replaces the set of jobs: new ones start, missing ones end, kept ones keep their rhythm unless their interval changed. */
  update(jobs: readonly Job[]): void {
    if (this.stopped) return;
    const wanted = new Map(jobs.map((job) => [`${job.targetId}/${job.probe}`, job]));
    for (const [name, entry] of this.entries) {
      const job = wanted.get(name);
      if (job !== undefined && Math.max(job.intervalMs, shortestMs) === entry.budget.intervalMs) {
        entry.job = job;
        wanted.delete(name);
        continue;
      }
      entry.cancel();
      this.entries.delete(name);
      if (job === undefined) this.options.stats.costs.delete(name);
    }
    for (const [name, job] of wanted) this.add(name, job);
  }

  /** Ends all timers and waits for the runs under way. */
  async stop(): Promise<void> {
    this.stopped = true;
    for (const entry of this.entries.values()) entry.cancel();
    this.entries.clear();
    await Promise.all(this.running.values());
  }

  private add(name: string, job: Job): void {
    const now = this.options.clock.monotonicMs();
    const intervalMs = Math.max(job.intervalMs, shortestMs);
    const cost = costOf(this.options.stats, job.targetId, job.probe);
    cost.intervalMs = intervalMs;
    cost.state = 'normal';
    const entry: Entry = {
      job,
      name,
      cost,
      startMs: now,
      budget: new Budget(intervalMs, this.options.limits ?? defaultLimits),
      dueMs: now + phaseOf(job.targetId, job.probe) * Math.min(intervalMs, firstWithinMs),
      cancel: () => undefined,
      failing: null,
    };
    this.entries.set(name, entry);
    this.arm(entry);
  }

  private arm(entry: Entry): void {
    const delay = Math.max(0, entry.dueMs - this.options.clock.monotonicMs());
    entry.cancel = this.options.clock.after(delay, () => this.due(entry));
  }

  /** Moves to the first grid point after now that leaves at least half an interval since the last one; counts what passed. */
  private advance(entry: Entry): void {
    const now = this.options.clock.monotonicMs();
    const interval = entry.budget.effectiveMs;
    const base = entry.startMs + phaseOf(entry.job.targetId, entry.job.probe) * interval;
    const last = entry.dueMs;
    const next = base + Math.ceil((last + interval / 2 - base) / interval) * interval;
    if (next > now) {
      entry.dueMs = next;
    } else {
      const missed = Math.floor((now - next) / interval) + 1;
      entry.cost.skipped += missed;
      entry.dueMs = next + missed * interval;
    }
    this.arm(entry);
  }

  private due(entry: Entry): void {
    if (this.running.has(entry.name)) {
      entry.cost.skipped++;
      this.advance(entry);
      return;
    }
    const run = this.run(entry).finally(() => this.running.delete(entry.name));
    this.running.set(entry.name, run);
    this.advance(entry);
  }

  private async run(entry: Entry): Promise<void> {
    const { clock } = this.options;
    const { cost, budget } = entry;
    const before = budget.effectiveMs;
    let change: Change = null;
    try {
      const result = await entry.job.run({
        recordedAtUs: clock.wallUs(),
        intervalUs: BigInt(Math.round(before * 1000)),
      });
      change = budget.succeeded(result.ms);
      cost.runs++;
      cost.rows += result.rows;
      cost.bytes += result.bytes;
      cost.cutValues += result.cutValues ?? 0;
      cost.lastMs = result.ms;
      cost.totalMs += result.ms;
      cost.maxMs = Math.max(cost.maxMs, result.ms);
      cost.meanMs = budget.meanMs;
      if (result.failure === undefined) entry.failing = null;
      else this.note(entry, result.failure.code, result.failure.message);
    } catch (error) {
      const code = errorCode(error);
      cost.runs++;
      if (!notTheProbe.has(code)) change = budget.failed();
      this.note(entry, code, errorText(error));
    }
    cost.state = budget.state;
    cost.intervalMs = budget.effectiveMs;
    if (change === 'slowed') cost.slowdowns++;
    if (change === 'slowed' || change === 'sped up' || change === 'recovered') {
      this.options.log.info(
        { target: cost.targetId, probe: cost.probe, meanMs: cost.meanMs, intervalMs: cost.intervalMs },
        `probe ${change}`,
      );
    }
    // A longer interval counts from now on; the tick that is already set may be too soon.
    if (budget.effectiveMs !== before && this.entries.get(entry.name) === entry) {
      entry.cancel();
      this.advanceFrom(entry, clock.monotonicMs());
    }
  }

  /** Counts a failure; a line in the log only when it is another than the one before. */
  private note(entry: Entry, code: string, message: string): void {
    const { cost } = entry;
    cost.errors++;
    cost.lastErrorCode = code;
    cost.lastError = message.slice(0, 1000);
    cost.lastErrorAtUs = this.options.clock.wallUs();
    if (entry.failing === code) return;
    entry.failing = code;
    this.options.log.warn(
      { target: cost.targetId, probe: cost.probe, code, reason: cost.lastError },
      'probe failed',
    );
  }

  private advanceFrom(entry: Entry, now: number): void {
    entry.dueMs = now;
    this.advance(entry);
  }
}
