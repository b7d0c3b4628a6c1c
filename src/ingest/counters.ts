/**
 * What an ingester says about itself in pem.ingester, once a second. In: results of cycles; out: the JSON of its row
 * (read by pem.ingest_self() and the system page). Counters run from the start of the process.
 */
import type { CycleResult } from './transaction.js';

export interface ProbeCounter {
  rows: number;
  busyUs: number;
}

export class Counters {
  readonly startedAt = new Date();
  cycles = 0;
  batches = 0;
  rows = 0;
  bytes = 0;
  duplicates = 0;
  quarantined = 0;
  stray = 0;
  retried = 0;
  /** Times that PEM's database was not usable. */
  outside = 0;
  /** Cycles that had to be searched for a block. */
  searched = 0;
  readonly probes = new Map<string, ProbeCounter>();
  private cycleMs = 0;
  private lagMs = 0;

  /** Adds a cycle; `oldestUs`: when the oldest of its batches arrived. */
  add(result: CycleResult, cycleMs: number, oldestUs: bigint): void {
    this.cycles += 1;
    this.batches += result.batches;
    this.rows += result.rows;
    this.bytes += result.bytes;
    this.duplicates += result.duplicates;
    this.quarantined += result.quarantined;
    this.stray += result.stray;
    this.cycleMs = Math.max(this.cycleMs, cycleMs);
    this.lagMs = Math.max(this.lagMs, Date.now() - Number(oldestUs / 1000n), 0);
    for (const [name, cost] of result.costs) {
      const probe = this.probes.get(name) ?? { rows: 0, busyUs: 0 };
      probe.rows += cost.rows;
      probe.busyUs += cost.busyUs;
      this.probes.set(name, probe);
    }
  }

  /** The row's JSON; lag_ms and cycle_ms are the largest since the last call. */
  report(waiting: { batches: number; bytes: number }, push: { connected: number; dropped: number }): string {
    const cpu = process.cpuUsage();
    const info = {
      lag_ms: Math.round(this.lagMs * 10) / 10,
      cycle_ms: Math.round(this.cycleMs * 10) / 10,
      inbox_batches: waiting.batches,
      inbox_bytes: waiting.bytes,
      cycles: this.cycles,
      batches: this.batches,
      rows: this.rows,
      bytes: this.bytes,
      duplicates: this.duplicates,
      quarantined: this.quarantined,
      stray: this.stray,
      retried: this.retried,
      outside: this.outside,
      searched: this.searched,
      cpu_us: cpu.user + cpu.system,
      push,
      probes: Object.fromEntries(
        [...this.probes].map(([name, cost]) => [name, { rows: cost.rows, busy_us: cost.busyUs }]),
      ),
    };
    this.lagMs = 0;
    this.cycleMs = 0;
    return JSON.stringify(info);
  }
}
