/** What stands in src/wire/trace.ts is what the native code has. */
import { expect, test } from 'vitest';
import { histogramBuckets, traceKinds } from '../src/wire/trace.js';
import { loadAddon } from './addon.js';

const native = loadAddon() as { traceKinds: readonly string[]; histogramBucketCount: number };

test('kinds of commands, and buckets of a histogram', () => {
  expect(native.traceKinds).toEqual(traceKinds);
  expect(native.histogramBucketCount).toBe(histogramBuckets);
});
