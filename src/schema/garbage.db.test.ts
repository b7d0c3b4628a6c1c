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

test('a web server that traces is no agent that has left', async () => {
  const { rows } = await pem.query('SELECT pem.be_tracer(gen_random_uuid(), $1) AS id', ['web']);
  const tracer = Number(rows[0].id);
  const host = `(SELECT host_target_id FROM pem.agent WHERE id = ${tracer})`;
  await pem.query(`UPDATE pem.target SET deleted_at = now() - interval '31 days' WHERE id = ${host}`);
  await pem.query(
    `INSERT INTO pem.probe_state (target_id, probe, recorded_at, arrival, seq) SELECT ${host}, 'agent_self', now(), 1, 1`,
  );
  const master = await pem.client('pem_master');
  await master.query('SELECT pem.collect_garbage()');
  await master.end();
  const left = await pem.query(`SELECT count(*)::int AS n FROM pem.probe_state WHERE target_id = ${host}`);
  expect(left.rows).toEqual([{ n: 1 }]);
  const seen = await pem.query('SELECT display_name FROM pem.agent_status WHERE agent_id = $1', [tracer]);
  expect(seen.rows).toEqual([{ display_name: 'web server web' }]);
  await expect(pem.query('SELECT pem.remove_agent($1)', [tracer])).rejects.toMatchObject({
    code: 'PE022',
    message: expect.stringContaining('is a web server'),
  });
});
