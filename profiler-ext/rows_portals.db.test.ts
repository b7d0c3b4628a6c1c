/**
 * Statements that run in pieces: portals side by side, cursors, held ones, what a rollback or an error closes; and rows
 * that are there although the client says nothing more.
 */
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Cluster } from '../bench/rig/cluster.js';
import { killBackend } from '../bench/rig/crash.js';
import { endTrace, readTrace, startProfiled, startTrace, type TraceRow } from '../bench/rig/traces.js';
import {
  bind,
  closePortal,
  execute,
  flush,
  parse,
  query,
  sync,
  WireClient,
} from '../bench/rig/wire_client.js';

let cluster: Cluster;
let id: number;
let wire: WireClient;

beforeAll(async () => {
  cluster = await startProfiled();
  await cluster.query(`CREATE TABLE big AS SELECT g AS a, repeat('x', 200) AS b FROM generate_series(1, 2000) g;
    CREATE TABLE t (a int)`);
  await cluster.query('VACUUM ANALYZE');
});
afterAll(() => cluster.stop());

beforeEach(async () => {
  id = await startTrace(cluster, 'portals', { applications: ['portals'] });
  wire = await WireClient.open(cluster, 'portals');
});

afterEach(async () => {
  wire.end();
  await cluster.query("SELECT sql_profiler.stop(id) FROM sql_profiler.traces WHERE state = 'running'");
});

async function rows(): Promise<TraceRow[]> {
  wire.end();
  await wire.until('never');
  return endTrace(cluster, id, 'line');
}

const short = (row: TraceRow): string =>
  `${'  '.repeat(Number(row.level))}${row.tag}${row.rows === '' ? '' : ` ${row.rows}`}${row.sqlstate === '' ? '' : ` ${row.sqlstate}`}`;

const series = (n: number): string => `SELECT a FROM big WHERE a <= ${n}`;
const counters = ['shared_hit', 'shared_read'] as const;
const blocks = (row: TraceRow | undefined): number =>
  counters.reduce((sum, name) => sum + Number(row?.[name]), 0);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('portals', () => {
  test('side by side, in pieces: one row each, with the rows and blocks of all its pieces', async () => {
    await wire.run(
      ...[query('BEGIN'), parse('one', series(1000)), parse('two', series(2000))],
      ...[bind('p1', 'one'), bind('p2', 'two')],
      ...[execute('p1', 300), execute('p2', 500), execute('p1', 300), execute('p2', 0)],
      ...[execute('p1', 399), execute('p1', 2), sync()],
    );
    await wire.until('Z');
    await wire.run(query('COMMIT'));
    const all = await rows();
    expect(all.map(short)).toEqual(['BEGIN', 'SELECT 2000', 'SELECT 1000', 'COMMIT']);
    // Each scanned the whole table once, in its own pieces.
    const pages = (await cluster.query("SELECT pg_relation_size('big') / 8192 AS n")).rows[0].n;
    // A scan that goes on looks at its page again.
    for (const row of all.slice(1, 3)) {
      expect(blocks(row)).toBeGreaterThanOrEqual(Number(pages));
      expect(blocks(row)).toBeLessThanOrEqual(Number(pages) + 4);
    }
    expect(all.slice(1, 3).map((row) => row.query)).toEqual([series(2000), series(1000)]);
  });

  test('a portal that was only bound is no row', async () => {
    await wire.run(parse('', series(10)), bind('', ''), sync());
    await wire.run(parse('', 'SELECT 1'), bind('', ''), execute(''), sync());
    expect((await rows()).map(short)).toEqual(['SELECT 1']);
  });

  test('what the client waits between pieces is elapsed time, and no execution time', async () => {
    wire.send(parse('', series(2000)), bind('', ''), execute('', 10), flush());
    await wire.until('s');
    await pause(300);
    await wire.run(execute('', 0), sync());
    const [row] = await rows();
    expect(row && short(row)).toBe('SELECT 2000');
    // A timer may be a little early.
    expect(Number(row?.elapsed_us) - Number(row?.exec_us)).toBeGreaterThan(295_000);
  });

  test('one that is never fetched to its end is a row when it is closed', async () => {
    await wire.run(parse('', series(2000)), bind('p', ''), execute('p', 10), closePortal('p'), sync());
    await wire.run(parse('', series(2000)), bind('p', ''), execute('p', 20), sync());
    expect((await rows()).map(short)).toEqual(['SELECT 10', 'SELECT 20']);
  });

  test('DML with RETURNING that is fetched in pieces ran at once', async () => {
    await wire.run(
      ...[parse('', 'INSERT INTO t SELECT a FROM big WHERE a <= 50 RETURNING a'), bind('p', '')],
      ...[execute('p', 10), execute('p', 0), sync()],
    );
    expect((await rows()).map(short)).toEqual(['INSERT 50', 'COMMIT']);
  });

  test.each(['Sync', 'Flush'])(
    'the row of a SELECT is there while its client is idle after %s',
    async (how) => {
      await wire.run(parse('named', series(5)), sync());
      wire.send(bind('', 'named'), execute(''), how === 'Sync' ? sync() : flush());
      await wire.until('C');
      // It was there before the client was told: no moment is waited for it, let alone 250 ms.
      expect((await readTrace(cluster, id)).map(short)).toEqual(['SELECT 5']);
      // Its end, when it comes, is no second row.
      await wire.run(sync());
      await wire.run(bind('', 'named'), execute(''), sync());
      expect((await rows()).map(short)).toEqual(['SELECT 5', 'SELECT 5']);
    },
  );
});

describe('cursors', () => {
  const run = (...statements: string[]): Promise<unknown> =>
    statements.reduce<Promise<unknown>>(
      (before, sql) => before.then(() => wire.run(query(sql))),
      Promise.resolve(),
    );

  test('DECLARE and each FETCH are rows, and the query is one when the cursor closes', async () => {
    await run('BEGIN', `DECLARE c CURSOR FOR ${series(1500)}`);
    await run('FETCH 100 FROM c', 'FETCH 200 FROM c', 'MOVE 50 FROM c', 'CLOSE c', 'COMMIT');
    const all = await rows();
    expect(all.map(short)).toEqual([
      ...[
        'BEGIN',
        'DECLARE CURSOR',
        'FETCH 100',
        'FETCH 200',
        'MOVE 50',
        '  SELECT 350',
        'CLOSE CURSOR',
        'COMMIT',
      ],
    ]);
    const of = (tag: string): TraceRow[] => all.filter((row) => row.tag === tag);
    const [select] = of('SELECT');
    expect(select?.parent).toBe(of('DECLARE CURSOR')[0]?.serial);
    // All counters are inclusive: the query's blocks are those of its fetches.
    const fetched = [...of('FETCH'), ...of('MOVE')].reduce((sum, row) => sum + blocks(row), 0);
    expect(blocks(select)).toBe(fetched);
    const inside = [...of('DECLARE CURSOR'), ...of('FETCH'), ...of('MOVE'), ...of('CLOSE CURSOR')];
    expect(Number(select?.exec_us)).toBeLessThanOrEqual(
      inside.reduce((sum, row) => sum + Number(row.exec_us) + 1, 0),
    );
  });

  test('one that can go back is a row at its close, with all rows it gave', async () => {
    await run('BEGIN', `DECLARE c SCROLL CURSOR FOR ${series(100)}`);
    await run('FETCH ALL FROM c', 'FETCH BACKWARD 10 FROM c', 'FETCH FORWARD ALL FROM c', 'COMMIT');
    expect((await rows()).map(short)).toEqual([
      ...['BEGIN', 'DECLARE CURSOR', 'FETCH 100', 'FETCH 10', 'FETCH 9', '  SELECT 119', 'COMMIT'],
    ]);
  });

  test('a held one is a row when its transaction ends; later fetches read what was kept', async () => {
    await run('BEGIN', `DECLARE c CURSOR WITH HOLD FOR ${series(100)}`, 'FETCH 10 FROM c', 'COMMIT');
    await run('FETCH 20 FROM c', 'CLOSE c');
    const all = await rows();
    expect(all.map((row) => row.tag)).toEqual([
      ...['BEGIN', 'DECLARE CURSOR', 'FETCH', 'SELECT', 'COMMIT', 'FETCH', 'CLOSE CURSOR'],
    ]);
    expect(all[5]?.rows).toBe('20');
    expect(Number(all[3]?.rows)).toBeGreaterThanOrEqual(100);
  });

  test('a rollback closes them, without an error', async () => {
    await run('BEGIN', `DECLARE a CURSOR FOR ${series(100)}`, `DECLARE b CURSOR FOR ${series(200)}`);
    await run('FETCH 10 FROM a', 'FETCH 20 FROM b', 'ROLLBACK');
    const all = await rows();
    expect(
      all
        .map(short)
        .filter((row) => row.startsWith('  '))
        .sort(),
    ).toEqual(['  SELECT 10', '  SELECT 20']);
    expect(all.at(-1)?.tag).toBe('ROLLBACK');
    expect(all.map((row) => row.query)).toContain(`DECLARE b CURSOR FOR ${series(200)}`);
    expect(all.filter((row) => row.sqlstate !== '')).toEqual([]);
  });

  test('a rollback to a savepoint closes those that are younger', async () => {
    await run('BEGIN', `DECLARE a CURSOR FOR ${series(100)}`, 'FETCH 1 FROM a', 'SAVEPOINT s');
    await run(
      `DECLARE b CURSOR FOR ${series(200)}`,
      'FETCH 2 FROM b',
      'ROLLBACK TO s',
      'FETCH 3 FROM a',
      'COMMIT',
    );
    expect((await rows()).map(short)).toEqual([
      ...['BEGIN', 'DECLARE CURSOR', 'FETCH 1', 'SAVEPOINT', 'DECLARE CURSOR', 'FETCH 2'],
      ...['ROLLBACK', '  SELECT 2', 'FETCH 3', '  SELECT 4', 'COMMIT'],
    ]);
  });

  test("another statement's error closes them, and is not theirs", async () => {
    await run('BEGIN', `DECLARE a CURSOR FOR ${series(100)}`, 'FETCH 10 FROM a', 'SELECT 1/0', 'ROLLBACK');
    expect((await rows()).map(short)).toEqual([
      ...['BEGIN', 'DECLARE CURSOR', 'FETCH 10', 'SELECT 22012', '  SELECT 10', 'ROLLBACK', 'ROLLBACK'],
    ]);
  });

  test('their own error is their own and that of the FETCH', async () => {
    await run(
      'BEGIN',
      'DECLARE a CURSOR FOR SELECT 1 / (3 - a) FROM big',
      'FETCH 2 FROM a',
      'FETCH 2 FROM a',
    );
    await run('ROLLBACK');
    const all = await rows();
    expect(all.map(short)).toEqual([
      ...['BEGIN', 'DECLARE CURSOR', 'FETCH 2', '  SELECT 2 22012', 'FETCH 22012', 'ROLLBACK', 'ROLLBACK'],
    ]);
    const [own, fetch] = all.filter((row) => row.sqlstate !== '');
    expect([own?.error, own?.flags, fetch?.error, fetch?.flags]).toEqual(['division by zero', '0', '', '8']);
  });

  test('a session that ends closes them', async () => {
    await run('BEGIN', `DECLARE a CURSOR FOR ${series(100)}`, 'FETCH 10 FROM a', 'INSERT INTO t VALUES (1)');
    const all = await rows();
    expect(all.map(short)).toEqual([
      ...['BEGIN', 'DECLARE CURSOR', 'FETCH 10', 'INSERT 1', '  SELECT 10', 'ROLLBACK'],
    ]);
    expect(all.at(-1)?.flags).toBe('64');
  });

  test("PL/pgSQL's loops over a query are one row, whatever they fetch at a time", async () => {
    await run(
      `DO $$ DECLARE r record; BEGIN FOR r IN ${series(120)} LOOP PERFORM 1 FROM t LIMIT 0; END LOOP; END $$`,
    );
    const all = await rows();
    const nested = all.filter((row) => row.level === '1');
    expect(nested.filter((row) => row.rows === '120').length).toBe(1);
    expect(nested.length).toBe(121);
  });

  test('set-returning SQL functions that run on demand are one row each', async () => {
    await cluster.query(`CREATE FUNCTION lazily(n int) RETURNS SETOF int LANGUAGE sql VOLATILE AS
      $$ SELECT a FROM big WHERE a <= n $$`);
    await run('SELECT lazily(7), lazily(5)', 'SELECT lazily(7) LIMIT 2');
    const all = await rows();
    expect(all.map(short)).toEqual([
      ...['  SELECT 5', '  SELECT 7', 'SELECT 7'],
      // Left behind by LIMIT: closed with the memory of the statement around it.
      ...['SELECT 2', '  SELECT 2'],
    ]);
  });
});

describe('files', () => {
  test('rows of a slot are in the order of their ends', async () => {
    const client: pg.Client = await cluster.client();
    await client.query("SET application_name = 'portals'");
    for (let i = 0; i < 50; i++) await client.query('SELECT lazily(3)');
    await client.end();
    const all = await rows();
    const ends = all.filter((row) => row.pid === all[0]?.pid).map((row) => Number(row.end_time));
    expect(ends.length).toBeGreaterThanOrEqual(100);
    expect(ends).toEqual([...ends].sort((a, b) => a - b));
  });
});

test('the row of a SELECT outlives its backend, killed while the client is idle', async () => {
  await wire.run(parse('', 'SELECT 4711 AS last'), bind('', ''), execute(''), sync());
  const { rows: backends } = await cluster.query(
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'portals'",
  );
  await killBackend(cluster, backends[0].pid);
  expect((await readTrace(cluster, id)).map((row) => row.query)).toEqual(['SELECT 4711 AS last']);
});
