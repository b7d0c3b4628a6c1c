import { expect, test } from 'vitest';
import { parsePartitionName, partitionBounds, partitionName } from './partitions.js';

const us = (text: string): bigint => BigInt(Date.parse(text)) * 1000n;

test.each([
  ['day', '2026-03-01T00:00:00Z', '2026-03-01T00:00:00Z', '2026-03-02T00:00:00Z', 'p_20260301'],
  ['day', '2024-02-29T23:59:59Z', '2024-02-29T00:00:00Z', '2024-03-01T00:00:00Z', 'p_20240229'],
  ['month', '2026-12-31T23:59:59Z', '2026-12-01T00:00:00Z', '2027-01-01T00:00:00Z', 'p_202612'],
  ['day', '1969-12-31T23:59:59Z', '1969-12-31T00:00:00Z', '1970-01-01T00:00:00Z', 'p_19691231'],
] as const)('the %s of %s', (width, at, from, to, name) => {
  const bounds = partitionBounds(width, us(at));
  expect(bounds).toEqual({ fromUs: us(from), toUs: us(to) });
  expect(partitionName('p', width, bounds)).toBe(name);
  expect(parsePartitionName('p', name)).toEqual({ width, bounds });
});

test('a name of another probe is none', () => {
  expect(parsePartitionName('a', 'a_b_20260101')).toBeUndefined();
  expect(parsePartitionName('a_b', 'a_20260101')).toBeUndefined();
  expect(parsePartitionName('a', 'a_2026010')).toBeUndefined();
});
