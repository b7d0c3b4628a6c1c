/**
 * Calls of one run, loaded page by page into typed arrays and shared by the views of the run; the last run looked at stays in
 * memory. Pages are spans of time about as long as a page has rows; the next is on its way while one is taken in, so at most
 * four are in memory. States: loading (pages come) → done (all that PEM had then; a running trace may have more since), full (the most
 * that a page keeps), stopped (by the reader) or failed (with the reason); each of them goes on where it stood with `more`.
 */
import { useEffect, useState } from 'preact/hooks';
import { getBytes, getJson, messageOf, sendJson } from './api.js';
import type { Call } from './trace.js';
import { loadedColumns, TraceRows } from './trace_rows.js';

/** As many as stay smooth: about 60 bytes each. */
export const mostRows = 5_000_000;
/** So few that taking one in holds nobody up. */
const usualPageRows = 25_000;
const pagesAhead = 3;
/** Views are drawn anew for at most this share of the time. */
const drawShare = 0.2;

/** A page as it came; `nextUs` is where the next one of its span begins. */
interface Page {
  readonly bytes: Uint8Array;
  readonly nextUs: number;
}

export type LoadState = 'loading' | 'done' | 'full' | 'stopped' | 'failed';

/** The rows of one run on their way; `useRows` keeps one. */
export class Loading {
  readonly rows: TraceRows;
  state: LoadState = 'stopped';
  error = '';
  readonly watchers = new Set<() => void>();
  readonly progressWatchers = new Set<() => void>();
  #afterUs = 0;
  #abort: AbortController | undefined;

  constructor(
    readonly trace: number,
    readonly run: string,
    /** How many rows there are, as far as is known. */
    public expected: number,
    readonly pageRows: number = usualPageRows,
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

  #quietUntilMs = 0;
  /** A part of all rows has come: whoever shows how many is told, the views only as often as drawing them is cheap. */
  #tell(): void {
    for (const watcher of this.progressWatchers) watcher();
    const begunMs = performance.now();
    if (this.state === 'loading' && begunMs < this.#quietUntilMs) return;
    this.#quietUntilMs = Number.POSITIVE_INFINITY;
    for (const watcher of this.watchers) watcher();
    requestAnimationFrame(() =>
      setTimeout(() => {
        const nowMs = performance.now();
        this.#quietUntilMs = nowMs + Math.max(400, (nowMs - begunMs) / drawShare);
      }),
    );
  }

  async #page(fromUs: number, toUs: number, signal: AbortSignal): Promise<Page> {
    const query = `run=${encodeURIComponent(this.run)}&fields=${loadedColumns.join(',')}&limit=${4 * this.pageRows}&afterUs=${fromUs}&endUs=${toUs}`;
    const { bytes, headers } = await getBytes(`/traces/${this.trace}/events?${query}`, signal);
    return { bytes, nextUs: Number(headers.get('x-pem-next-us') || toUs) };
  }

  /** Takes a page in, and what more its span has. */
  async #take(page: Page, toUs: number, signal: AbortSignal): Promise<void> {
    for (let taken = page; ; taken = await this.#page(taken.nextUs, toUs, signal)) {
      this.rows.add(taken.bytes);
      this.#afterUs = taken.nextUs;
      this.#tell();
      if (taken.nextUs >= toUs || this.rows.count >= mostRows) return;
    }
  }

  async #loadAll(signal: AbortSignal): Promise<LoadState> {
    const extent = await getJson<{ fromUs: number | null; toUs: number | null }>(
      `/traces/${this.trace}/extent?run=${encodeURIComponent(this.run)}`,
      signal,
    );
    const fromUs = Math.max(this.#afterUs, extent.fromUs ?? 0);
    const toUs = (extent.toUs ?? -1) + 1;
    if (fromUs >= toUs) return 'done';
    const spans = Math.max(1, Math.ceil((this.expected - this.rows.count) / this.pageRows));
    const edgeUs = (span: number): number => Math.floor(fromUs + ((toUs - fromUs) * span) / spans);
    const pages: Promise<Page>[] = [];
    for (let span = 0; span < spans; span += 1) {
      for (let ahead = span + pages.length; ahead < Math.min(spans, span + 1 + pagesAhead); ahead += 1) {
        const page = this.#page(edgeUs(ahead), edgeUs(ahead + 1), signal);
        // One that fails is told of when its turn comes.
        page.catch(() => undefined);
        pages.push(page);
      }
      await this.#take((await pages.shift()) as Page, edgeUs(span + 1), signal);
      if (this.rows.count >= mostRows) return 'full';
    }
    return 'done';
  }

  async #load(): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    this.#quietUntilMs = 0;
    for (const watcher of this.watchers) watcher();
    try {
      this.state = await this.#loadAll(abort.signal);
    } catch (error) {
      this.state = abort.signal.aborted ? 'stopped' : 'failed';
      this.error = messageOf(error);
    }
    // What is on its way when the page is full is not waited for.
    abort.abort();
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
  /** Called for each page that comes. @returns ends it */
  onProgress(watcher: () => void): () => void;
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
  loading.expected = Math.max(loading.expected, expected);
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
    onProgress: (watcher) => {
      loading.progressWatchers.add(watcher);
      return () => loading.progressWatchers.delete(watcher);
    },
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
        .catch((refusal: unknown) => setError(messageOf(refusal)));
    }, 120);
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [list, trace, run]);
  return { callOf: (row) => known.get(keyOf(row)), error };
}
