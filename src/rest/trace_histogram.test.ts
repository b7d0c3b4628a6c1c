import { expect, test } from 'vitest';
import { histogramBuckets } from '../wire/trace.js';
import { addHistogram } from './trace_histogram.js';

function add(text: string, counts = new Float64Array(histogramBuckets)): [boolean, Float64Array] {
  const bytes = new TextEncoder().encode(`x${text}y`);
  return [addHistogram(counts, bytes, 1, bytes.length - 1), counts];
}

test('distances add up to buckets, a missing count is one', () => {
  const [good, counts] = add('1 3 4:12 632');
  expect(good).toBe(true);
  expect([...counts.entries()].filter(([, count]) => count > 0)).toEqual([
    [3, 1],
    [7, 12],
    [639, 1],
  ]);
});

test('an empty histogram is one', () => expect(add('1')[0]).toBe(true));

test.each(['', '2 3', '1 3:', '1  3', '1 x', '1 640', '1 600 40', '1 3:4:5', '1 3,4', '13 4'])(
  'what is none of version 1 is left out whole: %j',
  (text) => {
    const counts = new Float64Array(histogramBuckets);
    expect(add(text, counts)[0]).toBe(false);
    expect(counts.some((count) => count > 0)).toBe(false);
  },
);
