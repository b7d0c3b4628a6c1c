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
const rowsPerWrite = 20_000;

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

function textOf(kind: Kind, texts: TraceTexts, row: number, next: () => number): string {
  if (texts === 'distinct')
    return `SELECT count(*) FROM archive.part_${row} p WHERE p.state = 'done' AND p.kind = 7`;
  if (texts === 'literals') return `${kind.text(row, next() % 1000)} /* ${row} */`;
  return kind.text(0, 0).replaceAll(/\b0\b/g, '$1');
}

/** A CSV row of a statement; what its slot has in common stands in `session`. */
function rowText(
  slot: number,
  line: number,
  endUs: number,
  session: string,
  texts: TraceTexts,
  row: number,
  next: () => number,
): string {
  const kind = shapes[row % shapes.length] as Kind;
  const chance = next();
  // A tail of slow calls: one in 64 takes up to 64 times as long.
  const us = (kind.us + (chance % 37)) * (chance % 64 === 0 ? 1 + ((chance >>> 8) % 64) : 1);
  const failed = chance % 1021 === 0;
  const id = texts === 'prepared' ? String(-1234567890123450000n - BigInt(row % shapes.length)) : '';
  const sqlText = textOf(kind, texts, row, next);
  const text = sqlText.includes(',') ? `"${sqlText}"` : sqlText;
  const error = failed ? '40001,could not serialize access due to concurrent update' : ',';
  return (
    `1,${line},${endUs},${us},${us + 12},${line},0,0,${slot}/${line},${kind.wal > 0 ? 700 + (row >>> 3) : ''},${session}` +
    `${id},${kind.tag},${chance % 3 === 0 ? 18 : ''},1,${kind.hit},${chance % 97 === 0 ? 1 : 0},0,0,0,0,0,0,0,0,,,,,,,` +
    `${kind.wal > 0 ? 1 : 0},0,${kind.wal},,0,0,${error},,,,,,,0,${text},,\n`
  );
}

/** @returns bytes and files made */
export function makeTraceFiles(folder: string, options: TraceFilesOptions): { bytes: number; files: number } {
  const slots = options.slots ?? 8;
  const perSlot = Math.ceil(options.rows / slots);
  const header = `${csvColumns.map(({ name }) => name).join(',')}\n`;
  let bytes = 0;
  let made = 0;
  for (let slot = 0; slot < slots; slot++) {
    const next = numbers(slot + 1);
    const name = `slot_${String(slot).padStart(6, '0')}.000001.v1.csv`;
    const file = openSync(join(folder, name), 'wx', 0o600);
    const session =
      `${5000 + slot},${firstUs - 60_000_000},${slot},shop,${slot % 3 === 0 ? 'reporting' : 'app_user'},` +
      `${slot % 2 === 0 ? 'checkout' : 'pgbench'},[local],UTF8,`;
    bytes += writeSync(file, header);
    const rows = Math.min(perSlot, options.rows - slot * perSlot);
    for (let from = 0; from < rows; from += rowsPerWrite) {
      let piece = '';
      for (let i = from; i < Math.min(rows, from + rowsPerWrite); i++) {
        // Slots take turns; the whole takes ten minutes whatever the number of rows.
        const endUs = firstUs + Math.floor(((i * slots + slot) / options.rows) * 600_000_000);
        piece += rowText(slot, i + 1, endUs, session, options.texts, i * slots + slot, next);
      }
      bytes += writeSync(file, piece);
      made += Math.min(rows, from + rowsPerWrite) - from;
      options.progress?.(made);
    }
    closeSync(file);
  }
  return { bytes, files: slots };
}
