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
    look: () => Promise.resolve({ targets: new Set<bigint>(), agents: [], servers: [] }),
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
