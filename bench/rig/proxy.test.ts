/** The bad network itself: each mode does to an echo server's clients what it says. */
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TestProxy } from './proxy.js';

let echo: Server;
let proxy: TestProxy;
const clients: Socket[] = [];

async function client(): Promise<{ socket: Socket; text: () => string; closed: Promise<string> }> {
  const socket = createConnection({ host: '127.0.0.1', port: proxy.port });
  clients.push(socket);
  let text = '';
  let error = 'closed';
  socket.on('data', (data) => {
    text += data.toString();
  });
  socket.on('error', (thrown: NodeJS.ErrnoException) => {
    error = thrown.code ?? 'unknown';
  });
  const closed = new Promise<string>((resolve) => socket.once('close', () => resolve(error)));
  await Promise.race([new Promise<void>((resolve) => socket.once('connect', resolve)), closed]);
  return { socket, text: () => text, closed };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

beforeEach(async () => {
  echo = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
  const address = echo.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  proxy = await TestProxy.start({ host: '127.0.0.1', port: address.port });
});

afterEach(async () => {
  for (const socket of clients.splice(0)) socket.destroy();
  await proxy.stop();
  await new Promise((resolve) => echo.close(resolve));
});

test('pass and delay keep every byte in order', async () => {
  const one = await client();
  let sent = '';
  for (let i = 0; i < 2000; i++) {
    if (i === 1000) {
      await until(() => one.text() === sent);
      proxy.setDelay(5);
    }
    sent += `${i},`;
    one.socket.write(`${i},`);
  }
  await until(() => one.text().length === sent.length);
  expect(one.text()).toBe(sent);
});

test('half-open holds what is sent until it passes again; a black hole loses it', async () => {
  const one = await client();
  one.socket.write('a');
  await until(() => one.text() === 'a');
  proxy.set('half-open');
  one.socket.write('b');
  const other = await client();
  other.socket.write('x');
  await until(() => proxy.open === 2);
  expect([one.text(), other.text()]).toEqual(['a', '']);
  proxy.set('pass');
  await until(() => one.text() === 'ab' && other.text() === 'x');

  proxy.set('black-hole');
  one.socket.write('c'.repeat(1 << 20));
  await until(() => proxy.swallowedBytes === 1 << 20);
  proxy.set('pass');
  one.socket.write('d');
  await until(() => one.text().endsWith('d'));
  expect(one.text()).toBe('abd');
});

test('cut resets what is open and whatever comes', async () => {
  const one = await client();
  one.socket.write('a');
  await until(() => one.text() === 'a');
  proxy.set('cut');
  expect(await one.closed).toBe('ECONNRESET');
  const next = await client();
  expect(await next.closed).toBe('ECONNRESET');
  expect(proxy.accepted).toBe(2);
});
