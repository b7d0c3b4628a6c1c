/**
 * What the agent counts about itself. Plain mutable numbers, written by their owner (scheduler: costs; probes: connects;
 * spool and ship: ship), read by agent_self, agent_probes and pem.sync. Memory only: counters begin at 0 with each boot.
 */

/** One probe on one target. */
export interface ProbeCost {
  readonly targetId: number;
  readonly probe: string;
  state: 'normal' | 'slowed' | 'backed off';
  intervalMs: number;
  lastMs: number;
  meanMs: number;
  maxMs: number;
  totalMs: number;
  runs: number;
  rows: number;
  bytes: number;
  errors: number;
  /** Ticks that fell due while the run before was still going or the agent was busy. */
  skipped: number;
  slowdowns: number;
  cutValues: number;
  lastErrorCode: string | null;
  lastError: string | null;
  lastErrorAtUs: bigint | null;
}

/** Spool and ship, as numbers. */
export interface ShipStats {
  connected: boolean;
  spoolBytes: number;
  /** Batches not yet in PEM's received set, and when the oldest of them was made. */
  spoolBatches: number;
  oldestUnreceivedAtUs: bigint | null;
  shippedBatches: number;
  shippedBytes: number;
  droppedBatches: number;
  droppedRows: number;
  shipErrors: number;
}

/** Traces of the SQL profiler: what became of their rows, over all of them. */
export interface TraceStats {
  running: number;
  rowsRead: number;
  bytesRead: number;
  eventsSent: number;
  /** Statements that are in aggregates alone, because of a rate or a full spool. */
  eventsDropped: number;
  /** Rows left unread because too many waited. */
  rowsSkipped: number;
  /** What waits at the servers. */
  lagBytes: number;
}

export interface AgentStats {
  readonly version: string;
  readonly boot: string;
  /** By `<target>/<probe>`. */
  readonly costs: Map<string, ProbeCost>;
  readonly ship: ShipStats;
  readonly traces: TraceStats;
  /** Connections opened to monitored servers. */
  serverConnects: number;
}

export function newAgentStats(version: string, boot: string): AgentStats {
  return {
    version,
    boot,
    costs: new Map(),
    ship: {
      connected: false,
      spoolBytes: 0,
      spoolBatches: 0,
      oldestUnreceivedAtUs: null,
      shippedBatches: 0,
      shippedBytes: 0,
      droppedBatches: 0,
      droppedRows: 0,
      shipErrors: 0,
    },
    traces: {
      running: 0,
      rowsRead: 0,
      bytesRead: 0,
      eventsSent: 0,
      eventsDropped: 0,
      rowsSkipped: 0,
      lagBytes: 0,
    },
    serverConnects: 0,
  };
}

/** The cost record of a probe on a target, made at first use. */
export function costOf(stats: AgentStats, targetId: number, probe: string): ProbeCost {
  const name = `${targetId}/${probe}`;
  const known = stats.costs.get(name);
  if (known !== undefined) return known;
  const cost: ProbeCost = {
    targetId,
    probe,
    state: 'normal',
    intervalMs: 0,
    lastMs: 0,
    meanMs: 0,
    maxMs: 0,
    totalMs: 0,
    runs: 0,
    rows: 0,
    bytes: 0,
    errors: 0,
    skipped: 0,
    slowdowns: 0,
    cutValues: 0,
    lastErrorCode: null,
    lastError: null,
    lastErrorAtUs: null,
  };
  stats.costs.set(name, cost);
  return cost;
}
