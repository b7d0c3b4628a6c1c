/**
 * A process that pushes: one of four servers, told by its parent how often. It measures the CPU it spends itself.
 * - ours: HttpServer, PushHub and the ingester's message format as shipped; the database is left out (snapshots are
 *   made here), the unix socket too: messages come as bytes from a variable.
 * - bare: uWebSockets.js publishing ready messages, all of a commit in one turn of the loop.
 * - joined: `ws`'s frame made once per message, the 20 of a commit joined into one write per socket.
 * - plain: `ws`, send() for each message and socket.
 */
import { createServer } from 'node:http';
import type { Duplex } from 'node:stream';
import { pino } from 'pino';
import { WebSocket, WebSocketServer } from 'ws';
import { blockFromRows } from '../../native/index.js';
import { createApp, listen, localPort } from '../../src/http/engine.js';
import { HttpServer } from '../../src/http/server.js';
import {
  decodeCommit,
  encodeCommit,
  encodeMessage,
  MessageReader,
  messageKind,
} from '../../src/push/commit.js';
import { encodeFrame, frameKind } from '../../src/push/frame.js';
import { type Client, PushHub } from '../../src/push/hub.js';
import { ReceivedSet } from '../../src/push/received.js';

export type PushVariant = 'ours' | 'bare' | 'joined' | 'plain';
export interface PushOrder {
  readonly commits: number;
  readonly everyMs: number;
}
export interface PushCost {
  readonly cpuUs: number;
  readonly deliveries: number;
}

export const topicCount = 20;
export const probeName = 'session_info';
const boot = '00112233445566778899aabbccddeeff';

/** Blocks of 500 bytes and a little: what alignment adds. */
function makeBlock(target: number): Buffer {
  const meta = {
    target: BigInt(target),
    probe: probeName,
    probeVersion: 1,
    kind: 'full' as const,
    recordedAtUs: 1_790_000_000_000_000n,
    intervalUs: 1_000_000n,
  };
  const columns = [{ name: 'payload', type: 'text' as const }];
  const empty = blockFromRows(meta, columns, [['']]).length;
  return blockFromRows(meta, columns, [['x'.repeat(Math.max(0, 500 - empty))]]);
}

const blocks = Array.from({ length: topicCount }, (_, index) => makeBlock(index + 1));
const frames = blocks.map((block, index) =>
  encodeFrame(frameKind.blocks, { target: BigInt(index + 1), probeBytes: Buffer.from(probeName) }, 1, 1, 0, [
    block,
  ]),
);

interface Server {
  readonly port: number;
  clients(): number;
  commit(): void;
}

async function startOurs(): Promise<Server> {
  const log = pino({ level: 'silent' });
  const server = new HttpServer({ listen: { host: '127.0.0.1', port: 0 }, hosts: [], log });
  const received = new ReceivedSet();
  received.add(1, boot, 1n, []);
  const source = {
    read: async (_user: string, target: bigint) => ({
      block: blocks[Number(target) - 1] as Buffer,
      received,
      marks: new Map(),
    }),
  };
  const hub = new PushHub({ publisher: server, source, log });
  server.live<{ client?: Client }>({
    path: '/pem/live',
    maxMessageBytes: 64 * 1024,
    maxBackpressureBytes: 1024 * 1024,
    accept: async () => ({}),
    opened(socket) {
      socket.data.client = hub.attach(socket, 'bench');
    },
    message: (socket, text) => socket.data.client && hub.message(socket.data.client, text),
    dropped: (socket) => socket.data.client && hub.dropped(socket.data.client),
    drained: (socket) => socket.data.client && hub.drained(socket.data.client),
    closed: (socket) => socket.data.client && hub.detach(socket.data.client),
  });
  const reader = new MessageReader();
  const entries = blocks.map((block) => ({ agent: 1, boot, seq: 0n, block }));
  const message = encodeMessage(messageKind.commit, encodeCommit(entries));
  let seq = 0n;
  return {
    port: await server.start(),
    clients: () => hub.stats.sockets,
    commit() {
      // The same bytes with another seq: reading them from the socket is no part of the push.
      seq++;
      let at = 7;
      for (const block of blocks) {
        message.writeBigUInt64LE(seq, at + 24);
        at += 32 + block.length;
      }
      reader.push(message, (_kind, payload) => hub.commit(decodeCommit(payload)));
    },
  };
}

async function startBare(): Promise<Server> {
  const app = createApp();
  let open = 0;
  app.ws<object>('/pem/live', {
    maxBackpressure: 1024 * 1024,
    open(ws) {
      open++;
      for (let index = 0; index < topicCount; index++) ws.subscribe(`topic ${index}`);
    },
    close() {
      open--;
    },
  });
  const port = localPort(await listen(app, '127.0.0.1', 0));
  return {
    port,
    clients: () => open,
    commit() {
      for (const [index, frame] of frames.entries()) app.publish(`topic ${index}`, frame, true);
    },
  };
}

async function startWs(isJoined: boolean): Promise<Server> {
  const http = createServer();
  const server = new WebSocketServer({ server: http, perMessageDeflate: false });
  const raw = new Set<Duplex>();
  server.on('connection', (_socket, request) => raw.add(request.socket));
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const address = http.address();
  const joined = Buffer.concat(
    frames.map((frame) =>
      Buffer.concat([Buffer.from([0x82, 126, frame.length >> 8, frame.length & 255]), frame]),
    ),
  );
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    clients: () => server.clients.size,
    commit() {
      if (isJoined) {
        for (const socket of raw) socket.write(joined);
        return;
      }
      for (const frame of frames) {
        for (const client of server.clients) if (client.readyState === WebSocket.OPEN) client.send(frame);
      }
    },
  };
}

async function main(variant: PushVariant): Promise<void> {
  const server =
    variant === 'ours'
      ? await startOurs()
      : variant === 'bare'
        ? await startBare()
        : await startWs(variant === 'joined');
  process.on('message', (order: PushOrder) => {
    let left = order.commits;
    const before = process.cpuUsage();
    const timer = setInterval(() => {
      server.commit();
      left--;
      if (left > 0) return;
      clearInterval(timer);
      // The last commit's bytes leave after this turn.
      setTimeout(() => {
        const { user, system } = process.cpuUsage(before);
        const cost: PushCost = {
          cpuUs: user + system,
          deliveries: order.commits * topicCount * server.clients(),
        };
        process.send?.(cost);
      }, 100);
    }, order.everyMs);
  });
  process.send?.({ port: server.port, frameBytes: frames[0]?.length ?? 0 });
}

const variant = process.argv[2];
if (variant !== undefined && process.send !== undefined) await main(variant as PushVariant);
