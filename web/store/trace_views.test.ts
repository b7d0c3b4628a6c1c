/** Pure parts of the profiler's views: addresses, histograms, measures, heat map, files, transactions. */
import { expect, test } from 'vitest';
import { histogramText } from '../../bench/rig/traced.js';
import { histogramBuckets } from '../../src/wire/trace.js';
import { bandLowUs, cellAt, heatEdges, heatGrid } from '../chart/heat.js';
import { transactionTimes } from '../panels/trace_transaction.js';
import type { SeriesAnswer } from './trace.js';
import { csvField, csvOf, isoTime } from './trace_export.js';
import {
  bucketLowUs,
  bucketOf,
  bucketWidthUs,
  histogramTotal,
  mergeHistograms,
  quantileUs,
} from './trace_histogram.js';
import { Measures } from './trace_measures.js';
import { parseTraceRoute, traceLink } from './trace_route.js';

test('buckets tile all times without gap or overlap, and hold what they are asked for', () => {
  for (let bucket = 1; bucket < histogramBuckets; bucket += 1)
    expect(bucketLowUs(bucket)).toBe(bucketLowUs(bucket - 1) + bucketWidthUs(bucket - 1));
  for (const us of [0, 1, 31, 32, 33, 63, 64, 1000, 123_456, 7_200_000_000]) {
    const bucket = bucketOf(us);
    expect(bucketLowUs(bucket)).toBeLessThanOrEqual(us);
    expect(bucketLowUs(bucket) + bucketWidthUs(bucket)).toBeGreaterThan(us);
  }
});

test('percentiles are within 3.2 % of the sorted values, merging is adding', () => {
  const values = Array.from({ length: 2000 }, (_, n) => Math.round(20 * 1.005 ** n));
  const sparse = (list: readonly number[]): number[] => {
    const counts = new Map<number, number>();
    for (const us of list) counts.set(bucketOf(us), (counts.get(bucketOf(us)) ?? 0) + 1);
    return [...counts].sort(([a], [b]) => a - b).flat();
  };
  const merged = mergeHistograms(sparse(values.slice(0, 700)), sparse(values.slice(700)));
  expect(merged).toEqual(sparse(values));
  expect(histogramTotal(merged)).toBe(2000);
  for (const share of [0.5, 0.95, 0.99]) {
    const exact = values[Math.ceil(share * 2000) - 1] as number;
    expect(Math.abs(quantileUs(merged, share) - exact) / exact).toBeLessThan(0.032);
  }
  expect(quantileUs([], 0.5)).toBeNaN();
  expect(histogramText([5, 5, 40])).toBe('1 5:2 31');
});

test('unknown stays unknown: no sum, no quotient, no share out of it', () => {
  const reader = new Measures({ measures: ['calls', 'timed', 'exec_us', 'rows'], allExecUs: 0 });
  const statement = { values: [0, 0, null, 3], histogram: [], maxUs: null };
  for (const id of ['exec_us', 'mean_us', 'share', 'p95_us', 'max_us', 'rows_call', 'hit', 'no_such'])
    expect(reader.read(statement, id), id).toBeNaN();
  expect(reader.read(statement, 'rows')).toBe(3);
});

test('addresses: what does not add up is left out, a link keeps what is brushed within a trace', () => {
  const route = parseTraceRoute('#/profiler/2/5/timeline?run=a&from=10&to=20&least=3');
  expect(route).toMatchObject({ target: 2, trace: 5, view: 'timeline', fromUs: 10, toUs: 20 });
  expect(parseTraceRoute('#/profiler/x/5/nothing?from=20&to=10')).toMatchObject({
    target: 0,
    trace: 5,
    view: 'top',
    fromUs: undefined,
  });
  expect(traceLink({ view: 'calls' }, { least: undefined }, route)).toBe(
    '#/profiler/2/5/calls?run=a&from=10&to=20',
  );
  expect(traceLink({ trace: 6, view: 'top' }, {}, route)).toBe('#/profiler/2/6/top');
});

const series = (steps: SeriesAnswer['steps']): SeriesAnswer => ({
  run: 'r',
  stepMs: 10_000,
  fromUs: 0,
  toUs: 0,
  measures: [],
  histogramEvery: 2,
  steps,
});

test('a heat map counts each call in its step and band, estimates by the sampling, and says where a place is', () => {
  const step = (atUs: number, histogram: number[]) => ({ atUs, maxUs: null, values: [], histogram });
  const grid = heatGrid(
    series([step(0, [bucketOf(100), 3]), step(20_000_000, [bucketOf(100), 1, bucketOf(90_000), 4])]),
    0,
    30_000_000,
  );
  expect(grid?.steps).toBe(3);
  expect(grid?.counts.reduce((sum, count) => sum + count, 0)).toBe(16);
  expect(grid?.most).toBe(8);
  expect(bandLowUs(grid?.firstBand ?? 0)).toBeLessThanOrEqual(100);
  const [width, height] = [heatEdges.left + heatEdges.right + 300, heatEdges.top + heatEdges.bottom + 100];
  expect(cellAt(grid!, width, height, heatEdges.left + 150, heatEdges.top + 1)).toEqual({
    step: 1,
    band: grid!.bands - 1,
  });
  expect(cellAt(grid!, width, height, -5, 999)).toEqual({ step: 0, band: 0 });
  expect(heatGrid(series([step(0, [])]), 0, 1)).toBeUndefined();
});

test('a file: quotes where RFC 4180 wants them, unknown bare and empty text quoted, times in UTC to the µs', () => {
  expect(['a,b', 'say "x"', 'two\nlines', '', null, 0].map(csvField)).toEqual([
    '"a,b"',
    '"say ""x"""',
    '"two\nlines"',
    '""',
    '',
    '0',
  ]);
  expect(isoTime(1_767_225_600_123_456)).toBe('2026-01-01T00:00:00.123456Z');
  expect(csvOf([{ end_time: 1_767_225_600_000_000, query: 'a;\nb', rows: null }], true)).toBe(
    'end_time,query,rows\n2026-01-01T00:00:00.000000Z,"a;\nb",\n',
  );
});

test('a transaction: overlapping calls count once, the rest of its length is the client', () => {
  const call = (endUs: number, us: number) => ({ end_time: endUs, exec_us: us });
  expect(transactionTimes([call(200, 100), call(180, 20), call(500, 100)])).toEqual({
    fromUs: 100,
    toUs: 500,
    busyUs: 200,
    idleUs: 200,
  });
});
