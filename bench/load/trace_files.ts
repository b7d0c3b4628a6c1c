/**
 * Trace files as the profiler writes them, for benchmarks: about 300 bytes a row, a number of slots that take turns in time.
 * In: how many rows of which texts. Out: files in a folder of the caller's, who removes it.
 *
 * - prepared: a few dozen texts with parameters and the server's query id (pgbench's scripts and some longer ones)
 * - literals: every text another one by its literals, no query id (compute_query_id off): each must be normalised
 * - distinct: every text another statement, no query id: the table of statements is always full
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { csvColumns } from '../../native/index.js';

export type TraceTexts = 'prepared' | 'literals' | 'distinct';

export interface TraceFilesOptions {
  readonly rows: number;
  readonly texts: TraceTexts;
  readonly slots?: number;
  readonly progress?: (rows: number) => void;
}

const firstUs = 1_790_000_000_000_000;
/** Few enough that their strings die young. */
const rowsPerPiece = 200;
const writeBytes = 1 << 20;

/** mulberry32, as whole numbers. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}

interface Kind {
  readonly tag: string;
  readonly us: number;
  readonly hit: number;
  readonly wal: number;
  text(a: number, b: number): string;
}

const shapes: readonly Kind[] = [
  {
    tag: 'SELECT',
    us: 30,
    hit: 4,
    wal: 0,
    text: (a, b) => `SELECT abalance FROM pgbench_accounts WHERE aid = ${a} AND bid = ${b}`,
  },
  {
    tag: 'UPDATE',
    us: 90,
    hit: 7,
    wal: 71,
    text: (a, b) => `UPDATE pgbench_accounts SET abalance = abalance + ${b} WHERE aid = ${a}`,
  },
  {
    tag: 'UPDATE',
    us: 60,
    hit: 3,
    wal: 70,
    text: (a, b) => `UPDATE pgbench_tellers SET tbalance = tbalance + ${b} WHERE tid = ${a}`,
  },
  {
    tag: 'INSERT',
    us: 45,
    hit: 1,
    wal: 79,
    text: (a, b) =>
      `INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (${a}, ${b}, ${a}, ${b}, CURRENT_TIMESTAMP)`,
  },
  {
    tag: 'SELECT',
    us: 400,
    hit: 60,
    wal: 0,
    text: (a, b) =>
      `SELECT o.id, o.placed_at, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE c.id = ${a} AND o.state = 'open' ORDER BY o.placed_at DESC LIMIT ${b}`,
  },
  { tag: 'BEGIN', us: 1, hit: 0, wal: 0, text: () => 'BEGIN' },
  { tag: 'COMMIT', us: 300, hit: 0, wal: 34, text: () => 'END' },
];

const preparedTexts = shapes.map((kind) => kind.text(0, 0).replaceAll(/\b0\b/g, '$1'));

function textOf(texts: TraceTexts, row: number, chance: number): string {
  const shape = row % shapes.length;
  if (texts === 'prepared') return preparedTexts[shape] as string;
  if (texts === 'distinct')
    return `SELECT count(*) FROM archive.part_${row} p WHERE p.state = 'done' AND p.kind = 7`;
  return `${(shapes[shape] as Kind).text(row, chance % 1000)} /* ${row} */`;
}

/** What happened in row number `row`; the same for trace files and csvlog. */
interface Event {
  readonly kind: Kind;
  readonly us: number;
  readonly failed: boolean;
  readonly chance: number;
  readonly text: string;
}

function eventOf(texts: TraceTexts, row: number, chance: number): Event {
  const kind = shapes[row % shapes.length] as Kind;
  return {
    kind,
    // A tail of slow calls: one in 64 takes up to 64 times as long.
    us: (kind.us + (chance % 37)) * (chance % 64 === 0 ? 1 + ((chance >>> 8) % 64) : 1),
    failed: chance % 1021 === 0,
    chance,
    text: textOf(texts, row, chance),
  };
}

/** The whole takes ten minutes whatever the number of rows. */
const endOf = (row: number, rows: number): number => firstUs + Math.floor((row / rows) * 600_000_000);

const message = 'could not serialize access due to concurrent update';
const ids = shapes.map((_, shape) => String(-1234567890123450000n - BigInt(shape)));

/** A CSV row of a statement; what its slot has in common stands in `session`. */
function rowText(
  slot: number,
  line: number,
  endUs: number,
  session: string,
  row: number,
  id: string,
  event: Event,
): string {
  const { kind, us, failed, chance, text } = event;
  const wal = kind.wal > 0;
  return (
    `1,${line},${endUs},${us},${us + 12},${line},0,0,${slot}/${line},${wal ? 700 + (row >>> 3) : ''},${session}` +
    `${id},${kind.tag},${chance % 3 === 0 ? 18 : ''},1,${kind.hit},${chance % 97 === 0 ? 1 : 0},0,0,0,0,0,0,0,0,,,,,,,` +
    `${wal ? '1,0' : '0,0'},${kind.wal},,0,0,${failed ? `40001,${message}` : ','},,,,,,,0,` +
    `${text.includes(',') ? `"${text}"` : text},,\n`
  );
}

/** Pieces of text gathered into large writes. */
class Output {
  readonly #file: number;
  readonly #buffer = Buffer.alloc(writeBytes);
  #at = 0;
  bytes = 0;

  constructor(path: string) {
    this.#file = openSync(path, 'wx', 0o600);
  }

  add(piece: string): void {
    if (this.#at + piece.length > writeBytes) this.flush();
    this.#at += this.#buffer.write(piece, this.#at, 'latin1');
  }

  flush(): void {
    this.bytes += writeSync(this.#file, this.#buffer, 0, this.#at);
    this.#at = 0;
  }

  close(): number {
    this.flush();
    closeSync(this.#file);
    return this.bytes;
  }
}

/** @returns bytes and files made */
export function makeTraceFiles(folder: string, options: TraceFilesOptions): { bytes: number; files: number } {
  const { rows: all, texts } = options;
  const slots = options.slots ?? 8;
  const perSlot = Math.ceil(all / slots);
  const header = `${csvColumns.map(({ name }) => name).join(',')}\n`;
  let bytes = 0;
  let made = 0;
  for (let slot = 0; slot < slots; slot++) {
    const next = numbers(slot + 1);
    const name = `slot_${String(slot).padStart(6, '0')}.000001.v1.csv`;
    const out = new Output(join(folder, name));
    const session =
      `${5000 + slot},${firstUs - 60_000_000},${slot},shop,${slot % 3 === 0 ? 'reporting' : 'app_user'},` +
      `${slot % 2 === 0 ? 'checkout' : 'pgbench'},[local],UTF8,`;
    out.add(header);
    const rows = Math.min(perSlot, all - slot * perSlot);
    for (let from = 0; from < rows; from += rowsPerPiece) {
      const to = Math.min(rows, from + rowsPerPiece);
      let piece = '';
      for (let i = from; i < to; i++) {
        // Slots take turns.
        const row = i * slots + slot;
        const id = texts === 'prepared' ? (ids[row % shapes.length] as string) : '';
        piece += rowText(slot, i + 1, endOf(row, all), session, row, id, eventOf(texts, row, next()));
      }
      out.add(piece);
      made += to - from;
      options.progress?.(made);
    }
    bytes += out.close();
  }
  return { bytes, files: slots };
}

/**
 * The same workload as PostgreSQL 15 writes it into a csvlog with log_min_duration_statement = 0: what other tools read.
 * @returns its bytes
 */
export function makeCsvlog(path: string, options: TraceFilesOptions): number {
  const { rows: all, texts } = options;
  const slots = options.slots ?? 8;
  const next = Array.from({ length: slots }, (_, slot) => numbers(slot + 1));
  const out = new Output(path);
  for (let from = 0; from < all; from += rowsPerPiece) {
    let piece = '';
    for (let row = from; row < Math.min(all, from + rowsPerPiece); row++) {
      const slot = row % slots;
      const { kind, us, failed, text } = eventOf(texts, row, (next[slot] as () => number)());
      const at = new Date(endOf(row, all) / 1000).toISOString();
      const time = `${at.slice(0, 10)} ${at.slice(11, 23)} UTC`;
      const user = slot % 3 === 0 ? 'reporting' : 'app_user';
      const head = `${time},"${user}","shop",${5000 + slot},"[local]",6560a2b4.${(5000 + slot).toString(16)},${row + 1},"${kind.tag}",${time},${slot}/${row},0`;
      const tail = `"${slot % 2 === 0 ? 'checkout' : 'pgbench'}","client backend",,0`;
      if (failed) piece += `${head},ERROR,40001,"${message}",,,,,,"${text}",,,${tail}\n`;
      else
        piece += `${head},LOG,00000,"duration: ${(us / 1000).toFixed(3)} ms  statement: ${text}",,,,,,,,,${tail}\n`;
    }
    out.add(piece);
  }
  return out.close();
}
