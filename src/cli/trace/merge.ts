/**
 * All slots of a trace as one stream of rows in the order of end times. In: a store. Out: text, handed to a writer as it grows.
 * Rows of a slot are in that order already, so one piece of each slot at a time is enough: memory is bounded by pieces of
 * 16 KiB to 1 MiB, 64 MiB of them together, or one for each slot where there are very many.
 */
import { csvHeader, type TraceFilter, traceRows } from '../../../native/index.js';
import { errorText } from '../../base/errors.js';
import type { Done } from './progress.js';
import type { TraceFile, TraceStore } from './store.js';

export interface ExportOptions {
  readonly filter: TraceFilter;
  readonly json: boolean;
  /** None: all. */
  readonly columns: readonly string[];
  readonly limit: number;
  /** Told on the way. */
  readonly done: { -readonly [Key in keyof Done]: Done[Key] };
  write(text: Buffer): Promise<void>;
}

export interface Exported {
  rows: number;
  bytes: number;
  damaged: number;
  faults: string[];
}

const allPieces = 64 << 20;
const leastPiece = 16 << 10;
const mostPiece = 1 << 20;
const longestRowBytes = 64 << 20;
const writeBytes = 256 << 10;

/** A slot's rows, a piece at a time. */
class Lane {
  times: Float64Array = new Float64Array(0);
  at = 0;
  #ends: Uint32Array = new Uint32Array(0);
  #text: Buffer = Buffer.alloc(0);
  #files: TraceFile[];
  #header: Buffer | undefined;
  #from = 0;

  constructor(
    readonly store: TraceStore,
    files: readonly TraceFile[],
    readonly options: ExportOptions,
    readonly pieceBytes: number,
    readonly made: Exported,
  ) {
    this.#files = [...files];
  }

  get time(): number {
    return this.times[this.at] ?? Number.POSITIVE_INFINITY;
  }

  /** Takes rows from here on while their time is no later than `until`; at least one, at most `most`. */
  take(until: number, most: number): { text: Buffer; rows: number } {
    const first = this.at;
    do this.at += 1;
    while (this.at < this.times.length && this.at - first < most && (this.times[this.at] as number) <= until);
    const begin = first === 0 ? 0 : (this.#ends[first - 1] as number);
    return { text: this.#text.subarray(begin, this.#ends[this.at - 1]), rows: this.at - first };
  }

  /** The next piece that has rows; false: the slot has no more. */
  async fill(): Promise<boolean> {
    let ask = this.pieceBytes;
    for (;;) {
      const file = this.#files[0];
      if (file === undefined) return false;
      const bytes = await this.#read(file, ask);
      if (bytes === undefined || bytes.length === 0) {
        this.#nextFile();
        continue;
      }
      const header = this.#header;
      if (header === undefined) {
        this.#header = this.#headerOf(file, bytes);
        if (this.#header === undefined) this.#nextFile();
        else this.#from = this.#header.length;
        continue;
      }
      const found = await traceRows(
        [{ bytes, header, fromBytes: this.#from, end: file.slot < 0 && bytes.length < ask }],
        {
          filter: this.options.filter,
          json: this.options.json,
          ...(this.options.columns.length > 0 ? { columns: this.options.columns } : {}),
        },
      );
      this.made.damaged += found.badRows;
      for (const fault of found.faults) this.made.faults.push(`${file.label}: ${fault.message}`);
      const used = found.used[0] ?? 0;
      this.#from += used;
      this.options.done.bytes += used;
      this.options.done.rows += found.read;
      if (used === 0 && bytes.length >= ask && ask < longestRowBytes) ask *= 4;
      else if (used === 0) {
        this.made.faults.push(
          `${file.label}: byte ${this.#from}: ${bytes.length} bytes of a last row that is not whole`,
        );
        this.#nextFile();
      }
      if (found.ends.length === 0) continue;
      this.times = monotonic(found.times);
      this.#ends = found.ends;
      this.#text = found.bytes;
      this.at = 0;
      return true;
    }
  }

  async #read(file: TraceFile, ask: number): Promise<Buffer | undefined> {
    try {
      return await this.store.read(
        file,
        this.#from,
        this.#header === undefined ? Math.max(ask, 64 << 10) : ask,
      );
    } catch (error) {
      this.made.faults.push(`${file.label}: ${errorText(error)}`);
      return undefined;
    }
  }

  #headerOf(file: TraceFile, bytes: Buffer): Buffer | undefined {
    try {
      const header = csvHeader(bytes);
      if (header === undefined) this.made.faults.push(`${file.label}: the header line is not whole`);
      return header;
    } catch (error) {
      this.made.faults.push(`${file.label}: no trace file: ${errorText(error)}`);
      return undefined;
    }
  }

  #nextFile(): void {
    this.#files.shift();
    this.#header = undefined;
    this.#from = 0;
  }
}

/** Rows whose time is not known, or a little earlier than the one before (a clock that was set), stay where they are. */
function monotonic(times: Float64Array): Float64Array {
  let last = Number.NEGATIVE_INFINITY;
  return times.map((time) => {
    if (time > last) last = time;
    return last;
  });
}

export async function exportRows(store: TraceStore, options: ExportOptions): Promise<Exported> {
  const files = await store.list();
  const made: Exported = { rows: 0, bytes: 0, damaged: 0, faults: [] };
  for (const { file, problem } of store.problems) made.faults.push(`${file}: ${problem}`);
  // Files that are not the profiler's have no slot: each is a lane of its own.
  const slots = new Map<number | string, TraceFile[]>();
  for (const file of files) {
    const key = file.slot < 0 ? file.label : file.slot;
    slots.set(key, [...(slots.get(key) ?? []), file]);
  }
  const piece = Math.min(mostPiece, Math.max(leastPiece, Math.floor(allPieces / Math.max(1, slots.size))));
  const lanes: Lane[] = [];
  for (const list of slots.values()) {
    const lane = new Lane(store, list, options, piece, made);
    if (await lane.fill()) lanes.push(lane);
  }
  const out = new Writer(options, made);
  if (!options.json) await out.header(options.columns);
  const heap = new Heap(lanes);
  while (made.rows < options.limit) {
    const lane = heap.first();
    if (lane === undefined) break;
    const { text, rows } = lane.take(heap.second(), options.limit - made.rows);
    made.rows += rows;
    await out.add(text);
    if (lane.at < lane.times.length || (await lane.fill())) heap.sink();
    else heap.drop();
  }
  await out.flush();
  return made;
}

/** Small writes gathered. */
class Writer {
  readonly #options: ExportOptions;
  readonly #made: Exported;
  #parts: Buffer[] = [];
  #bytes = 0;

  constructor(options: ExportOptions, made: Exported) {
    this.#options = options;
    this.#made = made;
  }

  async header(columns: readonly string[]): Promise<void> {
    const { bytes } = await traceRows([], {
      json: false,
      header: true,
      ...(columns.length > 0 ? { columns } : {}),
    });
    await this.add(bytes);
  }

  async add(text: Buffer): Promise<void> {
    this.#parts.push(text);
    this.#bytes += text.length;
    this.#made.bytes += text.length;
    if (this.#bytes >= writeBytes) await this.flush();
  }

  async flush(): Promise<void> {
    const text = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    if (text.length > 0) await this.#options.write(text);
  }
}

/** Lanes by the time of their next row, the earliest first. */
class Heap {
  readonly #lanes: Lane[];

  constructor(lanes: Lane[]) {
    this.#lanes = lanes.sort((a, b) => a.time - b.time);
  }

  first(): Lane | undefined {
    return this.#lanes[0];
  }

  /** The time of the earliest row of all other lanes. */
  second(): number {
    return Math.min(
      this.#lanes[1]?.time ?? Number.POSITIVE_INFINITY,
      this.#lanes[2]?.time ?? Number.POSITIVE_INFINITY,
    );
  }

  drop(): void {
    const last = this.#lanes.pop();
    if (last === undefined || this.#lanes.length === 0) return;
    this.#lanes[0] = last;
    this.sink();
  }

  /** The first one's time has grown. */
  sink(): void {
    const lanes = this.#lanes;
    const moved = lanes[0];
    if (moved === undefined) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= lanes.length) break;
      if (child + 1 < lanes.length && (lanes[child + 1] as Lane).time < (lanes[child] as Lane).time)
        child += 1;
      if ((lanes[child] as Lane).time >= moved.time) break;
      lanes[at] = lanes[child] as Lane;
      at = child;
    }
    lanes[at] = moved;
  }
}
