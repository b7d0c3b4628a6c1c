/**
 * Addresses of the profiler's pages: `#/profiler`, `#/profiler/<server>`, `#/profiler/<server>/<trace>/<view>?…`. What is
 * looked at (run, brushed span of time and of latency, statement) stands in the address, so that a link shows the same.
 */
import { computed } from '@preact/signals';
import { hash } from './route.js';

export const views = ['top', 'timeline', 'calls', 'live', 'compare', 'statement', 'transaction'] as const;
export type View = (typeof views)[number];

export interface TraceRoute {
  /** 0: all servers. */
  readonly target: number;
  /** 0: the list. */
  readonly trace: number;
  readonly view: View;
  readonly query: Readonly<Record<string, string>>;
  /** Brushed span, µs since 1970. */
  readonly fromUs: number | undefined;
  readonly toUs: number | undefined;
}

const whole = (text: string | undefined): number => {
  const value = Number(text);
  return Number.isSafeInteger(value) && value > 0 ? value : 0;
};

export function parseTraceRoute(text: string): TraceRoute {
  const [path = '', queryText = ''] = text.replace(/^#/, '').split('?');
  const [, , target, trace, view] = path.split('/');
  const query = Object.fromEntries(new URLSearchParams(queryText));
  const fromUs = whole(query.from);
  const toUs = whole(query.to);
  const span = fromUs > 0 && toUs > fromUs;
  return {
    target: whole(target),
    trace: whole(trace),
    view: views.find((it) => it === view) ?? 'top',
    query,
    fromUs: span ? fromUs : undefined,
    toUs: span ? toUs : undefined,
  };
}

export const traceRoute = computed(() => parseTraceRoute(hash.value));

type Change = Readonly<Record<string, string | number | undefined>>;

/** A link inside the profiler; undefined takes a parameter away, the others stay. `own`: parameters of one view go. */
export function traceLink(
  place: { target?: number; trace?: number; view?: View },
  change: Change = {},
  from: TraceRoute = traceRoute.value,
): string {
  const target = place.target ?? from.target;
  const trace = place.trace ?? from.trace;
  const query = new URLSearchParams();
  const kept: Change = trace === from.trace ? { ...from.query, ...change } : change;
  for (const [name, value] of Object.entries(kept)) if (value !== undefined) query.set(name, String(value));
  const path =
    trace === 0 ? `/profiler/${target}` : `/profiler/${target}/${trace}/${place.view ?? from.view}`;
  const text = query.toString();
  return `#${path}${text === '' ? '' : `?${text}`}`;
}

export function goTo(place: { target?: number; trace?: number; view?: View }, change: Change = {}): void {
  location.hash = traceLink(place, change);
}

/** Chooses a span of time and, where given, of execution time; undefined: all. */
export function brush(
  span: { fromUs: number; toUs: number; leastUs?: number; mostUs?: number } | undefined,
): void {
  goTo(
    {},
    {
      from: span === undefined ? undefined : Math.floor(span.fromUs),
      to: span === undefined ? undefined : Math.ceil(span.toUs),
      least: span?.leastUs === undefined ? undefined : Math.floor(span.leastUs),
      most: span?.mostUs === undefined ? undefined : Math.ceil(span.mostUs),
    },
  );
}
