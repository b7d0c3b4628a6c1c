import { pino } from 'pino';
import { expect, test } from 'vitest';
import { readFrames } from '../../bench/rig/web.js';
import type { CommitEntry } from './commit.js';
import { type Client, PushHub, type SnapshotSource } from './hub.js';
import { ReceivedSet } from './received.js';
import type { PushSocket, SendResult, Snapshot } from './topic.js';

const boot = 'ab'.repeat(16);

/** A socket whose backlog the test decides. */
class FakeSocket implements PushSocket {
  isOpen = true;
  backlogBytes = 0;
  isFull = false;
  closed: number | undefined;
  readonly frames: ReturnType<typeof readFrames> = [];
  readonly texts: string[] = [];
  readonly sets = new Set<string>();
  client: Client | undefined;

  send(message: string | Uint8Array): SendResult {
    if (this.isFull) return 'dropped';
    if (typeof message === 'string') this.texts.push(message);
    else this.frames.push(...readFrames(Buffer.from(message)));
    return 'sent';
  }
  subscribe(set: string): void {
    this.sets.add(set);
  }
  unsubscribe(set: string): void {
    this.sets.delete(set);
  }
  close(code: number): void {
    this.closed = code;
  }
  get kinds(): string {
    return this.frames.map((frame) => frame.kind[0]).join('');
  }
}

/** A hub whose database is `received`, and whose reads wait until the test lets them go. */
class Stage {
  readonly sockets: FakeSocket[] = [];
  readonly reads: { user: string; go: (seen?: boolean) => Promise<void> }[] = [];
  committed = 0n;
  readonly hub: PushHub;

  constructor(options: { maxSubscriptions?: number } = {}) {
    const source: SnapshotSource = {
      read: (user) =>
        new Promise((resolve) => {
          this.reads.push({
            user,
            go: async (seen = true) => {
              resolve(seen ? this.#snapshot() : undefined);
              await settled();
            },
          });
        }),
    };
    const publisher = {
      publish: (set: string, message: Uint8Array) => {
        for (const socket of this.sockets) {
          if (!socket.sets.has(set)) continue;
          if (socket.send(message) === 'dropped' && socket.client !== undefined)
            this.hub.dropped(socket.client);
        }
      },
    };
    this.hub = new PushHub({ publisher, source, log: pino({ level: 'silent' }), ...options });
  }

  #snapshot(): Snapshot {
    const received = new ReceivedSet();
    received.add(1, boot, 1n, [[1n, this.committed + 1n]]);
    const place = { arrival: 1n, seq: this.committed };
    return { block: Buffer.alloc(8), received, marks: new Map([['', { newest: place, full: place }]]) };
  }

  open(user = 'ada'): FakeSocket {
    const socket = new FakeSocket();
    socket.client = this.hub.attach(socket, user);
    this.sockets.push(socket);
    return socket;
  }

  say(socket: FakeSocket, verb: string, probe = 'p'): void {
    this.hub.message(socket.client as Client, JSON.stringify({ [verb]: [{ target: 1, probe }] }));
  }

  /** One commit with a block for each probe. */
  commit(...probes: string[]): void {
    this.committed++;
    const seq = this.committed;
    const block = Buffer.alloc(8);
    const entries = (probes.length === 0 ? ['p'] : probes).map(
      (probe): CommitEntry => ({ agent: 1, boot, seq, target: 1n, probe, kind: 'full', scope: '', block }),
    );
    this.hub.commit(entries);
  }

  /** Lets the next read end. */
  async read(seen = true): Promise<void> {
    await settled();
    await this.reads.shift()?.go(seen);
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 2));

test('members of one user share a read; another user’s is its own', async () => {
  const stage = new Stage();
  const sockets = [stage.open(), stage.open(), stage.open('bob')];
  for (const socket of sockets) stage.say(socket, 'subscribe');
  await settled();
  expect(stage.reads.map((read) => read.user)).toEqual(['ada', 'bob']);
  await stage.read();
  await stage.read(false);
  expect(sockets.map((socket) => socket.kinds)).toEqual(['s', 's', 'd']);
  stage.commit();
  expect(sockets.map((socket) => socket.kinds)).toEqual(['sb', 'sb', 'd']);
  expect(stage.hub.stats).toMatchObject({ sockets: 3, topics: 1, framesSent: 5 });
});

test('frames that come while a read runs follow it, unless it covers them', async () => {
  const stage = new Stage();
  const socket = stage.open();
  stage.say(socket, 'subscribe');
  await settled();
  stage.commit();
  stage.commit();
  // The snapshot is taken now: both are in it.
  await stage.read();
  stage.commit();
  stage.commit();
  expect(socket.frames.map(({ kind, n, prev }) => [kind, n, prev])).toEqual([
    ['snapshot', 2, 0],
    ['blocks', 3, 2],
    ['blocks', 4, 3],
  ]);
});

test('the topics of one commit reach a member in one piece each, in order, whoever else is there', async () => {
  const stage = new Stage();
  const both = stage.open();
  const one = stage.open();
  for (const probe of ['p', 'q']) {
    stage.say(both, 'subscribe', probe);
    await stage.read();
  }
  stage.say(one, 'subscribe', 'q');
  await stage.read();
  for (let round = 0; round < 3; round++) stage.commit('p', 'q');
  expect(both.frames.slice(2).map((frame) => frame.probe)).toEqual(['p', 'q', 'p', 'q', 'p', 'q']);
  expect(one.frames.slice(1).map((frame) => frame.probe)).toEqual(['q', 'q', 'q']);
});

test('a slow client is held until it has drained, then gets a snapshot; the others notice nothing', async () => {
  const stage = new Stage();
  const [slow, quick] = [stage.open(), stage.open()] as const;
  for (const socket of [slow, quick]) stage.say(socket, 'subscribe');
  await stage.read();
  stage.commit();
  slow.isFull = true;
  slow.backlogBytes = 1_000_000;
  for (let i = 0; i < 5; i++) {
    stage.commit();
    await settled();
  }
  expect(slow.sets.size).toBe(0);
  expect(stage.hub.stats.framesDropped).toBe(1);
  slow.isFull = false;
  stage.commit();
  expect(slow.kinds).toBe('sb');
  slow.backlogBytes = 0;
  stage.hub.drained(slow.client as Client);
  await stage.read();
  stage.commit();
  expect([slow.kinds, quick.kinds]).toEqual(['sbsb', 'sbbbbbbbb']);
  expect(slow.frames.at(-1)?.prev).toBe(slow.frames.at(-2)?.n);
});

test('a target that is no longer seen is denied at once; a user that cannot be verified gets nothing', async () => {
  const stage = new Stage();
  const socket = stage.open();
  const client = socket.client as Client;
  stage.say(socket, 'subscribe');
  await stage.read();
  stage.commit();
  stage.hub.setVisible(client, undefined);
  stage.commit();
  expect(socket.kinds).toBe('sb');
  stage.hub.setVisible(client, new Set([1n]));
  await stage.read();
  expect(socket.kinds).toBe('sbs');
  stage.hub.setVisible(client, new Set([2n]));
  stage.commit();
  expect(socket.kinds).toBe('sbsd');
  expect(stage.hub.stats.topics).toBe(0);
});

test('a new epoch discards reads that run and starts every member anew', async () => {
  const stage = new Stage();
  const socket = stage.open();
  stage.say(socket, 'subscribe');
  await settled();
  stage.hub.joined('one');
  await stage.read();
  expect(socket.kinds).toBe('');
  await new Promise((resolve) => setTimeout(resolve, 1100));
  await stage.read();
  expect(socket.frames.map(({ kind, epoch }) => [kind, epoch])).toEqual([['snapshot', stage.hub.epoch]]);
  stage.hub.stop();
});

test('subscriptions are bounded, unsubscribing frees them and their topics', async () => {
  const stage = new Stage({ maxSubscriptions: 2 });
  const socket = stage.open();
  for (const probe of ['a', 'b', 'c']) stage.say(socket, 'subscribe', probe);
  expect(JSON.parse(socket.texts[0] ?? '{}')).toMatchObject({
    error: { code: 'too_many_subscriptions', probe: 'c' },
  });
  stage.say(socket, 'unsubscribe', 'a');
  stage.say(socket, 'subscribe', 'c');
  for (let i = 0; i < 3; i++) await stage.read();
  expect(socket.frames.map((frame) => frame.probe).sort()).toEqual(['b', 'c']);
  stage.hub.detach(socket.client as Client);
  await settled();
  expect(stage.hub.stats).toMatchObject({ sockets: 0, topics: 0 });
});
