/** Schedules over changes of the clock, their edges, and what is refused. */
import { expect, test } from 'vitest';
import type { TraceSchedule } from '../wire/config.js';
import { checkSchedule, nextMs, occurrenceAt } from './schedule.js';

const at = (text: string): number => Date.parse(text);
const daily = { kind: 'daily', time: '02:30', timezone: 'Europe/Berlin' } as const;

test('a run is [begin, end): its first moment is in it, its last is not', () => {
  const begin = at('2026-01-10T01:30:00Z');
  const run = { atUs: begin * 1000, untilUs: (begin + 3_600_000) * 1000 };
  expect(occurrenceAt(daily, 3600, begin - 1)).toBeNull();
  expect(occurrenceAt(daily, 3600, begin)).toEqual(run);
  expect(occurrenceAt(daily, 3600, begin + 3_599_999)).toEqual(run);
  expect(occurrenceAt(daily, 3600, begin + 3_600_000)).toBeNull();
});

test('once', () => {
  const once = { kind: 'once', atUs: 5_000_000 } as const;
  expect(nextMs(once, 4_999)).toBe(5_000);
  expect(nextMs(once, 5_000)).toBeNull();
  expect(occurrenceAt(once, 2, 6_999)).toEqual({ atUs: 5_000_000, untilUs: 7_000_000 });
  expect(occurrenceAt(once, 2, 7_000)).toBeNull();
});

test('an hour that is skipped and an hour that comes twice give one run each', () => {
  const runs = (from: string, to: string): string[] => {
    const found: string[] = [];
    for (let ms = nextMs(daily, at(from)); ms !== null && ms < at(to); ms = nextMs(daily, ms)) {
      found.push(new Date(ms).toISOString());
    }
    return found;
  };
  expect(runs('2026-03-28T12:00:00Z', '2026-03-30T12:00:00Z')).toEqual([
    '2026-03-29T01:30:00.000Z',
    '2026-03-30T00:30:00.000Z',
  ]);
  expect(runs('2026-10-24T12:00:00Z', '2026-10-26T12:00:00Z')).toEqual([
    '2026-10-25T00:30:00.000Z',
    '2026-10-26T01:30:00.000Z',
  ]);
});

test('of runs that overlap it is the latest', () => {
  const hourly: TraceSchedule = { kind: 'cron', pattern: '0 * * * *', timezone: 'UTC' };
  const begin = (schedule: TraceSchedule, hours: number, text: string): string | undefined => {
    const run = occurrenceAt(schedule, hours * 3600, at(text));
    return run === null ? undefined : new Date(run.atUs / 1000).toISOString().slice(5, 16);
  };
  expect(begin(hourly, 2, '2026-01-01T05:59:59Z')).toBe('01-01T05:00');
  expect(begin(hourly, 2, '2026-01-01T06:00:00Z')).toBe('01-01T06:00');
  expect(begin(hourly, 24 * 31, '2026-01-01T06:59:59.999Z')).toBe('01-01T06:00');
  const mornings = { ...hourly, pattern: '* 8,9 * * *' };
  expect(begin(mornings, 24, '2026-01-02T07:30:00Z')).toBe('01-01T09:59');
  const leap = { ...hourly, pattern: '0 0 29 2 *' };
  expect(begin(leap, 24 * 31, '2028-03-10T00:00:00Z')).toBe('02-29T00:00');
  expect(begin(leap, 24 * 31, '2026-03-10T00:00:00Z')).toBeUndefined();
});

test.each([
  [{ kind: 'daily', time: '24:00', timezone: 'UTC' }, 'time is HH:MM'],
  [{ kind: 'daily', time: '03:00', timezone: 'Mars/Olympus' }, 'Mars/Olympus'],
  [{ kind: 'cron', pattern: '* * * * * *', timezone: 'UTC' }, 'five fields'],
  [{ kind: 'cron', pattern: '61 * * * *', timezone: 'UTC' }, 'minute'],
  [{ kind: 'cron', pattern: '0 0 30 2 *', timezone: 'UTC' }, 'never comes'],
  [{ kind: 'cron', pattern: '', timezone: 'UTC' }, 'five fields'],
  [{ kind: 'cron', pattern: '2026-01-01T00:00:00', timezone: 'UTC' }, 'five fields'],
  [{ kind: 'once', atUs: -1 }, 'atUs'],
] as const)('refused: %j', (schedule, why) => {
  expect(() => checkSchedule(schedule)).toThrow(
    expect.objectContaining({ code: 'schedule_invalid', message: expect.stringContaining(why) }),
  );
});

test('good ones pass', () => {
  checkSchedule(daily);
  checkSchedule({ kind: 'cron', pattern: '*/15 8-18 * * 1-5', timezone: 'America/New_York' });
  checkSchedule({ kind: 'once', atUs: 1_800_000_000_000_000 });
});
