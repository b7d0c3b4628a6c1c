import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../bench/rig/clock.js';
import { type Cluster, startCluster } from '../../bench/rig/cluster.js';
import { KeptOutbox, readBlock } from '../../bench/rig/outbox.js';
import { eventually } from '../../bench/rig/processes.js';
import { watchedTarget } from '../../bench/rig/watched.js';
import { encodeBatch, verifyBatches } from '../../native/index.js';
import { probes } from '../../src/catalog/probes/index.js';
import type { AgentDefinitions } from '../../src/wire/config.js';
import { newAgentStats } from '../stats.js';
import { startScheduler } from './index.js';

let cluster: Cluster;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pem-scheduler-'));
  cluster = await startCluster({
    hba: 'local all postgres trust\nlocal all pem_monitor scram-sha-256\nlocal all pem_master trust\n',
  });
  await cluster.query(`CREATE ROLE pem_monitor LOGIN CONNECTION LIMIT 3 PASSWORD 'not: easy\\ at all';
    GRANT pg_monitor TO pem_monitor; CREATE ROLE pem_master LOGIN; CREATE SCHEMA pem; GRANT USAGE ON SCHEMA pem TO pem_master;
    CREATE FUNCTION pem.ingest_self() RETURNS TABLE (name text, lag_ms float8, inbox_batches bigint, inbox_bytes bigint,
      batches bigint, rows bigint, duplicates bigint, quarantined bigint, stray bigint, cycle_ms float8)
      LANGUAGE sql AS $$ SELECT 'ingest-1', 12.5, 1, 2, 3, 4, 5, 6, 7, 8.25 $$;
    CREATE TABLE seen (id int)`);
});

afterAll(async () => {
  await cluster.stop();
  rmSync(folder, { recursive: true });
});

/** Every probe of the catalogue, each second. */
function everything(): AgentDefinitions {
  return {
    agentId: 1,
    configVersion: 1,
    hostTarget: 1,
    probes: Object.fromEntries(probes.map((probe) => [probe.name, probe])),
    servers: [watchedTarget(cluster)],
    schedule: probes.map(({ name, level }) => ({
      targetId: level === 'host' || level === 'pem' ? 1 : 2,
      probe: name,
      intervalMs: 1000,
    })),
  };
}

test('the whole catalogue runs by password file and master connection; every block verifies; a server restart passes', async () => {
  const passfile = join(folder, 'pgpass');
  writeFileSync(passfile, '*:*:*:pem_monitor:not\\: easy\\\\ at all\n', { mode: 0o600 });
  const outbox = new KeptOutbox();
  const stats = newAgentStats('0.1.0', '01234567-89ab-cdef-0123-456789abcdef');
  const { log, lines } = silentLog();
  const scheduler = startScheduler({
    definitions: everything(),
    outbox,
    stats,
    log,
    passfile,
    stateDirectory: folder,
    masterConninfo: {
      host: cluster.socketDirectory,
      port: String(cluster.port),
      dbname: 'postgres',
      user: 'pem_master',
    },
  });
  const wanted = probes
    .filter((probe) => probe.collector !== 'trace')
    .map((probe) => probe.name)
    .sort();
  const seen = (): string[] => [...new Set(outbox.blocks.map(({ info }) => info.probe))].sort();
  await eventually('a block of every probe', () => seen().length === wanted.length);
  expect(seen()).toEqual(wanted);
  expect(lines.filter((line) => line.includes('probe failed'))).toEqual([]);

  const blocks = outbox.blocks.map(({ block }) => block);
  const batch = encodeBatch({ agentId: 1, boot: stats.boot, seq: 1n, createdAtUs: 1n }, blocks);
  const [verified] = await verifyBatches([batch]);
  expect(verified?.error).toBeUndefined();
  expect(verified?.blocks.filter((block) => block.error !== undefined)).toEqual([]);
  for (const { info } of outbox.blocks) {
    const definition = probes.find((probe) => probe.name === info.probe);
    expect(info.columns).toEqual(definition?.columns.map(({ name, type }) => ({ name, type })));
    expect(info.target).toBe(definition?.level === 'host' || definition?.level === 'pem' ? 1n : 2n);
    expect(info.scope ?? '').toBe(definition?.level === 'database' ? 'postgres' : '');
  }
  const ingest = outbox.blocks.find(({ info }) => info.probe === 'ingest_self');
  expect(await readBlock(cluster, ingest?.block ?? Buffer.alloc(0))).toEqual([
    {
      name: 'ingest-1',
      lag_ms: '12.5',
      inbox_batches: '1',
      inbox_bytes: '2',
      batches: '3',
      rows: '4',
      duplicates: '5',
      quarantined: '6',
      stray: '7',
      cycle_ms: '8.25',
    },
  ]);
  expect(JSON.parse(readFileSync(join(folder, 'scopes.json'), 'utf8'))).toEqual({
    '2/table_statistics': ['postgres'],
  });
  const identifier = await cluster.query('SELECT system_identifier::text AS id FROM pg_control_system()');
  const [server] = scheduler.servers();
  expect(server).toMatchObject({ targetId: 2, systemIdentifier: identifier.rows[0].id, error: null });
  expect(server?.serverVersionNum).toBeGreaterThanOrEqual(150000);

  // An immediate stop: host probes go on, server probes say why, and all is well once it is back.
  await cluster.halt('immediate');
  await eventually('the outage is noticed', () => (scheduler.servers()[0]?.error ?? null) !== null);
  outbox.take();
  await eventually('host probes go on', () =>
    ['cpu_usage', 'memory_usage', 'agent_self'].every((name) => seen().includes(name)),
  );
  await cluster.start();
  outbox.take();
  await eventually('server probes come back', () =>
    ['server_info', 'session_info', 'database_statistics', 'ingest_self'].every((name) =>
      seen().includes(name),
    ),
  );
  await eventually('no trouble is left', () => scheduler.servers()[0]?.error === null);
  await scheduler.stop();
  const ended = outbox.blocks.length;
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(outbox.blocks.length).toBe(ended);
  expect(lines.some((line) => line.includes('not: easy'))).toBe(false);
});

test('a wrong password is said once, and not tried each second', async () => {
  const passfile = join(folder, 'wrong');
  writeFileSync(passfile, '*:*:*:pem_monitor:guess\n', { mode: 0o600 });
  const stats = newAgentStats('0.1.0', 'boot');
  const { log, lines } = silentLog();
  const definitions = everything();
  const scheduler = startScheduler({
    definitions: {
      ...definitions,
      schedule: definitions.schedule.filter((entry) => entry.probe === 'server_info'),
    },
    outbox: new KeptOutbox(),
    stats,
    log,
    passfile,
  });
  await eventually('some runs', () => (stats.costs.get('2/server_info')?.errors ?? 0) >= 5);
  expect(stats.serverConnects).toBeLessThan(stats.costs.get('2/server_info')?.errors ?? 0);
  expect(stats.costs.get('2/server_info')?.lastError).toContain('password authentication failed');
  expect(lines.filter((line) => line.includes('probe failed')).length).toBe(1);
  await scheduler.stop();
});

test('a backend that hangs is given up and not joined by others; the probes go on, and it ends when it wakes', async () => {
  const passfile = join(folder, 'pgpass');
  const outbox = new KeptOutbox();
  const stats = newAgentStats('0.1.0', 'boot');
  const { log } = silentLog();
  const definitions = everything();
  const scheduler = startScheduler({
    definitions: {
      ...definitions,
      schedule: definitions.schedule.filter((entry) => entry.targetId === 2),
    },
    outbox,
    stats,
    log,
    passfile,
    gateLimits: { connectsPerMinute: 60, authenticationTimeoutMs: 1000 },
  });
  const client = await cluster.client();
  const ours = async (): Promise<number[]> =>
    (
      await client.query(
        "SELECT pid FROM pg_stat_activity WHERE usename = 'pem_monitor' ORDER BY backend_start",
      )
    ).rows.map((row) => row.pid);
  await eventually('probes run', () => outbox.blocks.some(({ info }) => info.probe === 'session_info'));
  await eventually('no visit is under way', () => (stats.costs.get('2/table_statistics')?.runs ?? 0) > 0);
  const [kept] = await ours();
  if (kept === undefined) throw new Error('no connection');
  process.kill(kept, 'SIGSTOP');
  try {
    await eventually('it is given up', () => (scheduler.servers()[0]?.error ?? '').includes('no result'));
    outbox.take();
    await eventually('probes go on beside it', () =>
      outbox.blocks.some(({ info }) => info.probe === 'session_info'),
    );
    expect((await ours()).length).toBeLessThanOrEqual(3);
  } finally {
    process.kill(kept, 'SIGCONT');
  }
  // A visit's backend may be on its way out while the next one's is there.
  await eventually('it has ended', async () => {
    const left = await ours();
    return !left.includes(kept) && left.length <= 2;
  });
  await client.end();
  await scheduler.stop();
});
