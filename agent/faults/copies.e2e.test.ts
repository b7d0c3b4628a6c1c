/**
 * Two of one agent, and an agent that came back from an earlier image of its disk: whole directories copied, key, spool and
 * state, each with the real worker under its watchdog. The spools are the oracle.
 */
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Ingesting, startIngesting } from '../../bench/load/ingesting.js';
import { AgentHome, atRest, everySecond } from '../../bench/rig/agent_home.js';
import { buildPrograms } from '../../bench/rig/conservation.js';
import type { RigAgent } from '../../bench/rig/pem.js';
import { eventually } from '../../bench/rig/processes.js';
import { compareWithHistory } from '../../bench/rig/spooled.js';

let rig: Ingesting;
let agent: RigAgent;
const homes: AgentHome[] = [];

beforeAll(() => buildPrograms());
beforeEach(async () => {
  rig = await startIngesting({ probes: [] });
  rig.spawn('one');
  agent = await rig.pem.addAgent({ name: 'copied' });
  await measure();
});
afterEach(async () => {
  for (const home of homes.splice(0)) await home.remove();
  await rig.stop();
});

async function measure(): Promise<void> {
  await everySecond(rig.pem, agent.hostTarget, ['cpu_usage', 'memory_usage', 'load_average', 'agent_self']);
}

function made(home: AgentHome): AgentHome {
  homes.push(home);
  return home;
}

/** Waits until PEM has `batches` batches more of the agent than now. */
async function arrives(batches: number): Promise<void> {
  const count = async (): Promise<number> =>
    Number(
      (
        await rig.pem.query('SELECT coalesce(sum(batches), 0) AS n FROM pem.received WHERE agent_id = $1', [
          agent.agentId,
        ])
      ).rows[0].n,
    );
  const before = await count();
  await eventually(`${batches} batches more`, async () => (await count()) >= before + batches);
}

async function reason(): Promise<string | null> {
  const { rows } = await rig.pem.query(
    'SELECT quarantined_reason AS why FROM pem.agent_status WHERE agent_id = $1',
    [agent.agentId],
  );
  return rows[0].why;
}

test('a cloned agent: both copies are stopped and say why; released one after the other, all rows of both arrive', async () => {
  const { pem } = rig;
  const original = made(AgentHome.make(pem, agent));
  original.start();
  await arrives(5);
  // While it writes: the copy ends in the middle of whatever was being written.
  const clone = made(original.copy());
  clone.start();
  await eventually('the clone is found out', async () => /^cloned: boot /.test((await reason()) ?? ''));
  await eventually('both copies say so', () =>
    [original, clone].every((home) => home.codes.includes('agent_quarantined')),
  );
  await eventually('PEM takes no batch of either', () =>
    [original, clone].every((home) => home.codes.includes('PE003')),
  );
  const set = async (): Promise<unknown[]> =>
    rig.rows('SELECT boot, ranges::text FROM pem.received ORDER BY boot');
  await rig.drained();
  const taken = await set();
  await eventually('both go on measuring into their spools', async () => {
    const { rows } = await pem.query(
      `SELECT (info ->> 'spoolPendingBatches')::int > 5 AS waits FROM pem.agent_heartbeat WHERE agent_id = $1`,
      [agent.agentId],
    );
    return rows[0]?.waits === true;
  });
  expect(await set()).toEqual(taken);

  await original.stop();
  await pem.query('SELECT pem.release_agent($1)', [agent.agentId]);
  await atRest(pem, clone, [agent.hostTarget]);
  expect(await reason()).toBeNull();
  await clone.stop();
  // The other one's rows are not lost either: it may come back, as long as it comes alone.
  await measure();
  original.start();
  await arrives(5);
  await atRest(pem, original, [agent.hostTarget]);
  await original.stop();
  expect(await reason()).toBeNull();

  const [mine, others] = [await original.spooled(), await clone.spooled()];
  const names = (spooled: typeof mine): Set<string> => new Set(spooled.blocks.map((block) => block.name));
  expect([...names(others)].some((name) => !names(mine).has(name))).toBe(true);
  expect([...names(mine)].some((name) => !names(others).has(name))).toBe(true);
  expect(await compareWithHistory(pem, [...mine.blocks, ...others.blocks], { nothingElse: true })).toEqual(
    [],
  );
  expect(await rig.rows('SELECT code, reason FROM pem.quarantine')).toEqual([]);
});

test('an old disk image: no batch twice, none lost, the new boot is the newest', async () => {
  const { pem } = rig;
  const home = made(AgentHome.make(pem, agent));
  home.start();
  await arrives(4);
  await home.stop();
  const image = made(home.copy());
  home.start();
  await arrives(4);
  await home.stop();
  const before = await home.spooled();
  home.restore(image);
  home.start();
  await arrives(4);
  await atRest(pem, home, [agent.hostTarget]);
  await home.stop();
  expect(await reason()).toBeNull();

  const after = await home.spooled();
  // Three boots; the second left its batches with PEM and none in the restored spool.
  expect([before.boots, after.boots]).toEqual([2, 2]);
  const all = [...before.blocks, ...after.blocks];
  const unsent = await unreceived(before.blocks.map((block) => block.name));
  const arrived = all.filter((block) => !unsent.has(block.name));
  expect(await compareWithHistory(pem, arrived, { nothingElse: true })).toEqual([]);
  // Only what the overwritten disk alone held is gone with it: the last batches of the boot that was overwritten.
  const own = new Set(after.blocks.map((block) => block.name));
  expect([...unsent].every((name) => !own.has(name))).toBe(true);
  const newest = await rig.rows(
    `SELECT a.boot::text = (SELECT boot::text FROM pem.received ORDER BY arrival DESC LIMIT 1) AS newest FROM pemdata.agent_self a`,
  );
  expect(newest).toEqual([{ newest: true }]);
  expect(await rig.rows('SELECT count(*)::int AS boots FROM pem.received')).toEqual([{ boots: 3 }]);
  expect(await rig.rows('SELECT code FROM pem.quarantine')).toEqual([]);
});

/** Names of blocks whose batches PEM does not have. */
async function unreceived(names: readonly string[]): Promise<Set<string>> {
  const parts = names.map((name) => name.split('/'));
  const { rows } = await rig.pem.query(
    `SELECT n.name FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS n(name, boot, seq)
      WHERE NOT EXISTS (SELECT FROM pem.received r WHERE r.agent_id = $4 AND r.boot = n.boot AND r.ranges @> n.seq)`,
    [names, parts.map(([boot]) => boot), parts.map(([, seq]) => seq), agent.agentId],
  );
  return new Set(rows.map((row) => row.name as string));
}
