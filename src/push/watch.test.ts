import { pino } from 'pino';
import { expect, test } from 'vitest';
import { PushHub } from './hub.js';
import type { PushSocket } from './topic.js';
import { Watch } from './watch.js';

const log = pino({ level: 'silent' });
const socket: PushSocket = {
  isOpen: true,
  backlogBytes: 0,
  send: () => 'sent',
  subscribe: () => undefined,
  unsubscribe: () => undefined,
  close: () => undefined,
};

test('a user who could not be verified in time stays so on a socket that opens then', async () => {
  const hub = new PushHub({
    publisher: { publish: () => undefined },
    source: { read: () => new Promise(() => undefined) },
    log,
  });
  const hangs = {
    look: () => new Promise<never>(() => undefined),
    stillOpen: () => Promise.resolve(new Set<string>()),
  };
  const watch = new Watch(hub, hangs, log, { everyMs: 5, maxAgeMs: 10 });
  const first = hub.attach(socket, 'ann');
  watch.add(first, Buffer.from('1'));
  watch.start();
  while (first.isVerified) await new Promise((resolve) => setTimeout(resolve, 5));
  const second = hub.attach(socket, 'ann');
  watch.add(second, Buffer.from('2'));
  expect(second.isVerified).toBe(false);
  watch.stop();
  hub.stop();
});

test('a socket that opens while sessions are being checked is not closed by that check', async () => {
  const hub = new PushHub({
    publisher: { publish: () => undefined },
    source: { read: () => new Promise(() => undefined) },
    log,
  });
  const closed: string[] = [];
  const named = (name: string): PushSocket => ({ ...socket, close: () => closed.push(name) });
  let answer: (open: ReadonlySet<string>) => void = () => undefined;
  let asked = 0;
  const source = {
    look: () => Promise.resolve({ targets: new Set<bigint>(), fleet: { agents: [], servers: [] } }),
    stillOpen: () => {
      asked += 1;
      return asked > 1
        ? new Promise<never>(() => undefined)
        : new Promise<ReadonlySet<string>>((resolve) => (answer = resolve));
    },
  };
  const watch = new Watch(hub, source, log, { everyMs: 5, maxAgeMs: 60_000 });
  watch.add(hub.attach(named('ended'), 'ann'), Buffer.from('1'));
  watch.start();
  while (asked === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  watch.add(hub.attach(named('new'), 'ann'), Buffer.from('2'));
  answer(new Set());
  while (closed.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  expect(closed).toEqual(['ended']);
  watch.stop();
  hub.stop();
});

test('the whole once, then what changed, and the whole again where one is gone or a client has missed some', async () => {
  const hub = new PushHub({
    publisher: { publish: () => undefined },
    source: { read: () => new Promise(() => undefined) },
    log,
  });
  const agent = (id: number, status: string, lastSeenUs: number) => ({ id, status, lastSeenUs });
  let fleet: {
    agents: ReturnType<typeof agent>[];
    servers: { targetId: number; status: string; error?: string }[];
  } = {
    agents: [agent(1, 'up', 5), agent(2, 'up', 5)],
    servers: [{ targetId: 7, status: 'up' }],
  };
  let looks = 0;
  const source = {
    look: (_username: string, withFleet: boolean) => {
      looks += 1;
      return Promise.resolve({ targets: new Set<bigint>(), fleet: withFleet ? fleet : undefined });
    },
    stillOpen: (hashes: readonly Buffer[]) =>
      Promise.resolve(new Set(hashes.map((hash) => hash.toString('base64')))),
  };
  const heard: { whole?: boolean; agents: unknown[]; servers: unknown[] }[] = [];
  let isFull = false;
  const listening: PushSocket = {
    ...socket,
    send: (text) => {
      if (isFull) return 'dropped';
      heard.push((JSON.parse(String(text)) as { fleet: (typeof heard)[number] }).fleet);
      return 'sent';
    },
  };
  const watch = new Watch(hub, source, log, { everyMs: 2, maxAgeMs: 60_000, fleetMs: 0, lastSeenMs: 60_000 });
  const next = async (count: number) => {
    while (heard.length < count) await new Promise((resolve) => setTimeout(resolve, 1));
    return heard[count - 1];
  };
  const rounds = async () => {
    for (const until = looks + 3; looks < until; ) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  watch.add(hub.attach(listening, 'ann'), Buffer.from('1'));
  watch.start();
  expect(await next(1)).toEqual({ whole: true, ...fleet });
  fleet = {
    agents: [agent(1, 'up', 9), agent(2, 'down', 5)],
    servers: [{ targetId: 7, status: 'down', error: 'no' }],
  };
  expect(await next(2)).toEqual({ agents: [agent(2, 'down', 5)], servers: fleet.servers });
  fleet = { ...fleet, servers: [{ targetId: 7, status: 'down', error: 'yes' }] };
  expect(await next(3)).toEqual({ agents: [], servers: fleet.servers });
  await rounds();
  expect(heard).toHaveLength(3);
  isFull = true;
  fleet = { ...fleet, agents: [agent(1, 'down', 9), agent(2, 'down', 5)] };
  await rounds();
  fleet = { ...fleet, agents: [agent(1, 'up', 10), agent(2, 'down', 5)] };
  await rounds();
  isFull = false;
  expect(await next(4)).toEqual({ whole: true, ...fleet });
  fleet = { ...fleet, agents: [agent(1, 'up', 10)] };
  expect(await next(5)).toEqual({ whole: true, ...fleet });
  watch.stop();
  hub.stop();
});

test('states are read less often than who sees what', async () => {
  const hub = new PushHub({
    publisher: { publish: () => undefined },
    source: { read: () => new Promise(() => undefined) },
    log,
  });
  const asked: boolean[] = [];
  const source = {
    look: (_username: string, withFleet: boolean) => {
      asked.push(withFleet);
      return Promise.resolve({
        targets: new Set<bigint>(),
        fleet: withFleet ? { agents: [], servers: [] } : undefined,
      });
    },
    stillOpen: (hashes: readonly Buffer[]) =>
      Promise.resolve(new Set(hashes.map((hash) => hash.toString('base64')))),
  };
  const watch = new Watch(hub, source, log, { everyMs: 1, maxAgeMs: 60_000, fleetMs: 60_000 });
  watch.add(hub.attach(socket, 'ann'), Buffer.from('1'));
  watch.start();
  while (asked.length < 5) await new Promise((resolve) => setTimeout(resolve, 1));
  expect(asked.slice(0, 5)).toEqual([true, false, false, false, false]);
  watch.stop();
  hub.stop();
});
