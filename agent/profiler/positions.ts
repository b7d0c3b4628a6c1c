/**
 * How far a run's files have been read: one log for each run, beside the agent's other state. In: positions as they change,
 * with the batch that carries what was read. Out: after a restart, positions that agree with what is in the spool. Owns its
 * file until `close`; run.ts removes it. Not synced, as the spool's newest batches are not: both are in the page cache when
 * the process ends.
 *
 * A line is JSON. {"b":boot,"s":seq,…}: written just before the batch (boot, seq) that holds the rows up to these positions
 * ("p": slot, file, byte) and counts ("n"); "f":1 where aggregates up to here are in it too. {"ok":1}: the batch was written.
 * Without "b" there is no batch: rows that travel in aggregates alone, or ("f":1) not at all. {"at":[…],"of":[…],"n":[…]}:
 * everything so far, alone at the beginning of a log that was written anew.
 *
 * 1. Lines of batches that were written are applied. Of the last line, when nothing follows it, the spool knows: the
 *    process ended between the line and the next one, and the batch is there or it is not.
 * 2. Two positions for each slot: `read` is where events go on; `counted` is where the last aggregates ended, from which
 *    rows are read again after a restart, for the aggregates alone.
 * 3. A log that ends in half a line, or cannot be written for now, costs rows that come twice, and those are counted when
 *    the run is over (run.ts).
 */
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { errorCode, errorText } from '../../src/base/errors.js';
import type { Log } from '../../src/base/log.js';

/** The next byte to read of a slot. */
export interface Position {
  readonly file: number;
  readonly at: number;
}

export type SlotPosition = readonly [slot: number, file: number, at: number];

/** What became of a run's rows; in lines as a list in this order. */
export interface RunCounts {
  rowsRead: number;
  bytesRead: number;
  eventsSent: number;
  eventsDropped: number;
  rowsSkipped: number;
  /** Left unread; about, where a slot has several files. */
  bytesSkipped: number;
  badRows: number;
}

const countNames = [
  'rowsRead',
  'bytesRead',
  'eventsSent',
  'eventsDropped',
  'rowsSkipped',
  'bytesSkipped',
  'badRows',
] as const satisfies readonly (keyof RunCounts)[];

export const noCounts: Readonly<RunCounts> = {
  rowsRead: 0,
  bytesRead: 0,
  eventsSent: 0,
  eventsDropped: 0,
  rowsSkipped: 0,
  bytesSkipped: 0,
  badRows: 0,
};

/** A log longer than this is written anew with what it comes to. */
const longestBytes = 1024 * 1024;

interface Line {
  readonly b?: string;
  readonly s?: number;
  readonly p?: readonly SlotPosition[];
  readonly f?: number;
  readonly n?: readonly number[];
  readonly ok?: number;
  readonly at?: readonly SlotPosition[];
  readonly of?: readonly SlotPosition[];
}

export class PositionLog {
  readonly read = new Map<number, Position>();
  readonly counted = new Map<number, Position>();
  readonly counts: RunCounts = { ...noCounts };
  /** There was a log of this run. */
  readonly found: boolean;
  #fd: number | null = null;
  #bytes = 0;
  #failing = false;

  /** @param has whether a batch is in the spool */
  constructor(
    private readonly file: string,
    has: (boot: string, seq: number) => boolean,
    private readonly log: Log,
  ) {
    let text = '';
    try {
      text = readFileSync(file, 'utf8');
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') this.#trouble(error);
    }
    this.found = text !== '';
    let waiting: Line | null = null;
    for (const line of parseLines(text)) {
      if (waiting !== null) this.#apply(waiting);
      waiting = line;
    }
    if (waiting?.b === undefined || has(waiting.b, waiting.s ?? 0)) this.#apply(waiting ?? {});
    // Begins anew: neither half a line nor one that did not come to pass stays in the middle.
    this.#rewrite();
  }

  /** Just before the batch is written. `counts` are those that hold when it is. */
  writing(
    boot: string,
    seq: number,
    slots: readonly SlotPosition[],
    isFlush: boolean,
    counts: RunCounts,
  ): void {
    this.#note({ b: boot, s: seq, p: slots, n: listOf(counts), ...(isFlush ? { f: 1 } : {}) });
  }

  /** The batch was written, or dropped by the spool for good: reading goes on behind it either way. */
  written(): void {
    this.#write({ ok: 1 });
  }

  /** Rows were read that no batch of events has. */
  passed(slots: readonly SlotPosition[], counts: RunCounts): void {
    this.#note({ p: slots, n: listOf(counts) });
  }

  /** Rows before these positions (before all, where none is given) are in no batch that is still to come. */
  settled(slots: readonly SlotPosition[], counts: RunCounts): void {
    this.#note({ p: slots, f: 1, n: listOf(counts) });
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }

  #note(line: Line): void {
    this.#write(line);
    this.#apply(line);
  }

  #apply(line: Line): void {
    for (const [slot, file, at] of line.at ?? line.p ?? []) this.read.set(slot, { file, at });
    if (line.of !== undefined) for (const [slot, file, at] of line.of) this.counted.set(slot, { file, at });
    if (line.f === 1) for (const [slot, position] of this.read) this.counted.set(slot, position);
    for (const [i, name] of countNames.entries()) this.counts[name] = line.n?.[i] ?? this.counts[name];
  }

  #write(line: Line): void {
    try {
      if (this.#bytes > longestBytes) this.#rewrite();
      this.#fd ??= this.#open(this.file, 'a');
      const text = `${JSON.stringify(line)}\n`;
      writeSync(this.#fd, text);
      this.#bytes += text.length;
      this.#failing = false;
    } catch (error) {
      this.#trouble(error);
    }
  }

  /** Everything in one line, in the place of all before. */
  #rewrite(): void {
    const line: Line = { at: listed(this.read), of: listed(this.counted), n: listOf(this.counts) };
    const text = `${JSON.stringify(line)}\n`;
    const fresh = `${this.file}.new`;
    try {
      mkdirSync(dirname(this.file), { recursive: true, mode: 0o700 });
      rmSync(fresh, { force: true });
      const fd = this.#open(fresh, 'wx');
      try {
        writeSync(fd, text);
      } finally {
        closeSync(fd);
      }
      this.close();
      renameSync(fresh, this.file);
      this.#bytes = text.length;
    } catch (error) {
      this.#trouble(error);
    }
  }

  #open(path: string, flags: string): number {
    return openSync(path, flags, 0o600);
  }

  #trouble(error: unknown): void {
    if (this.#failing) return;
    this.#failing = true;
    this.log.warn(
      { code: 'trace_positions', file: this.file, reason: errorText(error) },
      'positions of a trace are not kept',
    );
  }
}

function listed(positions: ReadonlyMap<number, Position>): SlotPosition[] {
  return [...positions].map(([slot, { file, at }]) => [slot, file, at]);
}

function listOf(counts: RunCounts): number[] {
  return countNames.map((name) => counts[name]);
}

/** Counts of a run as its log has them; none where there is no log. */
export function keptCounts(file: string): RunCounts {
  const counts: RunCounts = { ...noCounts };
  try {
    for (const { n } of parseLines(readFileSync(file, 'utf8')))
      for (const [i, name] of countNames.entries()) counts[name] = n?.[i] ?? counts[name];
  } catch {
    // There is none, or none that can be read: the follower says so.
  }
  return counts;
}

/** Whole lines up to the first that is none. */
function parseLines(text: string): Line[] {
  const lines: Line[] = [];
  for (const part of text.split('\n')) {
    if (part === '') continue;
    try {
      const line: unknown = JSON.parse(part);
      if (typeof line !== 'object' || line === null) return lines;
      lines.push(line as Line);
    } catch {
      return lines;
    }
  }
  return lines;
}
