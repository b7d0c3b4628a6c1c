/**
 * The bounded aggregate of a trace's statements: CSV in, sums, extremes, histograms and samples of each normalised statement
 * out, as objects and as blocks that travel (probes sql_trace_statements and sql_trace_texts). The work is done in the addon
 * (addon/trace_aggregate*), off the main thread; here are its types and coded errors. core/AGGREGATE.md says what the bounds
 * promise and how statements are normalised.
 *
 * Buffers handed in are read while a promise is open and must not be written meanwhile. Blocks handed out belong to the
 * caller. An aggregate does one thing after the other, in the order of the calls; its memory is taken at the start.
 */
import { loadAddon } from './addon.js';
import { type BlockMeta, type ColumnSpec, call, callAsync } from './codec.js';
import type { CsvFault, CsvPiece } from './csv.js';

/** The columns of a trace file that are summed. */
export const aggregateSums = [
  'elapsed_us',
  'plan_us',
  'rows',
  'shared_hit',
  'shared_read',
  'shared_dirtied',
  'shared_written',
  'local_hit',
  'local_read',
  'local_dirtied',
  'local_written',
  'temp_read',
  'temp_written',
  'shared_read_us',
  'shared_write_us',
  'local_read_us',
  'local_write_us',
  'temp_read_us',
  'temp_write_us',
  'wal_records',
  'wal_fpi',
  'wal_bytes',
  'jit_us',
  'cpu_user_us',
  'cpu_system_us',
] as const;

export type AggregateSum = (typeof aggregateSums)[number];

/** What statements can be put in order by, greatest first. */
export type AggregateMeasure =
  | 'calls'
  | 'errors'
  | 'cancelled'
  | 'execUs'
  | 'minUs'
  | 'maxUs'
  | 'meanUs'
  | AggregateSum;

export interface AggregateOptions {
  /** Statements kept apart, 1 to 65,536; default 2,000. 1 to 7 kB each. */
  readonly entries?: number;
  /** Databases, users and command tags together; default 512. Those beyond have an empty name. */
  readonly names?: number;
  /** Of all texts together; default 1 kB for each entry. */
  readonly textBytes?: number;
  /** Of one text, 16 to 8,192; default 4,096. */
  readonly textBytesEach?: number;
  /** Slowest calls kept of each statement, 0 to 16; default 3. */
  readonly samples?: number;
  /** Spans of the time line, 0 or a power of two to 4,096; default 256. 5.5 kB each. */
  readonly spans?: number;
  /** Their first width in µs; it doubles when the line is full. Default 1 s. */
  readonly spanUs?: number;
  /** SQLSTATEs told apart, to 256; default 64. */
  readonly states?: number;
  /** What statements are known by: the server's query id where a row has one (default), or the fingerprint of all. */
  readonly key?: 'query_id' | 'fingerprint';
}

export interface AggregatePiece extends CsvPiece {
  /** The caller's number of the file, for the places of samples; default 0. */
  readonly file?: number;
}

export interface AggregateAdded {
  /** Rows that were counted. */
  rows: number;
  /** Rows of parallel workers, left out: their leaders' rows have their figures. */
  workers: number;
  /** Rows left out because they ended before fromUs (or have no time of end), or at toUs or later. */
  before: number;
  behind: number;
  /** Least and greatest time of end of all rows read, µs since 1970. */
  firstUs?: number;
  lastUs?: number;
  /** Header, rows read and bad rows skipped: of all pieces, and of each. */
  usedBytes: number;
  used: number[];
  badRows: number;
  /** The first of them. */
  firstBad?: CsvFault;
  badText: number;
  unknownColumns: string[];
  /** A piece's header is none: neither it nor the pieces behind it were read. */
  stopped?: CsvFault;
}

/** Figures of a set of calls; null: not known of any of them. Above 2^53 the last digits are lost. */
export interface AggregateValues {
  calls: number;
  /** Calls whose execution time is known; the times below are of these. */
  timed: number;
  /** Calls whose planning time is known. */
  planned: number;
  errors: number;
  /** Of the errors. */
  cancelled: number;
  execUs: number | null;
  minUs: number | null;
  maxUs: number | null;
  p50Us: number | null;
  p90Us: number | null;
  p95Us: number | null;
  p99Us: number | null;
  /** First and last end, µs since 1970. */
  firstUs: number | null;
  lastUs: number | null;
  sums: Record<AggregateSum, number | null>;
  /** Of the execution time; see histogramBuckets. */
  histogram: string;
}

/** One of a statement's slowest calls. */
export interface AggregateSample {
  execUs: number;
  endUs: number | null;
  file: number;
  /** Where its row begins in the file, bytes. */
  offset: number;
  pid: number;
  failed: boolean;
}

export interface AggregateStatement extends AggregateValues {
  database: string;
  username: string;
  /** Called by another statement, whose figures contain these. */
  nested: boolean;
  /** All that had no room: it has no text, and no fingerprint. */
  others: boolean;
  /** int8 as text; null where the statement is known by its fingerprint. */
  queryId: string | null;
  /** int8 as text; '0' for others. */
  fingerprint: string;
  tag: string;
  query: string;
  /** The normal form is longer, or the server had cut the statement. */
  queryCut: boolean;
  /** At most this much of the statement is among the others. */
  missedCalls: number;
  missedUs: number;
  /** SQLSTATE of the last error that was read, or ''. */
  lastState: string;
  samples: AggregateSample[];
}

/** Statements that no other called, in a span of time. */
export interface AggregateSpan extends AggregateValues {
  fromUs: number;
  nestedCalls: number;
}

export interface AggregateError {
  /** '': all those for which there was no room. */
  sqlstate: string;
  /** Where they began; statements they were propagated to are not counted. */
  errors: number;
  cancelled: number;
  firstUs: number | null;
  lastUs: number | null;
  /** Message and place of the first one that was read. */
  message: string;
  file: number;
  offset: number;
  pid: number;
}

export interface AggregateCounts {
  rows: number;
  statements: number;
  /** Statements whose place went to another one. */
  replaced: number;
  /** Times that a name had no room. */
  namesLost: number;
  /** Negative numbers, taken as 0. */
  badValues: number;
  /** Rows without a time, or more than 400 days from the others, which the time line leaves out. */
  outside: number;
  textsCut: number;
  /** A statement that is not there has at most this. */
  missedCalls: number;
  missedUs: number;
}

interface RawStatements {
  figures: Float64Array;
  ids: BigInt64Array;
  texts: string[];
  places: Float64Array;
  samples: number;
}

interface RawSpans {
  firstUs: number;
  widthUs: number;
  figures: Float64Array;
  nested: Float64Array;
  histograms: string[];
}

interface RawAggregate {
  add(pieces: readonly AggregatePiece[], range: { fromUs?: number; toUs?: number }): Promise<AggregateAdded>;
  merge(other: RawAggregate): void;
  reset(): void;
  statementBlocks(meta: BlockMeta, trace: number, maxBytes: number): Promise<Buffer[]>;
  textBlocks(meta: BlockMeta, fingerprints: BigInt64Array, maxBytes: number): Promise<Buffer[]>;
  fingerprints(): BigInt64Array;
  statements(by: number, limit: number): RawStatements;
  spans(): RawSpans;
  errors(): AggregateError[];
  counts(): AggregateCounts;
}

interface Addon {
  TraceAggregate: new (options: AggregateOptions) => RawAggregate;
  readonly aggregateFigures: readonly string[];
  readonly aggregateSums: readonly string[];
  readonly statementColumns: readonly ColumnSpec[];
  readonly textColumns: readonly ColumnSpec[];
  normaliseSql(sql: string, cut: boolean): { form: string; fingerprint: bigint; whole: boolean };
}

const addon = loadAddon() as Addon;

/** Columns of the blocks of statementBlocks and textBlocks: those of their probes. */
export const statementColumns: readonly ColumnSpec[] = addon.statementColumns;
export const textColumns: readonly ColumnSpec[] = addon.textColumns;

const figureAt = new Map(addon.aggregateFigures.map((name, i) => [name, i]));
const width = addon.aggregateFigures.length + addon.aggregateSums.length;
const flag = { queryId: 1, nested: 2, textCut: 4, others: 8 } as const;
const textsOfStatement = 6;
const figuresOfSample = 6;
/** The batch limit is 4 MiB: two such blocks fit. */
const defaultBlockBytes = 1_500_000;

/** One number of a row of figures by its name; null where it is not known. */
function reader(figures: Float64Array, row: number): (name: string) => number | null {
  const base = row * width;
  return (name) => {
    const value = figures[base + (figureAt.get(name) as number)] as number;
    return Number.isNaN(value) ? null : value;
  };
}

function valuesOf(figures: Float64Array, row: number, histogram: string): AggregateValues {
  const figure = reader(figures, row);
  const count = (name: string): number => figure(name) ?? 0;
  const sums = {} as Record<AggregateSum, number | null>;
  addon.aggregateSums.forEach((name, i) => {
    const value = figures[row * width + addon.aggregateFigures.length + i] as number;
    sums[name as AggregateSum] = Number.isNaN(value) ? null : value;
  });
  return {
    calls: count('calls'),
    timed: count('timed'),
    planned: count('planned'),
    errors: count('errors'),
    cancelled: count('cancelled'),
    execUs: figure('execUs'),
    minUs: figure('minUs'),
    maxUs: figure('maxUs'),
    p50Us: figure('p50Us'),
    p90Us: figure('p90Us'),
    p95Us: figure('p95Us'),
    p99Us: figure('p99Us'),
    firstUs: figure('firstUs'),
    lastUs: figure('lastUs'),
    sums,
    histogram,
  };
}

function samplesOf(raw: RawStatements, row: number): AggregateSample[] {
  const samples: AggregateSample[] = [];
  for (let i = row * raw.samples; i < (row + 1) * raw.samples; i++) {
    const [execUs, endUs, file, offset, pid, failed] = raw.places.subarray(
      i * figuresOfSample,
      (i + 1) * figuresOfSample,
    ) as unknown as [number, number, number, number, number, number];
    if (Number.isNaN(execUs)) break;
    samples.push({
      execUs,
      endUs: Number.isNaN(endUs) ? null : endUs,
      file,
      offset,
      pid,
      failed: failed === 1,
    });
  }
  return samples;
}

function statementAt(raw: RawStatements, row: number): AggregateStatement {
  const flags = raw.figures[row * width] as number;
  const figure = reader(raw.figures, row);
  const text = (i: number): string => raw.texts[row * textsOfStatement + i] as string;
  return {
    database: text(0),
    username: text(1),
    nested: (flags & flag.nested) !== 0,
    others: (flags & flag.others) !== 0,
    queryId: (flags & flag.queryId) !== 0 ? String(raw.ids[row * 2]) : null,
    fingerprint: String(raw.ids[row * 2 + 1]),
    tag: text(2),
    query: text(4),
    queryCut: (flags & flag.textCut) !== 0,
    missedCalls: figure('missedCalls') ?? 0,
    missedUs: figure('missedUs') ?? 0,
    lastState: text(3),
    samples: samplesOf(raw, row),
    ...valuesOf(raw.figures, row, text(5)),
  };
}

function orderOf(by: AggregateMeasure): number {
  const sum = addon.aggregateSums.indexOf(by);
  if (sum >= 0) return addon.aggregateFigures.length + sum;
  return by === 'meanUs' ? width : (figureAt.get(by) as number);
}

export class TraceAggregate {
  readonly #raw: RawAggregate;
  /** The end of what was asked for so far; never rejects. */
  #last: Promise<unknown> = Promise.resolve();

  /** Throws PemError codec_argument. */
  constructor(options: AggregateOptions = {}) {
    this.#raw = call(() => new addon.TraceAggregate(options));
  }

  #next<T>(work: () => T | Promise<T>, before: Promise<unknown> = this.#last): Promise<T> {
    const done = before.then(() => callAsync(async () => work()));
    this.#last = done.catch(() => undefined);
    return done;
  }

  /**
   * Counts the rows of pieces whose time of end lies in the range (fromUs up to but not including toUs, µs since 1970; default
   * all). Bad rows are left out and counted. A piece that has rows of several intervals is given to the aggregate of each.
   * Throws PemError codec_argument.
   */
  add(
    pieces: AggregatePiece | readonly AggregatePiece[],
    range: { fromUs?: number; toUs?: number } = {},
  ): Promise<AggregateAdded> {
    const list = 'bytes' in pieces ? [pieces] : pieces;
    return this.#next(() => this.#raw.add(list, range));
  }

  /** Adds all that another aggregate has, with its bounds of error; that one stays as it is. Throws codec_argument. */
  merge(other: TraceAggregate): Promise<void> {
    const done = this.#next(() => this.#raw.merge(other.#raw), Promise.all([this.#last, other.#last]));
    other.#last = this.#last;
    return done;
  }

  /** Forgets all rows: the same memory serves the next interval. */
  reset(): Promise<void> {
    return this.#next(() => this.#raw.reset());
  }

  /**
   * Everything as blocks of statementColumns, of at most about maxBytes each; no blocks where there were no rows. Rows that
   * had no room are in rows of fingerprint 0.
   * @param trace number of the trace on its server
   */
  statementBlocks(meta: BlockMeta, trace: number, maxBytes = defaultBlockBytes): Promise<Buffer[]> {
    return this.#next(() => this.#raw.statementBlocks(meta, trace, maxBytes));
  }

  /** The texts of some fingerprints (those of them that are here, once each) as blocks of textColumns. */
  textBlocks(
    meta: BlockMeta,
    fingerprints: Iterable<bigint>,
    maxBytes = defaultBlockBytes,
  ): Promise<Buffer[]> {
    const wanted = BigInt64Array.from(fingerprints);
    return this.#next(() => this.#raw.textBlocks(meta, wanted, maxBytes));
  }

  /** Of all statements, in no order; a statement of several users comes several times. */
  fingerprints(): Promise<BigInt64Array> {
    return this.#next(() => this.#raw.fingerprints());
  }

  /** The first statements by a measure, and behind them the others where there are some (one not nested, one nested). */
  statements(options: { by?: AggregateMeasure; limit?: number } = {}): Promise<AggregateStatement[]> {
    return this.#next(() => {
      const raw = this.#raw.statements(orderOf(options.by ?? 'execUs'), options.limit ?? 0xffffffff);
      return Array.from({ length: raw.figures.length / width }, (_, row) => statementAt(raw, row));
    });
  }

  /** Spans of one width from the first that has a row to the last. */
  timeLine(): Promise<{ widthUs: number; spans: AggregateSpan[] }> {
    return this.#next(() => {
      const { firstUs, widthUs, figures, nested, histograms } = this.#raw.spans();
      const spans = histograms.map((histogram, row) => ({
        fromUs: firstUs + row * widthUs,
        nestedCalls: nested[row] as number,
        ...valuesOf(figures, row, histogram),
      }));
      return { widthUs, spans };
    });
  }

  /** Errors by SQLSTATE, in the order in which they were first seen. */
  errors(): Promise<AggregateError[]> {
    return this.#next(() => this.#raw.errors());
  }

  counts(): Promise<AggregateCounts> {
    return this.#next(() => this.#raw.counts());
  }
}

/** Times of at least lowUs and less than lowUs + widthUs. */
export interface HistogramBucket {
  readonly lowUs: number;
  readonly widthUs: number;
  readonly count: number;
}

/** The buckets of a histogram's text form that have something, ascending. undefined: it is none of this version. */
export function histogramBuckets(text: string): HistogramBucket[] | undefined {
  if (!/^1( \d+(:\d+)?)*$/.test(text)) return undefined;
  const buckets: HistogramBucket[] = [];
  let bucket = 0;
  for (const item of text.split(' ').slice(1)) {
    const [gap, count] = item.split(':');
    bucket += Number(gap);
    if (bucket >= 640) return undefined;
    const widthUs = bucket < 32 ? 1 : 2 ** (Math.floor(bucket / 16) - 1);
    const lowUs = bucket < 32 ? bucket : ((bucket % 16) + 16) * widthUs;
    buckets.push({ lowUs, widthUs, count: Number(count ?? 1) });
  }
  return buckets;
}

/**
 * The normal form of a statement (at most 8 kB of it) and its fingerprint as int8.
 * @param cut the statement goes on where the text ends
 */
export function normaliseSql(
  sql: string,
  cut = false,
): { form: string; fingerprint: bigint; whole: boolean } {
  return call(() => addon.normaliseSql(sql, cut));
}
