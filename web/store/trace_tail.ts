/**
 * The live tail: calls as they are committed, by the topic (server, sql_trace_events). The newest `mostKept` are kept. Frozen:
 * calls are still taken in, what is shown stands still. Paused: nothing is taken in. Of a block with more calls than are kept
 * only the last are made into rows; the others are counted.
 */
import { useEffect, useRef, useState } from 'preact/hooks';
import { eventFlags, eventNames, zeroBit } from '../../src/wire/events.js';
import type { Block } from './blocks.js';
import { subscribe } from './live.js';
import type { Call } from './trace.js';

export const mostKept = 5_000;
const names = [
  'recorded_at',
  'line',
  'end_time',
  'exec_us',
  'vxid',
  'pid',
  'slot',
  'database',
  'username',
  'application',
  'tag',
  'rows',
  'shared_hit',
  'shared_read',
  'sqlstate',
  'error',
  'flags',
  'query',
  'params',
  'plan',
] as const;
const textual = new Set<string>([
  'vxid',
  'database',
  'username',
  'application',
  'tag',
  'sqlstate',
  'error',
  'query',
  'params',
  'plan',
]);

/** Reads rows as they travel (src/wire/events.ts), of agents before that form, too. */
class EventRows {
  readonly #columns = new Map<string, ReturnType<Block['column']>>();
  readonly #samples = new Map<string, string>();

  constructor(readonly block: Block) {
    const renamed = new Map(Object.entries(eventNames).map(([stored, name]) => [name, stored]));
    for (const name of [...names, 'zeros', 'fingerprint'])
      this.#columns.set(name, block.column(renamed.get(name) ?? '') ?? block.column(name));
    for (let row = 0; row < block.rows; row += 1) {
      if ((this.#number('flags', row) & eventFlags.sample) === 0) continue;
      this.#samples.set(this.#key(row), this.#text('query', row) ?? '');
    }
  }

  cell(name: string, row: number): string | number | null {
    if (name === 'recorded_at') return this.block.recordedAtUs;
    const bits = this.#number('flags', row);
    if (name === 'flags') return bits & ~(eventFlags.sample | eventFlags.noText);
    const column = this.#columns.get(name);
    if (column !== undefined && !column.isNull(row))
      return textual.has(name) ? column.text(row) : column.number(row);
    if (name === 'query') return (bits & eventFlags.noText) === 0 ? this.#sample(row) : null;
    return (this.#number('zeros', row) & zeroBit(name)) === 0 ? null : 0;
  }

  #sample(row: number): string | null {
    return this.#samples.get(this.#key(row)) ?? null;
  }

  /** Of one trace of a server; a block has rows of one run alone. */
  #key(row: number): string {
    return this.#text('fingerprint', row) ?? '';
  }

  #number(name: string, row: number): number {
    const column = this.#columns.get(name);
    return column === undefined || column.isNull(row) ? 0 : column.number(row);
  }

  #text(name: string, row: number): string | null {
    const column = this.#columns.get(name);
    return column === undefined || column.isNull(row) ? null : column.text(row);
  }
}

/** Calls of a trace in a block, oldest first; of more than `most` the last. */
export function callsOfBlock(block: Block, serverId: number, most: number): { calls: Call[]; count: number } {
  const trace = block.column('trace');
  const wanted: number[] = [];
  for (let row = 0; row < block.rows; row += 1) if (trace?.number(row) === serverId) wanted.push(row);
  if (wanted.length === 0) return { calls: [], count: 0 };
  const events = new EventRows(block);
  const calls = wanted
    .slice(-most)
    .map((row) => Object.fromEntries(names.map((name) => [name, events.cell(name, row)])));
  return { calls, count: wanted.length };
}

export interface Tail {
  /** Newest first. */
  readonly calls: readonly Call[];
  /** Came since it was frozen. */
  readonly waiting: number;
  readonly perSecond: number;
  readonly taken: number;
  /** How often calls were missed: the connection was away, or the browser slow. */
  readonly gaps: number;
  readonly error: string | undefined;
  clear(): void;
}

export function useTail(target: number, serverId: number | null, paused: boolean, frozen: boolean): Tail {
  const kept = useRef<Call[]>([]);
  const counts = useRef({ taken: 0, since: 0, gaps: 0, window: [] as { atMs: number; count: number }[] });
  const [shown, setShown] = useState<readonly Call[]>([]);
  const [error, setError] = useState<string | undefined>(undefined);
  const [, redraw] = useState(0);
  const still = useRef(frozen);
  still.current = frozen;
  // The topic is left after the page was drawn; what comes until then is not taken in either.
  const deaf = useRef(paused);
  deaf.current = paused;

  useEffect(() => {
    if (paused || serverId === null) return;
    let frame = 0;
    let snapshots = 0;
    const draw = (): void => {
      if (frame !== 0) return;
      frame = requestAnimationFrame(() => {
        frame = 0;
        if (still.current) redraw((count) => count + 1);
        else setShown(kept.current.slice());
      });
    };
    const leave = subscribe(
      target,
      'sql_trace_events',
      (event) => {
        if (event.kind === 'denied') setError(event.reason);
        // The first comes with the subscription; each later one stands for calls that did not come.
        if (event.kind === 'snapshot') {
          snapshots += 1;
          if (snapshots > 1) counts.current.gaps += 1;
        }
        if (event.kind !== 'block' || deaf.current) return;
        setError(undefined);
        const { calls, count } = callsOfBlock(event.block, serverId, mostKept);
        if (count === 0) return;
        kept.current = [...calls.reverse(), ...kept.current].slice(0, mostKept);
        counts.current.taken += count;
        if (still.current) counts.current.since += count;
        counts.current.window.push({ atMs: performance.now(), count });
        draw();
      },
      { snapshot: false },
    );
    // The rate falls when nothing comes, too.
    const timer = setInterval(() => redraw((count) => count + 1), 1000);
    return () => {
      leave();
      cancelAnimationFrame(frame);
      clearInterval(timer);
    };
  }, [target, serverId, paused]);
  useEffect(() => {
    if (!frozen) {
      counts.current.since = 0;
      setShown(kept.current.slice());
    }
  }, [frozen]);

  const nowMs = performance.now();
  counts.current.window = counts.current.window.filter(({ atMs }) => nowMs - atMs < 5000);
  const perSecond = counts.current.window.reduce((sum, { count }) => sum + count, 0) / 5;
  return {
    calls: shown,
    waiting: counts.current.since,
    perSecond: paused ? Number.NaN : perSecond,
    taken: counts.current.taken,
    gaps: counts.current.gaps,
    error,
    clear: () => {
      kept.current = [];
      counts.current = { taken: 0, since: 0, gaps: 0, window: [] };
      setShown([]);
    },
  };
}
