import { expect, test } from 'vitest';
import {
  bytes,
  clip,
  columnsOf,
  count,
  duration,
  instant,
  percent,
  printable,
  rate,
  textTable,
} from './format.js';

test('numbers have three digits and a unit', () => {
  expect(
    [0, 7, 999, 1000, 1234, 999_499, 999_500, 1_500_000, 90_000_000, 3_600_000_000].map(duration),
  ).toEqual(['0 µs', '7 µs', '999 µs', '1 ms', '1.23 ms', '999 ms', '1 s', '1.5 s', '90 s', '60 min']);
  expect([duration(Number.NaN), duration(-1500), duration(12.5)]).toEqual(['–', '-1.5 ms', '12.5 µs']);
  expect([0, 999, 12_345, 9_999_999, 10_000_000, 1.5e9].map(count)).toEqual([
    '0',
    '999',
    '12,345',
    '9,999,999',
    '10 M',
    '1.5 G',
  ]);
  expect([0, 1023, 1024, 1536, 3e9].map(bytes)).toEqual(['0 B', '1023 B', '1 KiB', '1.5 KiB', '2.79 GiB']);
  expect([0.5, 999, 12_345, 2e6].map(rate)).toEqual(['0.5/s', '999/s', '12.3 k/s', '2 M/s']);
  expect([0, 0.00001, 0.123, 0.9999, 1].map(percent)).toEqual([
    '0 %',
    '<0.01 %',
    '12.3 %',
    '>99.9 %',
    '100 %',
  ]);
});

test('times keep their microseconds', () => {
  expect(instant(1_790_000_000_123_456)).toBe('2026-09-21 14:13:20');
  expect(instant(1_790_000_000_123_456, 6)).toBe('2026-09-21 14:13:20.123456');
});

test('texts do not speak to the terminal', () => {
  expect(printable('a\n\tb\u001b]52;c;x\u0007\u202e')).toBe('a b\u{FFFD}]52;c;x\u{FFFD}\u{FFFD}');
});

test('wide characters are clipped by the columns they take', () => {
  expect(columnsOf('日本')).toBe(4);
  expect(clip('日本語', 5)).toBe('日本…');
  expect(clip('日本語', 6)).toBe('日本語');
  expect(clip('abc', 3)).toBe('abc');
  expect(clip('abcd', 3)).toBe('ab…');
});

test('a table keeps to its width', () => {
  const table = textTable(
    [
      { title: 'n', right: true },
      { title: 'text', fill: true },
    ],
    [
      ['1', 'x'.repeat(100)],
      ['22', '日本語'.repeat(20)],
    ],
    40,
  );
  expect(
    table
      .split('\n')
      .map(columnsOf)
      .every((width) => width <= 40),
  ).toBe(true);
  expect(table.split('\n')[1]).toMatch(/^ 1 {2}x+…$/);
});
