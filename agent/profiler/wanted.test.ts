/** What runs when: requests that come twice or late, schedules, runs that end before their time. */
import { expect, test } from 'vitest';
import { handTrace } from '../../bench/rig/followed.js';
import type { TraceDefinition } from '../../src/wire/config.js';
import { decide, endCurrent, newMemory } from './wanted.js';

const us = (text: string): number => Date.parse(text) * 1000;
const noon = us('2026-05-05T12:00:00Z');
const daily: TraceDefinition = {
  ...handTrace,
  schedule: { kind: 'daily', time: '12:00', timezone: 'UTC' },
  durationS: 600,
};
const start = (seq: number) => ({ ...handTrace, request: 'start' as const, requestSeq: seq });
const stop = (seq: number) => ({ ...handTrace, request: 'stop' as const, requestSeq: seq });

test('a request counts once, also after a restart; the number is what tells', () => {
  const memory = newMemory(handTrace);
  expect(decide(handTrace, memory, noon)).toEqual({ changed: false, ended: null, nextUs: null });
  expect(decide(start(1), memory, noon).changed).toBe(true);
  expect(memory.current).toEqual({ key: 'm1', untilUs: null, parts: 0 });
  expect(decide(start(1), memory, noon + 5e6).changed).toBe(false);
  endCurrent(memory);
  const again = JSON.parse(JSON.stringify(memory));
  expect(decide(start(1), again, noon + 6e6)).toMatchObject({ changed: false });
  expect(again.current).toBeNull();
});

test('a start while something runs is only noted, a stop ends it, a stop of nothing is noted', () => {
  const memory = newMemory(handTrace);
  decide(start(1), memory, noon);
  decide(start(2), memory, noon + 1);
  expect([memory.current?.key, memory.handledSeq]).toEqual(['m1', 2]);
  expect(decide(stop(3), memory, noon + 2).ended).toBe('requested');
  expect(memory.current).toBeNull();
  expect(decide(stop(4), memory, noon + 3)).toMatchObject({ changed: true, ended: null });
  // Start and stop while the agent was away: the last one is what is wanted.
  decide(start(7), memory, noon + 4);
  expect(memory.current?.key).toBe('m7');
});

test('an agent without memory takes over from PEM what was dealt with', () => {
  const memory = newMemory({ ...start(5), handledSeq: 5 });
  decide({ ...start(5), handledSeq: 5 }, memory, noon);
  expect(memory.current).toBeNull();
});

test('a run by hand has its length', () => {
  const memory = newMemory(handTrace);
  const definition = { ...start(1), durationS: 60 };
  decide(definition, memory, noon);
  expect(memory.current?.untilUs).toBe(noon + 60e6);
  expect(decide(definition, memory, noon + 60e6 - 1).ended).toBeNull();
  expect(decide(definition, memory, noon + 60e6).ended).toBe('duration_s');
  expect(memory.current).toBeNull();
});

test('a scheduled run begins in its time, late as well, ends, and comes again the next day', () => {
  const memory = newMemory(daily);
  expect(decide(daily, memory, noon - 1000).nextUs).toBe(noon);
  expect(memory.current).toBeNull();
  decide(daily, memory, noon + 300e6);
  expect(memory.current).toEqual({ key: `s${noon}`, untilUs: noon + 600e6, parts: 0 });
  expect(decide(daily, memory, noon + 600e6).ended).toBe('duration_s');
  expect(decide(daily, memory, noon + 601e6)).toMatchObject({ changed: false, nextUs: noon + 86_400e6 });
  decide(daily, memory, noon + 86_400e6);
  expect(memory.current?.key).toBe(`s${noon + 86_400e6}`);
  expect(decide(daily, newMemory(daily), noon + 600e6).changed).toBe(false);
});

test('a scheduled run that was stopped by hand stays so; the next one comes', () => {
  const memory = newMemory(daily);
  decide(daily, memory, noon);
  expect(decide({ ...daily, request: 'stop', requestSeq: 1 }, memory, noon + 1e6).ended).toBe('requested');
  decide({ ...daily, request: 'stop', requestSeq: 1 }, memory, noon + 2e6);
  expect(memory.current).toBeNull();
  decide({ ...daily, request: 'stop', requestSeq: 1 }, memory, noon + 86_400e6 + 5e6);
  expect(memory.current?.key).toBe(`s${noon + 86_400e6}`);
});

test('runs that overlap follow each other without a gap, and a stop holds as long as the run would have', () => {
  const hourly: TraceDefinition = {
    ...daily,
    schedule: { kind: 'cron', pattern: '0 * * * *', timezone: 'UTC' },
    durationS: 5400,
  };
  const memory = newMemory(hourly);
  decide(hourly, memory, noon);
  expect(memory.current?.untilUs).toBe(noon + 5400e6);
  decide(hourly, memory, noon + 3700e6);
  expect(memory.current?.key).toBe(`s${noon}`);
  expect(decide(hourly, memory, noon + 5400e6).ended).toBe('duration_s');
  // That of one o'clock goes on until half past two.
  expect(memory.current).toMatchObject({ key: `s${noon + 3600e6}`, untilUs: noon + 9000e6 });
  endCurrent(memory);
  decide(hourly, memory, noon + 8000e6);
  expect(memory.current).toBeNull();
  decide(hourly, memory, noon + 9100e6);
  expect(memory.current).toBeNull();
  decide(hourly, memory, noon + 10_800e6);
  expect(memory.current?.key).toBe(`s${noon + 10_800e6}`);
});

test('a clock that goes back begins nothing anew', () => {
  const memory = newMemory(daily);
  decide(daily, memory, noon);
  decide(daily, memory, noon + 600e6);
  decide(daily, memory, noon + 10e6);
  expect(memory.current).toBeNull();
});
