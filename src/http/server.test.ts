import { once } from 'node:events';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
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
  while (waiting.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const [, refused] = (await once(open(), 'unexpected-response')) as [unknown, { statusCode: number }];
  expect(refused.statusCode).toBe(503);
  waiting.shift()?.();
  await once(first, 'open');
  const third = open();
  while (waiting.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  waiting.shift()?.();
  await once(third, 'open');
  server.stop();
});
