/**
 * Agents whose system clock is wrong: the real worker with a shifted clock. What is taken, what is counted as stray, that
 * latest follows positions and not the clock, and that status does not lie.
 */
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Ingesting, startIngesting } from '../../bench/load/ingesting.js';
import { AgentHome, atRest, everySecond } from '../../bench/rig/agent_home.js';
import { buildPrograms } from '../../bench/rig/conservation.js';
import type { RigAgent } from '../../bench/rig/pem.js';
import { eventually } from '../../bench/rig/processes.js';
import { compareWithHistory } from '../../bench/rig/spooled.js';

const hourMs = 3_600_000;
let rig: Ingesting;
let agent: RigAgent;
let home: AgentHome;

beforeAll(() => buildPrograms());
beforeEach(async () => {
  rig = await startIngesting({ probes: [] });
  rig.spawn('one');
  const { pem } = rig;
  agent = await pem.addAgent({
    name: 'wrong clock',
    servers: [{ name: 'watched', host: pem.cluster.socketDirectory, port: pem.port }],
  });
  await everySecond(pem, agent.hostTarget, ['memory_usage', 'agent_self']);
  await everySecond(pem, agent.serverTargets[0] as number, ['server_info']);
  home = AgentHome.make(pem, agent);
});
afterEach(async () => {
  await home.remove();
  await rig.stop();
});

async function statuses(): Promise<{ agent: string; server: string }> {
  const { rows } = await rig.pem.query(
    `SELECT a.status AS agent, s.status AS server FROM pem.agent_status a, pem.server_status s WHERE s.agent_id = a.agent_id`,
  );
  return rows[0];
}

/** Waits for samples of server_info that came in after this call. */
async function sampled(): Promise<void> {
  const { rows } = await rig.pem.query('SELECT clock_timestamp() AS at');
  await eventually('a new sample', async () => {
    const seen = await rig.pem.query(
      `SELECT FROM pem.probe_state WHERE probe = 'server_info' AND seen_at > $1::timestamptz + interval '1 s'`,
      [rows[0].at],
    );
    return seen.rowCount === 1;
  });
}

/** Waits until PEM knows that its clock is `hours` ahead of the agent's. */
async function offsetKnown(hours: number): Promise<void> {
  await eventually('the agent knows how wrong its clock is', async () => {
    const { rows } = await rig.pem.query(
      `SELECT round((info ->> 'clockOffsetUs')::numeric / 3.6e9) = $1 AS known FROM pem.agent_heartbeat`,
      [hours],
    );
    return rows[0]?.known === true;
  });
}

/** Waits until latest is the newest boot's, and its time is as it should be. */
async function latestIs(condition: string): Promise<void> {
  await eventually(`latest of the newest boot, ${condition}`, async () => {
    const rows = await rig.rows(
      `SELECT FROM pemdata.memory_usage WHERE _arrival = (SELECT max(arrival) FROM pem.received) AND ${condition}`,
    );
    return rows.length === 1;
  });
}

test('half an hour ahead, then days behind, then right: kept by the clock it had, latest by position, up throughout', async () => {
  const { pem } = rig;
  home.start({ clockMs: hourMs / 2 });
  await sampled();
  expect(await statuses()).toEqual({ agent: 'up', server: 'up' });
  await home.stop();
  home.start({ clockMs: -36 * hourMs });
  await sampled();
  await offsetKnown(36);
  expect(await statuses()).toEqual({ agent: 'up', server: 'up' });
  // The newer boot has the older clock: latest is its all the same.
  await latestIs(`recorded_at < now() - interval '35 h'`);
  await home.stop();
  home.start();
  await sampled();
  expect(await statuses()).toEqual({ agent: 'up', server: 'up' });
  await latestIs(`recorded_at > now() - interval '1 min' AND recorded_at < now() + interval '1 s'`);
  await atRest(pem, home, [agent.hostTarget, ...agent.serverTargets]);
  await home.stop();
  const held = await home.spooled();
  expect(held.boots).toBe(3);
  expect(await compareWithHistory(pem, held.blocks, { nothingElse: true })).toEqual([]);
  expect(await rig.rows('SELECT FROM pem.stray')).toEqual([]);
});

test('hours ahead: counted as stray, nothing of it in history, and nobody says the server is down', async () => {
  const { pem } = rig;
  home.start();
  await sampled();
  await home.stop();
  const first = await home.spooled();
  home.start({ clockMs: 5 * hourMs });
  await eventually('strays are counted', async () => {
    const { rows } = await pem.query(
      `SELECT count(DISTINCT probe) AS probes FROM pem.stray WHERE reason = 'future' AND recorded_at > now() + interval '4 h'`,
    );
    return Number(rows[0].probes) >= 3;
  });
  await offsetKnown(-5);
  await eventually('all of the first boot is there', async () => {
    const [boot] = await rig.rows('SELECT batches::int FROM pem.received ORDER BY arrival LIMIT 1');
    return boot?.batches === first.batches;
  });
  // As a minute later.
  await pem.query(
    `UPDATE pem.probe_state SET seen_at = seen_at - interval '1 min', recorded_at = recorded_at - interval '1 min'`,
  );
  expect(await statuses()).toEqual({ agent: 'up', server: 'unknown' });
  expect(await rig.rows('SELECT recorded_at > now() AS ahead FROM pemdata.memory_usage')).toEqual([
    { ahead: false },
  ]);
  await atRest(pem, home, [agent.hostTarget, ...agent.serverTargets]);
  await home.stop();
  const held = await home.spooled();
  const nowUs = Date.now() * 1000;
  const [good, stray] = [true, false].map((kept) =>
    held.blocks.filter((block) => Number(block.atUs) < nowUs + hourMs * 1000 === kept),
  );
  expect(await compareWithHistory(pem, good ?? [], { nothingElse: true })).toEqual([]);
  const counted = await rig.rows('SELECT sum(rows)::int AS rows FROM pem.stray');
  expect(counted).toEqual([{ rows: stray?.reduce((sum, block) => sum + block.rows, 0) }]);
  expect(await rig.rows('SELECT code FROM pem.quarantine')).toEqual([]);
});
