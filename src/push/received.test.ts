import { expect, test } from 'vitest';
import type { CommitEntry } from './commit.js';
import { Arrivals, Order, parseMultirange, ReceivedSet } from './received.js';

const entry = (kind: CommitEntry['kind'], boot: string, seq: number, scope = ''): CommitEntry => ({
  agent: 1,
  boot,
  seq: BigInt(seq),
  target: 1n,
  probe: 'p',
  kind,
  scope,
  block: Buffer.alloc(0),
});

function known(): Arrivals {
  const set = new ReceivedSet();
  set.add(1, 'a', 1n, []);
  set.add(1, 'b', 2n, []);
  const arrivals = new Arrivals();
  arrivals.learn(set);
  return arrivals;
}

test('PostgreSQL’s multiranges', () => {
  expect(parseMultirange('{}')).toEqual([]);
  expect(parseMultirange('{[1,5),[7,9223372036854775807)}')).toEqual([
    [1n, 5n],
    [7n, 9223372036854775807n],
  ]);
  const set = new ReceivedSet();
  set.add(1, '0011-22', 1n, parseMultirange('{[1,5),[7,8)}'));
  const has = [0, 1, 4, 5, 6, 7, 8].filter((seq) => set.has({ agent: 1, boot: '001122', seq: BigInt(seq) }));
  expect(has).toEqual([1, 4, 7]);
  expect(set.has({ agent: 2, boot: '001122', seq: 1n })).toBe(false);
});

test('order is by arrival, then seq; what a newer full block replaced is past, other late blocks are late', () => {
  const order = new Order();
  order.begin(new Map());
  const arrivals = known();
  const judge = (...of: Parameters<typeof entry>) => order.judge(entry(...of), arrivals);
  expect(judge('full', 'a', 5)).toBe('next');
  expect(judge('full', 'a', 4)).toBe('past');
  expect(judge('delta', 'a', 5)).toBe('past');
  expect(judge('delta', 'a', 7)).toBe('next');
  expect(judge('delta', 'a', 6)).toBe('late');
  expect(judge('full', 'a', 6)).toBe('late');
  expect(judge('delta', 'a', 4)).toBe('past');
  expect(judge('delta', 'a', 1, 'other scope')).toBe('next');
  expect(judge('delta', 'b', 1)).toBe('next');
  expect(judge('delta', 'a', 99)).toBe('late');
  expect(judge('append', 'a', 1)).toBe('next');
  expect(judge('full', 'unknown boot', 1)).toBe('late');
});

test('order begins with the first snapshot and is forgotten as a whole', () => {
  const order = new Order();
  const arrivals = known();
  expect(order.judge(entry('delta', 'a', 3), arrivals)).toBe('next');
  const place = { arrival: 1n, seq: 10n };
  order.begin(new Map([['', { newest: place, full: undefined }]]));
  expect(order.judge(entry('delta', 'a', 3), arrivals)).toBe('late');
  order.begin(new Map());
  expect(order.judge(entry('delta', 'a', 3), arrivals)).toBe('late');
  order.reset();
  expect(order.isKnown).toBe(false);
});
