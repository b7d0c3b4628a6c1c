/** The agent about itself: process, event loop, spool and ship, sums over its probes. */
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import type { AgentStats } from '../stats.js';
import type { Collector } from './collector.js';

const resolutionMs = 20;

export function agentSelf(stats: AgentStats, wallUs: () => bigint): Collector {
  // The histogram's timer must not keep a stopped worker alive: Node unrefs it itself.
  const delay: IntervalHistogram = monitorEventLoopDelay({ resolution: resolutionMs });
  delay.enable();
  let cpuBefore = process.cpuUsage();
  let beforeMs: number | null = null;
  return async (nowMs) => {
    const cpu = process.cpuUsage();
    const usedMs = (cpu.user + cpu.system - cpuBefore.user - cpuBefore.system) / 1000;
    const elapsedMs = beforeMs === null ? null : nowMs - beforeMs;
    cpuBefore = cpu;
    beforeMs = nowMs;
    // The histogram holds the time between two ticks: what goes beyond its own period is delay.
    const loopDelayMs = Math.max(0, delay.max / 1e6 - resolutionMs);
    delay.reset();
    const costs = [...stats.costs.values()];
    const sum = (pick: (cost: (typeof costs)[number]) => number): number =>
      costs.reduce((total, cost) => total + pick(cost), 0);
    const { ship } = stats;
    const lagUs = ship.oldestUnreceivedAtUs === null ? 0n : wallUs() - ship.oldestUnreceivedAtUs;
    return [
      {
        agent_version: stats.version,
        boot: stats.boot,
        uptime_s: process.uptime(),
        rss_bytes: process.memoryUsage.rss(),
        cpu_percent: elapsedMs === null || elapsedMs <= 0 ? null : (100 * usedMs) / elapsedMs,
        loop_delay_ms: loopDelayMs,
        lag_ms: Math.max(0, Number(lagUs) / 1000),
        spool_bytes: ship.spoolBytes,
        spool_batches: ship.spoolBatches,
        shipped_batches: ship.shippedBatches,
        shipped_bytes: ship.shippedBytes,
        dropped_batches: ship.droppedBatches,
        dropped_rows: ship.droppedRows,
        ship_errors: ship.shipErrors,
        connected: ship.connected,
        runs: sum((cost) => cost.runs),
        rows: sum((cost) => cost.rows),
        bytes: sum((cost) => cost.bytes),
        probe_errors: sum((cost) => cost.errors),
        skipped: sum((cost) => cost.skipped),
        slowdowns: sum((cost) => cost.slowdowns),
        server_connects: stats.serverConnects,
        traces_running: stats.traces.running,
        trace_rows: stats.traces.rowsRead,
        trace_bytes: stats.traces.bytesRead,
        trace_events: stats.traces.eventsSent,
        trace_events_dropped: stats.traces.eventsDropped,
        trace_rows_skipped: stats.traces.rowsSkipped,
        trace_lag_bytes: stats.traces.lagBytes,
      },
    ];
  };
}
