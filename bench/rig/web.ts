/**
 * A web server over a rig's PEM for tests and benchmarks: the real program in this process, HTTP and WebSocket clients
 * that say what they send, and an ingester's stand-in that writes latest, the received set and the message of a commit
 * in the order in which the real one does.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type pg from 'pg';
import { pino } from 'pino';
import { WebSocket } from 'ws';
import { parseConninfo } from '../../src/base/conninfo.js';
import { runWeb, type WebOptions, type WebServer } from '../../src/http/main.js';
import { encodeCommit, encodeMessage, messageKind } from '../../src/push/commit.js';
import type { Pem } from './pem.js';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
  /** The body as JSON. */
  json<T = Record<string, unknown>>(): T;
}

export interface Ask {
  readonly method?: string;
  readonly body?: unknown;
  /** A body that is no JSON of ours. */
  readonly raw?: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

/** One HTTP request; headers go out as given, Host too. */
export function ask(port: number, path: string, options: Ask = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const payload = options.raw ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
    const request = httpRequest(
      {
        host: '127.0.0.1',
        port,
        path,
        method: options.method ?? 'GET',
        agent: false,
        headers: {
          ...(payload === undefined ? {} : { 'content-length': String(Buffer.byteLength(payload)) }),
          ...options.headers,
        },
      },
      (response) => {
        const pieces: Buffer[] = [];
        response.on('data', (piece: Buffer) => pieces.push(piece));
        response.on('error', reject);
        response.on('end', () => {
          const body = Buffer.concat(pieces);
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body,
            json: <T>() => JSON.parse(body.toString()) as T,
          });
        });
      },
    );
    request.on('error', reject);
    request.end(payload);
  });
}

/** Somebody who is signed in. */
export interface Visitor {
  readonly cookie: string;
  readonly csrf: string;
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  send(method: string, path: string, body?: unknown): Promise<Answer>;
}

export interface PushFrame {
  readonly kind: 'snapshot' | 'blocks' | 'denied';
  readonly epoch: number;
  readonly n: number;
  readonly prev: number;
  readonly target: number;
  readonly probe: string;
  readonly blocks: readonly Buffer[];
}

/** The frames of one message: the inverse of src/push/frame.ts, after src/push/FORMAT.md. */
export function readFrames(bytes: Buffer): PushFrame[] {
  const frames: PushFrame[] = [];
  for (let at = 0; at < bytes.length; ) at += readFrame(bytes.subarray(at), frames);
  return frames;
}

/** @returns the bytes it took */
function readFrame(bytes: Buffer, frames: PushFrame[]): number {
  const padded = (length: number): number => (length + 7) & ~7;
  const kind = ([undefined, 'snapshot', 'blocks', 'denied'] as const)[bytes[2] ?? 0];
  if (bytes[0] !== 0x50 || bytes[1] !== 1 || kind === undefined) throw new Error('no push frame');
  const nameBytes = bytes.readUInt16LE(24);
  const blocks: Buffer[] = [];
  let at = 32 + padded(nameBytes);
  for (let count = bytes.readUInt16LE(26); count > 0; count--) {
    const length = bytes.readUInt32LE(at);
    if (at % 8 !== 0 || at + 8 + length > bytes.length) throw new Error('frame does not add up');
    blocks.push(Buffer.from(bytes.subarray(at + 8, at + 8 + length)));
    at += 8 + padded(length);
  }
  if (at > bytes.length) throw new Error('frame ends inside its padding');
  frames.push({
    kind,
    epoch: bytes.readUInt32LE(4),
    n: bytes.readUInt32LE(8),
    prev: bytes.readUInt32LE(12),
    target: Number(bytes.readBigInt64LE(16)),
    probe: bytes.toString('utf8', 32, 32 + nameBytes),
    blocks,
  });
  return at;
}

/** A browser's stand-in on /pem/live. */
export class LiveClient {
  readonly frames: PushFrame[] = [];
  readonly texts: Record<string, unknown>[] = [];
  closeCode: number | undefined;
  #wake: (() => void)[] = [];

  constructor(readonly socket: WebSocket) {
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      if (isBinary) this.frames.push(...readFrames(data));
      else this.texts.push(JSON.parse(data.toString()) as Record<string, unknown>);
      this.#changed();
    });
    socket.on('close', (code: number) => {
      this.closeCode = code;
      this.#changed();
    });
    socket.on('error', () => undefined);
  }

  #changed(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  send(message: unknown): void {
    this.socket.send(
      typeof message === 'string' || Buffer.isBuffer(message) ? message : JSON.stringify(message),
    );
  }

  subscribe(target: number, probe: string): void {
    this.send({ subscribe: [{ target, probe }] });
  }

  /** Waits for a condition on what has come; after `patienceMs` it says what did come. */
  async until(condition: () => boolean, patienceMs = 60_000): Promise<void> {
    const endMs = performance.now() + patienceMs;
    while (!condition()) {
      const leftMs = endMs - performance.now();
      if (leftMs <= 0) {
        const came = this.frames.map((frame) => `${frame.kind} ${frame.target}/${frame.probe} n=${frame.n}`);
        throw new Error(
          `waited in vain; closed with ${this.closeCode}; frames: ${came.join(', ')}; texts: ${JSON.stringify(this.texts.slice(-5))}`,
        );
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  close(): void {
    this.socket.terminate();
  }
}

/** Signs in at whatever web server listens there; `portOf` is asked each time: a server may come back on another port. */
export async function signInAt(portOf: () => number, username: string, password: string): Promise<Visitor> {
  const body = { username, password };
  const answer = await ask(portOf(), '/pem/api/v1/session', { method: 'POST', body });
  if (answer.status !== 200) throw new Error(`sign-in answered ${answer.status} ${answer.body.toString()}`);
  const cookie = String(answer.headers['set-cookie']).split(';')[0] ?? '';
  const { csrf } = answer.json<{ csrf: string }>();
  return {
    cookie,
    csrf,
    get: (path, headers = {}) => ask(portOf(), path, { headers: { cookie, ...headers } }),
    send: (method, path, sent) =>
      ask(portOf(), path, { method, body: sent, headers: { cookie, 'x-csrf-token': csrf } }),
  };
}

export interface WebRig {
  readonly port: number;
  readonly pushDirectory: string;
  ask(path: string, options?: Ask): Promise<Answer>;
  signIn(username: string, password: string): Promise<Visitor>;
  live(visitor: Visitor): Promise<LiveClient>;
  /** Stops the program and starts it again on another port. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export type WebRigOptions = Partial<Omit<WebOptions, 'db' | 'log' | 'pushDirectory'>>;

const quiet = pino({ level: process.env.PEM_TEST_LOG ?? 'silent' });

export async function startWeb(pem: Pem, options: WebRigOptions = {}): Promise<WebRig> {
  const pushDirectory = mkdtempSync(join(tmpdir(), 'pempush-'));
  const run = (): Promise<WebServer> =>
    runWeb({
      db: parseConninfo(pem.conninfo('pem_web')),
      listen: { host: '127.0.0.1', port: 0 },
      hosts: [],
      // Tests sign in often; the throttle has tests of its own.
      throttle: { perUser: { capacity: 1000, refillMs: 1 }, perAddress: { capacity: 1000, refillMs: 1 } },
      ...options,
      pushDirectory,
      log: quiet,
    });
  let server = await run();
  const sockets = new Set<LiveClient>();
  return {
    get port() {
      return server.port;
    },
    pushDirectory,
    ask: (path, asked) => ask(server.port, path, asked),
    signIn: (username, password) => signInAt(() => server.port, username, password),
    async live(visitor) {
      const socket = new WebSocket(`ws://127.0.0.1:${server.port}/pem/live`, {
        headers: { cookie: visitor.cookie },
        origin: `http://127.0.0.1:${server.port}`,
        perMessageDeflate: false,
      });
      const client = new LiveClient(socket);
      await once(socket, 'open');
      sockets.add(client);
      return client;
    },
    async restart() {
      await server.stop();
      server = await run();
    },
    async stop() {
      for (const client of sockets) client.close();
      await server.stop();
      rmSync(pushDirectory, { recursive: true, force: true });
    },
  };
}

export interface FakeBlock {
  readonly target: number;
  readonly probe: string;
  readonly block: Buffer;
  readonly scope?: string;
  readonly isFull: boolean;
  /** Statements that bring latest to this block. */
  readonly apply: readonly { readonly sql: string; readonly values: readonly unknown[] }[];
}

/** An ingester's stand-in: one transaction, then one message. */
export class FakeIngester {
  readonly #client: pg.Client;
  #socket: Socket | undefined;

  private constructor(client: pg.Client) {
    this.#client = client;
  }

  static async start(pem: Pem, pushDirectory?: string): Promise<FakeIngester> {
    const ingester = new FakeIngester(await pem.client('postgres'));
    if (pushDirectory !== undefined) await ingester.link(pushDirectory);
    return ingester;
  }

  async link(pushDirectory: string): Promise<void> {
    const socket = connect(join(pushDirectory, 'push.sock'));
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.write(encodeMessage(messageKind.hello, Buffer.from('rig')));
    this.#socket = socket;
  }

  /** Ends the link as a killed process does. */
  unlink(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  /** Commits a batch; `hold` keeps its message back. @returns sends the message */
  async commit(
    agent: number,
    boot: string,
    seq: bigint,
    blocks: readonly FakeBlock[],
    hold = false,
  ): Promise<() => void> {
    const client = this.#client;
    await client.query('BEGIN');
    await client.query('INSERT INTO pem.received (agent_id, boot) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
      agent,
      boot,
    ]);
    const { rows } = await client.query<{ arrival: string }>(
      `UPDATE pem.received SET ranges = ranges + int8multirange(int8range($3::int8, $3::int8 + 1))
        WHERE agent_id = $1 AND boot = $2 RETURNING arrival`,
      [agent, boot, String(seq)],
    );
    const arrival = rows[0]?.arrival;
    for (const block of blocks) {
      for (const { sql, values } of block.apply) await client.query(sql, [...values]);
      await client.query(
        `INSERT INTO pem.probe_state AS s (target_id, probe, scope, recorded_at, arrival, seq, full_arrival, full_seq, rows)
         VALUES ($1, $2, $3, now(), $4::int8, $5::int8, CASE WHEN $6 THEN $4::int8 END, CASE WHEN $6 THEN $5::int8 END, 1)
         ON CONFLICT (target_id, probe, scope) DO UPDATE SET recorded_at = now(), seen_at = now(), arrival = EXCLUDED.arrival,
           seq = EXCLUDED.seq, full_arrival = coalesce(EXCLUDED.full_arrival, s.full_arrival),
           full_seq = coalesce(EXCLUDED.full_seq, s.full_seq)
         WHERE (EXCLUDED.arrival, EXCLUDED.seq) > (s.arrival, s.seq)`,
        [block.target, block.probe, block.scope ?? '', arrival, String(seq), block.isFull],
      );
    }
    await client.query('COMMIT');
    const message = encodeMessage(
      messageKind.commit,
      encodeCommit(blocks.map(({ block }) => ({ agent, boot, seq, block }))),
    );
    const send = (): void => {
      this.#socket?.write(message);
    };
    if (!hold) send();
    return send;
  }

  /** Sends bytes as they are. */
  write(bytes: Buffer): void {
    this.#socket?.write(bytes);
  }

  async stop(): Promise<void> {
    this.unlink();
    await this.#client.end();
  }
}
