/**
 * Ingesters away under load: agents with real spools and ships fill the inbox up to its bound and no further, on PEM's disk
 * too; once an ingester is there again everything arrives once and the inbox gives its room back.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { configDefaults } from '../../agent/config.js';
import { startWorker, type Worker } from '../../agent/worker.js';
import { type Ingesting, nowUs, rigBlock, startIngesting } from '../../bench/load/ingesting.js';
import { rigFull } from '../../bench/load/probes.js';
import { silentLog } from '../../bench/rig/clock.js';
import { buildPrograms } from '../../bench/rig/conservation.js';
import type { RigAgent } from '../../bench/rig/pem.js';
import { eventually } from '../../bench/rig/processes.js';
import { parseConninfo } from '../base/conninfo.js';

const backlogBytes = 8 * 1024 * 1024;
/** The first COPY that is refused may leave its other rows behind, dead. */
const copyBytes = 1024 * 1024;
const folders: string[] = [];
let rig: Ingesting;

beforeAll(async () => {
  await buildPrograms();
  rig = await startIngesting();
});
afterAll(async () => {
  await rig?.stop();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

interface Sender {
  readonly agent: RigAgent;
  readonly worker: Worker;
  rows: number;
}

async function sender(name: string): Promise<Sender> {
  const agent = await rig.pem.addAgent({ name });
  const folder = mkdtempSync(join(tmpdir(), 'pem-sender-'));
  folders.push(folder);
  const worker = startWorker({
    config: {
      ...configDefaults,
      folder,
      agentId: agent.agentId,
      role: agent.role,
      pem: parseConninfo(agent.conninfo),
      spool: { ...configDefaults.spool, folder: join(folder, 'spool') },
      tuning: { ...configDefaults.tuning, syncMs: 200, batchWindowMs: 1 },
    },
    version: '0.1.0',
    log: silentLog().log,
    certificate: false,
  });
  return { agent, worker, rows: 0 };
}

let lastUs = 0n;
async function send(of: Sender, count: number, noteBytes: number): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    lastUs = nowUs() > lastUs ? nowUs() : lastUs + 1n;
    const row = [`key ${n % 7}`, of.rows, 'x'.repeat(noteBytes)];
    of.worker.outbox.put([rigBlock(rigFull, BigInt(of.agent.hostTarget), [row], { atUs: lastUs })]);
    of.rows += 1;
    await new Promise((resolve) => setTimeout(resolve, 4));
  }
}

/** Room that the inbox takes on PEM's disk. */
async function inboxDisk(): Promise<number> {
  const [row] = await rig.rows(
    `SELECT sum(pg_total_relation_size(format('pem_inbox.slot_%s', n)))::int8 AS bytes FROM generate_series(0, 3) AS n`,
  );
  return Number(row?.bytes);
}

test('ingesters away: back-pressure, a bounded inbox on a bounded disk, then everything once', async () => {
  const senders = [await sender('one'), await sender('two')];
  try {
    const first = rig.spawn('ingester');
    for (const one of senders) await send(one, 5, 1000);
    await rig.drained();
    first.kill('SIGKILL');

    const errors = (): number => Math.min(...senders.map((one) => one.worker.counts().ship.errors));
    await Promise.all(senders.map((one) => send(one, 30, 400_000)));
    await eventually('PEM refuses both', () => errors() > 0);
    // What small batches leave behind with every refused COPY must not add up.
    const before = errors();
    for (let round = 0; errors() < before + 8; round += 1) {
      expect(round).toBeLessThan(3000);
      await Promise.all(senders.map((one) => send(one, 20, 5000)));
    }
    const waiting = await rig.rows(
      `SELECT agent_id, sum(bytes)::int <= $1 AS bounded, sum(bytes)::int > $1 * 0.9 AS used
         FROM pem_inbox.slots s
        WHERE NOT EXISTS (SELECT FROM pem.received r WHERE (r.agent_id, r.boot) = (s.agent_id, s.boot) AND r.ranges @> s.seq)
        GROUP BY agent_id ORDER BY agent_id`,
      [backlogBytes],
    );
    expect(waiting).toEqual(
      senders.map((one) => ({ agent_id: one.agent.agentId, bounded: true, used: true })),
    );
    expect(await inboxDisk()).toBeLessThan(senders.length * (backlogBytes + copyBytes) * 1.1);

    rig.spawn('ingester');
    await eventually('all of it arrives', () =>
      senders.every((one) => one.worker.counts().spool.pendingBatches === 0),
    );
    for (const one of senders) {
      const found = await rig.rows(
        `SELECT count(*)::int AS rows, count(DISTINCT value)::int AS different FROM pemhistory.rig_full WHERE target_id = $1`,
        [one.agent.hostTarget],
      );
      expect(found).toEqual([{ rows: one.rows, different: one.rows }]);
      expect(one.worker.counts().spool.dropped.batches).toBe(0);
    }
    expect(await rig.rows('SELECT code FROM pem.quarantine')).toEqual([]);
    await eventually('the inbox gives its room back', async () => (await inboxDisk()) < 1024 * 1024);
  } finally {
    await Promise.all(senders.map((one) => one.worker.stop()));
  }
});
