/** The command advise_indexes as an agent gets it: databases in turn, requests that come twice, what is refused. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Cluster, startCluster } from '../../bench/rig/cluster.js';
import { eventually } from '../../bench/rig/processes.js';
import { watchedTarget } from '../../bench/rig/watched.js';
import { connect } from '../../native/index.js';
import type { AdviceAnswer, AdviceRequest } from '../../src/wire/advice.js';
import { runCommand } from '../link/commands.js';
import { ConnectGate } from '../probes/gate.js';
import { ServerLink } from '../probes/link.js';
import { systemClock } from '../scheduler/clock.js';
import { serverParams } from '../scheduler/index.js';
import { adviseCommand } from './advise.js';

let cluster: Cluster;
let available = false;
let connects = 0;

beforeAll(async () => {
  cluster = await startCluster();
  available =
    (await cluster.query(`SELECT FROM pg_available_extensions WHERE name = 'hypopg'`)).rows.length > 0;
  await cluster.query('CREATE ROLE watcher LOGIN IN ROLE pg_monitor');
  await cluster.query('CREATE DATABASE shop');
  await cluster.query(
    `CREATE TABLE orders (id int, customer_id int, note text);
     INSERT INTO orders SELECT i, i % 5000, repeat('x', 50) FROM generate_series(1, 50000) i; ANALYZE orders;
     GRANT SELECT ON orders TO watcher`,
    [],
    'shop',
  );
  if (available) await cluster.query('CREATE EXTENSION hypopg', [], 'shop');
});
afterAll(() => cluster?.stop());

const target = () => ({ ...watchedTarget(cluster, 7), user: 'watcher' });
const link = () =>
  new ServerLink({
    connect,
    clock: systemClock,
    gate: new ConnectGate(systemClock),
    params: (database) => serverParams(target(), database, undefined),
    onConnect: () => {
      connects++;
    },
  });
const kind = adviseCommand({
  servers: () => [target()],
  borrow: async (_, database, waitMs, task) => {
    const opened = link();
    try {
      return await opened.borrow(database, waitMs, task);
    } finally {
      opened.close();
    }
  },
});
const doors = { syncNow: () => undefined, renewCertificate: () => undefined };
const run = (payload: unknown) =>
  runCommand({ id: 1, kind: 'advise_indexes', payload }, doors, { advise_indexes: kind });

const request = (token: string, more: Partial<AdviceRequest> = {}): AdviceRequest => ({
  token,
  targetId: 7,
  traceId: 1,
  run: '1',
  totalUs: 2000,
  mostIndexes: 3,
  timeMs: 20_000,
  statements: ['shop', 'postgres', 'gone'].map((database) => ({
    id: database,
    text: 'select * from orders where customer_id = ?',
    cut: false,
    database,
    user: null,
    calls: 5,
    execUs: 1000,
  })),
  ...more,
});

test('each database in turn, with what is missing in it; twice asked is once done', async ({ skip }) => {
  if (!available)
    skip(
      'hypopg is not installed: apt-get install postgresql-<major>-hypopg (npm test does it where it may)',
    );
  const before = connects;
  const [first, second] = await Promise.all([run(request('a')), run(request('a'))]);
  expect(connects - before).toBe(3);
  expect(second).toEqual(first);
  const { databases, failures } = first.result as AdviceAnswer;
  expect(databases).toHaveLength(1);
  expect(databases[0]?.indexes[0]).toMatchObject({ table: 'public.orders', columns: ['customer_id'] });
  expect(databases[0]?.indexes[0]?.gain).toBeCloseTo(0.5, 1);
  expect(failures.map(({ database, code }) => [database, code])).toEqual([
    ['postgres', 'hypopg_missing'],
    ['gone', 'server_unreachable'],
  ]);
  await eventually('no session is left', async () => {
    const { rows } = await cluster.query(`SELECT FROM pg_stat_activity WHERE usename = 'watcher'`);
    return rows.length === 0;
  });
});

test('nonsense and servers of others are refused; long answers are cut so that they can travel', async ({
  skip,
}) => {
  for (const payload of [null, {}, { ...request('x'), statements: 'all' }, { ...request('y'), timeMs: 1e9 }])
    expect(await run(payload)).toMatchObject({ ok: false, result: { code: 'advice_refused' } });
  expect(await run(request('z', { targetId: 8 }))).toMatchObject({
    ok: false,
    result: { code: 'advice_refused', message: 'this agent does not watch that server' },
  });
  if (!available) skip('hypopg is not installed');
  const [one] = request('').statements;
  const statements = Array.from({ length: 200 }, (_, i) => ({
    ...(one as AdviceRequest['statements'][number]),
    id: `${i}`.padEnd(190, '-'),
    text: `SELECT * FROM "${`${i}`.padEnd(3000, 'ü')}"`,
  }));
  const long = await run(request('long', { statements }));
  expect(long.ok).toBe(true);
  expect(Buffer.byteLength(JSON.stringify(long.result))).toBeLessThan(300_000);
});
