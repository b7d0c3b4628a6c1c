/**
 * The live connection. States, each with its exits:
 *
 * closed   → connecting at `open`, and after every wait
 * connecting → open when the socket opens; → waiting when it fails
 * open     → waiting when it closes; topics are subscribed anew at each entry, so that nothing of an old socket counts
 * waiting  → connecting after 0.5 s, doubled up to 10 s, with jitter
 *
 * A topic is (target, probe) with any number of listeners. It starts without a number; a snapshot gives it epoch and n.
 * A `blocks` frame of another epoch, or whose predecessor is not n, is a gap: the topic asks for a fresh snapshot and
 * ignores frames until it comes. What listeners get is therefore always whole: a snapshot, then every change after it.
 */
import { signal } from '@preact/signals';
import { type Block, readBlock } from './blocks.js';
import { decodeFrames, type Frame } from './frames.js';

export type TopicEvent =
  | { kind: 'snapshot'; block: Block }
  | { kind: 'block'; block: Block }
  | { kind: 'denied'; reason: string };

type Listener = (event: TopicEvent) => void;

interface Topic {
  readonly target: number;
  readonly probe: string;
  readonly listeners: Set<Listener>;
  epoch: number;
  n: number;
  waiting: boolean;
}

export interface FleetMessage {
  /** These are all; otherwise they are what changed. */
  readonly whole?: boolean;
  readonly agents?: readonly { id: number; status: string; lastSeenUs: number | null }[];
  readonly servers?: readonly { targetId: number; status: string; error?: string }[];
}

export const connection = signal<'closed' | 'connecting' | 'open' | 'waiting'>('closed');
/** Whole counts since the page was opened; the system page shows them. */
export const liveCounters = { frames: 0, bytes: 0, gaps: 0, reconnects: 0 };

const topics = new Map<string, Topic>();
let socket: WebSocket | undefined;
let retryMs = 500;
let retryTimer: ReturnType<typeof setTimeout> | undefined;
let onFleet: (message: FleetMessage) => void = () => undefined;

const topicKey = (target: number, probe: string): string => `${target}/${probe}`;

function send(verb: 'subscribe' | 'unsubscribe' | 'resnapshot', list: readonly Topic[]): void {
  if (socket?.readyState !== WebSocket.OPEN || list.length === 0) return;
  socket.send(JSON.stringify({ [verb]: list.map(({ target, probe }) => ({ target, probe })) }));
}

// Panels mount together: their subscriptions leave in one message.
let pending: { subscribe: Set<Topic>; unsubscribe: Set<Topic> } | undefined;

function queue(verb: 'subscribe' | 'unsubscribe', topic: Topic): void {
  if (pending === undefined) {
    pending = { subscribe: new Set(), unsubscribe: new Set() };
    queueMicrotask(() => {
      const now = pending;
      pending = undefined;
      if (now === undefined) return;
      send('unsubscribe', [...now.unsubscribe]);
      send('subscribe', [...now.subscribe]);
    });
  }
  pending[verb === 'subscribe' ? 'unsubscribe' : 'subscribe'].delete(topic);
  pending[verb].add(topic);
}

function deliver(topic: Topic, event: TopicEvent): void {
  for (const listener of topic.listeners) listener(event);
}

function onFrame(frame: Frame): void {
  const topic = topics.get(topicKey(frame.target, frame.probe));
  if (topic === undefined) return;
  if (frame.kind === 'denied') {
    deliver(topic, { kind: 'denied', reason: 'You may not see this target (any more).' });
    return;
  }
  if (frame.kind === 'snapshot') {
    topic.epoch = frame.epoch;
    topic.n = frame.n;
    topic.waiting = false;
    for (const bytes of frame.blocks) deliver(topic, { kind: 'snapshot', block: readBlock(bytes) });
    return;
  }
  if (topic.waiting) return;
  if (frame.epoch !== topic.epoch || frame.prev !== topic.n) {
    topic.waiting = true;
    liveCounters.gaps += 1;
    send('resnapshot', [topic]);
    return;
  }
  topic.n = frame.n;
  for (const bytes of frame.blocks) deliver(topic, { kind: 'block', block: readBlock(bytes) });
}

function onText(text: string): void {
  const message = JSON.parse(text) as {
    fleet?: FleetMessage;
    error?: { code: string; message: string; target?: number; probe?: string };
  };
  if (message.fleet !== undefined) onFleet(message.fleet);
  if (message.error?.target !== undefined && message.error.probe !== undefined) {
    const topic = topics.get(topicKey(message.error.target, message.error.probe));
    if (topic !== undefined) deliver(topic, { kind: 'denied', reason: message.error.message });
  }
}

function connectSocket(): void {
  connection.value = 'connecting';
  const opened = new WebSocket(
    `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/pem/live`,
  );
  opened.binaryType = 'arraybuffer';
  socket = opened;
  opened.onopen = () => {
    for (const topic of topics.values()) topic.waiting = true;
    send('subscribe', [...topics.values()]);
  };
  opened.onmessage = (event: MessageEvent<string | ArrayBuffer>) => {
    liveCounters.frames += 1;
    // Only now: a socket is answered before the server knows who calls.
    retryMs = 500;
    connection.value = 'open';
    if (typeof event.data === 'string') {
      liveCounters.bytes += event.data.length;
      onText(event.data);
    } else {
      liveCounters.bytes += event.data.byteLength;
      for (const frame of decodeFrames(event.data)) onFrame(frame);
    }
  };
  opened.onclose = () => {
    if (socket !== opened) return;
    socket = undefined;
    connection.value = 'waiting';
    liveCounters.reconnects += 1;
    retryTimer = setTimeout(connectSocket, retryMs * (0.75 + Math.random() / 2));
    retryMs = Math.min(retryMs * 2, 10_000);
  };
}

export function openLive(fleetListener: (message: FleetMessage) => void): void {
  onFleet = fleetListener;
  if (connection.value === 'closed') connectSocket();
}

export function closeLive(): void {
  clearTimeout(retryTimer);
  const open = socket;
  socket = undefined;
  open?.close();
  connection.value = 'closed';
}

/**
 * @param options.snapshot false: only what changes from now on (charts read the past as history)
 * @returns a function that takes the listener away; the topic is left with its last one
 */
export function subscribe(
  target: number,
  probe: string,
  listener: Listener,
  options: { snapshot: boolean } = { snapshot: true },
): () => void {
  const key = topicKey(target, probe);
  let topic = topics.get(key);
  if (topic === undefined) {
    topic = { target, probe, listeners: new Set(), epoch: 0, n: 0, waiting: true };
    topics.set(key, topic);
    queue('subscribe', topic);
  } else if (options.snapshot && !topic.waiting) {
    // A later listener needs the state the earlier ones were given.
    topic.waiting = true;
    send('resnapshot', [topic]);
  }
  const mine = topic;
  mine.listeners.add(listener);
  return () => {
    mine.listeners.delete(listener);
    if (mine.listeners.size > 0 || topics.get(key) !== mine) return;
    topics.delete(key);
    queue('unsubscribe', mine);
  };
}
