/**
 * What must be in PEM's tables after a list of blocks: the plainest model there is. In: blocks in any order, as sent;
 * out: expected history rows and latest rows, to compare with. Pure.
 */
import type { CellValue } from '../../native/index.js';

export interface ModelBlock {
  readonly target: bigint;
  readonly kind: 'full' | 'delta';
  readonly scope: string;
  readonly arrival: bigint;
  readonly seq: bigint;
  /** Keys and values of live rows. */
  readonly rows: ReadonlyMap<string, readonly CellValue[]>;
  readonly gone: readonly string[];
}

/** Latest by definition: all blocks replayed in the order of their positions. Key: scope, NUL, name. */
export function modelLatest(blocks: readonly ModelBlock[]): Map<string, readonly CellValue[]> {
  const ordered = [...blocks].sort((a, b) =>
    a.arrival !== b.arrival ? (a.arrival < b.arrival ? -1 : 1) : a.seq < b.seq ? -1 : 1,
  );
  const latest = new Map<string, readonly CellValue[]>();
  const place = (block: ModelBlock, name: string): string =>
    `${block.target}\u0000${block.scope}\u0000${name}`;
  for (const block of ordered) {
    if (block.kind === 'full') {
      for (const key of latest.keys()) {
        if (key.startsWith(`${block.target}\u0000${block.scope}\u0000`)) latest.delete(key);
      }
    }
    for (const [name, values] of block.rows) latest.set(place(block, name), values);
    for (const name of block.gone) latest.delete(place(block, name));
  }
  return latest;
}

/** A generator of numbers with a seed, so that a failed schedule can be run again (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
