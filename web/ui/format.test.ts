import { expect, test } from 'vitest';
import { formatAgo, formatMs, formatSetting, formatValue, formatVersion } from './format.js';

test.each([
  [0, 'bytes', '0 B'],
  [1023, 'bytes', '1023 B'],
  [1536, 'bytes', '1.50 KiB'],
  [1024 * 1024 - 1, 'bytes', '1.00 MiB'],
  [5e9, 'bytes/s', '4.66 GiB/s'],
  [999.6, 'count', '1.00 k'],
  [1234567, 'count/s', '1.23 M /s'],
  [12, 'blocks/s', '12 blocks/s'],
  [42.04, 'percent', '42 %'],
  [0.04, 'percent', '0.0 %'],
  [250, 'us', '250 µs'],
  [90, 's', '90 s'],
  [null, 'bytes', '–'],
  [Number.NaN, 'ms', '–'],
])('%d %s reads %s', (value, unit, text) => {
  expect(formatValue(value, unit)).toBe(text);
});

test('lengths of time change their unit where the number would grow long', () => {
  expect(formatMs(0.5)).toBe('500 µs');
  expect(formatMs(999)).toBe('999 ms');
  expect(formatMs(119_000)).toBe('119 s');
  expect(formatMs(7_199_999)).toBe('120 min');
  expect(formatMs(86_400_000 * 3)).toBe('3 d');
});

test('a moment that never was reads never', () => {
  expect(formatAgo(0, 1000)).toBe('never');
  expect(formatAgo(5_000_000, 65_000)).toBe('60 s ago');
  expect(formatVersion(150018)).toBe('15.18');
});

test('a setting is written as in postgresql.conf, exactly', () => {
  const cases = [
    ['900', 's', '15 min'],
    ['90', 's', '90 s'],
    ['16384', '8kB', '128 MB'],
    ['1', '8kB', '8 kB'],
    ['2048', 'MB', '2 GB'],
    ['1000', 'ms', '1 s'],
    ['5', 'min', '5 min'],
    ['0', 's', '0'],
    ['-1', 'kB', '-1'],
    ['0.5', 'ms', '0.5'],
    ['on', null, 'on'],
    [null, 'ms', '–'],
  ] as const;
  for (const [value, unit, wanted] of cases) expect(formatSetting(value, unit)).toBe(wanted);
});
