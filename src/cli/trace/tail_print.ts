/**
 * Rows of a followed trace -> lines for a terminal, or JSON. In: pieces of CSV. Out: whole lines, those of one look in the order
 * of their end times. Filtering is native's, and only what passes becomes an object.
 */
import { type TraceFilter, traceRows } from '../../../native/index.js';
import type { Followed, Follower } from './follow.js';
import { clip, count, duration, instant, pad, printable } from './format.js';
import type { TraceRow } from './scan.js';

export interface PrinterOptions {
  readonly filter: TraceFilter;
  readonly json: boolean;
  readonly wide: boolean;
  /** false: wait for drained() before more. */
  write(text: string | Buffer): boolean;
  drained(): Promise<void>;
  /** Of the terminal; undefined: it is none, lines are whole. */
  columns(): number | undefined;
  readonly colours: boolean;
  note(text: string): void;
}

const shownColumns = [
  'end_time',
  'exec_us',
  'level',
  'pid',
  'database',
  'username',
  'tag',
  'rows',
  'sqlstate',
  'error',
  'flags',
  'query',
];
const shownTextBytes = 16 << 10;

export class Printer {
  readonly #options: PrinterOptions;

  constructor(options: PrinterOptions) {
    this.#options = options;
  }

  /** All that the follower has. False: it took longer than `mostMs`, and there is more. */
  async print(follower: Follower, signal: AbortSignal, mostMs: number): Promise<boolean> {
    const from = performance.now();
    while (!signal.aborted) {
      const pieces = await follower.pieces();
      if (pieces.length === 0) return true;
      if (performance.now() - from > mostMs) return false;
      await this.#printPieces(follower, pieces);
    }
    return true;
  }

  async #printPieces(follower: Follower, pieces: readonly Followed[]): Promise<void> {
    const { json, wide, filter } = this.#options;
    const made = await traceRows(
      pieces.map(({ piece }) => piece),
      {
        filter,
        ...(json ? {} : { columns: shownColumns }),
        ...(json || wide ? {} : { maxTextBytes: shownTextBytes }),
      },
    );
    const order = orderByTime(made.times);
    const row = (i: number): Buffer => made.bytes.subarray(i === 0 ? 0 : made.ends[i - 1], made.ends[i]);
    if (order.length > 0) {
      const out = json
        ? Buffer.concat(Array.from(order, row))
        : Array.from(order, (i) => this.#line(JSON.parse(row(i).toString()) as TraceRow)).join('');
      if (!this.#options.write(out)) await this.#options.drained();
    }
    for (const fault of made.faults)
      this.#options.note(`slot ${pieces[fault.piece]?.slot}: ${fault.message}; left out`);
    pieces.forEach((piece, i) => {
      follower.advance(piece, made.used[i] ?? 0);
    });
  }

  #line(row: TraceRow): string {
    const { wide, colours } = this.#options;
    const columns = this.#options.columns();
    const endUs = row.end_time === undefined ? undefined : Date.parse(row.end_time) * 1000;
    const micros = row.end_time?.slice(20, 26) ?? '';
    const time = endUs === undefined ? ' '.repeat(15) : `${instant(endUs).slice(11)}.${micros}`;
    const took = row.exec_us === undefined ? '–' : duration(row.exec_us);
    const slow = (row.exec_us ?? 0) >= 1_000_000;
    const who = `${row.username ?? '–'}@${row.database ?? '–'}`;
    const what =
      row.sqlstate === undefined
        ? `${count(row.rows ?? 0)} rows`
        : `${row.sqlstate} ${printable(row.error ?? '')}`;
    const text = printable(row.query ?? row.tag ?? '');
    const nested = (row.level ?? 0) > 0 ? `${'  '.repeat(Math.min(8, row.level ?? 0))}↳ ` : '';
    const head = `${time}  ${pad(took, 7, true)}  ${String(row.pid ?? '').padStart(7)}  ${printable(who)}  `;
    const whole = `${head}${nested}${text}  [${what}]`;
    // The error is what one looks for: it goes before the text where the line ends early.
    const line =
      columns === undefined || wide
        ? whole
        : clip(row.sqlstate === undefined ? whole : `${head}${nested}[${what}]  ${text}`, columns);
    if (!colours) return `${line}\n`;
    if (row.sqlstate !== undefined) return `\u001b[31m${line}\u001b[0m\n`;
    return slow ? `\u001b[33m${line}\u001b[0m\n` : `${line}\n`;
  }
}

/** Numbers of rows by their end times; rows without one stay where they are among their neighbours. */
function orderByTime(times: Float64Array): Uint32Array {
  const order = new Uint32Array(times.length);
  let sorted = true;
  let last = Number.NEGATIVE_INFINITY;
  const keys = times.map((time) => {
    if (time < last) sorted = false;
    else if (!Number.isNaN(time)) last = time;
    return Number.isNaN(time) ? last : time;
  });
  for (let i = 0; i < order.length; i++) order[i] = i;
  return sorted ? order : order.sort((a, b) => (keys[a] as number) - (keys[b] as number) || a - b);
}
