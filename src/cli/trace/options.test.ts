import { Command } from 'commander';
import { expect, test } from 'vitest';
import { type FilterWords, filterOf, moment, seconds, size, withFilters } from './options.js';
import { startOptions } from './start.js';

test('sizes, times and moments of the command line', () => {
  expect(['4096', '64MB', '1 GiB', '1.5k'].map(size)).toEqual([4096, 64 << 20, 2 ** 30, 1536]);
  expect(['90', '90s', '10min', '2h', '1d'].map(seconds)).toEqual([90, 90, 600, 7200, 86_400]);
  expect(moment('2026-11-23 08:15')).toBe(Date.UTC(2026, 10, 23, 8, 15) * 1000);
  expect(moment('2026-11-23T08:15:30.123456Z')).toBe(Date.UTC(2026, 10, 23, 8, 15, 30) * 1000 + 123_456);
  expect(moment('2026-11-23 08:15+01')).toBe(Date.UTC(2026, 10, 23, 7, 15) * 1000);
  expect(moment('2026-11-23')).toBe(Date.UTC(2026, 10, 23) * 1000);
  for (const wrong of ['', 'x', '64XB', '-1']) expect(() => size(wrong)).toThrow();
  for (const wrong of ['', '0', '1y']) expect(() => seconds(wrong)).toThrow();
  for (const wrong of ['', 'now', '2026-13-01', '08:15']) expect(() => moment(wrong)).toThrow();
});

test('words of the command line become a filter', () => {
  let filter: unknown;
  const command = withFilters(new Command('x'), true).exitOverride();
  command.action((words: FilterWords) => {
    filter = filterOf(words);
  });
  command.parse([], { from: 'user' });
  expect(filter).toEqual({});
  const words = [
    '--user',
    'a',
    '--user',
    'b',
    '--min-ms',
    '1.5',
    '--kind',
    'select,DDL',
    '--no-nested',
    '--errors',
  ];
  command.parse([...words, '--grep', 'x+', '--to', '2026-11-23'], { from: 'user' });
  expect(filter).toEqual({
    users: ['a', 'b'],
    minUs: 1500,
    kinds: ['select', 'ddl'],
    top: true,
    errors: true,
    pattern: 'x+',
    toUs: Date.UTC(2026, 10, 23) * 1000,
  });
});

test('a start says only what was asked', () => {
  const none = { database: [], user: [], application: [], client: [], kind: [], nested: true };
  expect(startOptions(none)).toEqual({});
  expect(
    startOptions({ ...none, nested: false, minMs: 0.5, sample: 0.1, plan: 'json', kind: ['select'] }),
  ).toEqual({
    nested: false,
    min_duration_us: 500,
    sample_rate: 0.1,
    plan: 'json',
    kinds: ['select'],
  });
});
