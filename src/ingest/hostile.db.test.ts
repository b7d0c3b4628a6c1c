import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { addProbes, type FleetAgent, specs } from '../../bench/load/fleet.js';
import { type Ingesting, nowUs, rigBlock, startIngesting } from '../../bench/load/ingesting.js';
import { seeded } from '../../bench/load/oracle.js';
import { rigDelta, rigFull, rigScoped } from '../../bench/load/probes.js';
import { eventually } from '../../bench/rig/processes.js';
import { encodeBatch } from '../../native/index.js';
import { gauge } from '../catalog/columns.js';
import { probes } from '../catalog/probes/index.js';
import type { ProbeDefinition } from '../catalog/types.js';
import type { Ingester } from './main.js';

let rig: Ingesting;
let ingester: Ingester;
beforeAll(async () => {
  rig = await startIngesting();
  ingester = rig.ingest();
});
afterAll(async () => {
  await rig.stop();
});

async function agentsNamed<Count extends number>(prefix: string, count: Count): Promise<FleetAgent[]> {
  return rig.fleet.add(count, prefix);
}

const good = (agent: FleetAgent, value: bigint, target = agent.target): Buffer =>
  rigBlock(rigFull, target, [['key', value, 'good']]);

const values = async (agent: FleetAgent): Promise<string[]> =>
  (
    await rig.rows('SELECT value FROM pemhistory.rig_full WHERE target_id = $1 ORDER BY value', [
      agent.target,
    ])
  ).map((row) => String(row.value));

const setAside = (agent: FleetAgent) =>
  rig.rows(
    `SELECT code, block_index, inbox_id IS NOT NULL AS whole, payload IS NOT NULL AS kept, state
       FROM pem.quarantine WHERE agent_id = $1 ORDER BY code, block_index`,
    [agent.agentId],
  );

test('damaged batches are set aside whole, and nobody else is touched', async () => {
  const random = seeded(3);
  const [hostile, honest] = (await agentsNamed('hostile', 2)) as [FleetAgent, FleetAgent];
  for (let i = 1; i <= 40; i += 1) {
    const batch = Buffer.from(hostile.batch([good(hostile, BigInt(i))]));
    const kind = i % 4;
    let bad = batch;
    if (kind === 0) bad = randomBytes(200);
    else if (kind === 1) bad = batch.subarray(0, 72 + Math.floor(random() * (batch.length - 73)));
    else {
      const bit = Math.floor(random() * batch.length * 8);
      bad[bit >> 3] = (bad[bit >> 3] as number) ^ (1 << (bit & 7));
    }
    await hostile.send(bad);
    await honest.send(honest.batch([good(honest, BigInt(i))]));
  }
  await rig.drained();
  expect(await values(honest)).toHaveLength(40);
  expect(await setAside(honest)).toEqual([]);
  expect(await values(hostile)).toEqual([]);
  const aside = await setAside(hostile);
  expect(aside).toHaveLength(40);
  expect(aside.every((row) => row.whole && String(row.code).startsWith('codec_'))).toBe(true);
});

test('an envelope that names another agent, a target of another: refused, counted', async () => {
  const [hostile, victim] = (await agentsNamed('foreign', 2)) as [FleetAgent, FleetAgent];
  await hostile.send(
    encodeBatch({ agentId: victim.agentId, boot: victim.boot, seq: 1n, createdAtUs: nowUs() }, [
      good(victim, 666n),
    ]),
  );
  await hostile.send(hostile.batch([good(hostile, 666n, victim.target), good(hostile, 1n)]));
  await victim.send(victim.batch([good(victim, 1n)]));
  await rig.drained();
  expect(await values(victim)).toEqual(['1']);
  expect(await values(hostile)).toEqual(['1']);
  expect(await setAside(hostile)).toMatchObject([
    { code: 'agent_mismatch', whole: true },
    { code: 'unknown_target', block_index: 0, whole: false },
  ]);
  expect(await setAside(victim)).toEqual([]);
});

test('a block that passes verification but not COPY is found among many and set aside alone', async () => {
  const agents = await agentsNamed('copy', 12);
  await rig.pem.query('ALTER TABLE pemhistory.rig_full ADD CONSTRAINT trap CHECK (value <> 13) NOT VALID');
  await rig.pem.query('ALTER TABLE pemdata.rig_full ADD CONSTRAINT trap CHECK (value <> 14) NOT VALID');
  await rig.fleet.sendTogether(
    agents.map((agent, i) => ({
      agentId: agent.agentId,
      batch: agent.batch([good(agent, BigInt(i + 1)), good(agent, BigInt(i + 1001))]),
    })),
  );
  // Value 13 stands in history's trap, 14 in latest's.
  const [last, other] = (await agentsNamed('copy-bad', 2)) as [FleetAgent, FleetAgent];
  await rig.fleet.sendTogether([
    ...agents.map((agent) => ({ agentId: agent.agentId, batch: agent.batch([good(agent, 7n)]) })),
    { agentId: last.agentId, batch: last.batch([good(last, 13n), good(last, 15n)]) },
    { agentId: other.agentId, batch: other.batch([good(other, 14n)]) },
  ]);
  await rig.drained();
  for (const [i, agent] of agents.entries()) {
    const all = [i + 1, 7, i + 1001].sort((x, y) => x - y).map(String);
    expect(await values(agent)).toEqual(all);
    expect(await setAside(agent)).toEqual([]);
  }
  expect(await values(last)).toEqual(['15']);
  expect(await setAside(last)).toMatchObject([
    { code: 'copy_failed', block_index: 0, kept: true, whole: false },
  ]);
  expect(await values(other)).toEqual([]);
  expect(await setAside(other)).toMatchObject([{ code: 'copy_failed', block_index: 0, kept: true }]);
  expect(ingester.counters.searched).toBeGreaterThan(0);
  await rig.pem.query('ALTER TABLE pemhistory.rig_full DROP CONSTRAINT trap');
  await rig.pem.query('ALTER TABLE pemdata.rig_full DROP CONSTRAINT trap');
});

test('one (boot, seq) with two contents: a clone, set aside and reported; the first content stays', async () => {
  const [agent] = (await agentsNamed('clone', 1)) as [FleetAgent];
  const envelope = { agentId: agent.agentId, boot: agent.boot, seq: 1n, createdAtUs: nowUs() };
  await agent.send(encodeBatch(envelope, [good(agent, 1n)]));
  await rig.drained();
  await agent.send(encodeBatch(envelope, [good(agent, 2n)]));
  await eventually('a quarantined agent', async () => (await setAside(agent)).length > 0);
  await rig.drained();
  expect(await values(agent)).toEqual(['1']);
  expect(await setAside(agent)).toMatchObject([{ code: 'cloned', whole: true, kept: true }]);
  const [row] = await rig.rows('SELECT quarantined_reason FROM pem.agent WHERE id = $1', [agent.agentId]);
  expect(row?.quarantined_reason).toMatch(/^cloned: boot .* sent seq 1 with two different contents$/);
  await expect(agent.send(agent.batch([good(agent, 3n)]))).rejects.toMatchObject({ code: 'PE003' });
});

test('rows of a probe and of a column that the server learns later come in then; older agents are taken at once', async () => {
  const [agent] = (await agentsNamed('newer', 1)) as [FleetAgent];
  const coming: ProbeDefinition = { ...rigFull, name: 'rig_coming' };
  const wider: ProbeDefinition = {
    ...rigDelta,
    version: 2,
    columns: [...rigDelta.columns, gauge('extra', 'float8', 'ms', 'Extra')],
  };
  await agent.send(
    agent.batch([
      rigBlock(coming, agent.target, [['a', 1n, null]]),
      rigBlock(wider, agent.target, [['a', 1n, 'wide', 0.5]], { version: 2 }),
      rigBlock(rigDelta, agent.target, [['a', 1n]], { columns: specs(rigDelta).slice(0, 2) }),
    ]),
  );
  await rig.drained();
  expect(await setAside(agent)).toMatchObject([
    { code: 'unknown_column', block_index: 1, kept: true, state: 'held' },
    { code: 'unknown_probe', block_index: 0, kept: true, state: 'held' },
  ]);
  const narrow = 'SELECT name, value, note FROM pemhistory.rig_delta WHERE target_id = $1 ORDER BY note';
  expect(await rig.rows(narrow, [agent.target])).toEqual([{ name: 'a', value: '1', note: null }]);
  await addProbes(rig.pem, probes, [rigFull, wider, rigScoped, coming]);
  await eventually('both blocks out of quarantine', async () =>
    (await setAside(agent)).every((row) => row.state === 'retried'),
  );
  expect(await rig.rows('SELECT value FROM pemdata.rig_coming WHERE target_id = $1', [agent.target])).toEqual(
    [{ value: '1' }],
  );
  expect(
    await rig.rows('SELECT note, extra FROM pemhistory.rig_delta WHERE target_id = $1 ORDER BY note', [
      agent.target,
    ]),
  ).toEqual([
    { note: 'wide', extra: 0.5 },
    { note: null, extra: null },
  ]);
  expect(await setAside(agent)).toMatchObject([{ kept: false }, { kept: false }]);
});

test('times out of retention or in the future are counted, in neither history nor latest', async () => {
  const [agent] = (await agentsNamed('stray', 1)) as [FleetAgent];
  const day = 86_400_000_000n;
  const at = (atUs: bigint) => rigBlock(rigFull, agent.target, [['key', 1n, null]], { atUs });
  await agent.send(
    agent.batch([
      at(nowUs() - 8n * day),
      at(nowUs() + day),
      at(nowUs() - 100_000n * day),
      at(nowUs() + 100_000n * day),
      at(nowUs() - 6n * day),
    ]),
  );
  await rig.drained();
  expect(await values(agent)).toHaveLength(1);
  expect(
    await rig.rows('SELECT reason, rows FROM pem.stray WHERE agent_id = $1 ORDER BY reason', [agent.agentId]),
  ).toEqual([
    { reason: 'expired', rows: 2 },
    { reason: 'future', rows: 2 },
  ]);
  expect(await setAside(agent)).toEqual([]);
});

test('a flood of bad blocks leaves a bounded number of rows', async () => {
  const [agent] = (await agentsNamed('flood', 1)) as [FleetAgent];
  const bad = rigBlock({ ...rigFull, name: 'rig_never' }, agent.target, [['a', 1n, null]]);
  for (let i = 0; i < 3; i += 1) await agent.send(agent.batch(Array.from({ length: 500 }, () => bad)));
  await rig.drained();
  const aside = await setAside(agent);
  expect(aside.length).toBeLessThanOrEqual(3 * 21);
  expect(
    await rig.rows('SELECT sum(octet_length(payload))::int <= 16777216 AS bounded FROM pem.quarantine'),
  ).toEqual([{ bounded: true }]);
});
