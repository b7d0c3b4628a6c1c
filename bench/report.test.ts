import { expect, test } from 'vitest';
import { atLeast, atMost, table } from './report.js';

test('a bar says on which side of its limit a value stands, the limit itself included', () => {
  expect(atLeast('a', 0.85, 0.85).holds).toBe(true);
  expect(atLeast('a', 0.849, 0.85).holds).toBe(false);
  expect(atMost('b', 150, 150, 'ms')).toEqual({ what: 'b', value: 150, bar: '≤ 150 ms', holds: true });
  expect(atMost('b', 150.1, 150).holds).toBe(false);
});

test('the table names every figure and every bar that does not hold', () => {
  const text = table({ figures: { rows: 12_345, peer: 'psql' }, bars: [atLeast('ratio', 0.5, 0.85)] });
  expect(text.split('\n')).toEqual([
    'rows   12,345',
    'peer     psql',
    'ratio     0.5  ≥ 0.85  DOES NOT HOLD',
  ]);
});
