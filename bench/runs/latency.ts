/**
 * latency: a value changes in the monitored server; when does a browser have it? A whole desk runs: server, signer,
 * ingester, agent 1. A session of the monitored server changes its application_name; session_info, a 1 s probe, sees it
 * at its next sample; the WebSocket client reads it from the block. The probe's own wait is the time until that sample,
 * which the block carries (agent, server and this program share a clock); the figure is what comes after it: query,
 * block, spool, ship, inbox, ingest transaction, push.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { WebSocket } from 'ws';
import { blockRows, readBlock } from '../../src/wire/index.js';
import { atMost, type BenchOptions, type BenchResult } from '../report.js';
import { type Desk, startDesk } from '../rig/desk.js';
import { readFrames } from '../rig/web.js';

interface Server {
  readonly targetId: number;
  readonly host: string;
  readonly port: number;
}

/** Signs in by the desk's link. @returns the cookie */
async function signIn(desk: Desk): Promise<string> {
  const answer = await fetch(`${desk.url}/pem/api/v1/session/link`, {
    method: 'POST',
    body: JSON.stringify({ token: desk.signInToken }),
  });
  if (!answer.ok) throw new Error(`sign-in answered ${answer.status}: ${await answer.text()}`);
  return (answer.headers.getSetCookie()[0] ?? '').split(';')[0] ?? '';
}

/** The monitored server; it is there within a second or two of the desk's start. */
async function firstServer(desk: Desk, cookie: string): Promise<Server> {
  for (;;) {
    const answer = await fetch(`${desk.url}/pem/api/v1/server`, { headers: { cookie } });
    const { servers } = (await answer.json()) as { servers: Server[] };
    if (servers[0] !== undefined) return servers[0];
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Waits for names of one session as the browser sees them. */
class NameWatch {
  #waiting: { name: string; resolve: (seen: { sampledMs: number; arrivedMs: number }) => void } | undefined;

  constructor(
    socket: WebSocket,
    readonly pid: number,
  ) {
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      const arrivedMs = performance.timeOrigin + performance.now();
      if (!isBinary) return;
      for (const frame of readFrames(data)) {
        for (const bytes of frame.kind === 'blocks' ? frame.blocks : []) {
          const block = readBlock(bytes);
          const row = blockRows(block).find((entry) => entry.pid === this.pid);
          if (row === undefined || row.application_name !== this.#waiting?.name) continue;
          this.#waiting?.resolve({ sampledMs: Number(block.recordedAtUs) / 1000, arrivedMs });
          this.#waiting = undefined;
        }
      }
    });
  }

  next(name: string): Promise<{ sampledMs: number; arrivedMs: number }> {
    return new Promise((resolve) => {
      this.#waiting = { name, resolve };
    });
  }
}

/** The value at or above which one in `1 / (1 - share)` lies. */
function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

export async function run({ quick, progress }: BenchOptions): Promise<BenchResult> {
  const rounds = quick ? 20 : 300;
  progress('starting a desk');
  const desk = await startDesk();
  try {
    const cookie = await signIn(desk);
    const server = await firstServer(desk, cookie);
    const client = new pg.Client({
      host: server.host,
      port: server.port,
      user: 'admin',
      password: readFileSync(join(desk.home, 'secrets/admin-password'), 'utf8').trim(),
      database: 'pem',
      ssl: server.host.startsWith('/') ? false : { rejectUnauthorized: false },
    });
    await client.connect();
    const pid = (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid ?? 0;
    const socket = new WebSocket(`${desk.url.replace('http', 'ws')}/pem/live`, {
      headers: { cookie },
      origin: desk.url,
      perMessageDeflate: false,
    });
    await new Promise((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('error', reject);
    });
    const watch = new NameWatch(socket, pid);
    socket.send(JSON.stringify({ subscribe: [{ target: server.targetId, probe: 'session_info' }] }));
    const beyondMs: number[] = [];
    const wholeMs: number[] = [];
    // The first rounds meet a desk that still starts.
    for (let round = -5; round < rounds; round++) {
      const name = `latency ${round}`;
      const seen = watch.next(name);
      // Anywhere within the probe's second.
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 1000));
      await client.query(`SET application_name = '${name}'`);
      const changedMs = performance.timeOrigin + performance.now();
      const { sampledMs, arrivedMs } = await seen;
      if (round < 0) continue;
      beyondMs.push(arrivedMs - sampledMs);
      wholeMs.push(arrivedMs - changedMs);
      if (round % (quick ? 5 : 30) === 0) {
        progress(
          `change ${round + 1}/${rounds}: ${(arrivedMs - sampledMs).toFixed(0)} ms beyond the probe's wait`,
        );
      }
    }
    socket.terminate();
    await client.end();
    return {
      figures: {
        changes: rounds,
        beyondWaitMedianMs: Number(quantile(beyondMs, 0.5).toFixed(1)),
        beyondWaitP99Ms: Number(quantile(beyondMs, 0.99).toFixed(1)),
        beyondWaitMaxMs: Number(Math.max(...beyondMs).toFixed(1)),
        changeToBrowserMedianMs: Number(quantile(wholeMs, 0.5).toFixed(1)),
        changeToBrowserP99Ms: Number(quantile(wholeMs, 0.99).toFixed(1)),
      },
      bars: [atMost("a value's way beyond the probe's wait, p99", quantile(beyondMs, 0.99), 150, 'ms')],
    };
  } finally {
    await desk.stop();
  }
}
