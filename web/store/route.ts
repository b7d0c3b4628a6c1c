/**
 * The address bar is the page's state: `#/server/2?range=15m` or `…?from=…&to=…` (ms since 1970). Every chart of a page
 * shares the range, so that a link shows a colleague the same picture.
 */
import { computed, signal } from '@preact/signals';

export const presets = [
  { id: '5m', title: '5 min', ms: 300_000 },
  { id: '15m', title: '15 min', ms: 900_000 },
  { id: '1h', title: '1 h', ms: 3_600_000 },
  { id: '6h', title: '6 h', ms: 21_600_000 },
  { id: '24h', title: '24 h', ms: 86_400_000 },
  { id: '7d', title: '7 d', ms: 604_800_000 },
] as const;

/** What stretch of time the charts show. A live range ends now and moves. */
export type Range = { live: true; id: string; ms: number } | { live: false; fromMs: number; toMs: number };

export interface Route {
  readonly page: 'fleet' | 'agent' | 'server' | 'system' | 'profiler' | 'none';
  readonly id: number;
  readonly range: Range;
}

export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#/, '').split('?');
  const parameters = new URLSearchParams(query);
  const [, name = '', idText = ''] = path.split('/');
  const id = Number.parseInt(idText, 10);
  const known = name === '' || name === 'fleet' ? 'fleet' : name;
  const page =
    known === 'fleet' ||
    known === 'system' ||
    known === 'profiler' ||
    ((known === 'agent' || known === 'server') && id > 0)
      ? known
      : 'none';
  const from = Number(parameters.get('from'));
  const to = Number(parameters.get('to'));
  const preset = presets.find((entry) => entry.id === parameters.get('range')) ?? presets[0];
  const range: Range =
    from > 0 && to > from
      ? { live: false, fromMs: from, toMs: to }
      : { live: true, id: preset.id, ms: preset.ms };
  return { page, id: Number.isNaN(id) ? 0 : id, range };
}

export const hash = signal(typeof location === 'undefined' ? '' : location.hash);
export const route = computed(() => parseRoute(hash.value));
/** Compared by value: a chart must not load again because another page's link was rendered. */
export const rangeKey = computed(() => JSON.stringify(route.value.range));

export function watchAddress(): void {
  addEventListener('hashchange', () => {
    hash.value = location.hash;
  });
}

/** A link to a page that keeps the range being looked at. */
export function linkTo(path: string, range: Range = route.value.range): string {
  return range.live ? `#${path}?range=${range.id}` : `#${path}?from=${range.fromMs}&to=${range.toMs}`;
}

export function setRange(range: Range): void {
  const path = hash.value.replace(/^#/, '').split('?')[0] ?? '/';
  location.hash = linkTo(path === '' ? '/' : path, range);
}
