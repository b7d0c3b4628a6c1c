/**
 * Calls of one run, loaded page by page into typed arrays and shared by the views of the run; the last run looked at stays in
 * memory. States: loading (pages come) → done (all that PEM had then; a running trace may have more since), full (the most
 * that a page keeps), stopped (by the reader) or failed (with the reason); each of them goes on where it stood with `more`.
 */
import { useEffect, useState } from 'preact/hooks';
import { ApiError, getBytes, sendJson } from './api.js';
import type { Call } from './trace.js';
import { loadedColumns, TraceRows } from './trace_rows.js';

/** As many as stay smooth: about 60 bytes each. */
export const mostRows = 5_000_000;
const pageRows = 100_000;

export type LoadState = 'loading' | 'done' | 'full' | 'stopped' | 'failed';

class Loading {
  readonly rows: TraceRows;
  state: LoadState = 'stopped';
  error = '';
  readonly watchers = new Set<() => void>();
  #afterUs = 0;
  #abort: AbortController | undefined;

  constructor(
    readonly trace: number,
    readonly run: string,
    readonly expected: number,
  ) {
    this.rows = new TraceRows(Math.min(expected, mostRows) + 1000);
  }

  more(): void {
    if (this.state === 'loading' || this.state === 'full') return;
    this.state = 'loading';
    this.error = '';
    void this.#load();
  }

  stop(): void {
    this.#abort?.abort();
  }

  #told = 0;
  #tell(): void {
    // Drawing millions of rows anew for each page would take longer than loading them.
    const now = performance.now();
    if (this.state === 'loading' && now - this.#told < 400 + this.rows.count / 1000) return;
    this.#told = now;
    for (const watcher of this.watchers) watcher();
  }

  async #load(): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    for (const watcher of this.watchers) watcher();
    try {
      for (;;) {
        const query = `run=${encodeURIComponent(this.run)}&fields=${loadedColumns.join(',')}&limit=${pageRows}&afterUs=${this.#afterUs}`;
        const { bytes, headers } = await getBytes(`/traces/${this.trace}/events?${query}`, abort.signal);
        const count = this.rows.add(bytes);
        const next = headers.get('x-pem-next-us') ?? '';
        if (next === '') {
          // The next question begins behind the last moment that came.
          if (count > 0) this.#afterUs = this.rows.recordedUs(this.rows.count - 1) + 1;
          this.state = 'done';
          break;
        }
        this.#afterUs = Number(next);
        if (this.rows.count >= mostRows) {
          this.state = 'full';
          break;
        }
        this.#tell();
      }
    } catch (error) {
      this.state = abort.signal.aborted ? 'stopped' : 'failed';
      this.error = error instanceof ApiError ? error.message : String(error);
    }
    this.#tell();
  }
}

let current: Loading | undefined;

export interface LoadedRows {
  readonly rows: TraceRows;
  /** Changes when rows came. */
  readonly version: number;
  readonly state: LoadState;
  readonly error: string;
  more(): void;
  stop(): void;
}

/** @param expected how many rows there will be, as far as is known */
export function useRows(trace: number, run: string, expected: number): LoadedRows {
  if (current === undefined || current.trace !== trace || current.run !== run) {
    current?.stop();
    current = new Loading(trace, run, expected);
  }
  const loading = current;
  const [version, setVersion] = useState(0);
  useEffect(() => {
    const watcher = (): void => setVersion((count) => count + 1);
    loading.watchers.add(watcher);
    if (loading.rows.count === 0) loading.more();
    return () => {
      loading.watchers.delete(watcher);
    };
  }, [loading]);
  return {
    rows: loading.rows,
    version,
    state: loading.state,
    error: loading.error,
    more: () => loading.more(),
    stop: () => loading.stop(),
  };
}

const mostAsked = 100;
const known = new Map<string, Call | null>();
const mostKnown = 2_000;

/** Calls by key: those of the rows that are on the screen, asked for together once scrolling rests. */
export function useChosen(
  trace: number,
  run: string,
  rows: TraceRows,
  wanted: readonly number[],
): { callOf: (row: number) => Call | null | undefined; error: string } {
  const [, redraw] = useState(0);
  const [error, setError] = useState('');
  const keyOf = (row: number): string =>
    `${trace}/${run}/${rows.recordedUs(row)}/${rows.small.slot[row]}/${rows.numbers.line[row]}`;
  const missing = wanted.filter((row) => !known.has(keyOf(row))).slice(0, mostAsked);
  const list = missing.join();
  useEffect(() => {
    if (list === '') return;
    let gone = false;
    const timer = setTimeout(() => {
      const asked = list.split(',').map(Number);
      const calls = asked.map((row) => [
        rows.recordedUs(row),
        rows.small.slot[row] as number,
        rows.numbers.line[row] as number,
      ]);
      sendJson<{ calls: (Call | null)[] }>('POST', `/traces/${trace}/chosen`, { run, calls })
        .then((answer) => {
          if (known.size > mostKnown) known.clear();
          asked.forEach((row, index) => {
            known.set(keyOf(row), answer?.calls[index] ?? null);
          });
          setError('');
          if (!gone) redraw((count) => count + 1);
        })
        .catch((refusal: unknown) =>
          setError(refusal instanceof ApiError ? refusal.message : String(refusal)),
        );
    }, 120);
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [list, trace, run]);
  return { callOf: (row) => known.get(keyOf(row)), error };
}
