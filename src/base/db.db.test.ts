/** The pool at PEM's database while that database crashes: requests fail, the process lives, the next request is answered. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Cluster, startCluster } from '../../bench/rig/cluster.js';
import { asUser, openPool, type Pool } from './db.js';

let cluster: Cluster;
let pool: Pool;

beforeAll(async () => {
  cluster = await startCluster();
  await cluster.query('CREATE ROLE ada');
  pool = openPool(
    { host: cluster.socketDirectory, port: String(cluster.port), user: 'postgres', dbname: 'postgres' },
    { applicationName: 'test', max: 3 },
  );
});
afterAll(async () => {
  await pool?.end();
  await cluster?.stop();
});

// Without a listener of its own such a connection ends the process, which fails the whole run.
test('the database crashes while connections are lent out, at rest and in a query', async () => {
  const resting = await pool.connect();
  const busy = asUser(pool, 'ada', (client) => client.query('SELECT pg_sleep(600)')).then(
    () => 'answered',
    () => 'failed',
  );
  await expect
    .poll(
      async () =>
        (await cluster.query(`SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(6%'`)).rowCount,
      { timeout: 60_000 },
    )
    .toBeGreaterThan(1);
  const ended = new Promise((resolve) => resting.once('end', () => resolve(undefined)));
  try {
    await cluster.halt('immediate');
    await ended;
    expect(await busy).toBe('failed');
    await expect(resting.query('SELECT 1')).rejects.toThrow();
  } finally {
    resting.release(true);
  }
  await cluster.start();
  const { rows } = await asUser(pool, 'ada', (client) => client.query('SELECT current_user AS name'));
  expect(rows).toEqual([{ name: 'ada' }]);
});
