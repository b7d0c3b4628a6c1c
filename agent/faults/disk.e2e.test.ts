/**
 * Disks that are full, at the agent and at PEM: the real worker under its watchdog, the real ingester, real ENOSPC from a
 * tmpfs of a few MB. The spool is the oracle: what it holds at the end is in history exactly once.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { type Ingesting, startIngesting } from '../../bench/load/ingesting.js';
import { AgentHome, atRest, everySecond, heartbeat } from '../../bench/rig/agent_home.js';
import { serverUser } from '../../bench/rig/cluster.js';
import { buildPrograms } from '../../bench/rig/conservation.js';
import { eventually } from '../../bench/rig/processes.js';
import { TestProxy } from '../../bench/rig/proxy.js';
import { SmallDisk } from '../../bench/rig/small_disk.js';
import { compareWithHistory } from '../../bench/rig/spooled.js';

const refusal = SmallDisk.refusal();
const because = refusal === null ? '' : ` (${refusal})`;
const ending: (() => Promise<void> | void)[] = [];

beforeAll(() => buildPrograms());
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end();
});

/** Idle sessions with long statements: what session_info brings every second grows to about 100 kB. */
async function talk(rig: Ingesting): Promise<void> {
  const clients: pg.Client[] = [];
  for (let n = 0; n < 100; n += 1) {
    const client = await rig.pem.cluster.client();
    await client.query(`SELECT '${'statement '.repeat(100)}' LIMIT 0`);
    clients.push(client);
  }
  ending.push(async () => {
    await Promise.all(clients.map((client) => client.end().catch(() => undefined)));
  });
}

function oldestSegment(disk: SmallDisk): string | undefined {
  return readdirSync(join(disk.folder, 'spool'))
    .filter((name) => name.endsWith('.seg'))
    .sort()[0];
}

async function start(options: Parameters<typeof startIngesting>[0] = {}): Promise<Ingesting> {
  const rig = await startIngesting({ probes: [], ...options });
  ending.push(() => rig.stop());
  return rig;
}

test.skipIf(refusal !== null)(
  `disk full at the agent: newest kept, oldest dropped and counted, the rest arrives once${because}`,
  async () => {
    const disk = SmallDisk.mount(1024 * 1024);
    ending.push(() => disk.unmount());
    const rig = await start();
    const { pem } = rig;
    rig.spawn('one');
    const agent = await pem.addAgent({
      name: 'small disk',
      servers: [{ name: 'watched', host: pem.cluster.socketDirectory, port: pem.port }],
    });
    await everySecond(pem, agent.hostTarget, ['agent_self', 'cpu_usage']);
    const proxy = await TestProxy.start({ host: '127.0.0.1', port: pem.port });
    ending.push(() => proxy.stop());
    // The bound is four times what the disk has: the disk speaks first.
    const home = AgentHome.make(pem, agent, {
      port: proxy.port,
      spoolFolder: join(disk.folder, 'spool'),
      spoolBytes: 1024 * 1024,
    });
    ending.push(() => home.remove());
    disk.fill(640 * 1024);
    home.start();
    await eventually('the agent measures', async () => {
      const set = await pem.query('SELECT FROM pemdata.session_info, pemdata.agent_self LIMIT 1');
      return set.rowCount === 1;
    });
    const before = (await pem.query('SELECT max(_seq)::int AS seq FROM pemdata.agent_self')).rows[0].seq;
    proxy.set('cut');
    await talk(rig);
    await eventually('PEM has not heard of it for a while, the disk is full', async () => {
      const { rows } = await pem.query(
        `SELECT FROM pem.agent_heartbeat WHERE agent_id = $1 AND at < now() - interval '5 s'`,
        [agent.agentId],
      );
      return rows.length === 1 && disk.freeBytes < 16_384;
    });
    const oldest = oldestSegment(disk);
    await eventually('old segments go for new batches', () => oldestSegment(disk) !== oldest);
    const worker = home.workerPid;
    proxy.set('pass');
    const dropped = await eventually('the drop is known to PEM', async () => {
      const info = await heartbeat(pem, agent.agentId);
      const counts = info.dropped as { batches: number; rows: number; bytes: number } | undefined;
      return counts !== undefined && counts.batches > 0 && counts;
    });
    expect(dropped.rows).toBeGreaterThan(dropped.batches);
    const own = await eventually('and stands among its metrics', async () => {
      const { rows } = await pem.query(
        `SELECT dropped_batches::int AS batches, dropped_rows::int AS rows, _seq::int AS seq FROM pemdata.agent_self
          WHERE dropped_batches >= $1`,
        [dropped.batches],
      );
      return rows[0] as { batches: number; rows: number; seq: number } | undefined;
    });
    expect(own.rows).toBeGreaterThanOrEqual(dropped.rows);
    expect(own.seq).toBeGreaterThan(before);
    await atRest(pem, home, [agent.hostTarget, ...agent.serverTargets]);
    expect(home.workerPid).toBe(worker);
    expect(home.restarts).toBe(1);
    const end = await heartbeat(pem, agent.agentId);
    expect(end.writeErrors).toBeGreaterThan(0);
    await home.stop();
    const held = await home.spooled(join(disk.folder, 'spool'));
    expect(held.blocks.length).toBeGreaterThan(10);
    expect(await compareWithHistory(pem, held.blocks, { nothingElse: false })).toEqual([]);
    // Nothing goes uncounted. (What PEM had got a moment before it was cut off is counted too: the agent could not know.)
    const set = await pem.query(
      `SELECT max(upper(r)) - 1 - sum(upper(r) - lower(r)) AS missing FROM pem.received, unnest(ranges) AS r WHERE agent_id = $1`,
      [agent.agentId],
    );
    const missing = Number(set.rows[0].missing);
    expect(missing).toBeGreaterThan(0);
    expect((end.dropped as { batches: number }).batches).toBeGreaterThanOrEqual(missing);
  },
);

test.skipIf(refusal !== null)(
  `a spool that cannot be written stops the start with its code${because}`,
  async () => {
    const disk = SmallDisk.mount(1024 * 1024);
    ending.push(() => disk.unmount());
    const rig = await start();
    const agent = await rig.pem.addAgent({ name: 'read-only' });
    const home = AgentHome.make(rig.pem, agent, { spoolFolder: join(disk.folder, 'spool') });
    ending.push(() => home.remove());
    disk.setReadOnly(true);
    home.start();
    await eventually('the reason in the log', () => home.codes.includes('spool_folder'));
    expect(home.log).toContain(join(disk.folder, 'spool'));
    disk.setReadOnly(false);
    await eventually('the watchdog brings it up once that is mended', async () => {
      const { rowCount } = await rig.pem.query('SELECT FROM pem.agent_heartbeat WHERE agent_id = $1', [
        agent.agentId,
      ]);
      return rowCount === 1;
    });
  },
);

test.skipIf(refusal !== null)(
  `disk full at PEM: refused with a code, nothing lost, no block blamed${because}`,
  async () => {
    const user = serverUser();
    const disk = SmallDisk.mount(192 * 1024 * 1024, user);
    ending.push(() => disk.unmount());
    const rig = await start({
      parent: disk.folder,
      // WAL has a disk of its own, as in production; with a full one PostgreSQL ends itself, which is another test's matter.
      prepare(dataDirectory) {
        const wal = join(dataDirectory, 'pg_wal');
        const elsewhere = `${disk.folder}-wal`;
        execFileSync('cp', ['-a', wal, elsewhere]);
        rmSync(wal, { recursive: true });
        symlinkSync(elsewhere, wal);
        ending.unshift(() => rmSync(elsewhere, { recursive: true, force: true }));
      },
      settings: { min_wal_size: '32MB', max_wal_size: '64MB' },
    });
    const { pem } = rig;
    const ingester = rig.spawn('one');
    const agent = await pem.addAgent({
      name: 'patient',
      servers: [{ name: 'watched', host: pem.cluster.socketDirectory, port: pem.port }],
    });
    await everySecond(pem, agent.hostTarget, ['cpu_usage', 'memory_usage']);
    const home = AgentHome.make(pem, agent);
    ending.push(() => home.remove());
    home.start();
    await talk(rig);
    await eventually('rows arrive', async () => {
      const set = await pem.query('SELECT FROM pemhistory.session_info LIMIT 1');
      return set.rowCount === 1;
    });
    disk.fill(256 * 1024);
    await eventually('PEM refuses the agent with a code', () => home.codes.includes('53100'));
    await eventually('the spool keeps it', async () => {
      const pending = await pem.query(
        `SELECT (info ->> 'spoolPendingBatches')::int AS n FROM pem.agent_heartbeat WHERE agent_id = $1`,
        [agent.agentId],
      );
      return pending.rows[0]?.n > 20;
    });
    await eventually('the ingester cannot work either', async () => {
      const working = await pem.query(
        `SELECT FROM pem.ingester WHERE at > clock_timestamp() - interval '10 s'`,
      );
      return working.rowCount === 0;
    });
    expect(ingester.exitCode).toBeNull();
    disk.free();
    await atRest(pem, home, [agent.hostTarget, ...agent.serverTargets]);
    expect(ingester.exitCode).toBeNull();
    expect(home.restarts).toBe(1);
    await home.stop();
    const held = await home.spooled();
    expect(held.blocks.length).toBeGreaterThan(20);
    expect(await compareWithHistory(pem, held.blocks, { nothingElse: true })).toEqual([]);
    expect(await rig.rows('SELECT code, reason FROM pem.quarantine')).toEqual([]);
    expect((await heartbeat(pem, agent.agentId)).dropped).toMatchObject({ batches: 0 });
    await eventually('its trouble is counted', async () => {
      const [trouble] = await rig.rows(`SELECT (info ->> 'outside')::int > 0 AS counted FROM pem.ingester`);
      return trouble?.counted === true;
    });
  },
);

test.skipIf(refusal !== null)(
  `PostgreSQL of PEM stopped by a full disk: started again with room, everything arrives once${because}`,
  async () => {
    const disk = SmallDisk.mount(256 * 1024 * 1024, serverUser());
    ending.push(() => disk.unmount());
    const rig = await start({
      parent: disk.folder,
      settings: { min_wal_size: '32MB', max_wal_size: '64MB' },
    });
    const { pem } = rig;
    const ingester = rig.spawn('one');
    const agent = await pem.addAgent({ name: 'patient' });
    await everySecond(pem, agent.hostTarget, ['cpu_usage', 'memory_usage', 'agent_self', 'load_average']);
    const home = AgentHome.make(pem, agent);
    ending.push(() => home.remove());
    home.start();
    await eventually('rows arrive', async () => {
      const set = await pem.query('SELECT FROM pemhistory.memory_usage LIMIT 1');
      return set.rowCount === 1;
    });
    disk.fill(0);
    // Segments made ahead hold out for a while; the first that finds no room ends every backend.
    await eventually('PostgreSQL gives up', async () => {
      try {
        await pem.query('SELECT pg_switch_wal(), pg_logical_emit_message(false, $1, $1)', ['fill']);
        return false;
      } catch {
        return home.codes.some((code) => /^(57P0|connection_lost|connect_failed)/.test(code));
      }
    });
    await pem.cluster.halt('immediate');
    const trouble = home.log.split('no connection to PEM').length;
    expect(trouble).toBeGreaterThan(1);
    disk.free();
    await pem.cluster.start();
    await atRest(pem, home, [agent.hostTarget]);
    expect([ingester.exitCode, home.restarts]).toEqual([null, 1]);
    await home.stop();
    const held = await home.spooled();
    expect(await compareWithHistory(pem, held.blocks, { nothingElse: true })).toEqual([]);
    expect(await rig.rows('SELECT code, reason FROM pem.quarantine')).toEqual([]);
  },
);
