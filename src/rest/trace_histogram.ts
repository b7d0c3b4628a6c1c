/**
 * Latency histograms of a trace, merged on their way to a page. In: a block's column of text forms (native/core/histogram.h:
 * the version, then for each bucket that has something its distance from the one before and its count) and for each row the
 * group it belongs to; out: counts per group. Owns its counts alone. A text that is none of version 1 is left out and
 * counted. Work is done in slices with the event loop between them: the process that merges also pushes.
 */
import { setImmediate } from 'node:timers/promises';
import { histogramBuckets } from '../wire/trace.js';

const sliceRows = 2_000;
const space = 0x20;
const colon = 0x3a;

/** What is needed of a block's column: native memory as it came. */
export interface TextColumn {
  readonly nulls: Uint8Array | null;
  readonly offsets: Uint32Array | null;
  readonly bytes: Uint8Array | null;
}

/** Adds one text form to counts. @returns false, and counts as they were, where it is none of version 1 */
export function addHistogram(counts: Float64Array, bytes: Uint8Array, from: number, to: number): boolean {
  return walk(undefined, bytes, from, to) && walk(counts, bytes, from, to);
}

function walk(counts: Float64Array | undefined, bytes: Uint8Array, from: number, to: number): boolean {
  if (from >= to || bytes[from] !== 0x31) return false;
  let at = from + 1;
  let bucket = 0;
  while (at < to) {
    if (bytes[at] !== space) return false;
    const [gapAt, gap] = whole(bytes, at + 1, to);
    if (gapAt < 0) return false;
    bucket += gap;
    if (bucket >= histogramBuckets) return false;
    at = gapAt;
    let count = 1;
    if (bytes[at] === colon && at < to) {
      const [countAt, many] = whole(bytes, at + 1, to);
      if (countAt < 0) return false;
      at = countAt;
      count = many;
    }
    if (counts !== undefined) counts[bucket] = (counts[bucket] as number) + count;
  }
  return true;
}

const found: [number, number] = [0, 0];

/** The number at `at`: where it ends (−1: there is none) and its value. The pair is one for all calls. */
function whole(bytes: Uint8Array, at: number, to: number): readonly [number, number] {
  let value = 0;
  let place = at;
  for (; place < to; place++) {
    const digit = (bytes[place] as number) - 0x30;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
  }
  found[0] = place === at ? -1 : place;
  found[1] = value;
  return found;
}

export class Histograms {
  readonly #counts = new Map<number, Float64Array>();
  bad = 0;

  /** @param groupOf group of a row; −1: the row is left out */
  async add(column: TextColumn, rows: number, groupOf: (row: number) => number): Promise<void> {
    const { nulls, offsets, bytes } = column;
    if (offsets === null || bytes === null) return;
    for (let row = 0; row < rows; row++) {
      if (row % sliceRows === sliceRows - 1) await setImmediate();
      if (nulls !== null && ((nulls[row >> 3] as number) >> (row & 7)) & 1) continue;
      const group = groupOf(row);
      if (group < 0) continue;
      let counts = this.#counts.get(group);
      if (counts === undefined) {
        counts = new Float64Array(histogramBuckets);
        this.#counts.set(group, counts);
      }
      if (!addHistogram(counts, bytes, offsets[row] as number, offsets[row + 1] as number)) this.bad++;
    }
  }

  /** [bucket, count, bucket, count, …] of a group, ascending. */
  sparse(group: number): number[] {
    const counts = this.#counts.get(group);
    const list: number[] = [];
    if (counts === undefined) return list;
    for (let bucket = 0; bucket < histogramBuckets; bucket++) {
      const count = counts[bucket] as number;
      if (count > 0) list.push(bucket, count);
    }
    return list;
  }
}
