/**
 * The agent's profiler on one throw-away server, for tests: the role that an administrator makes for the agent, the real
 * connections, real positions and memory, and a spool that can be read. `again` is the agent's next start.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TraceReport } from '../../agent/link/sync.js';
import { ConnectGate } from '../../agent/probes/gate.js';
import { ServerLink } from '../../agent/probes/link.js';
import { Profiler } from '../../agent/profiler/index.js';
import { type FollowLimits, followLimits } from '../../agent/profiler/limits.js';
import { systemClock } from '../../agent/scheduler/clock.js';
import { serverParams } from '../../agent/scheduler/index.js';
import { type AgentStats, newAgentStats } from '../../agent/stats.js';
import { connect } from '../../native/index.js';
import { probes } from '../../src/catalog/probes/index.js';
import type { AgentDefinitions, ServerTarget, TraceDefinition } from '../../src/wire/config.js';
import { blockRows, readBlock } from '../../src/wire/index.js';
import { silentLog } from './clock.js';
import type { Cluster } from './cluster.js';
import { wholeEvents } from './event_rows.js';
import { KeptOutbox } from './outbox.js';
import { watchedTarget } from './watched.js';

/** As PEM sends it, asked to run by hand. */
export const handTrace: TraceDefinition = {
  id: 1,
  targetId: 2,
  token: '0123abcd',
  options: {},
  schedule: null,
  durationS: null,
  events: true,
  eventsPerS: 1_000_000,
  continuous: false,
  keepFiles: false,
  request: 'none',
  requestSeq: 0,
  handledSeq: 0,
};

/** Patient in nothing: a test waits for all of it. */
const quickLimits: FollowLimits = {
  ...followLimits,
  busyPollMs: 20,
  idlePollMs: 40,
  listMs: 50,
  settleMs: 150,
  refusedRetryMs: 200,
  unreachableRetryMs: 50,
  longestRetryMs: 50,
  reportMs: 50,
};

const patienceMs = 120_000;

export type Row = Readonly<Record<string, unknown>>;

export class Followed {
  readonly outbox = new KeptOutbox();
  readonly stats: AgentStats = newAgentStats('0.1.0', this.outbox.boot);
  readonly folder = mkdtempSync(join(tmpdir(), 'pem-followed-'));
  readonly target: ServerTarget;
  limits: FollowLimits = quickLimits;
  intervalMs = 1_000_000;
  traces: readonly TraceDefinition[] = [];
  private profiler: Profiler | null = null;
  private link: ServerLink | null = null;
  connects = 0;

  constructor(cluster: Cluster, changes: Partial<ServerTarget> = {}) {
    this.target = { ...watchedTarget(cluster), ...changes };
  }

  /** The agent starts. */
  start(): void {
    const { log } = silentLog();
    this.profiler = new Profiler({
      outbox: this.outbox,
      clock: systemClock,
      stats: this.stats,
      log,
      stateDirectory: this.folder,
      limits: this.limits,
    });
    this.link = new ServerLink({
      connect,
      clock: systemClock,
      gate: new ConnectGate(systemClock, { connectsPerMinute: 10_000, authenticationTimeoutMs: 1000 }),
      params: (database) => serverParams(this.target, database, undefined),
      onConnect: () => {
        this.connects += 1;
      },
    });
    this.apply();
  }

  /** What PEM wants changes. */
  define(...traces: readonly TraceDefinition[]): void {
    this.traces = traces;
    this.apply();
  }

  /** PEM gives the server to another agent. */
  leave(): void {
    if (this.profiler === null) return;
    const none = { agentId: 1, configVersion: 2, hostTarget: 1, probes: {}, servers: [], schedule: [] };
    this.profiler.apply(none, new Map());
  }

  /** In order, as on SIGTERM. */
  async stop(): Promise<void> {
    await this.profiler?.stop();
    this.link?.close();
    this.profiler = null;
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** The trace's report as PEM gets it now; PEM takes nothing by this. */
  report(id = 1): TraceReport | undefined {
    this.profiler?.again();
    return this.profiler?.pending().find((report) => report.id === id);
  }

  /** PEM takes all reports. */
  tell(): void {
    this.profiler?.taken(this.profiler.pending());
  }

  async until(
    what: string,
    holds: (report: TraceReport | undefined) => boolean,
    id = 1,
  ): Promise<TraceReport> {
    for (const endMs = performance.now() + patienceMs; ; ) {
      const report = this.report(id);
      if (holds(report)) return report as TraceReport;
      if (performance.now() > endMs) throw new Error(`never came: ${what}\n${JSON.stringify(report)}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Rows of all blocks of a probe so far, events as their files have them. */
  rows(probe: 'sql_trace_events' | 'sql_trace_statements' | 'sql_trace_texts'): Row[] {
    return this.outbox.blocks
      .filter(({ info }) => info.probe === probe)
      .flatMap(({ block }) => wholeEvents(blockRows(readBlock(block))));
  }

  private apply(): void {
    if (this.profiler === null || this.link === null) return;
    const { target, link } = this;
    const own = probes.filter((probe) => probe.collector === 'trace');
    const definitions: AgentDefinitions = {
      agentId: 1,
      configVersion: 1,
      hostTarget: 1,
      probes: Object.fromEntries(own.map((probe) => [probe.name, probe])),
      servers: [target],
      schedule: own.map(({ name }) => ({
        targetId: target.targetId,
        probe: name,
        intervalMs: this.intervalMs,
      })),
      traces: this.traces,
    };
    this.profiler.apply(definitions, new Map([[target.targetId, { target, link }]]));
  }
}
