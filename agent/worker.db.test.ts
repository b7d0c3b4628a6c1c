/**
 * The agent's sending half against a real PostgreSQL with PEM's schema: stops, cut and half-open connections, a full inbox,
 * a shrinking received set, several boots. What goes in are numbered blocks; afterwards each number has been taken once.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { FakeIngest, numberedBlock } from '../bench/rig/fake_ingest.js';
import { type Pem, type RigAgent, startPem } from '../bench/rig/pem.js';
import { eventually } from '../bench/rig/processes.js';
import { TestProxy } from '../bench/rig/proxy.js';
import { parseConninfo } from '../src/base/conninfo.js';
import { openLog } from '../src/base/log.js';
import { type AgentConfig, configDefaults } from './config.js';
import { startWorker, type Worker } from './worker.js';

const log = openLog('test');
log.level = process.env.PEM_TEST_LOG ?? 'silent';

let pem: Pem;
let agent: RigAgent;
let proxy: TestProxy;
let ingest: FakeIngest;
let folder: string;
let worker: Worker | null = null;
let sent = 0;
let names = 0;

beforeAll(async () => {
  pem = await startPem();
  proxy = await TestProxy.start({ host: '127.0.0.1', port: pem.port });
});
afterAll(async () => {
  await proxy?.stop();
  await pem?.stop();
});
beforeEach(async () => {
  names += 1;
  agent = await pem.addAgent({ name: `agent of test ${names}` });
  folder = mkdtempSync(join(tmpdir(), 'pem-agent-'));
  ingest = new FakeIngest(pem);
  sent = 0;
});
afterEach(async () => {
  proxy.set('pass');
  await worker?.stop();
  worker = null;
  await ingest.stop();
  rmSync(folder, { recursive: true, force: true });
});

function start(place = folder): Worker {
  const config: AgentConfig = {
    ...configDefaults,
    folder: place,
    agentId: agent.agentId,
    role: agent.role,
    pem: { ...parseConninfo(agent.conninfo), port: String(proxy.port) },
    spool: { ...configDefaults.spool, folder: join(place, 'spool'), syncAfterMs: 1000 },
    tuning: { ...configDefaults.tuning, syncMs: 200, batchWindowMs: 5 },
  };
  worker = startWorker({ config, version: '0.1.0', log, certificate: false });
  return worker;
}

async function produce(count: number, ballast = 0): Promise<void> {
  for (let at = 0; at < count; at += 1) {
    sent += 1;
    worker?.outbox.put([numberedBlock(agent.hostTarget, sent, ballast)]);
    if (at % 5 === 4) await new Promise((resolve) => setTimeout(resolve, 8));
  }
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  await eventually(what, condition).catch((error: unknown) => {
    throw new Error(`${error}; ${JSON.stringify(worker?.counts())}`);
  });
}

async function everythingTakenOnce(): Promise<void> {
  await until('all numbers taken', () => ingest.taken.size === sent);
  expect([...ingest.taken.values()].every((times) => times === 1)).toBe(true);
  await until('nothing waits', () => worker?.counts().spool.pendingBatches === 0);
}

test('batches arrive once, PEM knows the agent, a changed configuration and commands reach it', async () => {
  ingest.start();
  const { definitions, counts } = start();
  await produce(200);
  await everythingTakenOnce();
  expect(counts().ship).toMatchObject({ resent: 0, errors: 0, setAside: 0 });
  const heartbeat = await pem.query('SELECT info FROM pem.agent_heartbeat WHERE agent_id = $1', [
    agent.agentId,
  ]);
  expect(heartbeat.rows[0].info).toMatchObject({ host: { cpus: expect.any(Number) }, setAsideBatches: 0 });

  await until('definitions', () => definitions.current !== null);
  expect(definitions.current).toMatchObject({ agentId: agent.agentId, hostTarget: agent.hostTarget });
  const before = definitions.version;
  await pem.query(`SELECT pem.set_probe_config($1, 'cpu_usage', NULL, 7000, NULL)`, [agent.hostTarget]);
  await until('new definitions', () => definitions.version !== before);
  expect(definitions.current?.schedule).toContainEqual({
    targetId: agent.hostTarget,
    probe: 'cpu_usage',
    intervalMs: 7000,
  });

  await pem.query(`INSERT INTO pem.command (agent_id, kind) VALUES ($1, 'sync_now'), ($1, 'unheard_of')`, [
    agent.agentId,
  ]);
  await until('both commands answered', async () => {
    const done = await pem.query(
      'SELECT kind, result FROM pem.command WHERE agent_id = $1 AND done_at IS NOT NULL',
      [agent.agentId],
    );
    return done.rowCount === 2;
  });
  const answers = await pem.query('SELECT kind, result FROM pem.command WHERE agent_id = $1 ORDER BY id', [
    agent.agentId,
  ]);
  expect(answers.rows).toMatchObject([
    { kind: 'sync_now', result: { ok: true } },
    { kind: 'unheard_of', result: { ok: false, result: { code: 'command_unknown' } } },
  ]);
});

test('PostgreSQL stopped at once, again and again: its inbox is empty afterwards, nothing is missing', async () => {
  ingest.start();
  start();
  for (let round = 0; round < 3; round += 1) {
    await until('connected', () => worker?.link.connected === true);
    await produce(60);
    await pem.cluster.halt('immediate');
    await produce(60);
    await pem.cluster.start();
  }
  await produce(20);
  await everythingTakenOnce();
  expect(worker?.link.reconnects).toBeGreaterThanOrEqual(3);
});

test('cut and half-open connections', async () => {
  ingest.start();
  start();
  await produce(50);
  proxy.set('cut');
  await produce(50);
  proxy.set('pass');
  await produce(50);
  proxy.set('black-hole');
  await produce(50);
  await until('the agent has noticed', () => worker?.link.connected === false);
  proxy.set('pass');
  await everythingTakenOnce();
});

test('a received set that shrinks brings back exactly what is missing from it', async () => {
  ingest.start();
  const { counts } = start();
  await produce(100);
  await everythingTakenOnce();
  const batches = counts().ship.batches;
  await ingest.stop();
  // As if PEM's database were restored from a backup taken when half of it had arrived.
  const half = Math.floor(batches / 2);
  await pem.query(
    'UPDATE pem.received SET ranges = int8multirange(int8range(1, $2 + 1)) WHERE agent_id = $1',
    [agent.agentId, half],
  );
  const before = ingest.taken;
  ingest.taken = new Map();
  ingest.start();
  await until('the rest came again', () => counts().ship.batches - batches >= batches - half);
  await until('nothing waits', () => counts().spool.pendingBatches === 0);
  expect([...ingest.taken.values()].every((times) => times === 1)).toBe(true);
  expect([...ingest.taken.keys()].every((n) => before.has(n))).toBe(true);
  const set = await pem.query('SELECT ranges::text FROM pem.received WHERE agent_id = $1', [agent.agentId]);
  expect(set.rows).toEqual([{ ranges: `{[1,${batches + 1})}` }]);
});

test('ingesters away: the inbox fills up to its bound and no further, then all of it arrives', async () => {
  start();
  await produce(40, 500_000);
  await until('PEM refuses', () => (worker?.counts().ship.errors ?? 0) > 0);
  const inbox = await pem.query('SELECT sum(bytes)::int AS bytes FROM pem_inbox.slots WHERE agent_id = $1', [
    agent.agentId,
  ]);
  expect(inbox.rows[0].bytes).toBeLessThanOrEqual(8 * 1024 * 1024);
  ingest.start();
  await everythingTakenOnce();
});

test('two boots: what the first could not send comes under its own boot, which arrived first', async () => {
  proxy.set('cut');
  start();
  await produce(30);
  await worker?.stop();
  // Also its first sample, before any tick, says what lies on the disk.
  expect(start().stats.ship.spoolBytes).toBeGreaterThan(30 * 100);
  await produce(30);
  proxy.set('pass');
  ingest.start();
  await everythingTakenOnce();
  const boots = await pem.query('SELECT boot FROM pem.received WHERE agent_id = $1 ORDER BY arrival', [
    agent.agentId,
  ]);
  expect(boots.rows.map((row) => row.boot)).toEqual(worker?.spool.boots());
  expect(boots.rowCount).toBe(2);
});

test('a cloned agent is quarantined and both copies keep their rows; released, both arrive', async () => {
  ingest.start();
  const original = start();
  await produce(20);
  await everythingTakenOnce();
  const other = join(folder, 'clone');
  const clone = start(other);
  try {
    const state = async (): Promise<string | null> => {
      const found = await pem.query('SELECT quarantined_reason AS why FROM pem.agent WHERE id = $1', [
        agent.agentId,
      ]);
      return found.rows[0]?.why ?? null;
    };
    await until('quarantine', async () => /^cloned/.test((await state()) ?? ''));
    const before = ingest.taken.size;
    await produce(20);
    original.outbox.put([numberedBlock(agent.hostTarget, ++sent)]);
    await until(
      'PEM refuses both',
      () => original.counts().ship.errors > 0 && clone.counts().ship.errors > 0,
    );
    expect(ingest.taken.size).toBe(before);
    await original.stop();
    await pem.query('SELECT pem.release_agent($1)', [agent.agentId]);
    await until('the copy that goes on', () => ingest.taken.size === sent - 1);
    await clone.stop();
    start();
    await everythingTakenOnce();
  } finally {
    await Promise.all([original.stop(), clone.stop()]);
  }
});
