/**
 * The samples behind the charts of one topic: for each key of the probe a track of times and, per numeric column, of
 * values, in growing typed arrays. History comes first (one block), live blocks are appended; what is older than the
 * window is let go. Memory is bounded by window × keys, and by `maxSamples` per track.
 *
 * Invariants
 * 1. Times of a track ascend strictly: a sample at or before the last is ignored (snapshot and history overlap).
 * 2. NaN is NULL. A missing sample is no sample: charts draw a gap, never a line over it.
 * 3. A gap is a distance beyond two and a half intervals that its neighbours do not have as well: a probe that ran less
 *    often for a while (set so, or slowed down by its budget) has no gaps.
 */
import type { Block } from './blocks.js';

const maxSamples = 20_000;

export interface Track {
  readonly key: string;
  /** Key columns by name, as text. */
  readonly labels: Readonly<Record<string, string>>;
  length: number;
  /** Seconds since 1970. */
  times: Float64Array;
  readonly values: Map<string, Float64Array>;
}

export interface SampleSet {
  readonly keyColumns: readonly string[];
  readonly numericColumns: readonly string[];
  readonly tracks: Map<string, Track>;
  /** Rows of one key alone; the rows of others are passed over. */
  readonly only: OneKey | undefined;
  /** How often the probe runs now, seconds. */
  intervalS: number;
  /** Width of the steps that history came in, seconds; 0: as recorded. */
  stepS: number;
  /** When those steps were read: the sample at this moment is from up to an interval before it. */
  readUntilS: number;
  /** Rises with every change: what charts watch. */
  version: number;
}

/** One value of a key column. */
export interface OneKey {
  readonly column: string;
  readonly value: string;
}

export function createSampleSet(
  keyColumns: readonly string[],
  numericColumns: readonly string[],
  only?: OneKey,
): SampleSet {
  return {
    keyColumns,
    numericColumns,
    tracks: new Map(),
    only,
    intervalS: 1,
    stepS: 0,
    readUntilS: 0,
    version: 0,
  };
}

/** Samples of the longest track. */
export function longestTrack(set: SampleSet): number {
  let longest = 0;
  for (const track of set.tracks.values()) longest = Math.max(longest, track.length);
  return longest;
}

/** Is nothing known between the moments `at - 1` and `at`? */
function isGap(times: ArrayLike<number>, length: number, at: number, gapS: number): boolean {
  const distance = (times[at] as number) - (times[at - 1] as number);
  if (distance <= gapS) return false;
  const beside = [];
  if (at > 1) beside.push((times[at - 1] as number) - (times[at - 2] as number));
  if (at + 1 < length) beside.push((times[at + 1] as number) - (times[at] as number));
  return beside.length === 0 || beside.some((other) => Math.abs(other - distance) > distance / 4);
}

function grow(old: Float64Array): Float64Array {
  const larger = new Float64Array(Math.max(64, old.length * 2));
  larger.set(old);
  return larger;
}

function trackOf(set: SampleSet, labels: Record<string, string>): Track {
  const key = set.keyColumns.map((name) => labels[name]).join('\u0000');
  let track = set.tracks.get(key);
  if (track === undefined) {
    track = { key, labels, length: 0, times: new Float64Array(64), values: new Map() };
    for (const column of set.numericColumns) track.values.set(column, new Float64Array(64));
    set.tracks.set(key, track);
  }
  return track;
}

/**
 * Adds a block's rows.
 * @param timeColumn name of the column with each row's time (history); absent: the block's own time (live)
 * @param untilS where history came in steps, the moment it was read. Its rows name the begin of their step and hold what was
 *   at its end (a counter's value) or over it (an average): they stand at the end, the step that goes on at `untilS`. Else
 *   the last rate would be that of a part of a step over a whole one.
 */
export function addBlock(set: SampleSet, block: Block, timeColumn?: string, untilS = 0): void {
  const keys = set.keyColumns.map((name) => [name, block.column(name)] as const);
  const numbers = set.numericColumns.map((name) => [name, block.column(name)] as const);
  const times = timeColumn === undefined ? undefined : block.column(timeColumn);
  const rows = block.rows - block.tombstones;
  if (times !== undefined) set.readUntilS = set.stepS > 0 ? untilS : 0;
  for (let row = 0; row < rows; row += 1) {
    let time = times === undefined ? block.recordedAtUs / 1e6 : times.number(row) / 1e6;
    if (times !== undefined && set.stepS > 0) time = Math.max(time, Math.min(time + set.stepS, untilS));
    const labels: Record<string, string> = {};
    for (const [name, column] of keys) labels[name] = column?.text(row) ?? '';
    if (set.only !== undefined && labels[set.only.column] !== set.only.value) continue;
    const track = trackOf(set, labels);
    if (track.length > 0 && time <= (track.times[track.length - 1] as number)) continue;
    if (track.length === track.times.length) {
      track.times = grow(track.times);
      for (const [name, values] of track.values) track.values.set(name, grow(values));
    }
    track.times[track.length] = time;
    for (const [name, column] of numbers) {
      (track.values.get(name) as Float64Array)[track.length] = column?.number(row) ?? Number.NaN;
    }
    track.length += 1;
  }
  set.version += 1;
}

/** Lets go of samples before `fromS` (one is kept, so that a line may enter the window from the left). */
export function trim(set: SampleSet, fromS: number): void {
  for (const [key, track] of set.tracks) {
    let drop = Math.max(0, track.length - maxSamples);
    while (drop < track.length - 1 && (track.times[drop + 1] as number) < fromS) drop += 1;
    if (track.length > 0 && (track.times[track.length - 1] as number) < fromS - 60) {
      set.tracks.delete(key);
      continue;
    }
    // Moving everything for a sample or two would cost more than it frees.
    if (drop < 64) continue;
    track.times.copyWithin(0, drop, track.length);
    for (const values of track.values.values()) values.copyWithin(0, drop, track.length);
    track.length -= drop;
  }
}

export type Transform = 'value' | 'rate';
export type Combine = 'sum' | 'avg' | 'max';

export interface SeriesRequest {
  readonly column: string;
  /** A counter is drawn as its rate per second. */
  readonly transform: Transform;
  /** Which tracks; absent: all. */
  readonly where?: (labels: Readonly<Record<string, string>>) => boolean;
  /** How tracks of one moment become one value. */
  readonly combine: Combine;
  /** Multiplies the result, for example −1 to draw downwards. */
  readonly factor?: number;
}

/**
 * Several series on one common time axis, as uPlot wants them: [times, values…], null where there is no value and one
 * extra null moment inside each gap, so that no line is drawn across it.
 * A rate over a counter that went back (a reset) is unknown, never negative.
 */
export function alignSeries(
  set: SampleSet,
  requests: readonly SeriesRequest[],
  fromS: number,
  toS: number,
): [number[], ...(number | null)[][]] {
  const moments = new Map<number, (number | null)[]>();
  const counts = new Map<number, number[]>();
  /** Moments with a sample, also where it has no value (the first of a rate). */
  const seen = new Set<number>();
  const gapS = Math.max(set.intervalS, set.stepS, 1) * 2.5;
  for (const track of set.tracks.values()) {
    requests.forEach((request, at) => {
      if (request.where !== undefined && !request.where(track.labels)) return;
      const values = track.values.get(request.column);
      if (values === undefined) return;
      for (let index = 0; index < track.length; index += 1) {
        const time = track.times[index] as number;
        if (time < fromS || time > toS) continue;
        seen.add(time);
        let value = values[index] as number;
        if (request.transform === 'rate') {
          if (index === 0) continue;
          const before = track.times[index - 1] as number;
          const seconds = time - before;
          const moved = value - (values[index - 1] as number);
          const isAtSeam = time === set.readUntilS || before === set.readUntilS;
          const isUnknown =
            moved < 0 ||
            (isAtSeam && seconds < 2 * set.intervalS) ||
            isGap(track.times, track.length, index, gapS);
          value = isUnknown ? Number.NaN : moved / seconds;
        }
        if (Number.isNaN(value)) continue;
        value *= request.factor ?? 1;
        let slot = moments.get(time);
        if (slot === undefined) {
          slot = new Array<number | null>(requests.length).fill(null);
          moments.set(time, slot);
          counts.set(time, new Array<number>(requests.length).fill(0));
        }
        const count = counts.get(time) as number[];
        const old = slot[at] ?? null;
        count[at] = (count[at] as number) + 1;
        if (old === null) slot[at] = value;
        else if (request.combine === 'max') slot[at] = Math.max(old, value);
        else slot[at] = old + value;
      }
    });
  }
  const times = [...moments.keys()].sort((a, b) => a - b);
  const axis: number[] = [];
  const columns: (number | null)[][] = requests.map(() => []);
  const sampled = [...seen].sort((a, b) => a - b);
  let next = 0;
  for (const [at, time] of times.entries()) {
    let gap = false;
    for (; next < sampled.length && (sampled[next] as number) <= time; next += 1) {
      if (next > 0 && isGap(sampled, sampled.length, next, gapS)) gap = true;
    }
    if (gap && at > 0) {
      axis.push(((times[at - 1] as number) + time) / 2);
      for (const column of columns) column.push(null);
    }
    axis.push(time);
    const slot = moments.get(time) as (number | null)[];
    const count = counts.get(time) as number[];
    requests.forEach((request, at) => {
      const value = slot[at] ?? null;
      (columns[at] as (number | null)[]).push(
        value !== null && request.combine === 'avg' ? value / (count[at] as number) : value,
      );
    });
  }
  return [axis, ...columns];
}
