/** What is a row and what is not: statements, commands, what is nested in them, and the numbers that tie them together. */
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Cluster } from '../bench/rig/cluster.js';
import { eventually } from '../bench/rig/processes.js';
import {
  endTrace,
  readTrace,
  sortedRows,
  startProfiled,
  startTrace,
  stopTrace,
  type TraceRow,
} from '../bench/rig/traces.js';

let cluster: Cluster;
let client: pg.Client;
let id: number;

beforeAll(async () => {
  cluster = await startProfiled();
  await cluster.query(`
    CREATE TABLE t (a int PRIMARY KEY, b text);
    CREATE TABLE log (a int);
    CREATE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO log VALUES (NEW.a); RETURN NEW; END $$;
    CREATE TABLE watched (a int);
    CREATE TRIGGER watched AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION logged();
    CREATE FUNCTION twice(int) RETURNS int LANGUAGE plpgsql AS
      $$ DECLARE n int; BEGIN SELECT count(*) INTO n FROM t WHERE a = $1; RETURN 2 * n; END $$;
    CREATE FUNCTION outermost() RETURNS int LANGUAGE plpgsql AS
      $$ BEGIN PERFORM twice(a) FROM t; RETURN 1; END $$;
    CREATE PROCEDURE committing() LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO log VALUES (1); COMMIT; INSERT INTO log VALUES (2); ROLLBACK; END $$;
    INSERT INTO t SELECT g, 'x' FROM generate_series(1, 3) g`);
});
afterAll(() => cluster.stop());

beforeEach(async () => {
  client = await cluster.client();
  await client.query("SET application_name = 'rows'");
  id = await startTrace(cluster, 'rows', { applications: ['rows'] });
});

afterEach(async () => {
  await client.end();
  await cluster.query("SELECT sql_profiler.stop(id) FROM sql_profiler.traces WHERE state = 'running'");
});

/** Ends the trace and gives its rows in the order of their starts. */
async function rows(): Promise<TraceRow[]> {
  await client.end();
  return endTrace(cluster, id, 'serial');
}

/** A row in short: indented by level, with its rows where known. */
const short = (row: TraceRow): string =>
  `${'  '.repeat(Number(row.level))}${row.tag}${row.rows === '' ? '' : ` ${row.rows}`}${row.flags === '0' ? '' : ` !${row.flags}`}`;

const shorts = async (): Promise<string[]> => (await rows()).map(short);

/** Every row's parent is the nearest row before it that is one level up. */
function expectTree(all: readonly TraceRow[]): void {
  for (const row of all) {
    const parent = all.find((other) => other.serial === row.parent);
    if (row.level === '0') expect(row.parent).toBe('0');
    else expect(Number(parent?.level)).toBe(Number(row.level) - 1);
    expect(Number(row.serial)).toBeGreaterThan(Number(row.parent));
  }
}

describe('statements', () => {
  test('each is one row with its rows, and a commit only where there is something to commit', async () => {
    await client.query('SELECT * FROM t');
    await client.query("INSERT INTO t VALUES (10, 'y'), (11, 'y')");
    await client.query("UPDATE t SET b = 'z' WHERE a >= 10");
    await client.query('DELETE FROM t WHERE a >= 10 RETURNING a');
    await client.query('VALUES (1), (2)');
    await client.query('TABLE t');
    expect(await shorts()).toEqual([
      'SELECT 3',
      ...['INSERT 2', 'COMMIT !64'],
      ...['UPDATE 2', 'COMMIT !64'],
      ...['DELETE 2', 'COMMIT !64'],
      ...['SELECT 2', 'SELECT 3'],
    ]);
  });

  test('several in one message are rows of their own, each with its own text', async () => {
    await client.query("SELECT 1; INSERT INTO log VALUES (1);\n  SELECT 'é',\n 2 ;");
    const all = await rows();
    expect(all.map((row) => row.query)).toEqual([
      'SELECT 1',
      'INSERT INTO log VALUES (1)',
      "SELECT 'é',\n 2",
      '',
    ]);
    expect(all.map(short)).toEqual(['SELECT 1', 'INSERT 1', 'SELECT 1', 'COMMIT !64']);
  });

  test('prepared ones are rows at each execution', async () => {
    for (let i = 0; i < 7; i++)
      await client.query({ name: 'p', text: 'SELECT b FROM t WHERE a = $1', values: [i] });
    const all = await rows();
    expect(all.map((row) => row.rows)).toEqual(['0', '1', '1', '1', '0', '0', '0']);
    expect(new Set(all.map((row) => row.query))).toEqual(new Set(['SELECT b FROM t WHERE a = $1']));
    // Planned for each of the first executions; then perhaps once for all.
    expect(all[0]?.plan_us).not.toBe('');
  });

  test('an explicit transaction is its commands; COMMIT has the cost of committing', async () => {
    await client.query('BEGIN');
    await client.query('INSERT INTO log VALUES (1)');
    await client.query('SAVEPOINT s');
    await client.query('INSERT INTO log VALUES (2)');
    await client.query('ROLLBACK TO s');
    await client.query('COMMIT');
    await client.query('BEGIN');
    await client.query('INSERT INTO log VALUES (3)');
    await client.query('ROLLBACK');
    await client.query('COMMIT');
    const all = await rows();
    expect(all.map(short)).toEqual([
      ...['BEGIN', 'INSERT 1', 'SAVEPOINT', 'INSERT 1', 'ROLLBACK', 'COMMIT'],
      ...['BEGIN', 'INSERT 1', 'ROLLBACK', 'COMMIT'],
    ]);
    const commit = all[5] as TraceRow;
    expect(Number(commit.wal_records)).toBeGreaterThanOrEqual(1);
    expect(commit.xid).not.toBe('');
    expect(all[0]?.xid).toBe('');
    expect(new Set(all.slice(0, 6).map((row) => row.vxid)).size).toBe(1);
    expect(commit.parent).toBe('0');
  });

  test('what a transaction of savepoints does, is counted once', async () => {
    await client.query(
      'BEGIN; SAVEPOINT a; SELECT 1; RELEASE a; COMMIT AND CHAIN; SELECT 2; ROLLBACK AND CHAIN; ABORT',
    );
    expect(await shorts()).toEqual([
      ...['BEGIN', 'SAVEPOINT', 'SELECT 1', 'RELEASE', 'COMMIT', 'SELECT 1', 'ROLLBACK', 'ROLLBACK'],
    ]);
  });

  test('two-phase commit is its commands', async () => {
    await client.query('BEGIN');
    await client.query('INSERT INTO log VALUES (1)');
    await client.query("PREPARE TRANSACTION 'two'").catch(() => undefined);
    const all = await rows();
    // The rig's cluster allows none: PREPARE fails, and its transaction is rolled back with it.
    expect(all.map(short)).toEqual(['BEGIN', 'INSERT 1', 'PREPARE TRANSACTION', 'ROLLBACK !64']);
    expect(all[2]?.sqlstate).toBe('55000');
  });
});

describe('commands', () => {
  test('EXPLAIN is a row only where it runs the statement', async () => {
    await client.query('EXPLAIN SELECT * FROM t');
    await client.query('EXPLAIN (ANALYZE false) SELECT * FROM t');
    await client.query('EXPLAIN (ANALYZE true, ANALYZE off) SELECT outermost()');
    await client.query('EXPLAIN (ANALYZE) SELECT * FROM t');
    await client.query('EXPLAIN ANALYZE VERBOSE SELECT * FROM t');
    expect(await shorts()).toEqual(['EXPLAIN', '  SELECT 3', 'EXPLAIN', '  SELECT 3']);
  });

  test('EXPLAIN that fails is a row, of no tag where it did not come that far', async () => {
    await client.query('EXPLAIN (ANALYZE perhaps) SELECT 1').catch(() => undefined);
    await client.query('EXPLAIN SELECT * FROM missing').catch(() => undefined);
    const all = await rows();
    expect(all.map((row) => [short(row), row.sqlstate])).toEqual([
      ...[
        ['EXPLAIN', '42601'],
        ['ROLLBACK !64', ''],
      ],
      ...[
        ['', '42P01'],
        ['ROLLBACK !64', ''],
      ],
    ]);
  });

  test('EXECUTE, CREATE TABLE AS, COPY of a query, DECLARE: a row of the command and one of its statement', async () => {
    await client.query('PREPARE p(int) AS SELECT * FROM t WHERE a > $1');
    await client.query('EXECUTE p(1)');
    await client.query('CREATE TABLE made AS SELECT * FROM t');
    await client.query("COPY (SELECT * FROM t) TO '/dev/null'");
    await client.query("COPY t TO '/dev/null'");
    await client.query('DROP TABLE made');
    const all = await rows();
    expectTree(all);
    expect(all.map(short)).toEqual([
      'PREPARE',
      ...['EXECUTE 2', '  SELECT 2'],
      ...['CREATE TABLE AS 3', '  SELECT 3', 'COMMIT !64'],
      ...['COPY 3', '  SELECT 3'],
      'COPY 3',
      ...['DROP TABLE', 'COMMIT !64'],
    ]);
  });

  test('parts of a command are none', async () => {
    await client.query(
      'CREATE SCHEMA s CREATE TABLE parent (a int PRIMARY KEY) CREATE VIEW v AS SELECT 1; CREATE TABLE s.child (a int REFERENCES s.parent)',
    );
    await client.query('ALTER TABLE s.parent ADD b int, ADD UNIQUE (b)');
    await client.query('DROP SCHEMA s CASCADE');
    const all = await rows();
    expect(all.filter((row) => row.level === '0').map(short)).toEqual([
      ...['CREATE SCHEMA', 'CREATE TABLE', 'COMMIT !64'],
      ...['ALTER TABLE', 'COMMIT !64'],
      ...['DROP SCHEMA', 'COMMIT !64'],
    ]);
    expect(all.filter((row) => row.level !== '0' && row.tag !== 'SELECT')).toEqual([]);
  });

  test('settings, VACUUM and others are rows, with the transactions they make', async () => {
    await client.query('SET work_mem = 1000');
    await client.query('SHOW work_mem');
    await client.query('VACUUM t');
    await client.query('DISCARD PLANS');
    await client.query('LISTEN x');
    await client.query("NOTIFY x, 'y'");
    const all = (await rows()).filter((row) => Number(row.flags) === 0);
    expect(all.map(short)).toEqual(['SET', 'SHOW', 'VACUUM', 'DISCARD PLANS', 'LISTEN', 'NOTIFY']);
  });
});

describe('nesting', () => {
  test('statements of functions, triggers, DO: each with its parent and level', async () => {
    await client.query('SELECT outermost()');
    await client.query('INSERT INTO watched VALUES (1), (2)');
    await client.query("DO $$ BEGIN PERFORM twice(1); EXECUTE 'CREATE SCHEMA made'; END $$");
    const all = await rows();
    expectTree(all);
    expect(all.map(short)).toEqual([
      ...['SELECT 1', '  SELECT 3', '    SELECT 1', '    SELECT 1', '    SELECT 1'],
      ...['INSERT 2', '  INSERT 1', '  INSERT 1', 'COMMIT !64'],
      ...['DO', '  SELECT 1', '    SELECT 1', '  CREATE SCHEMA', 'COMMIT !64'],
    ]);
    // Children are written first.
    const written = all.filter((row) => row.serial === all[0]?.serial || row.parent === all[0]?.serial);
    expect(Number(written[1]?.line)).toBeLessThan(Number(written[0]?.line));
  });

  test('a procedure that commits: commits and rollbacks are its children', async () => {
    await client.query('CALL committing()');
    const all = await rows();
    expectTree(all);
    expect(all.map(short)).toEqual(['CALL', '  INSERT 1', '  COMMIT !64', '  INSERT 1', '  ROLLBACK !64']);
  });

  test('deferred triggers are children of the commit that fires them', async () => {
    await cluster.query(`CREATE TABLE late (a int);
      CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION logged()`);
    await client.query('INSERT INTO late VALUES (1)');
    await client.query('BEGIN');
    await client.query('INSERT INTO late VALUES (2)');
    await client.query('COMMIT');
    const all = await rows();
    expectTree(all);
    expect(all.map(short)).toEqual([
      ...['INSERT 1', 'COMMIT !64', '  INSERT 1'],
      ...['BEGIN', 'INSERT 1', 'COMMIT', '  INSERT 1'],
    ]);
  });

  test('without nested, only the outermost are rows', async () => {
    await stopTrace(cluster, id);
    id = await startTrace(cluster, 'flat', { applications: ['rows'], nested: false });
    await client.query('SELECT outermost()');
    await client.query('INSERT INTO watched VALUES (1)');
    await client.query('CALL committing()');
    const all = await rows();
    expect(all.map(short)).toEqual(['SELECT 1', 'INSERT 1', 'COMMIT !64', 'CALL']);
    expect(new Set(all.map((row) => row.level))).toEqual(new Set(['0']));
  });
});

describe('filters', () => {
  const restart = async (options: object): Promise<void> => {
    await stopTrace(cluster, id);
    id = await startTrace(cluster, 'filtered', { applications: ['rows'], ...options });
  };

  test('kinds are those of the root: what is nested in it comes along', async () => {
    await restart({ kinds: ['insert', 'ddl'] });
    await client.query('SELECT outermost()');
    await client.query('INSERT INTO watched VALUES (1)');
    await client.query('CREATE TEMP TABLE x (a int)');
    await client.query('BEGIN');
    await client.query('ROLLBACK');
    expect(await shorts()).toEqual(['INSERT 1', '  INSERT 1', 'CREATE TABLE']);
  });

  test('a duration is that of the root: short statements nested in a long one come along', async () => {
    await restart({ min_duration_us: 1_000_000 });
    await client.query('SELECT outermost()');
    await client.query('DO $$ BEGIN PERFORM twice(1); PERFORM pg_sleep(1.02); PERFORM twice(2); END $$');
    await client.query('SELECT 1');
    await client.query('SELECT pg_sleep(1.01)');
    const all = await rows();
    expectTree(all);
    expect(all.map(short)).toEqual([
      ...['DO', '  SELECT 1', '    SELECT 1', '  SELECT 1', '  SELECT 1', '    SELECT 1'],
      'SELECT 1',
    ]);
    // They waited for their root, and are in the order of their ends all the same.
    const ends = sortedRows(all, 'line').map((row) => Number(row.end_time));
    expect(ends).toEqual([...ends].sort((a, b) => a - b));
  });

  test('a sample takes roots with all that is nested in them, or not at all', async () => {
    await restart({ sample_rate: 0.3 });
    for (let i = 0; i < 400; i++) await client.query('SELECT twice(1)');
    const all = await rows();
    const roots = all.filter((row) => row.level === '0');
    // Six standard deviations of 400 draws.
    expect(roots.length).toBeGreaterThan(65);
    expect(roots.length).toBeLessThan(175);
    expect(all.length).toBe(2 * roots.length);
    expectTree(all);
  });

  test('two traces with other options get rows of their own', async () => {
    const other = await startTrace(cluster, 'other', {
      applications: ['rows'],
      kinds: ['select'],
      max_query_bytes: 10,
      nested: false,
    });
    await client.query('SELECT outermost()');
    await client.query('INSERT INTO log VALUES (1)');
    const all = await rows();
    await stopTrace(cluster, other);
    const others = await readTrace(cluster, other);
    expect(all.map(short)).toEqual([
      ...['SELECT 1', '  SELECT 3', '    SELECT 1', '    SELECT 1', '    SELECT 1'],
      ...['INSERT 1', 'COMMIT !64'],
    ]);
    expect(others.map((row) => [short(row), row.query])).toEqual([['SELECT 1 !1', 'SELECT out']]);
    expect(others[0]?.serial).toBe(all[0]?.serial);
    expect(new Set(all.map((row) => row.trace))).toEqual(new Set([String(id)]));
  });
});

describe('background processes', () => {
  test('commits of autovacuum are no rows: nobody asked for them', async () => {
    const all = await startTrace(cluster, 'all');
    try {
      await cluster.query("ALTER SYSTEM SET autovacuum_naptime = '1s'");
      await cluster.query('SELECT pg_reload_conf()');
      await cluster.query('CREATE TABLE churned (a int) WITH (autovacuum_analyze_threshold = 1)');
      await cluster.query('INSERT INTO churned SELECT generate_series(1, 1000)');
      await eventually('autovacuum analyzed the table', async () => {
        const { rows: found } = await cluster.query(
          "SELECT autoanalyze_count > 0 AS done FROM pg_stat_user_tables WHERE relname = 'churned'",
        );
        return found[0].done as boolean;
      });
    } finally {
      await cluster.query('ALTER SYSTEM RESET autovacuum_naptime');
      await cluster.query('SELECT pg_reload_conf()');
    }
    const seen = await endTrace(cluster, all, 'serial');
    expect(seen.map(({ query }) => query)).toContain('INSERT INTO churned SELECT generate_series(1, 1000)');
    expect(seen.filter(({ database }) => database === '').map(short)).toEqual([]);
  });
});
