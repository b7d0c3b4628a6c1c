/** `pem trace advise` on a trace that was really made: from the server, and from a copy of its files. */
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Cluster } from '../../../bench/rig/cluster.js';
import { startProfiled, startTrace, stopTrace } from '../../../bench/rig/traces.js';

const entry = join(import.meta.dirname, '../../../dist/src/cli/pem.js');
let cluster: Cluster;
let folder: string;
let available = false;

beforeAll(async () => {
  cluster = await startProfiled();
  folder = mkdtempSync(join(tmpdir(), 'pem-advise-'));
  available =
    (await cluster.query(`SELECT FROM pg_available_extensions WHERE name = 'hypopg'`)).rows.length > 0;
  await cluster.query('CREATE ROLE advisor LOGIN IN ROLE pg_monitor');
  await cluster.query('CREATE DATABASE shop');
  await cluster.query(
    `CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id int, created timestamptz, total numeric);
     INSERT INTO orders (customer_id, created, total) SELECT i % 5000, now() - i * interval '1 min', i FROM generate_series(1, 50000) i;
     CREATE FUNCTION spent(c int) RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT sum(total) FROM orders WHERE customer_id = c); END $$;
     GRANT SELECT ON orders TO advisor`,
    [],
    'shop',
  );
  await cluster.query('VACUUM ANALYZE', [], 'shop');
  const id = await startTrace(cluster, 'for advice', { databases: ['shop'] });
  const client = await cluster.client('shop');
  for (let i = 0; i < 20; i++) {
    await client.query(`SELECT * FROM orders WHERE customer_id = ${i} ORDER BY created DESC LIMIT 3`);
    await client.query('SELECT count(*) FROM orders WHERE customer_id = $1', [i]);
    await client.query('SELECT spent($1)', [i]);
  }
  await client.query('SELECT 1; CREATE TABLE made (); DROP TABLE made');
  await client.end();
  await stopTrace(cluster, id);
});
afterAll(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const db = (user: string): string =>
  `host=${cluster.socketDirectory} port=${cluster.port} user=${user} dbname=postgres`;

function pem(...words: string[]): Promise<{ status: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [entry, 'trace', 'advise', ...words], (error, out, err) => {
      resolve({ status: typeof error?.code === 'number' ? error.code : error === null ? 0 : 99, out, err });
    });
  });
}

test('without hypopg it says how to get it; a superuser is told to be less', async ({ skip }) => {
  const missing = await pem('--db', db('advisor'));
  expect(missing).toMatchObject({ status: 1, out: '' });
  expect(missing.err).toMatch(
    available
      ? /hypopg_missing: .*CREATE EXTENSION hypopg in database "shop"/
      : /hypopg_missing: .*apt-get install/,
  );
  if (!available)
    skip(
      'hypopg is not installed: apt-get install postgresql-<major>-hypopg (npm test does it where it may)',
    );
  await cluster.query('CREATE EXTENSION hypopg', [], 'shop');
  expect(await pem('--db', db('postgres'))).toMatchObject({
    status: 1,
    err: expect.stringContaining('advice_superuser'),
  });
});

test('advice from the server, and from its files: one index, made as it stands, then none', async ({
  skip,
}) => {
  if (!available) skip('hypopg is not installed');
  const text = await pem('--db', db('advisor'));
  expect(text).toMatchObject({ status: 0, err: '' });
  expect(text.out).toMatch(/^Index advice for trace \d+ "for advice"/);
  expect(text.out).toMatch(/ESTIMATE of the planner/);
  const line =
    /^1\. (CREATE INDEX CONCURRENTLY orders_customer_id(_created)?_idx ON public\.orders .*;)$/m.exec(
      text.out,
    )?.[1];
  expect(line).toBeDefined();

  const traces = join(cluster.dataDirectory, 'sql_profiler');
  const name = readdirSync(traces).find((one) => /^pgsql_tmp_\d+$/.test(one)) ?? '';
  cpSync(join(traces, name), join(folder, name), { recursive: true });
  const file = await pem(join(folder, name), '--db', db('advisor'), '--format', 'json', '--quiet');
  expect(file).toMatchObject({ status: 0, err: '' });
  const json = JSON.parse(file.out);
  expect(json.databases).toHaveLength(1);
  expect(json.databases[0]).toMatchObject({ form: 'pem-index-advice', estimate: true, database: 'shop' });
  const [index] = json.databases[0].indexes;
  // The statement inside the function too.
  expect(index.statements.some(({ id }: { id: string }) => id.includes('/nested'))).toBe(true);
  expect(index.statements.length).toBeGreaterThanOrEqual(3);
  expect(index.gain).toBeGreaterThan(0.3);

  await cluster.query(line ?? '', [], 'shop');
  const after = await pem('--db', db('advisor'));
  expect(after.out).toMatch(/no index would gain enough/);
  expect(after.out).toMatch(/in use already: .*orders_customer_id/);
});
