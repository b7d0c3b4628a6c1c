import { expect, test } from 'vitest';
import { seeded } from '../../bench/load/oracle.js';
import { RangeSet } from './ranges.js';

test('numbers that touch are one range', () => {
  const set = new RangeSet();
  for (const value of [1n, 3n, 2n, 7n]) expect(set.add(value)).toBe(true);
  expect(set.add(3n)).toBe(false);
  expect(set.toString()).toBe('{[1,4),[7,8)}');
  expect(set.size).toBe(2);
});

test('what a Set says, for random additions and removals, over text and back', () => {
  const random = seeded(11);
  let set = new RangeSet();
  const model = new Set<bigint>();
  for (let i = 0; i < 5000; i += 1) {
    const value = BigInt(Math.floor(random() * 60));
    if (random() < 0.6) expect(set.add(value)).toBe(!model.has(value));
    else expect(set.remove(value)).toBe(model.has(value));
    if (set.has(value)) model.add(value);
    else model.delete(value);
    if (i % 100 === 0) set = RangeSet.parse(set.toString());
  }
  for (let value = -1n; value <= 60n; value += 1n) expect(set.has(value)).toBe(model.has(value));
  const middle = set.copy();
  middle.dropBelow(30n);
  for (let value = 0n; value <= 60n; value += 1n)
    expect(middle.has(value)).toBe(value >= 30n && model.has(value));
});

test('text that is no multirange is refused', () => {
  for (const text of ['', '[1,2)', '{[1,2]}', '{[1,2),}', '{(,)}'])
    expect(() => RangeSet.parse(text)).toThrow();
});
