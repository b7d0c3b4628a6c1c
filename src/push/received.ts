/**
 * What a snapshot covers, and the order of blocks. A snapshot of latest and pem.received are read in one transaction, and
 * ingest writes both in one transaction: a block is in the snapshot exactly when its (agent, boot, seq) is in the set.
 */
import type { CommitEntry } from './commit.js';

type Range = readonly [from: bigint, to: bigint];

/** PostgreSQL's text of an int8multirange: {[1,5),[7,9)}. Bounds are finite and in canonical form. */
export function parseMultirange(text: string): Range[] {
  const ranges: Range[] = [];
  for (const match of text.matchAll(/\[(-?\d+),(-?\d+)\)/g))
    ranges.push([BigInt(match[1]!), BigInt(match[2]!)]);
  return ranges;
}

export interface Stamp {
  readonly agent: number;
  readonly boot: string;
  readonly seq: bigint;
}

const key = (agent: number, boot: string): string => `${agent}/${boot}`;

/** pem.received as one transaction saw it. */
export class ReceivedSet {
  readonly #boots = new Map<string, readonly Range[]>();
  /** Order in which boots first announced themselves. */
  readonly arrivals = new Map<string, bigint>();

  add(agent: number, boot: string, arrival: bigint, ranges: readonly Range[]): void {
    const name = key(agent, boot.replaceAll('-', ''));
    this.#boots.set(name, ranges);
    this.arrivals.set(name, arrival);
  }

  has(stamp: Stamp): boolean {
    const ranges = this.#boots.get(key(stamp.agent, stamp.boot)) ?? [];
    return ranges.some(([from, to]) => stamp.seq >= from && stamp.seq < to);
  }
}

/** Arrival of each boot seen so far; bounded, the oldest boots go first. */
export class Arrivals {
  readonly #map = new Map<string, bigint>();

  learn(set: ReceivedSet): void {
    for (const [name, arrival] of set.arrivals) this.#map.set(name, arrival);
    for (const name of this.#map.keys()) {
      if (this.#map.size <= 20_000) break;
      this.#map.delete(name);
    }
  }

  of(stamp: Stamp): bigint | undefined {
    return this.#map.get(key(stamp.agent, stamp.boot));
  }
}

/** A block's place in the order of latest: boots by arrival, then seq; never the clock. */
export interface Place {
  readonly arrival: bigint;
  readonly seq: bigint;
}

/** Newest block, and newest full block, of a scope: a row of pem.probe_state. */
export interface Mark {
  readonly newest: Place;
  readonly full: Place | undefined;
}

const isBehind = (a: Place, b: Place): boolean =>
  a.arrival < b.arrival || (a.arrival === b.arrival && a.seq <= b.seq);

/**
 * Order of the blocks of one topic, per scope. Late blocks exist: live data goes ahead of back-fill, and two ingesters'
 * messages can pass each other. It begins with what the first snapshot saw.
 */
export class Order {
  #marks: Map<string, Mark> | undefined;

  get isKnown(): boolean {
    return this.#marks !== undefined;
  }

  begin(marks: ReadonlyMap<string, Mark>): void {
    this.#marks ??= new Map(marks);
  }

  /**
   * - `next`: newer than all before (or events, whose order does not matter): hand it on.
   * - `past`: a newer full block has replaced all it says: nobody needs it.
   * - `late`: it changes latest in a way that a reader cannot work out (or its boot is unknown): only a snapshot helps.
   */
  judge(entry: CommitEntry, arrivals: Arrivals): 'next' | 'past' | 'late' {
    if (entry.kind === 'append' || this.#marks === undefined) return 'next';
    const arrival = arrivals.of(entry);
    if (arrival === undefined) return 'late';
    const place = { arrival, seq: entry.seq };
    const mark = this.#marks.get(entry.scope);
    if (mark !== undefined && isBehind(place, mark.newest)) {
      return mark.full !== undefined && isBehind(place, mark.full) ? 'past' : 'late';
    }
    this.#marks.set(entry.scope, { newest: place, full: entry.kind === 'full' ? place : mark?.full });
    return 'next';
  }

  /** Forgets all: the next snapshot begins the order anew. */
  reset(): void {
    this.#marks = undefined;
  }
}
