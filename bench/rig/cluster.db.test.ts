import { expect, test } from 'vitest';
import { startCluster } from './cluster.js';

test('a throw-away cluster starts, answers, survives an immediate stop and leaves nothing behind', async () => {
  const cluster = await startCluster({ tcp: true });
  await cluster.query('CREATE TABLE kept AS SELECT 42 AS x');
  await cluster.halt('immediate');
  await cluster.start();
  const result = await cluster.query('SELECT x FROM kept');
  expect(result.rows).toEqual([{ x: 42 }]);
  await cluster.stop();
  await expect(cluster.query('SELECT 1')).rejects.toThrow();
});
