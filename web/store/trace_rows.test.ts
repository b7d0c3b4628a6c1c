/** Calls in typed arrays: what goes in comes out, filters and orders are right, and five million stay quick. */
import { expect, test } from 'vitest';
import { blockFromRows, type CellValue, type ColumnSpec } from '../../native/index.js';
import { callNumber, Dictionary, selectRows, sortRows, TraceRows } from './trace_rows.js';

const columns: readonly ColumnSpec[] = [
  { name: 'recorded_at', type: 'timestamptz' },
  { name: 'line', type: 'int8' },
  { name: 'end_time', type: 'timestamptz' },
  { name: 'exec_us', type: 'int8' },
  { name: 'level', type: 'int4' },
  { name: 'pid', type: 'int4' },
  { name: 'slot', type: 'int4' },
  { name: 'database', type: 'name' },
  { name: 'username', type: 'name' },
  { name: 'application', type: 'text' },
  { name: 'fingerprint', type: 'int8' },
  { name: 'tag', type: 'text' },
  { name: 'rows', type: 'int8' },
  { name: 'sqlstate', type: 'text' },
];
const startUs = 1_790_000_000_000_000;
const meta = {
  target: 2n,
  probe: 'sql_trace_events',
  probeVersion: 1,
  kind: 'append' as const,
  recordedAtUs: 0n,
  intervalUs: 0n,
};

interface Made {
  readonly endUs?: number;
  readonly us?: number | null;
  readonly tag?: string;
  readonly state?: string | null;
  readonly fingerprint?: bigint | null;
  readonly pid?: number;
  readonly recordedUs?: number;
}

function page(list: readonly Made[]): Uint8Array {
  return blockFromRows(
    meta,
    columns,
    list.map((it, index): CellValue[] => [
      it.recordedUs ?? startUs,
      BigInt(index + 1),
      it.endUs ?? startUs + index,
      it.us === null ? null : BigInt(it.us ?? 100),
      1,
      it.pid ?? 4000,
      7,
      'shop',
      'web',
      null,
      it.fingerprint === undefined ? 5n : it.fingerprint,
      it.tag ?? 'SELECT',
      1n,
      it.state ?? null,
    ]),
  );
}

function rowsOf(...pages: (readonly Made[])[]): TraceRows {
  const rows = new TraceRows(0);
  for (const list of pages) rows.add(page(list));
  return rows;
}

test('values come out as they went in, across pages and 64 bits; unknown is NaN or no name', () => {
  const huge = -9_000_000_000_000_000_001n;
  const rows = rowsOf(
    [
      { us: null, fingerprint: huge },
      { us: 2 ** 52, fingerprint: null, state: '40001' },
    ],
    [{ tag: 'COMMIT', fingerprint: huge, recordedUs: startUs + 9 }],
  );
  expect(rows.count).toBe(3);
  expect([...rows.numbers.exec_us.subarray(0, 3)]).toEqual([Number.NaN, 2 ** 52, 100]);
  expect(rows.numbers.end_time[0]).toBe(startUs);
  expect([0, 1, 2].map((row) => rows.name('fingerprint', row))).toEqual([String(huge), '', String(huge)]);
  expect([0, 1, 2].map((row) => rows.name('tag', row))).toEqual(['SELECT', 'SELECT', 'COMMIT']);
  expect(rows.name('application', 1)).toBe('');
  expect([0, 1, 2].map((row) => rows.recordedUs(row))).toEqual([startUs, startUs, startUs + 9]);
});

test('a fingerprint whose words collide with another one is told apart', () => {
  const low = (n: number): bigint => BigInt(n);
  const rows = rowsOf([{ fingerprint: low(2) }, { fingerprint: (62n << 32n) | 0n }, { fingerprint: low(2) }]);
  expect([0, 1, 2].map((row) => rows.name('fingerprint', row))).toEqual(['2', String(62n << 32n), '2']);
});

test('filters: span, time, failed, process, name, words in names and in what a fingerprint stands for', () => {
  const rows = rowsOf([
    { us: 10, tag: 'SELECT', fingerprint: 1n },
    { us: 500, tag: 'UPDATE', fingerprint: 2n, state: '40001' },
    { us: null, tag: 'COMMIT', fingerprint: null, pid: 4001 },
  ]);
  const select = (...args: Parameters<typeof selectRows> extends [unknown, ...infer R] ? R : never) => [
    ...selectRows(rows, ...args),
  ];
  expect(select({})).toEqual([0, 1, 2]);
  expect(select({ fromUs: startUs + 1, toUs: startUs + 2 })).toEqual([1]);
  expect(select({ leastUs: 10, mostUs: 500 })).toEqual([0]);
  expect(select({ leastUs: 0 })).toEqual([0, 1]);
  expect(select({ errors: true })).toEqual([1]);
  expect(select({ pid: 4001 })).toEqual([2]);
  expect(select({ names: { tag: 'UPDATE' } })).toEqual([1]);
  expect(select({ names: { tag: 'no such' } })).toEqual([]);
  expect(select({ find: 'commit' })).toEqual([2]);
  expect(select({ find: 'shop 40001' })).toEqual([1]);
  expect(select({ only: new Set([callNumber(7, 2), callNumber(7, 3), callNumber(8, 1)]) })).toEqual([1, 2]);
  expect(select({ only: new Set() })).toEqual([]);
  expect(select({ find: 'from orders' }, new Map([['1', 'SELECT 1 FROM Orders']]))).toEqual([0]);
});

test('an order is by value, stable, unknown last either way', () => {
  const rows = rowsOf([
    { us: 300, tag: 'b' },
    { us: null, tag: 'a' },
    { us: 20, tag: 'b' },
    { us: 300, tag: 'c' },
    { us: 0, tag: 'a' },
  ]);
  const all = selectRows(rows, {});
  expect([...sortRows(rows, all, 'exec_us', false)]).toEqual([4, 2, 0, 3, 1]);
  expect([...sortRows(rows, all, 'exec_us', true)]).toEqual([0, 3, 2, 4, 1]);
  expect([...sortRows(rows, all, 'tag', false)]).toEqual([1, 4, 0, 2, 3]);
  expect([...sortRows(rows, all, 'tag', true)]).toEqual([3, 0, 2, 1, 4]);
  expect([...sortRows(rows, all, 'sqlstate', true)]).toEqual([0, 1, 2, 3, 4]);
  expect([...sortRows(rows, new Uint32Array(0), 'exec_us', true)]).toEqual([]);
});

test('a dictionary that is full says so and goes on', () => {
  const dictionary = new Dictionary(4);
  expect(['a', 'b', 'c', 'a', 'd'].map((text) => dictionary.codeOfText(text))).toEqual([2, 3, 1, 2, 1]);
});

test('five million calls are loaded, filtered and sorted within a glance', () => {
  const list = Array.from(
    { length: 20_000 },
    (_, index): Made => ({
      us: (index * 7919) % 1_000_003,
      tag: ['SELECT', 'UPDATE', 'INSERT', 'COMMIT'][index % 4] as string,
      state: index % 100 === 0 ? '23505' : null,
      fingerprint: BigInt(index % 300) * 12_345_678_901_234n,
      recordedUs: startUs + Math.floor(index / 1000),
    }),
  );
  const bytes = page(list);
  const rows = new TraceRows(5_000_000);
  const took = (work: () => void): number => {
    // Of the processor: others may have it for as long as they like.
    const from = process.cpuUsage();
    work();
    return process.cpuUsage(from).user / 1000;
  };
  const loadMs = took(() => {
    for (let n = 0; n < 250; n += 1) rows.add(bytes);
  });
  expect(rows.count).toBe(5_000_000);
  let selected = new Uint32Array(0);
  const filterMs = took(() => {
    selected = new Uint32Array(selectRows(rows, { find: 'select', leastUs: 1000 }));
  });
  expect(selected.length).toBeGreaterThan(1_000_000);
  const all = selectRows(rows, {});
  let order = all;
  const sortMs = took(() => {
    order = sortRows(rows, all, 'exec_us', true);
  });
  expect(rows.numbers.exec_us[order[0] as number]).toBe(Math.max(...list.map((it) => it.us as number)));
  for (let at = 1; at < order.length; at += 9973)
    expect(rows.numbers.exec_us[order[at - 1] as number]).toBeGreaterThanOrEqual(
      rows.numbers.exec_us[order[at] as number] as number,
    );
  console.log(
    `5 M calls: load ${loadMs.toFixed(0)} ms, filter ${filterMs.toFixed(0)} ms, sort ${sortMs.toFixed(0)} ms`,
  );
  // Wide of what a free machine takes (see the line above): the test is against things that are quadratic.
  expect(filterMs).toBeLessThan(3000);
  expect(sortMs).toBeLessThan(6000);
});
