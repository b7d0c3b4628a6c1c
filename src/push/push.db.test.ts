import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Pem, type RigAgent, startPem } from '../../bench/rig/pem.js';
import {
  type FakeBlock,
  FakeIngester,
  type LiveClient,
  type PushFrame,
  startWeb,
  type Visitor,
  type WebRig,
} from '../../bench/rig/web.js';
import { blockFromRows } from '../../native/index.js';
import { probes } from '../catalog/probes/index.js';
import { blockRows, readBlock } from '../wire/index.js';
import { encodeMessage, messageKind } from './commit.js';

let pem: Pem;
let web: WebRig;
let agent: RigAgent;
let visitor: Visitor;
let server: number;
let ingester: FakeIngester;
const boot = randomUUID();
let seq = 0n;
const clients: LiveClient[] = [];

beforeAll(async () => {
  pem = await startPem();
  await pem.addTeam('crew');
  const password = await pem.addUser('ada', { teams: ['crew'] });
  agent = await pem.addAgent({
    name: 'alpha',
    team: 'crew',
    servers: [{ name: 'main', host: pem.cluster.socketDirectory, port: pem.port }],
  });
  server = agent.serverTargets[0] ?? 0;
  web = await startWeb(pem);
  visitor = await web.signIn('ada', password);
  ingester = await FakeIngester.start(pem, web.pushDirectory);
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});
afterAll(async () => {
  await ingester?.stop();
  await web?.stop();
  await pem?.stop();
});

async function open(): Promise<LiveClient> {
  const client = await web.live(visitor);
  clients.push(client);
  return client;
}

const specs = (name: string) => {
  const found = probes.find((probe) => probe.name === name);
  if (found === undefined) throw new Error(`no probe ${name}`);
  return found;
};

/** A full block of session_info with one row whose text is `text`. */
function sessions(text: string, at: bigint = seq, pad = 0): FakeBlock {
  const { columns } = specs('session_info');
  const row = columns.map(({ name }) =>
    name === 'pid' ? 1 : name === 'query' ? text + 'x'.repeat(pad) : null,
  );
  const meta = {
    target: BigInt(server),
    probe: 'session_info',
    probeVersion: 1,
    kind: 'full' as const,
    recordedAtUs: BigInt(Date.now()) * 1000n,
    intervalUs: 1_000_000n,
  };
  return {
    target: server,
    probe: 'session_info',
    isFull: true,
    block: blockFromRows(meta, columns, [row]),
    apply: [
      {
        sql: `INSERT INTO pemdata.session_info AS s (target_id, pid, query, recorded_at, _arrival, _seq)
              VALUES ($1, 1, $2, now(), 1, $3) ON CONFLICT (target_id, pid) DO UPDATE
              SET query = EXCLUDED.query, _seq = EXCLUDED._seq WHERE s._seq < EXCLUDED._seq`,
        values: [server, text + 'x'.repeat(pad), String(at)],
      },
    ],
  };
}

/** A delta of settings that sets one name. */
function setting(name: string, value: string, at: bigint): FakeBlock {
  const { columns } = specs('settings');
  const keys = columns.filter((column) => column.role === 'key').map((column) => column.name);
  const metric = columns.find((column) => column.role === 'metric' && column.type === 'text');
  if (keys.length !== 1 || metric === undefined) throw new Error('settings has another shape');
  const row = columns.map((column) => (column.name === keys[0] ? name : column === metric ? value : null));
  const meta = {
    target: BigInt(server),
    probe: 'settings',
    probeVersion: 1,
    kind: 'delta' as const,
    recordedAtUs: BigInt(Date.now()) * 1000n,
    intervalUs: 1_000_000n,
  };
  return {
    target: server,
    probe: 'settings',
    isFull: false,
    block: blockFromRows(meta, columns, [row]),
    apply: [
      {
        sql: `INSERT INTO pemdata.settings AS s (target_id, ${keys[0]}, ${metric.name}, recorded_at, _arrival, _seq)
              VALUES ($1, $2, $3, now(), 1, $4) ON CONFLICT (target_id, ${keys[0]}) DO UPDATE
              SET ${metric.name} = EXCLUDED.${metric.name}, _seq = EXCLUDED._seq WHERE s._seq < EXCLUDED._seq`,
        values: [server, name, value, String(at)],
      },
    ],
  };
}

const next = (): bigint => ++seq;
const textOf = (frame: PushFrame | undefined): unknown =>
  frame?.blocks.flatMap((block) => blockRows(readBlock(block)).map((row) => row.query));
const last = (client: LiveClient): PushFrame | undefined => client.frames.at(-1);

/** What a reader of the frames believes of settings: by FORMAT.md, the oracle's counterpart. */
class Reader {
  values = new Map<string, unknown>();
  gaps = 0;
  #epoch = -1;
  #n = -1;

  constructor(
    readonly client: LiveClient,
    readonly name: string,
    readonly value: string,
  ) {}

  #at = 0;
  /** Applies what has come. */
  read(): this {
    for (; this.#at < this.client.frames.length; this.#at++) {
      const frame = this.client.frames[this.#at] as PushFrame;
      if (frame.kind === 'snapshot') {
        this.values = new Map();
        this.#epoch = frame.epoch;
      } else if (frame.epoch !== this.#epoch || frame.prev !== this.#n) {
        this.gaps++;
        continue;
      }
      this.#n = frame.n;
      for (const block of frame.blocks) {
        for (const row of blockRows(readBlock(block)))
          this.values.set(String(row[this.name]), row[this.value]);
      }
    }
    return this;
  }
}

test('a snapshot first, then every commit in order, each naming the one before', async () => {
  await ingester.commit(agent.agentId, boot, next(), [sessions('before')]);
  const client = await open();
  client.subscribe(server, 'session_info');
  await client.until(() => client.frames.length === 1);
  expect([last(client)?.kind, textOf(last(client))]).toEqual(['snapshot', ['before']]);
  for (let i = 0; i < 20; i++) await ingester.commit(agent.agentId, boot, next(), [sessions(`v${i}`)]);
  await client.until(() => client.frames.length === 21);
  const blocks = client.frames.slice(1);
  expect(blocks.map(textOf)).toEqual(blocks.map((_, i) => [`v${i}`]));
  blocks.forEach((frame, i) => {
    expect([frame.kind, frame.epoch, frame.prev]).toEqual([
      'blocks',
      last(client)?.epoch,
      client.frames[i]?.n,
    ]);
  });
});

test('a commit in the snapshot whose message comes later is not said again', async () => {
  const client = await open();
  const late = await ingester.commit(agent.agentId, boot, next(), [sessions('in the snapshot')], true);
  client.subscribe(server, 'session_info');
  await client.until(() => client.frames.length === 1);
  expect(textOf(client.frames[0])).toEqual(['in the snapshot']);
  late();
  await ingester.commit(agent.agentId, boot, next(), [sessions('after')]);
  await client.until(() => client.frames.length === 2);
  expect(textOf(client.frames[1])).toEqual(['after']);
  expect(client.frames[1]?.prev).toBe(client.frames[0]?.n);
});

test('a late delta, and a boot that was never seen, become a snapshot', async () => {
  const client = await open();
  const first = next();
  const second = next();
  const third = next();
  client.subscribe(server, 'settings');
  await client.until(() => client.frames.length === 1);
  await ingester.commit(agent.agentId, boot, first, [setting('a', '1', first)]);
  await ingester.commit(agent.agentId, boot, third, [setting('a', '3', third)]);
  await client.until(() => client.frames.some((frame) => frame.kind === 'blocks'));
  await ingester.commit(agent.agentId, boot, second, [setting('a', '2', second), setting('b', '2', second)]);
  const { columns } = specs('settings');
  const value = columns.find((column) => column.role === 'metric' && column.type === 'text')?.name ?? '';
  const name = columns.find((column) => column.role === 'key')?.name ?? '';
  const reader = new Reader(client, name, value);
  await client.until(() => reader.read().values.get('b') === '2');
  expect(Object.fromEntries(reader.values)).toMatchObject({ a: '3', b: '2' });
  const other = randomUUID();
  await ingester.commit(agent.agentId, other, 1n, [setting('c', 'new boot', next())]);
  await client.until(() => reader.read().values.get('c') === 'new boot');
  expect(last(client)?.kind).toBe('snapshot');
});

test('an ingester that is lost, says so, or comes back starts a new epoch with fresh snapshots', async () => {
  const client = await open();
  client.subscribe(server, 'session_info');
  await client.until(() => client.frames.length === 1);
  const epochs = (): number[] =>
    client.frames.filter((frame) => frame.kind === 'snapshot').map((frame) => frame.epoch);
  ingester.write(encodeMessage(messageKind.lost, Buffer.alloc(0)));
  await client.until(() => epochs().length >= 2);
  // Committed while nobody listens: no message ever says it.
  ingester.unlink();
  await ingester.commit(agent.agentId, boot, next(), [sessions('unsaid')]);
  await client.until(() => JSON.stringify(textOf(last(client))) === '["unsaid"]');
  await ingester.link(web.pushDirectory);
  const before = epochs().length;
  await client.until(() => epochs().length > before);
  expect([...epochs()].sort((a, b) => a - b)).toEqual(epochs());
  expect(new Set(epochs()).size).toBe(epochs().length);
});

test('nonsense on the push socket ends that link alone; the socket is the owner’s', async () => {
  const path = join(web.pushDirectory, 'push.sock');
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const hostile = [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.from([255, 255, 255, 255, 2]),
    Buffer.from([0, 0, 0, 0, 0]),
    encodeMessage(messageKind.commit, Buffer.from([9, 0, 1, 2, 3])),
    encodeMessage(
      messageKind.commit,
      Buffer.concat([Buffer.from([1, 0, 40, 0, 0, 0]), Buffer.alloc(28 + 40, 0xff)]),
    ),
  ];
  for (const bytes of hostile) {
    const socket = connect(path);
    socket.on('error', () => undefined);
    socket.end(bytes);
    await once(socket, 'close');
  }
  expect((await visitor.get('/pem/api/v1/session')).status).toBe(200);
});

test('hostile messages of a browser are refused with a code', async () => {
  const client = await open();
  const messages = [
    'x',
    '[]',
    'null',
    '{}',
    '{"subscribe":1}',
    '{"subscribe":[1]}',
    '{"subscribe":[{"target":"1","probe":"settings"}]}',
    '{"subscribe":[{"target":1,"probe":"settings; drop table pem.agent"}]}',
    '{"subscribe":[{"target":1e400,"probe":"settings"}]}',
    '{"__proto__":{"subscribe":[]}}',
    '{"explode":[]}',
    Buffer.from([1, 2, 3]),
  ];
  for (const message of messages) client.send(message);
  const errors = () => client.texts.filter((text) => 'error' in text);
  await client.until(() => errors().length === messages.length);
  for (const text of errors()) expect(text).toMatchObject({ error: { code: 'message_invalid' } });
  client.send({ subscribe: Array.from({ length: 200 }, (_, i) => ({ target: i + 100, probe: 'settings' })) });
  await client.until(() => client.frames.length === 200);
  expect(new Set(client.frames.map((frame) => frame.kind))).toEqual(new Set(['denied']));
  client.send('x'.repeat(100_000));
  await client.until(() => client.closeCode !== undefined);
});

test('a browser that does not read costs its bound, then gets a snapshot', async () => {
  const slow = await open();
  const quick = await open();
  for (const client of [slow, quick]) {
    client.subscribe(server, 'session_info');
    await client.until(() => client.frames.length > 0);
  }
  slow.socket.pause();
  const stats = async () =>
    (await visitor.get('/pem/api/v1/system')).json<{ web: { framesDropped: number } }>().web;
  const before = (await stats()).framesDropped;
  let sent = 0;
  while ((await stats()).framesDropped === before) {
    for (let i = 0; i < 10; i++, sent++) {
      await ingester.commit(agent.agentId, boot, next(), [sessions(`${sent}:`, seq, 200_000)]);
    }
    expect(sent).toBeLessThan(400);
  }
  await ingester.commit(agent.agentId, boot, next(), [sessions('the end')]);
  await quick.until(() => JSON.stringify(textOf(last(quick))) === '["the end"]');
  slow.socket.resume();
  // The first snapshot may be older than the end: the sockets' own buffers took what made room for it.
  await slow.until(() => JSON.stringify(textOf(last(slow))) === '["the end"]');
  expect(slow.frames.filter((frame) => frame.kind === 'snapshot').length).toBeGreaterThan(1);
  expect(slow.frames.length).toBeLessThan(sent);
});

test('under load every reader ends with what the database holds, whenever it came', async () => {
  const names = ['p', 'q', 'r', 's', 't'];
  const { columns } = specs('settings');
  const value = columns.find((column) => column.role === 'metric' && column.type === 'text')?.name ?? '';
  const name = columns.find((column) => column.role === 'key')?.name ?? '';
  const readers: Reader[] = [];
  const full = next();
  await ingester.commit(agent.agentId, boot, full, [setting('p', 'start', full)]);
  const held: (() => void)[] = [];
  for (let round = 0; round < 150; round++) {
    const at = next();
    const send = await ingester.commit(
      agent.agentId,
      boot,
      at,
      [setting(names[round % names.length] as string, String(round), at)],
      true,
    );
    // Messages come late by up to three commits, in order: reads and messages cross.
    held.push(send);
    while (held.length > round % 4) held.shift()?.();
    if (round % 6 === 0) {
      const client = await open();
      client.subscribe(server, 'settings');
      readers.push(new Reader(client, name, value));
    }
  }
  for (const send of held) send();
  const { rows } = await pem.query(
    `SELECT ${name} AS k, ${value} AS v FROM pemdata.settings WHERE target_id = $1`,
    [server],
  );
  const truth = Object.fromEntries(rows.map((row: { k: string; v: string }) => [row.k, row.v]));
  for (const reader of readers) {
    await reader.client.until(() => {
      reader.read();
      return names.every((key) => reader.values.get(key) === truth[key]);
    });
    expect(Object.fromEntries(reader.values)).toEqual(truth);
    expect(reader.gaps).toBe(0);
  }
});

test('after unsubscribe nothing comes; resnapshot brings one', async () => {
  const client = await open();
  client.subscribe(server, 'session_info');
  await client.until(() => client.frames.length === 1);
  client.send({ resnapshot: [{ target: server, probe: 'session_info' }] });
  await client.until(() => client.frames.length === 2);
  expect(last(client)?.kind).toBe('snapshot');
  client.send({
    unsubscribe: [{ target: server, probe: 'session_info' }],
    subscribe: [{ target: server, probe: 'settings' }],
  });
  await client.until(() => client.frames.length === 3);
  await ingester.commit(agent.agentId, boot, next(), [sessions('unheard'), setting('z', 'heard', next())]);
  await client.until(() => client.frames.length === 4);
  expect(last(client)?.probe).toBe('settings');
});
