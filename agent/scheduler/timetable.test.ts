import { describe, expect, test } from 'vitest';
import { FakeClock, silentLog } from '../../bench/rig/clock.js';
import { PemError } from '../../src/base/errors.js';
import { newAgentStats } from '../stats.js';
import { type Job, phaseOf, type RunContext, type RunResult, Timetable } from './timetable.js';

const cheap: RunResult = { ms: 1, rows: 2, bytes: 100 };

function rig() {
  const clock = new FakeClock();
  const stats = newAgentStats('0', 'boot');
  const { log, lines } = silentLog();
  const timetable = new Timetable({ clock, stats, log });
  return { clock, stats, timetable, lines };
}

function job(probe: string, intervalMs: number, run: (context: RunContext) => Promise<RunResult>): Job {
  return { targetId: 7, probe, intervalMs, run };
}

test('a probe runs once an interval, first within a second, at the same phase in every process', async () => {
  const starts: number[] = [];
  const { clock, timetable, stats } = rig();
  timetable.update([
    job('cpu', 5000, async () => {
      starts.push(clock.monotonicMs());
      return cheap;
    }),
  ]);
  await clock.advance(60_000);
  expect(starts[0]).toBeLessThan(1000);
  const grid = starts.slice(1);
  expect(grid.length).toBeGreaterThanOrEqual(11);
  for (const [index, start] of grid.entries()) {
    expect(start % 5000).toBeCloseTo(phaseOf(7, 'cpu') * 5000, 6);
    if (index > 0) expect(start - (grid[index - 1] ?? 0)).toBeCloseTo(5000, 6);
  }
  expect(stats.costs.get('7/cpu')).toMatchObject({
    runs: starts.length,
    rows: 2 * starts.length,
    skipped: 0,
  });
  await timetable.stop();
  await clock.advance(20_000);
  expect(starts.length).toBe(grid.length + 1);
});

test('phases of many targets spread over the interval', () => {
  const quarters = [0, 0, 0, 0];
  for (let target = 1; target <= 400; target++) {
    const quarter = Math.floor(phaseOf(target, 'session_info') * 4);
    quarters[quarter] = (quarters[quarter] ?? 0) + 1;
  }
  for (const count of quarters) expect(count).toBeGreaterThan(60);
});

test('a run that takes longer than its interval is not overlapped; the ticks it covers are skipped, not queued', async () => {
  const { clock, timetable, stats } = rig();
  let inside = 0;
  let most = 0;
  let runs = 0;
  timetable.update([
    job('slow', 1000, async () => {
      most = Math.max(most, ++inside);
      runs++;
      await clock.sleep(3500);
      inside--;
      return cheap;
    }),
  ]);
  await clock.advance(40_000);
  expect(most).toBe(1);
  expect(runs).toBeLessThanOrEqual(11);
  expect(runs).toBeGreaterThanOrEqual(9);
  expect(stats.costs.get('7/slow')?.skipped).toBeGreaterThanOrEqual(25);
});

test('a hanging probe delays no other, and does not run twice after it was taken away and came again', async () => {
  const { clock, timetable } = rig();
  let hung = 0;
  let other = 0;
  const hanging = job('hung', 1000, () => {
    hung++;
    return new Promise(() => undefined);
  });
  const healthy = job('fine', 1000, async () => {
    other++;
    return cheap;
  });
  timetable.update([hanging, healthy]);
  await clock.advance(10_000);
  timetable.update([healthy]);
  await clock.advance(5000);
  timetable.update([hanging, healthy]);
  await clock.advance(5000);
  expect(hung).toBe(1);
  expect(other).toBeGreaterThanOrEqual(20);
});

test('after the process was away the missed ticks are skipped and counted', async () => {
  const { clock, timetable, stats } = rig();
  let runs = 0;
  timetable.update([
    job('cpu', 1000, async () => {
      runs++;
      return cheap;
    }),
  ]);
  await clock.advance(3000);
  const before = runs;
  clock.freeze(30_000);
  await clock.advance(1000);
  expect(runs - before).toBeLessThanOrEqual(2);
  expect(stats.costs.get('7/cpu')?.skipped).toBeGreaterThanOrEqual(28);
});

test('a system clock that jumps changes no spacing, only the stamp', async () => {
  const { clock, timetable } = rig();
  const stamps: bigint[] = [];
  const starts: number[] = [];
  timetable.update([
    job('cpu', 1000, async (context) => {
      stamps.push(context.recordedAtUs);
      starts.push(clock.monotonicMs());
      return cheap;
    }),
  ]);
  await clock.advance(5000);
  clock.wallOffsetUs -= 3_600_000_000n;
  await clock.advance(5000);
  clock.wallOffsetUs += 7_200_000_000n;
  await clock.advance(5000);
  for (let index = 2; index < starts.length; index++)
    expect((starts[index] ?? 0) - (starts[index - 1] ?? 0)).toBeCloseTo(1000, 6);
  expect(stamps.some((stamp, index) => index > 0 && stamp < (stamps[index - 1] ?? 0n))).toBe(true);
});

describe('budget', () => {
  test('a probe over its budget slows itself down, says so once a step, and comes back when it is cheap again', async () => {
    const { clock, timetable, stats, lines } = rig();
    let ms = 350;
    const intervals: bigint[] = [];
    timetable.update([
      job('dear', 1000, async (context) => {
        intervals.push(context.intervalUs);
        return { ...cheap, ms };
      }),
    ]);
    await clock.advance(60_000);
    // 350 ms are a tenth of 3.5 s: two doublings, then it holds.
    expect(stats.costs.get('7/dear')).toMatchObject({ state: 'slowed', intervalMs: 4000, slowdowns: 2 });
    expect(lines.filter((line) => line.includes('slowed')).length).toBe(2);
    expect(new Set(intervals)).toEqual(new Set([1_000_000n, 2_000_000n, 4_000_000n]));
    ms = 2;
    await clock.advance(400_000);
    expect(stats.costs.get('7/dear')).toMatchObject({ state: 'normal', intervalMs: 1000, slowdowns: 2 });
    expect(lines.filter((line) => line.includes('sped up')).length).toBe(2);
  });

  test('slowing down is bounded', async () => {
    const { clock, timetable, stats } = rig();
    timetable.update([job('dear', 1000, async () => ({ ...cheap, ms: 1_000_000 }))]);
    await clock.advance(3_600_000);
    expect(stats.costs.get('7/dear')?.intervalMs).toBe(32_000);
  });

  test('a failing probe backs off, is logged once for each kind of failure, and recovers at its first success', async () => {
    const { clock, timetable, stats, lines } = rig();
    let broken = true;
    let runs = 0;
    timetable.update([
      job('broken', 1000, async () => {
        runs++;
        if (broken) throw new PemError('probe_column_type', 'column x is text, not int4');
        return cheap;
      }),
    ]);
    await clock.advance(300_000);
    expect(runs).toBeLessThan(14);
    expect(stats.costs.get('7/broken')).toMatchObject({
      state: 'backed off',
      intervalMs: 60_000,
      lastErrorCode: 'probe_column_type',
    });
    expect(lines.filter((line) => line.includes('probe failed')).length).toBe(1);
    broken = false;
    await clock.advance(70_000);
    expect(stats.costs.get('7/broken')).toMatchObject({ state: 'normal', intervalMs: 1000 });
    const before = runs;
    await clock.advance(10_000);
    expect(runs - before).toBeGreaterThanOrEqual(9);
  });

  test('a server that cannot be reached does not make the probe back off', async () => {
    const { clock, timetable, stats } = rig();
    timetable.update([
      job('info', 1000, async () => {
        throw new PemError('server_unreachable', 'no answer');
      }),
    ]);
    await clock.advance(30_000);
    expect(stats.costs.get('7/info')).toMatchObject({ state: 'normal', intervalMs: 1000 });
    expect(stats.costs.get('7/info')?.errors).toBeGreaterThanOrEqual(29);
  });
});

test('definitions change live: added, removed, another interval, another run', async () => {
  const { clock, timetable, stats } = rig();
  const seen: string[] = [];
  const noting = (name: string, intervalMs: number, note: string): Job =>
    job(name, intervalMs, async () => {
      seen.push(note);
      return cheap;
    });
  timetable.update([noting('a', 1000, 'a1'), noting('b', 1000, 'b1')]);
  await clock.advance(5000);
  seen.length = 0;
  timetable.update([noting('a', 1000, 'a2'), noting('c', 2000, 'c1')]);
  await clock.advance(10_000);
  expect(seen.filter((note) => note === 'a2').length).toBe(10);
  expect(seen).not.toContain('b1');
  expect(seen).not.toContain('a1');
  expect(seen.filter((note) => note === 'c1').length).toBeGreaterThanOrEqual(5);
  expect([...stats.costs.keys()].sort()).toEqual(['7/a', '7/c']);
  seen.length = 0;
  timetable.update([noting('a', 5000, 'a3'), noting('c', 2000, 'c1')]);
  await clock.advance(20_000);
  expect(seen.filter((note) => note === 'a3').length).toBeLessThanOrEqual(5);
  expect(seen.filter((note) => note === 'c1').length).toBe(10);
});
