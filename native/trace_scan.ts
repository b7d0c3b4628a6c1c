/**
 * Whole traces: files -> what a report tells (TraceScan), and rows as text for tail and export (traceRows). The work is done
 * in the addon (addon/trace_*), off the main thread; here are its types and coded errors.
 *
 * Buffers handed in are read while a promise is open and must not be written meanwhile. Numbers of 64 bits that may be beyond
 * 2^53 (query ids, fingerprints) are text; sums beyond it lose their last digits.
 */
import type { TraceKind } from '../src/wire/trace.js';
import { loadAddon } from './addon.js';
import { call, callAsync } from './codec.js';
import type { CsvFault, CsvOptions, CsvPiece } from './csv.js';

/** Which rows; what is left out or empty lets all pass. */
export interface TraceFilter {
  /** End time, µs since 1970 UTC: from, and up to but not including. */
  readonly fromUs?: number;
  readonly toUs?: number;
  /** Least execution time, µs. */
  readonly minUs?: number;
  readonly databases?: readonly string[];
  readonly users?: readonly string[];
  readonly applications?: readonly string[];
  readonly clients?: readonly string[];
  /** Told from the tag. */
  readonly kinds?: readonly TraceKind[];
  /** Failed statements alone. */
  readonly errors?: boolean;
  /** No nested statements. */
  readonly top?: boolean;
  /** An extended regular expression (POSIX, any case) that text or error must match. */
  readonly pattern?: string;
}

export interface TraceScanOptions {
  readonly filter?: TraceFilter;
  /** Statements remembered, 1 to 65,536; default 8,192. */
  readonly entries?: number;
  /** Names of each kind remembered; default 256. */
  readonly names?: number;
  /** Slowest calls kept of each statement, 0 to 16; default 3. */
  readonly samples?: number;
  /** Slowest calls kept of all; default 20. */
  readonly slowest?: number;
  /** Spans of the time line, a power of two to 4,096; default 512. */
  readonly spans?: number;
}

/** A file up to a byte and what is behind it in a ring, or bytes alone. Files of a slot come in their order. */
export interface TraceSource {
  /** The caller's number for it, by which places name it. */
  readonly file: number;
  readonly path?: string;
  /** Bytes of the file that are rows; default all. */
  readonly to?: number;
  /** Bytes behind `to`; without a path all there is. */
  readonly tail?: Buffer;
  /** Without a path: the file's header line where tail does not begin with it, and where tail begins in its file. */
  readonly header?: Buffer;
  readonly from?: number;
  /** The last row needs no line end. */
  readonly complete?: boolean;
  /** Line numbers are the profiler's, so that gaps are lost rows; default true. */
  readonly lines?: boolean;
}

export interface TraceAdded {
  /** Bytes read, and of them header and rows: the rest is a row that was not whole. */
  bytes: number;
  used: number;
  /** Whole and sound. */
  rows: number;
  /** Damaged and left out; the first of them. */
  badRows: number;
  badAt?: number;
  bad?: string;
  /** Why the file was not read to its end, or not at all. */
  failure?: string;
  failureAt?: number;
  unknownColumns: number;
}

/** Columns that are summed; one that no row knew is not there. */
export type TraceSums = Partial<Record<TraceSum, number>>;
export type TraceSum =
  | 'elapsed_us'
  | 'plan_us'
  | 'rows'
  | `shared_${'hit' | 'read' | 'dirtied' | 'written'}`
  | `local_${'hit' | 'read' | 'dirtied' | 'written'}`
  | `temp_${'read' | 'written'}`
  | `${'shared' | 'local' | 'temp'}_${'read' | 'write'}_us`
  | `wal_${'records' | 'fpi' | 'bytes'}`
  | 'jit_us'
  | 'cpu_user_us'
  | 'cpu_system_us';

/** What calls come to. Times are µs; timed: calls whose execution time is known, of which the times are. */
export interface TraceValues {
  calls: number;
  timed: number;
  planned: number;
  errors: number;
  cancelled: number;
  exec_us: number;
  min_us: number;
  max_us: number;
  first_us: number | null;
  last_us: number | null;
  sums: TraceSums;
}

export interface TraceQuantiles {
  p50_us: number;
  p90_us: number;
  p95_us: number;
  p99_us: number;
}

/** [least µs, width in µs, calls] */
export type TraceBucket = [number, number, number];

/** Where a call stands: in the caller's file, bytes. */
export interface TracePlace {
  file: number;
  offset: number;
  exec_us: number;
  end_us: number | null;
  pid: number;
}

export const traceMeasures = [
  'total',
  'calls',
  'mean',
  'max',
  'p95',
  'p99',
  'rows',
  'reads',
  'temp_written',
  'wal',
  'errors',
  'plan',
] as const;
export type TraceMeasure = (typeof traceMeasures)[number];

export interface TraceStatement extends TraceValues, TraceQuantiles {
  /** The server's query id in decimal, or the text's fingerprint in hexadecimal digits. */
  key: string;
  query_id: boolean;
  nested: boolean;
  database: string | null;
  user: string | null;
  tag: string | null;
  /** Normal form. */
  text: string;
  text_cut: boolean;
  buckets: TraceBucket[];
  /** At most this much of it was counted under "others". */
  missed_calls: number;
  missed_us: number;
  /** SQLSTATE of its latest error. */
  state: string;
  /** Its place by each measure in whose first ones it is, from 1. */
  ranks: Partial<Record<TraceMeasure, number>>;
  samples: TracePlace[];
}

export interface TraceSpan extends TraceQuantiles {
  calls: number;
  nested: number;
  errors: number;
  exec_us: number;
  max_us: number;
  rows: number;
  blocks_read: number;
  wal_bytes: number;
}

export interface TraceGroup extends TraceSpan {
  name: string | null;
}

export const traceDimensions = ['database', 'user', 'application', 'client', 'tag'] as const;
export type TraceDimension = (typeof traceDimensions)[number];

export interface TraceResult {
  rows: {
    read: number;
    picked: number;
    /** Rows of parallel workers, which are contained in their leaders'. */
    workers: number;
    counted: number;
    bytes: number;
    bad_text: number;
    cut_values: number;
    masked: number;
    cut_by_server: number;
    bad_values: number;
    outside_line: number;
    names_lost: number;
    texts_cut: number;
    first_us: number | null;
    last_us: number | null;
  };
  /** How exact the statements are: replaced ones went to "others"; one that is not there has at most missed_*. */
  table: { statements: number; most: number; replaced: number; missed_calls: number; missed_us: number };
  /** Statements that no other called. */
  top: TraceValues & TraceQuantiles & { buckets: TraceBucket[] };
  nested: TraceValues;
  others: (TraceValues & TraceQuantiles & { nested: boolean })[];
  /** Those in the first ones of any measure, most time first. */
  statements: TraceStatement[];
  line: { first_us: number; span_us: number; spans: (TraceSpan | null)[] };
  groups: Record<TraceDimension, { dropped: number; groups: TraceGroup[] }>;
  errors: {
    state: string;
    errors: number;
    cancelled: number;
    first_us: number | null;
    last_us: number | null;
    message: string;
    samples: TracePlace[];
  }[];
  slowest: TracePlace[];
  lines: {
    trace: number;
    slot: number;
    rows: number;
    first: number;
    last: number;
    lost: number;
    backwards: number;
  }[];
}

export interface TraceRowsOptions extends Pick<CsvOptions, 'columns' | 'maxTextBytes'> {
  readonly filter?: TraceFilter;
  /** true (default): JSON, one object a line. false: CSV in the trace's form, UTF-8. */
  readonly json?: boolean;
  /** CSV: begin with the header line. */
  readonly header?: boolean;
  /** Most rows; used is then not to be relied on. */
  readonly maxRows?: number;
}

export interface TraceRows {
  /** The rows, each with its line end. */
  bytes: Buffer;
  /** Where each row ends in bytes, and its end time in µs since 1970 (NaN: unknown). */
  ends: Uint32Array;
  times: Float64Array;
  /** Bytes of each piece that were whole rows; how many rows there are of it and those before it. */
  used: number[];
  rowsTo: number[];
  read: number;
  badText: number;
  badRows: number;
  /** The first fault of each piece that has one. */
  faults: CsvFault[];
}

interface RawScan {
  add(source: TraceSource): Promise<TraceAdded>;
  result(top: number): Promise<string>;
  cancel(): void;
  readonly bytesDone: number;
  readonly rowsDone: number;
}

interface Addon {
  TraceScan: new (options: TraceScanOptions) => RawScan;
  traceRows(pieces: readonly CsvPiece[], options: TraceRowsOptions): Promise<TraceRows>;
}

const addon = loadAddon() as Addon;

/** Reads a trace's files once and keeps what a report needs, in bounded memory. One promise at a time. */
export class TraceScan {
  readonly #scan: RawScan;

  /** Throws PemError codec_argument. */
  constructor(options: TraceScanOptions = {}) {
    this.#scan = call(() => new addon.TraceScan(options));
  }

  /** Reads a source to its end. What is wrong with it stands in the answer; it never throws for that. */
  add(source: TraceSource): Promise<TraceAdded> {
    return callAsync(() => this.#scan.add(source));
  }

  /** @param top how many statements of each measure */
  async result(top: number): Promise<TraceResult> {
    return JSON.parse(await callAsync(() => this.#scan.result(top))) as TraceResult;
  }

  /** Ends add() at its next read. */
  cancel(): void {
    this.#scan.cancel();
  }

  /** So far, also while add() is at work. */
  get bytesDone(): number {
    return this.#scan.bytesDone;
  }

  get rowsDone(): number {
    return this.#scan.rowsDone;
  }
}

/** Rows of pieces that pass a filter, as text. Damaged rows are left out and counted. */
export function traceRows(pieces: readonly CsvPiece[], options: TraceRowsOptions = {}): Promise<TraceRows> {
  return callAsync(() => addon.traceRows(pieces, options));
}
