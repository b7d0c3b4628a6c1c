import { afterAll, beforeAll, expect, test } from 'vitest';
import { type FleetAgent, specs } from '../../bench/load/fleet.js';
import { type Ingesting, nowUs, rigBlock, startIngesting } from '../../bench/load/ingesting.js';
import { type ModelBlock, modelLatest, seeded } from '../../bench/load/oracle.js';
import { rigFull, rigScoped } from '../../bench/load/probes.js';
import { type CellValue, DeltaState } from '../../native/index.js';

let rig: Ingesting;
beforeAll(async () => {
  rig = await startIngesting();
});
afterAll(async () => {
  await rig.stop();
});

interface Sent {
  readonly batch: Buffer;
  readonly model: ModelBlock;
}

type State = Map<string, readonly CellValue[]>;

/** An agent's life: several boots, two scopes, changing rows, full blocks now and then; every batch with its model. */
async function live(agent: FleetAgent, random: () => number): Promise<Sent[]> {
  const sent: Sent[] = [];
  for (let boot = 0; boot < 3; boot += 1) {
    if (boot > 0) await agent.reboot();
    const [row] = await rig.rows('SELECT arrival FROM pem.received WHERE boot = $1', [agent.boot]);
    const arrival = BigInt(row?.arrival as string);
    const deltas = new Map(
      ['left', 'right'].map((scope) => [scope, new DeltaState(specs(rigScoped), [0, 1])]),
    );
    const before = new Map<string, State>();
    for (let step = 0; step < 14; step += 1) {
      const scope = random() < 0.5 ? 'left' : 'right';
      const state: State = new Map();
      for (let key = 0; key < 8; key += 1) {
        if (random() < 0.6) {
          const note = random() < 0.2 ? null : `n${Math.floor(random() * 3)}`;
          state.set(`k${key}`, [BigInt(Math.floor(random() * 3)), note]);
        }
      }
      const rows = [...state].map(([name, values]) => [scope, name, ...values]);
      const full = rigBlock(rigScoped, agent.target, rows, { scope, atUs: nowUs() - BigInt(step) });
      const block = deltas.get(scope)?.diff(full, { forceFull: random() < 0.2 });
      if (block === null || block === undefined) continue;
      const old = before.get(scope) ?? new Map<string, readonly CellValue[]>();
      before.set(scope, state);
      const isFull = block === full;
      const changed = [...state].filter(
        ([name, values]) => isFull || String(old.get(name)) !== String(values),
      );
      sent.push({
        batch: agent.batch([block]),
        model: {
          target: agent.target,
          kind: isFull ? 'full' : 'delta',
          scope,
          arrival,
          seq: agent.seq,
          rows: new Map(changed),
          gone: isFull ? [] : [...old.keys()].filter((name) => !state.has(name)),
        },
      });
    }
  }
  return sent;
}

async function latestRows(target: bigint): Promise<Map<string, string>> {
  const rows = await rig.rows('SELECT * FROM pemdata.rig_scoped WHERE target_id = $1 AND NOT _gone', [
    target,
  ]);
  return new Map(
    rows.map((row) => [
      `${row.target_id}\u0000${row.part}\u0000${row.name}`,
      `${row.value},${row.note ?? ''}`,
    ]),
  );
}

const expected = (blocks: readonly ModelBlock[]): Map<string, string> =>
  new Map([...modelLatest(blocks)].map(([key, [value, note]]) => [key, `${value},${note ?? ''}`]));

test('latest is what a replay in order of positions gives, in whatever order and groups blocks arrive', async () => {
  const ingester = rig.ingest();
  for (let seed = 1; seed <= 6; seed += 1) {
    const random = seeded(seed);
    const [agent] = await rig.fleet.add(1, `model${seed}-`);
    if (agent === undefined) throw new Error('no agent');
    const waiting = await live(agent, random);
    const arrived: ModelBlock[] = [];
    // Mostly in order, with neighbours swapped, and one stretch held back to the end, as back-fill is.
    const held = waiting.splice(Math.floor(random() * waiting.length), 6);
    for (let i = 0; i + 1 < waiting.length; i += 1) {
      if (random() < 0.4) [waiting[i], waiting[i + 1]] = [waiting[i + 1] as Sent, waiting[i] as Sent];
    }
    const order = [...waiting, ...held];
    while (order.length > 0) {
      const group = order.splice(0, 1 + Math.floor(random() * 5));
      await agent.send(...group.map((one) => one.batch));
      arrived.push(...group.map((one) => one.model));
      await rig.drained();
      expect(await latestRows(agent.target), `seed ${seed} after ${arrived.length} blocks`).toEqual(
        expected(arrived),
      );
    }
  }
  expect(ingester.counters.quarantined).toBe(0);
  await ingester.stop();
});

test('a key twice in one full block: the last row counts, nothing is set aside', async () => {
  const ingester = rig.ingest();
  const [agent] = await rig.fleet.add(1, 'twice');
  if (agent === undefined) throw new Error('no agent');
  await agent.send(
    agent.batch([
      rigBlock(rigFull, agent.target, [
        ['a', 1n, 'first'],
        ['a', 2n, 'last'],
      ]),
    ]),
  );
  await rig.drained();
  const rows = await rig.rows('SELECT name, value, note FROM pemdata.rig_full WHERE target_id = $1', [
    agent.target,
  ]);
  expect(rows).toEqual([{ name: 'a', value: '2', note: 'last' }]);
  expect(
    await rig.rows('SELECT name FROM pemhistory.rig_full WHERE target_id = $1', [agent.target]),
  ).toHaveLength(2);
  expect(ingester.counters.quarantined).toBe(0);
  await ingester.stop();
});

test('rows of a full block that did not change are left alone; an empty full block removes all', async () => {
  const ingester = rig.ingest();
  const [agent] = await rig.fleet.add(1, 'same');
  if (agent === undefined) throw new Error('no agent');
  const place = async () =>
    rig.rows('SELECT name, ctid::text, _seq FROM pemdata.rig_full WHERE target_id = $1 ORDER BY name', [
      agent.target,
    ]);
  await agent.send(
    agent.batch([
      rigBlock(rigFull, agent.target, [
        ['a', 1n, 'x'],
        ['b', 1n, null],
      ]),
    ]),
  );
  await rig.drained();
  const first = await place();
  await agent.send(
    agent.batch([
      rigBlock(rigFull, agent.target, [
        ['a', 1n, 'x'],
        ['b', 2n, null],
      ]),
    ]),
  );
  await rig.drained();
  const second = await place();
  expect(second[0]).toEqual(first[0]);
  expect(second[1]).toMatchObject({ name: 'b', _seq: '2' });
  await agent.send(agent.batch([rigBlock(rigFull, agent.target, [])]));
  await rig.drained();
  expect(await place()).toEqual([]);
  expect(
    await rig.rows('SELECT seq, full_seq, rows FROM pem.probe_state WHERE target_id = $1', [agent.target]),
  ).toEqual([{ seq: '3', full_seq: '3', rows: 0 }]);
  await ingester.stop();
});
