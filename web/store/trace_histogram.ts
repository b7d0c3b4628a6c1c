/**
 * Latency histograms as PEM sends them: [bucket, count, …], log-linear buckets of 16 in each power of two
 * (native/core/histogram.h). A time is told from its bucket within 3.2 %. Pure.
 */
import { histogramBuckets } from '../../src/wire/trace.js';

export type Sparse = readonly number[];

/** Least time of a bucket, µs. */
export function bucketLowUs(bucket: number): number {
  return bucket < 32 ? bucket : ((bucket % 16) + 16) * 2 ** (Math.floor(bucket / 16) - 1);
}

export function bucketWidthUs(bucket: number): number {
  return bucket < 32 ? 1 : 2 ** (Math.floor(bucket / 16) - 1);
}

/** Bucket of a time, µs. */
export function bucketOf(us: number): number {
  if (us < 32) return Math.max(0, Math.floor(us));
  const power = Math.floor(Math.log2(us));
  return Math.min(histogramBuckets - 1, 16 * (power - 4) + Math.floor(us / 2 ** (power - 4)));
}

export function histogramTotal(histogram: Sparse): number {
  let total = 0;
  for (let at = 1; at < histogram.length; at += 2) total += histogram[at] as number;
  return total;
}

/** The time that a share of all calls does not exceed, µs; NaN where there are none. */
export function quantileUs(histogram: Sparse, share: number): number {
  const total = histogramTotal(histogram);
  if (total === 0) return Number.NaN;
  let left = Math.max(1, Math.ceil(share * total));
  for (let at = 0; at < histogram.length; at += 2) {
    left -= histogram[at + 1] as number;
    if (left <= 0) {
      const bucket = histogram[at] as number;
      return bucketLowUs(bucket) + Math.floor(bucketWidthUs(bucket) / 2);
    }
  }
  return Number.NaN;
}

/** Both counted together. */
export function mergeHistograms(a: Sparse, b: Sparse): number[] {
  const merged: number[] = [];
  let left = 0;
  let right = 0;
  while (left < a.length || right < b.length) {
    const leftBucket = a[left] ?? Number.POSITIVE_INFINITY;
    const rightBucket = b[right] ?? Number.POSITIVE_INFINITY;
    const bucket = Math.min(leftBucket, rightBucket);
    let count = 0;
    if (leftBucket === bucket) {
      count += a[left + 1] as number;
      left += 2;
    }
    if (rightBucket === bucket) {
      count += b[right + 1] as number;
      right += 2;
    }
    merged.push(bucket, count);
  }
  return merged;
}
