import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Ingesting, nowUs, rigBlock, startIngesting } from '../../bench/load/ingesting.js';
import { rigFull } from '../../bench/load/probes.js';

let rig: Ingesting;
beforeAll(async () => {
  rig = await startIngesting();
});
afterAll(async () => {
  await rig.stop();
});

const rowsPerBatch = 2000;
const batchesPerAgent = 50;

test('a backlog goes through both lanes; lanes that are cut off lose and repeat nothing', async () => {
  const agents = await rig.fleet.add(8, 'lanes');
  const baseUs = nowUs() - BigInt(batchesPerAgent) * 1000n;
  for (const agent of agents) {
    for (let number = 1; number <= batchesPerAgent; number += 1) {
      const rows = Array.from({ length: rowsPerBatch }, (_, row) => [`r${row}`, BigInt(number), 'row']);
      await agent.send(
        agent.batch([rigBlock(rigFull, agent.target, rows, { atUs: baseUs + BigInt(number) * 1000n })]),
      );
    }
  }
  const ingester = rig.ingest('lanes');
  const seen = new Set<string>();
  let cut = 0;
  for (;;) {
    const copying = await rig.rows(
      "SELECT pid FROM pg_stat_activity WHERE application_name = 'pem ingest lanes' AND query LIKE 'COPY pemhistory%' AND state = 'active'",
    );
    for (const row of copying) seen.add(String(row.pid));
    if (cut < 2 && copying.length > 0 && seen.size > cut) {
      cut += 1;
      await rig.pem.query('SELECT pg_terminate_backend($1::int)', [String(copying[0]?.pid)]);
    }
    const [totals] = await rig.rows('SELECT batches FROM pem.inbox_totals()');
    if (totals?.batches === '0') break;
    await sleep(3);
  }
  const targets = agents.map((agent) => String(agent.target));
  expect(cut).toBe(2);
  expect(
    await rig.rows(
      'SELECT count(*) AS rows, count(DISTINCT (target_id, value, name)) AS distinct_rows FROM pemhistory.rig_full WHERE target_id = ANY ($1::bigint[])',
      [targets],
    ),
  ).toEqual([
    {
      rows: String(agents.length * batchesPerAgent * rowsPerBatch),
      distinct_rows: String(agents.length * batchesPerAgent * rowsPerBatch),
    },
  ]);
  expect(
    await rig.rows(
      'SELECT count(*) AS rows, min(value) AS low, max(value) AS high FROM pemdata.rig_full WHERE target_id = ANY ($1::bigint[])',
      [targets],
    ),
  ).toEqual([
    {
      rows: String(agents.length * rowsPerBatch),
      low: String(batchesPerAgent),
      high: String(batchesPerAgent),
    },
  ]);
  expect(
    await rig.rows('SELECT DISTINCT ranges FROM pem.received WHERE agent_id = ANY ($1)', [
      agents.map((agent) => agent.agentId),
    ]),
  ).toEqual([{ ranges: `{[1,${batchesPerAgent + 1})}` }]);
  expect(await rig.rows('SELECT code FROM pem.quarantine')).toEqual([]);
  expect(seen.size).toBeGreaterThan(2);
  await ingester.stop();
});
