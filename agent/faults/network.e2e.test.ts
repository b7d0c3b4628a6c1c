/**
 * A bad network between agent and PEM, and PEM set back to an earlier state: real worker, real ingester, every byte through
 * a proxy that delays, stalls and cuts. The spool is the oracle.
 */
import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type pg from 'pg';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Ingesting, startIngesting } from '../../bench/load/ingesting.js';
import { AgentHome, atRest, everySecond, heartbeat } from '../../bench/rig/agent_home.js';
import { serverUser } from '../../bench/rig/cluster.js';
import { buildPrograms } from '../../bench/rig/conservation.js';
import type { RigAgent } from '../../bench/rig/pem.js';
import { eventually } from '../../bench/rig/processes.js';
import { TestProxy } from '../../bench/rig/proxy.js';
import { compareWithHistory } from '../../bench/rig/spooled.js';

const run = promisify(execFile);
let rig: Ingesting;
let proxy: TestProxy;
let agent: RigAgent;
let home: AgentHome;
let talkers: pg.Client[] = [];

beforeAll(() => buildPrograms());
beforeEach(async () => {
  rig = await startIngesting({ probes: [], hba: 'local replication postgres trust\n' });
  const { pem } = rig;
  proxy = await TestProxy.start({ host: '127.0.0.1', port: pem.port });
  agent = await pem.addAgent({
    name: 'far away',
    servers: [{ name: 'watched', host: pem.cluster.socketDirectory, port: pem.port }],
  });
  await everySecond(pem, agent.hostTarget, ['agent_self', 'cpu_usage', 'memory_usage']);
  home = AgentHome.make(pem, agent, { port: proxy.port });
});
afterEach(async () => {
  await home.remove();
  await Promise.all(talkers.splice(0).map((client) => client.end().catch(() => undefined)));
  await proxy.stop();
  await rig.stop();
});

/** Sessions with long statements: session_info grows to about 200 kB a second. */
async function talk(): Promise<void> {
  talkers = await Promise.all(
    [...Array(150)].map(async () => {
      const client = await rig.pem.cluster.client();
      await client.query(`SELECT '${'statement '.repeat(100)}' LIMIT 0`);
      return client;
    }),
  );
}

/** The received set of the newest boot. */
async function received(): Promise<{ lo: number; hi: number }[]> {
  const { rows } = await rig.pem.query(
    `SELECT lower(r)::int AS lo, upper(r)::int AS hi
       FROM (SELECT ranges FROM pem.received WHERE agent_id = $1 ORDER BY arrival DESC LIMIT 1) s, unnest(s.ranges) AS r`,
    [agent.agentId],
  );
  return rows;
}

test('slow, stalled and cut in the middle of a COPY: live ahead of back-fill, everything once', async () => {
  const { pem } = rig;
  rig.spawn('one');
  await talk();
  home.start();
  await eventually('it is heard of', async () => (await received()).length > 0);
  proxy.set('cut');
  const pending = async (): Promise<number> => {
    const spooled = await run('du', ['-sb', join(home.folder, 'spool')]);
    return Number(spooled.stdout.split('\t')[0]);
  };
  // A file that goes while du looks is an error of du.
  const before = await eventually('its spool', pending);
  await eventually('there is something to back-fill', async () => (await pending()) > before + 3_000_000);
  proxy.setDelay(300);
  proxy.set('pass');
  const hole = await eventually('what was made just now is there before what waits', async () => {
    const ranges = await received();
    return ranges.length > 1 && ranges;
  });
  const missing = (hole[1]?.lo ?? 0) - (hole[0]?.hi ?? 0);
  expect(missing).toBeGreaterThan(0);
  // Not once but as long as back-fill goes on: the newest range grows while the hole is still there.
  const newest = hole.at(-1)?.hi ?? 0;
  const later = await eventually('live data goes on arriving', async () => {
    const ranges = await received();
    return (ranges.length === 1 || (ranges.at(-1)?.hi ?? 0) > newest + 1) && ranges;
  });
  expect(later.length).toBeGreaterThan(1);

  const said = (text: string): number => home.log.split(text).length - 1;
  for (let cuts = 0; cuts < 3; cuts += 1) {
    const sessions = said('pem_connected');
    await eventually('a COPY is under way', async () => {
      const { rowCount } = await pem.query(
        `SELECT FROM pg_stat_progress_copy c JOIN pg_stat_activity a USING (pid) WHERE a.usename = $1 AND c.command = 'COPY FROM'`,
        [agent.role],
      );
      return rowCount === 1;
    });
    proxy.set('cut');
    await new Promise((resolve) => setTimeout(resolve, 300));
    proxy.set('pass');
    await eventually('it is connected again', () => said('pem_connected') > sessions);
  }
  // Half-open: nothing is reset, nothing answers. The agent gives up by itself and comes back.
  const [sessions, troubles] = [said('pem_connected'), said('no connection to PEM')];
  proxy.set('half-open');
  await eventually('the agent notices', () => said('no connection to PEM') > troubles);
  proxy.setDelay(0);
  proxy.set('pass');
  await eventually('a new session', () => said('pem_connected') > sessions);
  await Promise.all(talkers.splice(0).map((client) => client.end()));
  await atRest(pem, home, [agent.hostTarget, ...agent.serverTargets]);
  expect(home.restarts).toBe(1);
  const end = await heartbeat(pem, agent.agentId);
  expect(end.backfilledBatches).toBeGreaterThanOrEqual(missing);
  expect(end.dropped).toMatchObject({ batches: 0 });
  await home.stop();
  const held = await home.spooled();
  expect(await compareWithHistory(pem, held.blocks, { nothingElse: true })).toEqual([]);
  expect(await rig.rows('SELECT code, reason FROM pem.quarantine')).toEqual([]);
});

test("PEM's database set back to a base backup: the received set shrinks, is reported, all comes again once", async () => {
  const { pem } = rig;
  const { cluster } = pem;
  const { uid, gid } = serverUser();
  const identity = uid === undefined || gid === undefined ? {} : { uid, gid };
  const backup = join(cluster.folder, 'backup');
  rig.spawn('one');
  home.start();
  const upTo = async (): Promise<number> => (await received()).at(-1)?.hi ?? 0;
  const grows = async (by: number): Promise<void> => {
    const before = await upTo();
    await eventually('more batches arrive', async () => (await upTo()) >= before + by);
  };
  await grows(4);
  await run(
    join(cluster.bin, 'pg_basebackup'),
    [
      ...['-h', cluster.socketDirectory, '-p', String(cluster.port), '-U', 'postgres'],
      ...['-D', backup, '-X', 'stream', '--checkpoint=fast', '--no-sync'],
    ],
    { ...identity, cwd: cluster.folder },
  );
  const kept = await upTo();
  await grows(5);
  await cluster.halt('immediate');
  rmSync(cluster.dataDirectory, { recursive: true });
  await run('mv', [backup, cluster.dataDirectory]);
  // Until it was looked at, nothing new may come in.
  proxy.set('cut');
  await cluster.start();
  expect(await upTo()).toBeLessThanOrEqual(kept + 4);
  proxy.set('pass');
  await eventually('the agent reports it', () => home.codes.includes('received_set_shrank'));
  await atRest(pem, home, [agent.hostTarget, ...agent.serverTargets]);
  const end = await heartbeat(pem, agent.agentId);
  expect(end.receivedShrank).toBe(1);
  await home.stop();
  const held = await home.spooled();
  expect(held.boots).toBe(1);
  expect(await compareWithHistory(pem, held.blocks, { nothingElse: true })).toEqual([]);
});
