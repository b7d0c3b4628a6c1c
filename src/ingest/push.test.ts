import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../../bench/rig/processes.js';
import { openLog } from '../base/log.js';
import type { Placed } from './latest.js';
import { commitMessages, PushLinks } from './push.js';

let folder: string;
const servers: Server[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pempush-'));
});
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
  rmSync(folder, { recursive: true, force: true });
});

const log = openLog('test');
log.level = 'silent';

/** Only what a message holds of a block. */
function placed(bytes: Buffer, seq: bigint): Placed {
  return {
    arrival: 1n,
    block: { agentId: 7, boot: '00112233-4455-6677-8899-aabbccddeeff', seq, index: 0, bytes },
  } as Placed;
}

async function listen(name: string): Promise<{ sockets: Socket[]; received: () => Buffer }> {
  const sockets: Socket[] = [];
  const parts: Buffer[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('data', (data: Buffer) => parts.push(data));
    socket.on('error', () => undefined);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(join(folder, name), resolve));
  return { sockets, received: () => Buffer.concat(parts) };
}

/** Kinds and payloads of complete messages. */
function messages(stream: Buffer): { kind: number; payload: Buffer }[] {
  const found: { kind: number; payload: Buffer }[] = [];
  for (let at = 0; at + 4 <= stream.length; ) {
    const length = stream.readUInt32LE(at);
    if (at + 4 + length > stream.length) break;
    found.push({ kind: stream[at + 4] as number, payload: stream.subarray(at + 5, at + 4 + length) });
    at += 4 + length;
  }
  return found;
}

test('a commit message holds its blocks as the format says', () => {
  const [parts] = commitMessages([placed(Buffer.from('abc'), 5n), placed(Buffer.from('de'), 6n)]);
  const [message] = messages(Buffer.concat(parts ?? []));
  expect(message?.kind).toBe(2);
  const payload = message?.payload as Buffer;
  expect(payload.readUInt16LE(0)).toBe(2);
  expect(payload.readUInt32LE(2)).toBe(3);
  expect(payload.readUInt32LE(6)).toBe(7);
  expect(payload.subarray(10, 26).toString('hex')).toBe('00112233445566778899aabbccddeeff');
  expect(payload.readBigUInt64LE(26)).toBe(5n);
  expect(payload.subarray(34, 37).toString()).toBe('abc');
  expect(payload.subarray(37 + 32).toString()).toBe('de');
});

test('large commits are several messages, none of them over the bound of a count of 16 bits', () => {
  const many = Array.from({ length: 10_000 }, (_, i) => placed(Buffer.from('x'), BigInt(i)));
  const counts = commitMessages(many).map(
    (parts) => messages(Buffer.concat(parts))[0]?.payload.readUInt16LE(0) ?? 0,
  );
  expect(counts.length).toBeGreaterThan(1);
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(10_000);
});

test('every web process gets every commit; one that does not read loses some and is told', async () => {
  const [reader, sleeper] = [await listen('one.sock'), await listen('two.sock')];
  const links = new PushLinks(folder, 'ingester', log);
  await eventually('two links', () => links.connected === 2);
  await eventually('a socket', () => sleeper.sockets.length === 1);
  sleeper.sockets[0]?.pause();
  const block = Buffer.alloc(1024 * 1024, 'x');
  for (let i = 0; i < 40; i += 1) {
    links.publish([placed(block, BigInt(i + 1))]);
    await eventually('the reader', () => messages(reader.received()).length === i + 2);
  }
  expect(links.dropped).toBeGreaterThan(0);
  sleeper.sockets[0]?.resume();
  await eventually('the word that something was lost', () => messages(sleeper.received()).at(-1)?.kind === 3);
  links.publish([placed(Buffer.from('after'), 99n)]);
  await eventually(
    'the commit after',
    () => messages(sleeper.received()).at(-1)?.payload.subarray(34).toString() === 'after',
  );
  expect(messages(reader.received()).map((message) => message.kind)).toEqual([
    1,
    ...Array<number>(41).fill(2),
  ]);
  expect(messages(reader.received())[0]?.payload.toString()).toBe('ingester');
  links.close();
});
