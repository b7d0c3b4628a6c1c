import { once } from 'node:events';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { HttpError } from './message.js';
import { HttpServer } from './server.js';

test('upgrades that wait for their sign-in count as requests: more than may be in flight are turned away', async () => {
  const server = new HttpServer({
    listen: { host: '127.0.0.1', port: 0 },
    hosts: [],
    log: pino({ level: 'silent' }),
    maxInFlight: 1,
  });
  const waiting: (() => void)[] = [];
  const nothing = (): void => undefined;
  server.live<{ n: number }>({
    path: '/live',
    maxMessageBytes: 1024,
    maxBackpressureBytes: 1024,
    accept: () => new Promise((resolve) => waiting.push(() => resolve({ n: 1 }))),
    opened: nothing,
    message: nothing,
    dropped: nothing,
    drained: nothing,
    closed: nothing,
  });
  const port = await server.start();
  const open = (): WebSocket =>
    new WebSocket(`ws://127.0.0.1:${port}/live`, { origin: `http://127.0.0.1:${port}` });
  const first = open();
  const firstOpen = once(first, 'open');
  while (waiting.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const [, refused] = (await once(open(), 'unexpected-response')) as [unknown, { statusCode: number }];
  expect(refused.statusCode).toBe(503);
  waiting.shift()?.();
  await firstOpen;
  const third = once(open(), 'open');
  while (waiting.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  waiting.shift()?.();
  await third;
  server.stop();
});

/** A server whose endpoint keeps what it is told; `admit` and `refuse` end its next client's wait. */
async function startEndpoint() {
  const server = new HttpServer({
    listen: { host: '127.0.0.1', port: 0 },
    hosts: [],
    log: pino({ level: 'silent' }),
  });
  const waiting: { resolve(data: object): void; reject(error: unknown): void }[] = [];
  const told: unknown[] = [];
  server.live<object>({
    path: '/live',
    maxMessageBytes: 96,
    maxBackpressureBytes: 1024,
    accept: () => new Promise((resolve, reject) => waiting.push({ resolve, reject })),
    opened: (socket) => {
      told.push('opened');
      socket.send('hello');
    },
    message: (_socket, text) => told.push(text),
    dropped: () => undefined,
    drained: () => undefined,
    closed: () => told.push('closed'),
  });
  const port = await server.start();
  return {
    told,
    stop: () => server.stop(),
    async open() {
      const headers = { Connection: 'close' };
      const socket = new WebSocket(`ws://127.0.0.1:${port}/live`, {
        origin: `http://127.0.0.1:${port}`,
        headers,
      });
      await once(socket, 'open');
      return socket;
    },
    async next() {
      while (waiting.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      return waiting.shift() as (typeof waiting)[number];
    },
  };
}

test('a socket lives on after its sign-in, and what it said before is heard after it opened', async () => {
  const endpoint = await startEndpoint();
  try {
    const socket = await endpoint.open();
    socket.send('first');
    socket.send('second');
    const caller = await endpoint.next();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(endpoint.told).toEqual([]);
    const hello = once(socket, 'message');
    caller.resolve({});
    expect(String((await hello)[0])).toBe('hello');
    expect(endpoint.told).toEqual(['opened', 'first', 'second']);
    const closed = once(socket, 'close');
    socket.close(1000);
    expect((await closed)[0]).toBe(1000);
  } finally {
    endpoint.stop();
  }
});

test('who may not is closed with its status; who says too much before is closed; who leaves before is forgotten', async () => {
  const endpoint = await startEndpoint();
  try {
    const refused = await endpoint.open();
    const refusal = once(refused, 'close');
    (await endpoint.next()).reject(new HttpError(401, 'session_invalid', 'sign in'));
    expect((await refusal)[0]).toBe(4401);
    const loud = await endpoint.open();
    const quieted = once(loud, 'close');
    const caller = await endpoint.next();
    loud.send('x'.repeat(40));
    loud.send('x'.repeat(40));
    expect((await quieted)[0]).toBe(1008);
    caller.resolve({});
    const leaver = await endpoint.open();
    const left = await endpoint.next();
    leaver.terminate();
    await new Promise((resolve) => setTimeout(resolve, 500));
    left.resolve({});
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(endpoint.told).toEqual([]);
  } finally {
    endpoint.stop();
  }
});
