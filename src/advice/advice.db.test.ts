/**
 * Index advice on a real server with hypopg: what is advised is made, and the planner uses it at the cost that was told.
 * PEM_ADVICE_PGBIN: the programs of a server of another major that has hypopg.
 */
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Cluster, startCluster } from '../../bench/rig/cluster.js';
import { connect, type PgConn } from '../../native/index.js';
import { errorCode } from '../base/errors.js';
import {
  type AdviceOptions,
  adviceDefaults,
  adviseIndexes,
  type DatabaseAdvice,
  type WorkStatement,
} from './index.js';

let cluster: Cluster;
let available = false;

beforeAll(async () => {
  const bin = process.env.PEM_ADVICE_PGBIN;
  cluster = await startCluster(bin === undefined ? {} : { bin });
  const { rows } = await cluster.query(`SELECT FROM pg_available_extensions WHERE name = 'hypopg'`);
  available = rows.length > 0;
  await cluster.query('CREATE ROLE advisor LOGIN IN ROLE pg_monitor; CREATE ROLE app LOGIN');
  await cluster.query('CREATE DATABASE shop');
  await cluster.query(
    `CREATE TABLE customer (id int PRIMARY KEY, name text, email varchar(100), active bool, region int, note text);
     CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id int REFERENCES customer, status text, created timestamptz,
       total numeric, shipped timestamptz);
     CREATE TABLE item (id bigserial PRIMARY KEY, order_id bigint, sku int, n int);
     CREATE TABLE event (id bigint, kind int, at timestamptz) PARTITION BY RANGE (at);
     CREATE TABLE event_2024 PARTITION OF event FOR VALUES FROM ('2024-01-01 00:00+00') TO ('2025-01-01 00:00+00');
     CREATE TABLE event_2025 PARTITION OF event FOR VALUES FROM ('2025-01-01 00:00+00') TO ('2026-01-01 00:00+00');
     CREATE VIEW recent AS SELECT o.*, c.name FROM orders o JOIN customer c ON c.id = o.customer_id;
     CREATE TABLE "Strange Table" ("a ""b" int, "select" int, x text);
     CREATE TABLE secret (id int, k int);
     CREATE SCHEMA app; CREATE TABLE app.private (id int, k int); ALTER ROLE app SET search_path = app, public;
     INSERT INTO customer SELECT i, 'name' || i, 'e' || i || '@x', i % 50 = 0, i % 7, repeat('x', 50) FROM generate_series(1, 20000) i;
     INSERT INTO orders (customer_id, status, created, total, shipped)
       SELECT i * 7919 % 20000 + 1, (ARRAY['new', 'paid', 'sent', 'done'])[i % 4 + 1],
         timestamptz '2025-01-01 00:00+00' + (i * 7 % 100000) * interval '1 min', i,
         CASE WHEN i % 200 > 0 THEN now() END FROM generate_series(1, 100000) i;
     INSERT INTO item (order_id, sku, n) SELECT i * 31 % 100000 + 1, i % 5000, i % 9 FROM generate_series(1, 100000) i;
     INSERT INTO event SELECT i, i % 3000, timestamptz '2024-01-01 00:00+00' + i * interval '10 min' FROM generate_series(1, 90000) i;
     INSERT INTO "Strange Table" SELECT i, i % 100, 'x' FROM generate_series(1, 30000) i;
     INSERT INTO app.private SELECT i, i FROM generate_series(1, 30000) i;
     GRANT USAGE ON SCHEMA app TO advisor;
     GRANT SELECT ON customer, orders, item, event, event_2024, event_2025, recent, "Strange Table", app.private TO advisor`,
    [],
    'shop',
  );
  if (available) await cluster.query('CREATE EXTENSION hypopg', [], 'shop');
  await cluster.query('VACUUM ANALYZE', [], 'shop');
});

afterAll(() => cluster?.stop());

/** Skips with a reason where hypopg cannot be had. */
function needHypopg(skip: (reason: string) => void): void {
  if (!available)
    skip(
      'hypopg is not installed: apt-get install postgresql-<major>-hypopg (npm test does it where it may)',
    );
}

async function session<T>(
  work: (conn: PgConn) => Promise<T>,
  user = 'advisor',
  database = 'shop',
): Promise<T> {
  const conn = await connect({
    params: { host: cluster.socketDirectory, port: String(cluster.port), user, dbname: database },
    timeoutMs: 60_000,
  });
  try {
    return await work(conn);
  } finally {
    conn.close();
  }
}

const statement = (text: string, more: Partial<WorkStatement> = {}): WorkStatement => ({
  id: text,
  text,
  cut: false,
  user: null,
  calls: 10,
  execUs: 1000,
  ...more,
});

function advise(
  texts: readonly (string | WorkStatement)[],
  more: Partial<AdviceOptions> = {},
  user?: string,
): Promise<DatabaseAdvice> {
  const statements = texts.map((one) => (typeof one === 'string' ? statement(one) : one));
  return session((conn) => adviseIndexes(conn, statements, { ...adviceDefaults, ...more }), user);
}

/** Makes what is advised, and gives each statement's real cost and indexes with it. */
async function reallyMade(
  advice: DatabaseAdvice,
  sql: string,
): Promise<{ cost: number; plan: string; bytes: number }> {
  const client = await cluster.client('shop');
  const lines = advice.indexes.flatMap(({ create }) => create);
  try {
    for (const line of lines) await client.query(line);
    await client.query('VACUUM ANALYZE');
    const { rows } = await client.query(`EXPLAIN (FORMAT JSON) ${sql}`);
    const plan = rows[0]['QUERY PLAN'][0].Plan;
    const size = await client.query(
      'SELECT sum(pg_total_relation_size(c.oid)) AS bytes FROM pg_class c WHERE relname = ANY ($1)',
      [advice.indexes.map(({ name }) => name)],
    );
    return { cost: plan['Total Cost'], plan: JSON.stringify(plan), bytes: Number(size.rows[0].bytes) };
  } finally {
    for (const { create } of advice.indexes) {
      const name = /INDEX (?:CONCURRENTLY )?("(?:[^"]|"")*"|\w+) ON (?:ONLY )?("(?:[^"]|"")*"|\w+)\./.exec(
        create[0] ?? '',
      );
      await client.query(`DROP INDEX IF EXISTS ${name?.[2]}.${name?.[1]}`);
    }
    await client.end();
  }
}

test('a missing index of a foreign key: advised, made, used, at the cost that was told', async ({ skip }) => {
  needHypopg(skip);
  const sql = 'SELECT * FROM orders WHERE customer_id = 4711';
  const advice = await advise([sql]);
  expect(advice.skipped).toEqual([]);
  expect(advice.indexes).toHaveLength(1);
  const [index] = advice.indexes;
  expect(index).toMatchObject({ table: 'public.orders', columns: ['customer_id'], include: [], where: null });
  expect(index?.create).toEqual([
    'CREATE INDEX CONCURRENTLY orders_customer_id_idx ON public.orders (customer_id);',
  ]);
  expect(index?.gain).toBeGreaterThan(0.9);
  const [told] = advice.statements;
  expect(told?.costBefore).toBeGreaterThan(20 * (told?.costAfter ?? 0));
  const made = await reallyMade(advice, sql);
  expect(made.plan).toContain('orders_customer_id_idx');
  expect(made.cost / (told?.costAfter ?? 0)).toBeGreaterThan(0.7);
  expect(made.cost / (told?.costAfter ?? 0)).toBeLessThan(1.4);
  expect((index?.sizeBytes ?? 0) / made.bytes).toBeGreaterThan(0.3);
  expect((index?.sizeBytes ?? 0) / made.bytes).toBeLessThan(4);
  // There is one now: nothing to advise, and it is told that it is used.
  await cluster.query('CREATE INDEX there ON orders (customer_id)', [], 'shop');
  const again = await advise([sql]);
  await cluster.query('DROP INDEX there', [], 'shop');
  expect(again.indexes).toEqual([]);
  expect(again.statements[0]?.uses).toEqual(['there']);
});

test('equality comes before range and order; one index serves two statements', async ({ skip }) => {
  needHypopg(skip);
  const range = `SELECT id FROM orders WHERE created > '2025-03-01' AND created < '2025-03-03' AND status = 'new'`;
  const ranged = await advise([range]);
  expect(ranged.indexes[0]?.columns).toEqual(['status', 'created']);
  const made = await reallyMade(ranged, range);
  expect(made.plan).toContain('orders_status_created_idx');
  expect(made.cost / (ranged.statements[0]?.costAfter ?? 0)).toBeLessThan(1.4);

  const newest = 'SELECT * FROM orders WHERE customer_id = 12 ORDER BY created DESC LIMIT 1';
  const both = await advise([newest, 'SELECT count(*) FROM orders WHERE customer_id = 7']);
  expect(both.indexes).toHaveLength(1);
  expect(both.indexes[0]?.columns[0]).toBe('customer_id');
  expect(both.indexes[0]?.statements).toHaveLength(2);

  const order = await advise(['SELECT * FROM orders ORDER BY created LIMIT 10']);
  expect(order.indexes[0]?.columns).toEqual(['created']);
});

test('joins, views, CTEs, subqueries, LIKE, expressions', async ({ skip }) => {
  needHypopg(skip);
  const joined = await advise([`SELECT * FROM orders o JOIN item i ON i.order_id = o.id WHERE o.id = 5`]);
  expect(joined.indexes.map(({ table, columns }) => [table, ...columns])).toEqual([
    ['public.item', 'order_id'],
  ]);
  const view = await advise(['SELECT * FROM recent WHERE customer_id = 4']);
  expect(view.indexes[0]).toMatchObject({ table: 'public.orders', columns: ['customer_id'] });
  const cte = await advise([
    `WITH mine AS (SELECT * FROM item WHERE sku = 17), x AS MATERIALIZED (SELECT * FROM orders WHERE customer_id = 3)
     SELECT * FROM mine, x WHERE x.id IN (SELECT order_id FROM mine)`,
  ]);
  expect(cte.indexes.map(({ table }) => table).sort()).toEqual(['public.item', 'public.orders']);
  const like = await advise([`SELECT * FROM customer WHERE email LIKE 'e77@%'`]);
  expect(like.indexes[0]?.columns[0]).toMatch(/^email( varchar_pattern_ops)?$/);
  const lower = `SELECT * FROM customer WHERE lower(name) = 'name77'`;
  const expression = await advise([lower]);
  expect(expression.indexes[0]?.columns).toEqual(['lower(name)']);
  expect(expression.indexes[0]?.warnings.join()).toMatch(/no statistics of an expression/);
  expect((await reallyMade(expression, lower)).plan).toContain('customer_lower_idx');
});

test('partitioned tables: one index for the whole, made partition by partition', async ({ skip }) => {
  needHypopg(skip);
  const sql = 'SELECT * FROM event WHERE kind = 5';
  const advice = await advise([sql]);
  expect(advice.indexes[0]?.create).toEqual([
    'CREATE INDEX event_kind_idx ON ONLY public.event (kind);',
    'CREATE INDEX CONCURRENTLY event_2024_kind_idx ON public.event_2024 (kind);',
    'ALTER INDEX public.event_kind_idx ATTACH PARTITION public.event_2024_kind_idx;',
    'CREATE INDEX CONCURRENTLY event_2025_kind_idx ON public.event_2025 (kind);',
    'ALTER INDEX public.event_kind_idx ATTACH PARTITION public.event_2025_kind_idx;',
  ]);
  const made = await reallyMade(advice, sql);
  expect(made.plan).toContain('event_2024_kind_idx');
  expect(made.plan).toContain('event_2025_kind_idx');
  expect(made.cost / (advice.statements[0]?.costAfter ?? 0)).toBeLessThan(1.4);
});

test('only a part of the rows, or further columns, where they clearly pay', async ({ skip }) => {
  needHypopg(skip);
  const part = "SELECT id FROM orders WHERE shipped IS NULL AND created > now() - interval '10 years'";
  const partial = await advise([part]);
  expect(partial.indexes[0]?.where).toBe('shipped IS NULL');
  expect((await reallyMade(partial, part)).plan).toContain(partial.indexes[0]?.name);
  const sum = `SELECT sum(n) FROM item WHERE sku BETWEEN 100 AND 900`;
  const covering = await advise([sum]);
  expect(covering.indexes[0]).toMatchObject({ columns: ['sku'], include: ['n'] });
  expect((await reallyMade(covering, sum)).plan).toContain('Index Only Scan');
});

test('parameters: $1, and the normal form of a text', async ({ skip }) => {
  needHypopg(skip);
  for (const text of [
    'SELECT * FROM orders WHERE customer_id = $1 AND created > $2',
    'select * from orders where customer_id = ? and created > now() - interval ? day and status in (?)',
    'update orders set total = ? where customer_id = ?',
  ]) {
    const advice = await advise([text]);
    expect(advice.skipped, text).toEqual([]);
    expect(advice.statements[0]?.generic).toBe(true);
    expect(advice.indexes[0]?.columns[0], text).toBe('customer_id');
  }
});

test('names that need quotes, names that are taken, the search_path of the user', async ({ skip }) => {
  needHypopg(skip);
  const sql = 'SELECT * FROM "Strange Table" WHERE "a ""b" = 5';
  await cluster.query('CREATE TABLE "Strange Table_a ""b_idx" ()', [], 'shop');
  const advice = await advise([sql]);
  expect(advice.indexes[0]?.create).toEqual([
    'CREATE INDEX CONCURRENTLY "Strange Table_a ""b1_idx" ON public."Strange Table" ("a ""b");',
  ]);
  expect((await reallyMade(advice, sql)).plan).toContain('Strange Table_a \\"b1_idx');
  const text = 'SELECT * FROM private WHERE k = 5';
  const [mine, other] = await Promise.all([advise([statement(text, { user: 'app' })]), advise([text])]);
  expect(mine.indexes[0]?.table).toBe('app.private');
  expect(other.skipped[0]).toMatchObject({ code: 'unknown_object' });
});

test('writes: weighed against gains, told as a warning; UPDATE and DELETE without the right to write', async ({
  skip,
}) => {
  needHypopg(skip);
  const find = 'SELECT * FROM orders WHERE customer_id = 4711';
  const change =
    "UPDATE orders o SET total = o.total + 1 FROM customer c WHERE c.id = o.customer_id AND o.status = 'none' RETURNING o.id";
  const advice = await advise([
    find,
    statement(change, { calls: 77, execUs: 10 }),
    'DELETE FROM item WHERE sku = 4999',
  ]);
  expect(advice.skipped).toEqual([]);
  expect(advice.statements.map(({ asSelect }) => asSelect)).toEqual([false, true, true]);
  expect(advice.indexes.map(({ table }) => table)).toEqual(
    expect.arrayContaining(['public.item', 'public.orders']),
  );
  expect(advice.indexes.find(({ table }) => table === 'public.orders')).toMatchObject({ writeCalls: 77 });
  const unseen = await advise([
    find,
    statement('INSERT INTO orders (customer_id) VALUES ($1)', { calls: 5, execUs: 1 }),
  ]);
  expect(unseen.skipped[0]?.code).toBe('not_permitted');
  expect(unseen.indexes[0]).toMatchObject({ writeCalls: 5 });
  await cluster.query('GRANT UPDATE, INSERT ON orders TO advisor', [], 'shop');
  const warned = await advise([find, statement(change, { calls: 77, execUs: 10 })]);
  const insert = 'INSERT INTO orders (customer_id) SELECT customer_id FROM orders WHERE customer_id = 4711';
  const never = await advise([
    statement(find, { execUs: 20 }),
    statement('INSERT INTO orders (customer_id) VALUES ($1)', { execUs: 10_000 }),
    statement(insert, { execUs: 1 }),
  ]);
  await cluster.query('REVOKE UPDATE, INSERT ON orders FROM advisor', [], 'shop');
  expect(warned.indexes[0]).toMatchObject({ writeCalls: 77 });
  expect(warned.indexes[0]?.warnings.join()).toMatch(/77 calls of the trace .* write to this table/);
  expect(never.indexes).toEqual([]);
});

test('hostile texts change nothing and are refused with a reason; the session stays usable', async ({
  skip,
}) => {
  needHypopg(skip);
  await cluster.query(
    `CREATE TABLE marks (at timestamptz DEFAULT now());
     CREATE FUNCTION mark() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO marks DEFAULT VALUES; RETURN 1; END $$;
     CREATE FUNCTION liar() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN mark(); END $$;
     GRANT ALL ON marks TO PUBLIC`,
    [],
    'shop',
  );
  const before = await cluster.query(`SELECT count(*) FROM pg_class`, [], 'shop');
  const refused = [
    'SELECT 1; DROP TABLE marks',
    'SELECT 1; COMMIT; DROP TABLE marks',
    'DROP TABLE marks',
    "COPY marks FROM PROGRAM 'true'",
    '(SELECT 1) ; SELECT 2',
    'SELEC 1',
    "SELECT 'unfinished",
    'ANALYZE orders',
    '/* SELECT */ TRUNCATE marks',
    'WITH x AS (SELECT 1) DROP TABLE marks',
    'EXECUTE pem_advice',
    `SELECT * FROM orders WHERE customer_id = liar()`,
    '',
    'SELECT \0 1',
    `SELECT $1 FROM orders; ROLLBACK; DROP TABLE marks`,
    'SELECT * FROM no_such_table WHERE a = $1',
  ];
  const advice = await advise([
    ...refused,
    'SELECT mark(), pg_sleep(60) FROM orders WHERE customer_id = mark()',
    'INSERT INTO item (sku) SELECT mark() FROM item',
    'WITH gone AS (DELETE FROM item RETURNING *) SELECT * FROM gone',
    'SELECT * FROM orders WHERE customer_id = 9',
    `SELECT ${'('.repeat(5000)}1${')'.repeat(5000)}`,
    statement('SELECT * FROM orders WHERE customer_id', { cut: true }),
  ]);
  const state = await cluster.query(
    `SELECT (SELECT count(*) FROM marks) AS marks, (SELECT count(*) FROM item) AS items, (SELECT count(*) FROM pg_class) AS relations`,
    [],
    'shop',
  );
  expect(state.rows[0]).toEqual({ marks: '0', items: '100000', relations: before.rows[0].count });
  const reasons = new Map(advice.skipped.map(({ id, reason }) => [id, reason]));
  expect(refused.filter((text) => !reasons.has(text))).toEqual([]);
  expect(reasons.get('SELECT 1; DROP TABLE marks')).toBe('it is several statements');
  expect(reasons.get('SELECT * FROM orders WHERE customer_id')).toMatch(/only its beginning/);
  expect(reasons.get('SELECT * FROM orders WHERE customer_id = liar()')).toMatch(/read-only transaction/);
  expect(advice.indexes[0]).toMatchObject({ columns: ['customer_id'] });
});

test('a superuser plans no text of others, unless told to: what the planner evaluates runs with his rights', async ({
  skip,
}) => {
  needHypopg(skip);
  await cluster.query(
    `CREATE FUNCTION run(file text) RETURNS int LANGUAGE plpgsql AS $$
       BEGIN EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'touch ' || file); RETURN 1; END $$;
     CREATE FUNCTION program(file text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN run(file); END $$`,
    [],
    'shop',
  );
  const text = `SELECT * FROM orders WHERE customer_id = program('${cluster.folder}/proof')`;
  const refusal = await advise([text], {}, 'postgres').catch((error: unknown) => error);
  expect(errorCode(refusal)).toBe('advice_superuser');
  expect(existsSync(`${cluster.folder}/proof`)).toBe(false);
  await advise([text]);
  expect(existsSync(`${cluster.folder}/proof`)).toBe(false);
  await advise([text], { trustStatements: true }, 'postgres');
  // This is why.
  expect(existsSync(`${cluster.folder}/proof`)).toBe(true);
});

test('what is not permitted is told with its grant; a locked table with its reason', async ({ skip }) => {
  needHypopg(skip);
  const denied = await advise(['SELECT * FROM secret WHERE k = 5']);
  expect(denied.skipped[0]).toMatchObject({ code: 'not_permitted' });
  expect(denied.skipped[0]?.reason).toContain('GRANT SELECT ON secret TO "advisor"');
  const client = await cluster.client('shop');
  await client.query('BEGIN; LOCK TABLE customer');
  const locked = await advise(['SELECT * FROM customer WHERE region = 5']);
  await client.query('ROLLBACK');
  await client.end();
  expect(locked.skipped[0]).toMatchObject({ code: 'failed', reason: 'a table of it is locked' });
});

test('without hypopg it says how to get it, and gives no figures', async () => {
  const refusal = await session(
    (conn) => adviseIndexes(conn, [statement('SELECT 1')], adviceDefaults),
    'advisor',
    'postgres',
  ).catch((error: unknown) => error);
  expect(errorCode(refusal)).toBe('hypopg_missing');
  expect(String(refusal)).toMatch(
    available ? /CREATE EXTENSION hypopg in database "postgres"/ : /apt-get install/,
  );
});

test('time is bounded, progress is told, what was not reached is said', async ({ skip }) => {
  needHypopg(skip);
  const texts = Array.from(
    { length: 40 },
    (_, i) => `SELECT * FROM orders WHERE customer_id = ${i} AND status = 'new' AND total > ${i}`,
  );
  const steps = new Set<string>();
  const whole = await advise(texts, { onProgress: ({ step }) => steps.add(step) });
  expect(whole.complete).toBe(true);
  expect(whole.indexes).toHaveLength(1);
  expect([...steps]).toEqual(expect.arrayContaining(['planning', 'trying', 'choosing']));
  const short = await advise(texts, { timeMs: 1 });
  expect(short).toMatchObject({ complete: false, indexes: [] });
  expect(short.notes.join()).toMatch(/Time was over/);
});
