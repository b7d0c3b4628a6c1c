/**
 * A trace, read once from its store by native code: everything that a report is made of. In: a store and a filter. Out: the
 * scan's result, the rows that it points at (slowest calls, errors), what was wrong with files. Memory is bounded: native's own,
 * and one piece of a few MiB where the rows come over SQL.
 */
import {
  csvHeader,
  type TraceFilter,
  type TracePlace,
  type TraceResult,
  TraceScan,
  traceRows,
} from '../../../native/index.js';
import { printable } from './format.js';
import { type Done, Progress } from './progress.js';
import type { TraceFile, TraceProblem, TraceStore } from './store.js';

/** A row as traceRows writes it in JSON; what is unknown is not there. */
export interface TraceRow {
  readonly end_time?: string;
  readonly exec_us?: number;
  readonly level?: number;
  readonly pid?: number;
  readonly line?: number;
  readonly slot?: number;
  readonly database?: string;
  readonly username?: string;
  readonly application?: string;
  readonly client?: string;
  readonly tag?: string;
  readonly rows?: number;
  readonly plan_us?: number;
  readonly sqlstate?: string;
  readonly error?: string;
  readonly flags?: number;
  readonly query?: string;
  readonly params?: string;
  readonly plan?: string;
  readonly [column: string]: string | number | undefined;
}

export interface Scanned {
  readonly result: TraceResult;
  readonly files: readonly TraceFile[];
  readonly problems: readonly TraceProblem[];
  /** Rows of result's places, by placeKey. */
  readonly rows: ReadonlyMap<string, TraceRow>;
  /** Rows that writers counted as lost, by slot; -1: of the whole trace. */
  readonly lostRows: ReadonlyMap<number, number>;
  /** Bytes of rows that were not whole. */
  readonly tornBytes: number;
  readonly damagedRows: number;
  readonly scanMs: number;
}

export interface ScanOptions {
  readonly filter: TraceFilter;
  /** Statements of each measure. */
  readonly top: number;
  readonly quiet: boolean;
  /** Ends the reading; what was read until then is the result. */
  readonly signal?: AbortSignal;
}

const pieceBytes = 4 << 20;
const longestRowBytes = 64 << 20;
const sampleBytes = 16 << 10;
const sampleTextBytes = 4096;
const problemsShown = 1000;

export const placeKey = (place: Pick<TracePlace, 'file' | 'offset'>): string =>
  `${place.file}:${place.offset}`;

export async function scanTrace(store: TraceStore, options: ScanOptions): Promise<Scanned> {
  const files = await store.list();
  const problems: TraceProblem[] = [...store.problems];
  const scan = new TraceScan({ filter: options.filter });
  const abort = (): void => scan.cancel();
  options.signal?.addEventListener('abort', abort, { once: true });
  const total = files.reduce((sum, file) => sum + file.bytes, 0);
  const now = (): Done => ({ bytes: scan.bytesDone, rows: scan.rowsDone });
  const progress = new Progress('reading', store.kind === 'server' ? 0 : total, now, options.quiet);
  const from = performance.now();
  const reader = new FileReader(store, scan, problems, () => options.signal?.aborted === true);
  try {
    for (const [number, file] of files.entries()) {
      if (options.signal?.aborted === true) break;
      await reader.read(file, number);
    }
  } finally {
    progress.stop();
    options.signal?.removeEventListener('abort', abort);
  }
  const scanMs = performance.now() - from;
  const result = await scan.result(options.top);
  const places = [
    ...result.slowest,
    ...result.errors.flatMap(({ samples }) => samples),
    ...result.statements.flatMap(({ samples }) => samples),
  ];
  return {
    result,
    files,
    problems: problems.slice(0, problemsShown),
    rows: await readPlaces(store, files, places),
    lostRows: await store.lostRows(),
    tornBytes: reader.tornBytes,
    damagedRows: reader.damagedRows,
    scanMs,
  };
}

class FileReader {
  tornBytes = 0;
  damagedRows = 0;

  constructor(
    readonly store: TraceStore,
    readonly scan: TraceScan,
    readonly problems: TraceProblem[],
    readonly stopped: () => boolean,
  ) {}

  async read(file: TraceFile, number: number): Promise<void> {
    const source = this.store.source(file);
    if (source === undefined) return this.#readPieces(file, number);
    const added = await this.scan.add({ file: number, ...source });
    this.#note(file, added);
    // A file that is no trace has no row that is torn.
    // One whose reading was ended has rows that were not looked at.
    if (this.stopped()) return;
    if (added.failure === undefined && added.used > 0) this.#torn(file, added.used, added.bytes - added.used);
    else if (added.failure === undefined && added.bytes > 0)
      this.problems.push({ file: file.label, offset: 0, problem: 'the header line is not whole' });
  }

  /** Over SQL: whole rows alone, a few MiB at a time. */
  async #readPieces(file: TraceFile, number: number): Promise<void> {
    let from = 0;
    let header: Buffer | undefined;
    for (;;) {
      const tail = await this.store.read(file, from, pieceBytes);
      if (tail.length === 0) return;
      const added = await this.scan.add({
        file: number,
        tail,
        from,
        ...(header === undefined ? {} : { header }),
      });
      this.#note(file, added);
      if (added.failure !== undefined || added.used === 0) return;
      header ??= csvHeader(tail);
      from += added.used;
    }
  }

  #note(file: TraceFile, added: Awaited<ReturnType<TraceScan['add']>>): void {
    const label = file.label;
    this.damagedRows += added.badRows;
    if (added.badRows > 0) {
      const more = added.badRows === 1 ? '' : ` (the first of ${added.badRows} damaged rows of this file)`;
      this.problems.push({
        file: label,
        ...(added.badAt === undefined ? {} : { offset: added.badAt }),
        problem: `${bare(added.bad ?? 'a damaged row')}${more}`,
      });
    }
    if (added.failure !== undefined) {
      const what = file.slot < 0 ? `no trace file: ${bare(added.failure)}` : bare(added.failure);
      this.problems.push({ file: label, offset: added.failureAt ?? 0, problem: what });
    }
    if (added.unknownColumns > 0)
      this.problems.push({
        file: label,
        problem: `${added.unknownColumns} columns that this version does not know were skipped`,
      });
  }

  #torn(file: TraceFile, offset: number, torn: number): void {
    if (torn === 0) return;
    this.tornBytes += torn;
    this.problems.push({
      file: file.label,
      offset,
      problem: `${torn} bytes of a last row that is not whole`,
    });
  }
}

/** The place stands beside it: "byte 123: what" → "what". */
function bare(message: string): string {
  return printable(message.replace(/^byte \d+: /, ''));
}

/** The rows at these places; those that cannot be read again (a trace that was dropped meanwhile) are left out. */
async function readPlaces(
  store: TraceStore,
  files: readonly TraceFile[],
  places: readonly TracePlace[],
): Promise<Map<string, TraceRow>> {
  const rows = new Map<string, TraceRow>();
  const headers = new Map<number, Buffer | undefined>();
  for (const place of new Map(places.map((place) => [placeKey(place), place])).values()) {
    const file = files[place.file];
    if (file === undefined) continue;
    if (!headers.has(place.file)) headers.set(place.file, await readHeader(store, file));
    const header = headers.get(place.file);
    if (header === undefined) continue;
    const row = await readRow(store, file, header, place.offset);
    if (row !== undefined) rows.set(placeKey(place), row);
  }
  return rows;
}

async function readHeader(store: TraceStore, file: TraceFile): Promise<Buffer | undefined> {
  try {
    return csvHeader(await store.read(file, 0, sampleBytes));
  } catch {
    return undefined;
  }
}

/** One row, which begins at that byte. */
async function readRow(
  store: TraceStore,
  file: TraceFile,
  header: Buffer,
  offset: number,
): Promise<TraceRow | undefined> {
  for (let max = sampleBytes; max <= longestRowBytes; max *= 8) {
    const bytes = await store.read(file, offset, max).catch(() => undefined);
    if (bytes === undefined) return undefined;
    const end = file.slot < 0 && bytes.length < max;
    const made = await traceRows([{ bytes, header, fromBytes: offset, end }], {
      maxRows: 1,
      maxTextBytes: sampleTextBytes,
    });
    const text = made.bytes.toString('utf8', 0, made.ends[0] ?? 0);
    if (text !== '') return JSON.parse(text) as TraceRow;
    if (bytes.length < max) return undefined;
  }
  return undefined;
}
