/** What each probe costs on one target. */
import type { AgentStats } from '../stats.js';
import type { Collector } from './collector.js';

export function agentProbes(stats: AgentStats, targetId: number): Collector {
  return async () =>
    [...stats.costs.values()]
      .filter((cost) => cost.targetId === targetId)
      .map((cost) => ({
        probe: cost.probe,
        state: cost.state,
        interval_ms: cost.intervalMs,
        last_ms: cost.lastMs,
        mean_ms: cost.meanMs,
        max_ms: cost.maxMs,
        total_ms: cost.totalMs,
        runs: cost.runs,
        rows: cost.rows,
        bytes: cost.bytes,
        errors: cost.errors,
        skipped: cost.skipped,
        slowdowns: cost.slowdowns,
        cut_values: cost.cutValues,
        last_error_code: cost.lastErrorCode,
        last_error: cost.lastError,
        last_error_at: cost.lastErrorAtUs,
      }));
}
