import { expect, test } from 'vitest';
import type { Block } from './blocks.js';
import { addBlock, alignSeries, createSampleSet, trim } from './samples.js';

/** A block with plain arrays behind it. */
function block(atS: number, rows: Record<string, string | number | null>[], tombstones = 0): Block {
  return {
    kind: 'full',
    scope: '',
    target: 1,
    probe: 'p',
    recordedAtUs: atS * 1e6,
    intervalUs: 1e6,
    rows: rows.length,
    tombstones,
    columnNames: Object.keys(rows[0] ?? {}),
    column: (name) => ({
      name,
      type: 'float8',
      isNull: (row) => rows[row]?.[name] === null,
      number: (row) => {
        const value = rows[row]?.[name];
        return value === null || value === undefined ? Number.NaN : Number(value);
      },
      text: (row) => {
        const value = rows[row]?.[name];
        return value === null || value === undefined ? null : String(value);
      },
    }),
  };
}

test('a counter becomes a rate, a reset an unknown, never a negative', () => {
  const set = createSampleSet(['db'], ['commits']);
  for (const [at, value] of [
    [1, 100],
    [2, 150],
    [3, 10],
    [4, 30],
  ] as const) {
    addBlock(set, block(at, [{ db: 'a', commits: value }]));
  }
  const [times, rates] = alignSeries(set, [{ column: 'commits', transform: 'rate', combine: 'sum' }], 0, 9);
  expect(times).toEqual([2, 4]);
  expect(rates).toEqual([50, 20]);
});

test('tracks of one moment are combined', () => {
  const set = createSampleSet(['db'], ['n']);
  addBlock(
    set,
    block(1, [
      { db: 'a', n: 2 },
      { db: 'b', n: 4 },
    ]),
  );
  const of = (combine: 'sum' | 'avg' | 'max') =>
    alignSeries(set, [{ column: 'n', transform: 'value', combine }], 0, 9)[1];
  expect([of('sum'), of('avg'), of('max')]).toEqual([[6], [3], [4]]);
});

test('a missing stretch is a gap with a null inside, not a line', () => {
  const set = createSampleSet([], ['n']);
  for (const at of [1, 2, 8, 9]) addBlock(set, block(at, [{ n: at }]));
  expect(alignSeries(set, [{ column: 'n', transform: 'value', combine: 'sum' }], 0, 99)).toEqual([
    [1, 2, 5, 8, 9],
    [1, 2, null, 8, 9],
  ]);
});

const line = (set: ReturnType<typeof createSampleSet>) =>
  alignSeries(set, [{ column: 'n', transform: 'value', combine: 'sum' }], 0, 999)[1];

test('samples that come less often for a while are a line, with one break where that began', () => {
  const set = createSampleSet([], ['n']);
  for (const at of [1, 2, 3, 23, 43, 63]) addBlock(set, block(at, [{ n: at }]));
  expect(line(set)).toEqual([1, 2, 3, null, 23, 43, 63]);
  const rates = alignSeries(set, [{ column: 'n', transform: 'rate', combine: 'sum' }], 0, 999);
  expect(rates).toEqual([
    [2, 3, 23, 43, 63],
    [1, 1, null, 1, 1],
  ]);
});

test('steps stand at their ends, the one that goes on at the moment it was read: its rate is the true one', () => {
  const set = createSampleSet([], ['n', 'recorded_at']);
  set.stepS = 100;
  // A counter of 2 a second: at the ends of two steps, and 30 s into the third.
  for (const [at, n] of [
    [0, 200],
    [100, 400],
    [200, 460],
  ] as const) {
    addBlock(set, block(at, [{ n, recorded_at: at * 1e6 }]), 'recorded_at', 230);
  }
  // The last row read was up to a second old: no rate from there to the next sample, if that comes at once.
  addBlock(set, block(230.2, [{ n: 462, recorded_at: 0 }]));
  addBlock(set, block(231.2, [{ n: 464, recorded_at: 0 }]));
  expect(alignSeries(set, [{ column: 'n', transform: 'rate', combine: 'sum' }], 0, 999)).toEqual([
    [200, 230, 231.2],
    [2, 2, 2],
  ]);
});

test('one sample between two outages stands alone', () => {
  const set = createSampleSet([], ['n']);
  for (const at of [1, 2, 3, 30, 90, 91]) addBlock(set, block(at, [{ n: at }]));
  expect(line(set)).toEqual([1, 2, 3, null, 30, null, 90, 91]);
});

test('an interval that is known to be longer makes no gaps of two samples', () => {
  const set = createSampleSet([], ['n']);
  set.intervalS = 60;
  for (const at of [10, 70]) addBlock(set, block(at, [{ n: at }]));
  expect(line(set)).toEqual([10, 70]);
});

test('of one key alone the rows of the others are passed over', () => {
  const set = createSampleSet(['cpu'], ['n'], { column: 'cpu', value: 'all' });
  addBlock(
    set,
    block(1, [
      { cpu: 'all', n: 5 },
      { cpu: '0', n: 9 },
    ]),
  );
  expect([...set.tracks.keys()]).toEqual(['all']);
  expect(line(set)).toEqual([5]);
});

test('a sample that came already is not counted twice', () => {
  const set = createSampleSet([], ['n']);
  addBlock(set, block(5, [{ n: 1 }]));
  addBlock(set, block(5, [{ n: 1 }]));
  addBlock(set, block(4, [{ n: 1 }]));
  expect(set.tracks.get('')?.length).toBe(1);
});

test('tombstones are no samples, NULL is no value', () => {
  const set = createSampleSet(['db'], ['n']);
  addBlock(
    set,
    block(
      1,
      [
        { db: 'a', n: null },
        { db: 'gone', n: null },
      ],
      1,
    ),
  );
  expect([...set.tracks.keys()]).toEqual(['a']);
  expect(alignSeries(set, [{ column: 'n', transform: 'value', combine: 'sum' }], 0, 9)[0]).toEqual([]);
});

test('what left the window is let go', () => {
  const set = createSampleSet([], ['n']);
  for (let at = 1; at <= 500; at += 1) addBlock(set, block(at, [{ n: at }]));
  trim(set, 400);
  const track = set.tracks.get('');
  expect(track?.times[0]).toBe(399);
  expect(track?.values.get('n')?.[0]).toBe(399);
  trim(set, 1000);
  expect(set.tracks.size).toBe(0);
});
