/**
 * The profiler's questions to PEM: traces and runs, statements, series, calls. One hook asks and asks again; an answer that
 * came too late for its question is dropped.
 */
import { useCallback, useEffect, useState } from 'preact/hooks';
import type { RunFigures } from '../../src/wire/trace.js';
import { ApiError, getJson, messageOf } from './api.js';
import { session } from './session.js';
import type { Sparse } from './trace_histogram.js';

export interface TraceSchedule {
  readonly kind: 'once' | 'daily' | 'cron';
  readonly atUs?: number;
  readonly time?: string;
  readonly pattern?: string;
  readonly timezone?: string;
}

export interface Trace {
  readonly id: number;
  readonly targetId: number;
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly schedule: TraceSchedule | null;
  readonly durationS: number | null;
  readonly events: boolean;
  readonly eventsPerS: number;
  readonly continuous: boolean;
  readonly keepFiles: boolean;
  readonly createdBy: string;
  readonly createdAtUs: number;
  readonly request: 'none' | 'start' | 'stop';
  readonly pending: boolean;
  readonly state: string;
  readonly code: string | null;
  readonly error: string | null;
  readonly run: string | null;
  readonly nextAtUs: number | null;
  readonly reportedAtUs: number | null;
  readonly agentId: number | null;
  readonly agentStatus: string | null;
}

export interface Run extends RunFigures {
  readonly state: string;
  readonly startedAtUs: number | null;
  readonly stoppedAtUs: number | null;
  readonly reportedAtUs: number;
}

export type TraceWithRuns = Trace & { readonly runs: readonly Run[] };

export interface Statement {
  readonly key: string;
  readonly database: string;
  readonly username: string;
  readonly nested: boolean;
  readonly queryId: string;
  readonly fingerprint: string;
  readonly tag: string | null;
  readonly text: string | null;
  readonly lastSqlstate: string | null;
  readonly firstUs: number | null;
  readonly lastUs: number | null;
  readonly minUs: number | null;
  readonly maxUs: number | null;
  readonly values: readonly (number | null)[];
  readonly histogram: Sparse;
}

export interface TopAnswer {
  readonly run: string;
  readonly measures: readonly string[];
  readonly statements: readonly Statement[];
  readonly allStatements: number;
  readonly allExecUs: number;
  readonly allCalls: number;
  readonly histogramEvery: number;
  readonly badHistograms: number;
  readonly truncated: boolean;
}

export interface Step {
  readonly atUs: number;
  readonly maxUs: number | null;
  readonly values: readonly (number | null)[];
  readonly histogram: Sparse;
}

export interface SeriesAnswer {
  readonly run: string;
  readonly stepMs: number;
  readonly fromUs: number | null;
  readonly toUs: number | null;
  readonly measures: readonly string[];
  readonly histogramEvery: number;
  readonly steps: readonly Step[];
}

/** A call with all its columns; times are µs since 1970, query_id is text. */
export type Call = Readonly<Record<string, string | number | null>>;

export interface CallsAnswer {
  readonly run: string;
  readonly linked: boolean;
  readonly calls: readonly Call[];
  readonly states: readonly {
    readonly sqlstate: string;
    readonly errors: number;
    readonly cancelled: number;
    readonly firstUs: number | null;
    readonly lastUs: number | null;
    readonly error: string | null;
  }[];
}

export interface Asked<T> {
  readonly value: T | undefined;
  readonly error: string | undefined;
  readonly status: number;
  readonly loading: boolean;
  again(): void;
}

/** @param path undefined: nothing is asked · @param everyMs asks again so often while it is not 0 */
export function useAsk<T>(path: string | undefined, everyMs = 0): Asked<T> {
  const [state, setState] = useState<{ path?: string; value?: T; error?: string; status: number }>({
    status: 0,
  });
  const [round, setRound] = useState(0);
  useEffect(() => {
    if (path === undefined) return;
    const abort = new AbortController();
    let busy = false;
    const ask = async (): Promise<void> => {
      if (busy) return;
      busy = true;
      try {
        const value = await getJson<T>(path, abort.signal);
        setState({ path, value, status: 200 });
      } catch (error) {
        if (abort.signal.aborted) return;
        const text = messageOf(error);
        const status = error instanceof ApiError ? error.status : 0;
        // What was there before stays readable while the server is away.
        setState((before) => ({
          path,
          error: text,
          status,
          ...(before.path === path && before.value !== undefined && status !== 404
            ? { value: before.value }
            : {}),
        }));
      } finally {
        busy = false;
      }
    };
    void ask();
    const timer = everyMs > 0 ? setInterval(() => void ask(), everyMs) : undefined;
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, [path, everyMs, round]);
  const current = state.path === path;
  const again = useCallback(() => setRound((count) => count + 1), []);
  return {
    value: current ? state.value : undefined,
    error: current ? state.error : undefined,
    status: current ? state.status : 0,
    loading: path !== undefined && !current,
    again,
  };
}

/** How long after a run's end its last sums may still be on their way to PEM's history. */
const settleMs = 60_000;

/**
 * How often what a run brought is asked for again, ms: while it goes on, and for a while after it, since its end is known
 * before its last rows are there. 0: it changes no more.
 */
export function refreshMs(run: Run, nowMs: number = Date.now()): number {
  if (run.state !== 'ended') return 10_000;
  return nowMs - run.reportedAtUs / 1000 < settleMs ? 5_000 : 0;
}

/** Query text of what is looked at. */
export function spanQuery(
  span: { run?: string | undefined; fromUs?: number | undefined; toUs?: number | undefined },
  more: Readonly<Record<string, string | number | undefined>> = {},
): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...span, ...more }))
    if (value !== undefined && value !== '') query.set(name, String(value));
  const text = query.toString();
  return text === '' ? '' : `?${text}`;
}

/** Whether the user may start and delete traces; the server has the last word. */
export function mayManage(): boolean {
  const current = session.value;
  return (
    current.state === 'in' && current.roles.some((role) => role === 'pem_admin' || role === 'pem_super_admin')
  );
}
