import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Pem, startPem } from '../../bench/rig/pem.js';

let pem: Pem;

beforeAll(async () => {
  pem = await startPem();
});
afterAll(() => pem?.stop());

test('latest rows of a server that was removed a month ago go, all others stay', async () => {
  const agent = await pem.addAgent({
    name: 'alpha',
    servers: ['old', 'young', 'kept'].map((name) => ({ name, host: name, port: 5432 })),
  });
  const [old, young, kept] = agent.serverTargets;
  for (const target of agent.serverTargets) {
    await pem.query(
      `INSERT INTO pemdata.database_statistics (target_id, database_name, recorded_at, _arrival, _seq)
       SELECT $1, 'db' || i, now(), 1, 1 FROM generate_series(1, 3) i`,
      [target],
    );
    await pem.query(
      `INSERT INTO pem.probe_state (target_id, probe, recorded_at, arrival, seq) VALUES ($1, 'database_statistics', now(), 1, 1)`,
      [target],
    );
  }
  for (const target of [old, young]) await pem.query('SELECT pem.remove_server($1)', [target]);
  await pem.query(`UPDATE pem.target SET deleted_at = now() - interval '31 days' WHERE id = $1`, [old]);
  const master = await pem.client('pem_master');
  const collect = async (): Promise<number> =>
    (await master.query('SELECT pem.collect_garbage() AS done')).rows[0].done.latest;
  try {
    expect(await collect()).toBe(3);
    expect(await collect()).toBe(0);
  } finally {
    await master.end();
  }
  for (const relation of ['pemdata.database_statistics', 'pem.probe_state']) {
    const { rows } = await pem.query(`SELECT DISTINCT target_id::int AS id FROM ${relation} ORDER BY 1`);
    expect(rows.map((row) => row.id)).toEqual([young, kept]);
  }
});
