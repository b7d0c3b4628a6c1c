/**
 * The agent's side of the SQL profiler: traces that PEM wants, on all monitored servers. In: definitions and the links to the
 * servers, whenever they change. Out: rows and aggregates in the spool, what PEM is to be told, sums in AgentStats. Owns
 * state/traces.json and state/traces/; a server without traces costs nothing.
 *
 * A server is left by `stop` (its traces go on and are found again) or, when it is no longer this agent's, for good.
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode, errorText } from '../../src/base/errors.js';
import type { Log } from '../../src/base/log.js';
import type { AgentDefinitions, ServerTarget } from '../../src/wire/config.js';
import type { RunReport, TraceReport, TraceReports } from '../link/sync.js';
import type { DurableOutbox } from '../outbox.js';
import type { Lender } from '../probes/link.js';
import type { Clock } from '../scheduler/clock.js';
import type { AgentStats } from '../stats.js';
import { type FollowLimits, followLimits } from './limits.js';
import { Memory } from './memory.js';
import { ServerTraces } from './server.js';
import type { TargetTravelling } from './trace.js';

export interface ProfilerOptions {
  readonly outbox: DurableOutbox;
  readonly clock: Clock;
  readonly stats: AgentStats;
  readonly log: Log;
  /** Where positions and runs are kept. */
  readonly stateDirectory: string;
  readonly limits?: FollowLimits;
}

/** A monitored server and the way to it. */
export interface LinkedServer {
  readonly target: ServerTarget;
  readonly link: Lender;
}

interface Served {
  readonly linked: LinkedServer;
  /** Made when the one before it for the same target is through. */
  readonly ready: Promise<ServerTraces>;
  traces: ServerTraces | null;
}

/** What PEM was told last of a trace. */
interface Told {
  readonly words: string;
  readonly text: string;
  readonly atMs: number;
}

const defaultIntervalMs = 10_000;
/** Of all reports in one pem.sync(), as JSON; PEM takes 256 KiB. */
const mostReportBytes = 100_000;

export class Profiler implements TraceReports {
  readonly #options: ProfilerOptions;
  readonly #limits: FollowLimits;
  readonly #memory: Memory;
  readonly #folder: string;
  readonly #served = new Map<number, Served>();
  readonly #told = new Map<number, Told>();
  readonly #forgetLoss: () => void;
  /** Servers that are being left. */
  #leaving: Promise<unknown> = Promise.resolve();

  constructor(options: ProfilerOptions) {
    this.#options = options;
    this.#limits = options.limits ?? followLimits;
    this.#memory = new Memory(join(options.stateDirectory, 'traces.json'), options.log);
    this.#folder = join(options.stateDirectory, 'traces');
    this.#tidy();
    this.#forgetLoss = options.outbox.onLoss(() => {
      for (const { traces } of this.#served.values()) traces?.lost();
    });
  }

  /** Takes over definitions and the servers that are monitored now. */
  apply(definitions: AgentDefinitions, servers: ReadonlyMap<number, LinkedServer>): void {
    const traces = definitions.traces ?? [];
    for (const [targetId, served] of this.#served) {
      const now = servers.get(targetId);
      if (now?.link === served.linked.link) continue;
      this.#served.delete(targetId);
      const left = served.ready.then((it) => (now === undefined ? it.abandon() : it.stop()));
      this.#leaving = Promise.all([this.#leaving, left]);
    }
    const remembered = new Set([...this.#memory.traces.values()].map((memory) => memory.targetId));
    for (const [targetId, linked] of servers) {
      const mine = traces.filter((trace) => trace.targetId === targetId);
      if (mine.length === 0 && !remembered.has(targetId) && !this.#served.has(targetId)) continue;
      const served = this.#served.get(targetId) ?? this.#serve(linked);
      const travelling = travellingOf(definitions, targetId);
      served.ready.then((it) => it.apply(mine, travelling)).catch(() => undefined);
    }
    for (const [id, memory] of this.#memory.traces) {
      if (!servers.has(memory.targetId)) this.#memory.traces.delete(id);
    }
  }

  pending(): readonly TraceReport[] {
    const nowMs = this.#options.clock.monotonicMs();
    const { traces: sums } = this.#options.stats;
    sums.running = 0;
    sums.lagBytes = 0;
    const reports: TraceReport[] = [];
    let bytes = 0;
    for (const { traces } of this.#served.values()) {
      if (traces === null) continue;
      sums.running += traces.running;
      sums.lagBytes += traces.lagBytes;
      for (const report of traces.reports()) {
        const told = this.#told.get(report.id);
        const text = JSON.stringify(report);
        const isNews =
          told === undefined ||
          told.words !== wordsOf(report) ||
          (told.text !== text && nowMs - told.atMs >= this.#limits.reportMs);
        bytes += isNews ? text.length : 0;
        if (isNews && bytes <= mostReportBytes) reports.push(report);
      }
    }
    return reports;
  }

  taken(reports: readonly TraceReport[]): void {
    const atMs = this.#options.clock.monotonicMs();
    for (const report of reports) {
      this.#told.set(report.id, { words: wordsOf(report), text: JSON.stringify(report), atMs });
      for (const { traces } of this.#served.values()) traces?.told(report);
    }
  }

  again(): void {
    this.#told.clear();
  }

  /** Has that server a run that is not over, or one to begin? */
  isBusy(targetId: number): boolean {
    const traces = this.#served.get(targetId)?.traces?.traces ?? [];
    return traces.some((trace) => trace.memory.current !== null || trace.runs.length > 0);
  }

  /** What was counted so far is in the spool when this is through; traces go on at their servers. */
  async stop(): Promise<void> {
    this.#forgetLoss();
    const left = [...this.#served.values()].map(({ ready }) => ready.then((it) => it.stop()));
    this.#served.clear();
    await Promise.allSettled([this.#leaving, ...left]);
  }

  #serve(linked: LinkedServer): Served {
    const { outbox, clock, log, stats } = this.#options;
    const ready = this.#leaving.then(
      () =>
        new ServerTraces({
          ...{ outbox, clock, log },
          ...linked,
          stats: stats.traces,
          limits: this.#limits,
          memory: this.#memory,
          positionFile: (trace, run) => join(this.#folder, `${trace}_${run}.positions`),
        }),
    );
    const served: Served = { linked, ready, traces: null };
    this.#served.set(linked.target.targetId, served);
    ready
      .then((traces) => {
        served.traces = traces;
      })
      .catch((error: unknown) => {
        log.error(
          { code: errorCode(error), reason: errorText(error) },
          'traces of a server are not followed',
        );
      });
    return served;
  }

  /** Positions of runs that nobody remembers. */
  #tidy(): void {
    const known = new Set(
      [...this.#memory.traces].flatMap(([id, { runs }]) => runs.map(({ run }) => `${id}_${run}.positions`)),
    );
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      for (const file of readdirSync(this.#folder))
        if (!known.has(file)) rmSync(join(this.#folder, file), { force: true });
    } catch (error) {
      const { log } = this.#options;
      log.warn({ code: 'trace_positions', reason: errorText(error) }, 'positions of traces are not kept');
    }
  }
}

/** A report without what changes all the time. */
function wordsOf(report: TraceReport): string {
  const runs = report.runs.map(({ run, state, serverId, stopReason }: RunReport) => [
    run,
    state,
    serverId,
    stopReason,
  ]);
  return JSON.stringify({ ...report, error: report.code, runs });
}

function travellingOf(definitions: AgentDefinitions, targetId: number): TargetTravelling {
  const entry = (probe: string) =>
    definitions.schedule.find((each) => each.targetId === targetId && each.probe === probe);
  const scheduled = (probe: string) => (entry(probe) === undefined ? undefined : definitions.probes[probe]);
  return {
    events: scheduled('sql_trace_events'),
    statements: scheduled('sql_trace_statements'),
    texts: scheduled('sql_trace_texts'),
    intervalMs: entry('sql_trace_statements')?.intervalMs ?? defaultIntervalMs,
  };
}
