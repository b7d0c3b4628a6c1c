/**
 * A component's view on a topic's samples: loads history for the range in the address, then follows the topic while the
 * range is live. Panels of one page on one topic share the samples (a store per target, probe and range).
 *
 * States of a store: loading (history asked for; live blocks already wait in `early`) → ready (early blocks added, later
 * ones at once); failed (history refused: live goes on, the reason is shown). Back-fill (a block older than the last
 * sample) brings a ready store back to loading, at most every 5 s: an outage's gap closes by itself. So does a page that is
 * left open until its live samples are many: history has them in steps.
 */
import { useEffect, useState } from 'preact/hooks';
import { getBlock, messageOf } from './api.js';
import type { Block } from './blocks.js';
import { probes } from './fleet.js';
import { subscribe, type TopicEvent } from './live.js';
import { rangeKey, route } from './route.js';
import { addBlock, createSampleSet, longestTrack, type OneKey, type SampleSet, trim } from './samples.js';

interface Store {
  readonly set: SampleSet;
  readonly watchers: Set<() => void>;
  loading: boolean;
  error: string | undefined;
  truncated: boolean;
  close: () => void;
}

/** Steps of history: one for two pixels of a wide panel. */
const steps = 600;
/** A track with more live samples than this is read again, in steps. */
const mostLive = 10_000;

const stores = new Map<string, Store>();

function notify(store: Store): void {
  for (const watcher of store.watchers) watcher();
}

function openStore(
  key: string,
  target: number,
  probeName: string,
  columns: readonly string[],
  only: OneKey | undefined,
): Store {
  const probe = probes.value.get(probeName);
  const range = route.value.range;
  const keys = (probe?.columns ?? []).filter((column) => column.role === 'key').map((column) => column.name);
  const set = createSampleSet(keys, columns, only);
  set.intervalS = (probe?.intervalMs ?? 1000) / 1000;
  const abort = new AbortController();
  const store: Store = {
    set,
    watchers: new Set(),
    loading: true,
    error: undefined,
    truncated: false,
    close: () => undefined,
  };
  let early: Block[] | undefined = [];
  let lastUs = 0;
  let snapshots = 0;
  let reloadTimer: ReturnType<typeof setTimeout> | undefined;

  const load = async (): Promise<void> => {
    early ??= [];
    const toMs = range.live ? Date.now() : range.toMs;
    const fromMs = range.live ? toMs - range.ms : range.fromMs;
    const one = only === undefined ? '' : `&key=${encodeURIComponent(`${only.column}:${only.value}`)}`;
    const query = `fromUs=${Math.floor(fromMs * 1000)}&toUs=${Math.floor((toMs + 5000) * 1000)}&steps=${steps}&columns=${columns.join(',')}${one}`;
    try {
      if (probe?.history === false) return;
      const answer = await getBlock(`/history/${target}/${probeName}?${query}`, abort.signal);
      set.tracks.clear();
      set.stepS = answer.stepMs / 1000;
      set.intervalS = answer.intervalMs / 1000;
      addBlock(set, answer.block, 'recorded_at', toMs / 1000);
      store.truncated = answer.truncated;
      store.error = undefined;
    } catch (error) {
      if (abort.signal.aborted) return;
      store.error = messageOf(error);
    } finally {
      for (const block of early) addBlock(set, block);
      early = undefined;
      store.loading = false;
      notify(store);
    }
  };
  const reload = (): void => {
    reloadTimer ??= setTimeout(() => {
      reloadTimer = undefined;
      void load();
    }, 5000);
  };

  const follow = (block: Block): void => {
    if (block.recordedAtUs < lastUs) reload();
    lastUs = Math.max(lastUs, block.recordedAtUs);
    if (early !== undefined) {
      early.push(block);
      return;
    }
    addBlock(set, block);
    // A live block knows how often its probe runs: also where PEM or its budget changed that meanwhile.
    if (block.intervalUs > 0) set.intervalS = block.intervalUs / 1e6;
    if (longestTrack(set) > mostLive) reload();
    if (range.live) trim(set, Date.now() / 1000 - range.ms / 1000);
    notify(store);
  };
  const onEvent = (event: TopicEvent): void => {
    switch (event.kind) {
      case 'denied':
        store.error = event.reason;
        notify(store);
        break;
      case 'snapshot':
        // A later snapshot means that blocks were missed; history has them.
        snapshots += 1;
        if (snapshots > 1) reload();
        break;
      case 'block':
        follow(event.block);
        break;
    }
  };
  const leave = range.live ? subscribe(target, probeName, onEvent, { snapshot: false }) : () => undefined;
  store.close = () => {
    leave();
    clearTimeout(reloadTimer);
    abort.abort();
    stores.delete(key);
  };
  void load();
  stores.set(key, store);
  return store;
}

export interface ProbeSamples {
  readonly set: SampleSet;
  readonly loading: boolean;
  readonly error: string | undefined;
  readonly truncated: boolean;
  readonly fromS: number;
  readonly toS: number;
  readonly emptyReason: string;
}

const nothing = createSampleSet([], []);

/**
 * @param columns numeric columns to load and follow, in a fixed order
 * @param only one key's samples alone: `<column>:<value>`
 */
export function useProbeSamples(
  target: number,
  probeName: string,
  columns: readonly string[],
  only?: `${string}:${string}`,
): ProbeSamples {
  const columnList = columns.join(',');
  const key = `${target}/${probeName}/${columnList}/${only ?? ''}/${rangeKey.value}`;
  const [, redraw] = useState(0);
  const [store, setStore] = useState<Store | undefined>(undefined);
  const known = probes.value.has(probeName);

  useEffect(() => {
    if (!known) return;
    const colon = only?.indexOf(':') ?? 0;
    const one =
      only === undefined ? undefined : { column: only.slice(0, colon), value: only.slice(colon + 1) };
    const opened = stores.get(key) ?? openStore(key, target, probeName, columnList.split(','), one);
    let frame = 0;
    const watcher = (): void => {
      if (frame !== 0) return;
      frame = requestAnimationFrame(() => {
        frame = 0;
        redraw((count) => count + 1);
      });
    };
    opened.watchers.add(watcher);
    setStore(opened);
    // A live window moves even when nothing arrives: that is how a reader sees that nothing arrives.
    const timer = setInterval(watcher, 1000);
    return () => {
      clearInterval(timer);
      cancelAnimationFrame(frame);
      opened.watchers.delete(watcher);
      if (opened.watchers.size === 0) opened.close();
    };
  }, [key, target, probeName, columnList, only, known]);

  const range = route.value.range;
  const toS = range.live ? Date.now() / 1000 : range.toMs / 1000;
  const fromS = range.live ? toS - range.ms / 1000 : range.fromMs / 1000;
  const probe = probes.value.get(probeName);
  const emptyReason =
    probe === undefined
      ? `PEM knows no probe ${probeName}.`
      : !probe.enabled
        ? `The probe ${probeName} is switched off.`
        : store?.loading !== false
          ? 'Loading…'
          : longestTrack(store.set) > 0
            ? 'No value in this range.'
            : range.live
              ? `No sample of ${probeName} yet in this range. It runs every ${store?.set.intervalS ?? probe.intervalMs / 1000} s.`
              : `No sample of ${probeName} was kept for this range (kept for ${probe.retentionDays} days).`;
  return {
    set: store?.set ?? nothing,
    loading: store?.loading ?? true,
    error: store?.error,
    truncated: store?.truncated ?? false,
    fromS,
    toS,
    emptyReason,
  };
}
