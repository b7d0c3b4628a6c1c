/** CPU time by state, from /proc/stat. */
import { readFileSync } from 'node:fs';
import type { CollectedRow, Collector } from './collector.js';

/** user, nice, system, idle, iowait, irq, softirq, steal in clock ticks; guest time is part of user and nice. */
export type CpuTimes = readonly number[];

/** The 'cpuN' lines; a CPU that is offline has none. */
export function parseStat(text: string): Map<string, CpuTimes> {
  const result = new Map<string, CpuTimes>();
  for (const line of text.split('\n')) {
    const match = /^cpu(\d+) (.*)$/.exec(line);
    if (match === null) continue;
    const fields = (match[2] ?? '').trim().split(/\s+/).map(Number);
    result.set(
      match[1] ?? '',
      Array.from({ length: 8 }, (_, index) => fields[index] ?? 0),
    );
  }
  return result;
}

function row(cpu: string, ticks: readonly number[]): CollectedRow | null {
  const total = ticks.reduce((sum, value) => sum + value, 0);
  if (total <= 0) return null;
  const share = (...indexes: number[]): number =>
    (100 * indexes.reduce((sum, index) => sum + (ticks[index] ?? 0), 0)) / total;
  return {
    cpu,
    busy_percent: share(0, 1, 2, 5, 6, 7),
    user_percent: share(0),
    nice_percent: share(1),
    system_percent: share(2),
    iowait_percent: share(4),
    irq_percent: share(5, 6),
    steal_percent: share(7),
    idle_percent: share(3),
  };
}

/**
 * Shares between two samples. Only CPUs that stand in both count, also for 'all': a CPU that was plugged in brings its
 * whole past with it. Idle and iowait may go back a little (the kernel says so): such a part counts as none.
 */
export function cpuShares(now: Map<string, CpuTimes>, before: Map<string, CpuTimes>): CollectedRow[] {
  const all = Array.from({ length: 8 }, () => 0);
  const rows: CollectedRow[] = [];
  for (const [cpu, times] of now) {
    const earlier = before.get(cpu);
    if (earlier === undefined) continue;
    const ticks = times.map((value, index) => Math.max(0, value - (earlier[index] ?? 0)));
    for (const [index, value] of ticks.entries()) all[index] = (all[index] ?? 0) + value;
    const one = row(cpu, ticks);
    if (one !== null) rows.push(one);
  }
  const total = row('all', all);
  return total === null ? [] : [total, ...rows];
}

export function cpuUsage(file = '/proc/stat'): Collector {
  let before: Map<string, CpuTimes> | null = null;
  return async () => {
    const now = parseStat(readFileSync(file, 'utf8'));
    const rows = before === null ? [] : cpuShares(now, before);
    before = now;
    return rows.length === 0 ? null : rows;
  };
}
