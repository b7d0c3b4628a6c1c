/** Statements that fail, at every stage from the text to the commit; cancels, timeouts, sessions that are ended. */
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Cluster } from '../bench/rig/cluster.js';
import { eventually } from '../bench/rig/processes.js';
import { endTrace, startProfiled, startTrace, type TraceRow } from '../bench/rig/traces.js';
import { bind, execute, parse, query, sync, WireClient } from '../bench/rig/wire_client.js';

let cluster: Cluster;
let client: pg.Client;
let id: number;

beforeAll(async () => {
  cluster = await startProfiled({ settings: { max_prepared_transactions: '5' } });
  await cluster.query(`
    CREATE TABLE t (a int PRIMARY KEY CHECK (a < 1000));
    CREATE TABLE child (a int REFERENCES t DEFERRABLE INITIALLY DEFERRED);
    CREATE FUNCTION fails(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1 / $1; END $$;
    CREATE FUNCTION fails_inside() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM 1 / a FROM t; RETURN 1; END $$;
    CREATE FUNCTION swallows() RETURNS int LANGUAGE plpgsql AS
      $$ BEGIN PERFORM fails(0); RETURN 0; EXCEPTION WHEN division_by_zero THEN RETURN 1; END $$;
    CREATE FUNCTION raises_another() RETURNS int LANGUAGE plpgsql AS
      $$ BEGIN PERFORM fails(0); RETURN 0; EXCEPTION WHEN division_by_zero THEN RAISE 'another'; END $$;
    CREATE FUNCTION planned() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1 / 0';
    INSERT INTO t VALUES (0)`);
});
afterAll(() => cluster.stop());

beforeEach(async () => {
  client = await cluster.client();
  await client.query("SET application_name = 'errors'");
  id = await startTrace(cluster, 'errors', { applications: ['errors'] });
});

afterEach(async () => {
  await client.end();
  await cluster.query("SELECT sql_profiler.stop(id) FROM sql_profiler.traces WHERE state = 'running'");
});

async function rows(): Promise<TraceRow[]> {
  await client.end();
  return endTrace(cluster, id, 'line');
}

const short = (row: TraceRow): string =>
  [`${'  '.repeat(Number(row.level))}${row.tag}`, row.sqlstate, row.error]
    .filter((part) => part !== '')
    .join(' ') + (row.flags === '0' ? '' : ` !${row.flags}`);

/** Waits until a session is inside pg_sleep(). */
async function asleep(pid: number): Promise<void> {
  await eventually('it sleeps', async () => {
    const sql = `SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'`;
    return (await cluster.query(sql, [pid])).rows.length === 1;
  });
}

/** Runs statements that may fail. */
async function attempt(...statements: string[]): Promise<void> {
  for (const sql of statements) await client.query(sql).catch(() => undefined);
}

describe('stages', () => {
  test('scanner, parser, analysis: rows without a tag, with the whole text', async () => {
    await attempt('SELECT "unclosed', 'SELEKT 1', 'SELECT missing FROM t', 'SELECT 1; SELECT nothing()');
    const all = await rows();
    expect(all.filter((row) => row.flags === '0').map((row) => [short(row), row.query])).toEqual([
      [' 42601 unterminated quoted identifier at or near ""unclosed"'.trim(), 'SELECT "unclosed'],
      ['42601 syntax error at or near "SELEKT"', 'SELEKT 1'],
      ['42703 column "missing" does not exist', 'SELECT missing FROM t'],
      ['SELECT', 'SELECT 1'],
      ['42883 function nothing() does not exist', 'SELECT 1; SELECT nothing()'],
    ]);
    for (const row of all.filter((one) => one.sqlstate !== '')) {
      expect([row.exec_us, row.rows, row.shared_hit, row.wal_bytes]).toEqual(['', '', '', '']);
      expect(Number(row.elapsed_us)).toBeGreaterThan(0);
    }
    expect(all.filter((row) => row.flags === '64').every((row) => row.tag === 'ROLLBACK')).toBe(true);
    expect(all.filter((row) => row.flags === '64').length).toBe(4);
  });

  test('parameters', async () => {
    await client.query('SELECT $1::int', ['no number']).catch(() => undefined);
    const all = await rows();
    expect(all.map(short)).toEqual([
      '22P02 invalid input syntax for type integer: "no number"',
      'ROLLBACK !64',
    ]);
    expect(all[0]?.query).toBe('SELECT $1::int');
  });

  test('planner: a row with its tag and the time it took so far', async () => {
    await attempt('SELECT 1 / 0', 'SELECT planned() FROM t');
    const all = (await rows()).filter((row) => row.flags !== '64');
    expect(all[0] && short(all[0])).toBe('SELECT 22012 division by zero');
    expect([all[0]?.exec_us, all[0]?.plan_us !== '']).toEqual(['', true]);
    expect(all.at(-1)?.sqlstate).toBe('22012');
  });

  test('start, run, end of the executor, commands', async () => {
    await cluster.query('CREATE ROLE nobody');
    await attempt(
      ...['SET ROLE nobody', 'SELECT * FROM t', 'RESET ROLE'],
      ...[
        'SELECT fails(0)',
        'INSERT INTO t VALUES (0)',
        'INSERT INTO t VALUES (2000)',
        'SELECT fails_inside()',
      ],
      ...['CREATE TABLE t ()', 'DROP TABLE missing', 'EXECUTE missing'],
    );
    const all = (await rows()).filter((row) => row.flags !== '64');
    expect(all.map(short)).toEqual([
      ...['SET', 'SELECT 42501 permission denied for table t', 'RESET'],
      ...['SELECT 22012 division by zero'],
      ...['INSERT 23505 duplicate key value violates unique constraint "t_pkey"'],
      ...['INSERT 23514 new row for relation "t" violates check constraint "t_a_check"'],
      ...['  SELECT 22012 division by zero', 'SELECT 22012 !8'],
      ...['CREATE TABLE 42P07 relation "t" already exists'],
      ...['DROP TABLE 42P01 table "missing" does not exist'],
      ...['EXECUTE 26000 prepared statement "missing" does not exist'],
    ]);
    // What was done until then is told.
    const failed = all.find((row) => row.sqlstate === '23505');
    expect(Number(failed?.shared_hit)).toBeGreaterThan(0);
    expect(failed?.exec_us).not.toBe('');
  });

  test('commit: the row of the commit has the error, explicit or not', async () => {
    await attempt('INSERT INTO child VALUES (5)', 'BEGIN; INSERT INTO child VALUES (6)', 'COMMIT');
    const message = '23503 insert or update on table "child" violates foreign key constraint "child_a_fkey"';
    expect((await rows()).filter((row) => row.level === '0').map(short)).toEqual([
      ...['INSERT', `COMMIT ${message} !64`, 'ROLLBACK !64'],
      ...['BEGIN', 'INSERT', `COMMIT ${message}`, 'ROLLBACK !64'],
    ]);
  });

  test('a transaction that has failed refuses each statement', async () => {
    await attempt('BEGIN', 'SELECT 1 / 0', 'SELECT 1', 'INSERT INTO t VALUES (1)', 'COMMIT');
    expect((await rows()).map(short)).toEqual([
      ...['BEGIN', 'SELECT 22012 division by zero', 'ROLLBACK !64'],
      ...['25P02 current transaction is aborted, commands ignored until end of transaction block'],
      ...['25P02 current transaction is aborted, commands ignored until end of transaction block'],
      'COMMIT',
    ]);
  });

  test('two-phase commit', async () => {
    await attempt(
      'BEGIN',
      'INSERT INTO t VALUES (7)',
      "PREPARE TRANSACTION 'x'",
      "COMMIT PREPARED 'y'",
      "COMMIT PREPARED 'x'",
    );
    expect((await rows()).map(short)).toEqual([
      ...['BEGIN', 'INSERT', 'PREPARE TRANSACTION'],
      ...['COMMIT PREPARED 42704 prepared transaction with identifier "y" does not exist', 'ROLLBACK !64'],
      'COMMIT PREPARED',
    ]);
  });
});

describe('nesting', () => {
  test('the innermost row has the message, those around it say propagated', async () => {
    await attempt('DO $$ BEGIN PERFORM fails_inside(); END $$');
    expect((await rows()).map(short)).toEqual([
      ...['    SELECT 22012 division by zero', '  SELECT 22012 !8', 'DO 22012 !8', 'ROLLBACK !64'],
    ]);
  });

  test('an error that is caught is one of the statement it came from, and no other', async () => {
    await attempt('SELECT swallows()');
    expect((await rows()).map(short)).toEqual(['  SELECT 22012 division by zero', 'SELECT']);
  });

  test('an error raised instead of another is one of its own', async () => {
    await attempt('SELECT raises_another()');
    expect((await rows()).map(short)).toEqual([
      ...['  SELECT 22012 division by zero', 'SELECT P0001 another', 'ROLLBACK !64'],
    ]);
  });

  test('dynamic SQL that does not parse is told by the statement around it', async () => {
    await attempt("DO $$ BEGIN EXECUTE 'SELEKT 1'; END $$");
    expect((await rows()).map(short)).toEqual(['DO 42601 syntax error at or near "SELEKT"', 'ROLLBACK !64']);
  });

  test('the same error twice is told twice', async () => {
    await attempt('SELECT fails(0)', 'SELECT fails(0)', 'SELEKT', 'SELEKT');
    const all = (await rows()).filter((row) => row.flags !== '64');
    expect(all.map((row) => row.error !== '')).toEqual([true, true, true, true]);
  });

  test('a savepoint keeps the transaction', async () => {
    await attempt('BEGIN', 'SAVEPOINT s', 'SELECT fails(0)', 'ROLLBACK TO s', 'SELECT 1', 'COMMIT');
    expect((await rows()).map(short)).toEqual([
      ...['BEGIN', 'SAVEPOINT', 'SELECT 22012 division by zero', 'ROLLBACK', 'SELECT', 'COMMIT'],
    ]);
  });
});

describe('ended by others', () => {
  test('timeouts and cancel requests are flagged', async () => {
    await attempt(
      "SET statement_timeout = '500ms'",
      'SELECT pg_sleep(60)',
      'DO $$ BEGIN PERFORM pg_sleep(60); END $$',
    );
    await client.query('SET statement_timeout = 0');
    const { rows: own } = await client.query('SELECT pg_backend_pid() AS pid');
    const running = client.query('SELECT pg_sleep(60)').catch(() => undefined);
    await asleep(own[0].pid);
    await cluster.query('SELECT pg_sleep(0.1)');
    await cluster.query('SELECT pg_cancel_backend($1)', [own[0].pid]);
    await running;
    const all = (await rows()).filter((row) => row.sqlstate !== '');
    expect(all.map(short)).toEqual([
      'SELECT 57014 canceling statement due to statement timeout !32',
      '  SELECT 57014 canceling statement due to statement timeout !32',
      'DO 57014 !40',
      'SELECT 57014 canceling statement due to user request !32',
    ]);
    for (const row of all) expect(Number(row.exec_us)).toBeGreaterThan(40_000);
  });

  test('a terminated session: its statements, innermost first, then its rollback', async () => {
    const wire = await WireClient.open(cluster, 'errors');
    await wire.run(query('BEGIN; INSERT INTO t VALUES (300)'));
    wire.send(query('DO $$ BEGIN PERFORM pg_sleep(60); END $$'));
    const pid = await eventually('the statement', async () => {
      const { rows: found } = await cluster.query("SELECT pid FROM pg_stat_activity WHERE query LIKE 'DO %'");
      return found[0]?.pid as number | undefined;
    });
    await asleep(pid);
    await cluster.query('SELECT pg_sleep(0.15)');
    await cluster.query('SELECT pg_terminate_backend($1)', [pid]);
    await wire.until('never');
    const all = await rows();
    const message = '57P01 terminating connection due to administrator command !32';
    expect(all.map(short)).toEqual([
      'BEGIN',
      'INSERT',
      `  SELECT ${message}`,
      'DO 57P01 !40',
      'ROLLBACK !64',
    ]);
    expect(Number(all[3]?.exec_us)).toBeGreaterThan(100_000);
  });

  test('a session that is ended while it is idle: a row without a text', async () => {
    const wire = await WireClient.open(cluster, 'errors');
    await wire.run(query("SET idle_in_transaction_session_timeout = '50ms'"));
    await wire.run(query('BEGIN'));
    await wire.until('never');
    const all = await rows();
    expect(all.map(short)).toEqual([
      ...[
        'SET',
        'BEGIN',
        '25P03 terminating connection due to idle-in-transaction timeout !32',
        'ROLLBACK !64',
      ],
    ]);
    expect([all[2]?.query, all[2]?.elapsed_us, all[2]?.exec_us]).toEqual(['', '', '']);
  });

  test('lock timeouts are errors like others', async () => {
    const other = await cluster.client();
    await other.query('BEGIN; LOCK TABLE t');
    await attempt("SET lock_timeout = '50ms'", 'SELECT * FROM t', 'LOCK TABLE t NOWAIT');
    await other.query('ROLLBACK');
    await other.end();
    const all = (await rows()).filter((row) => row.sqlstate !== '');
    // The table is locked when the statement is analysed: there is no frame yet.
    expect(all.map(short)).toEqual([
      '55P03 canceling statement due to lock timeout',
      'LOCK TABLE 25P01 LOCK TABLE can only be used in transaction blocks',
    ]);
  });

  test('what the server does not log is told by code and message all the same', async () => {
    await client.query("SET log_min_messages = 'panic'");
    await attempt('SELECT fails(0)');
    const all = (await rows()).filter((row) => row.sqlstate !== '');
    expect(all.map(short)).toEqual(['SELECT 22012 division by zero']);
  });
});

test('errors between Execute and Sync leave the portals before them alone', async () => {
  const wire = await WireClient.open(cluster, 'errors');
  await wire.run(
    ...[parse('', 'SELECT 1'), bind('', ''), execute('')],
    ...[parse('', 'SELECT fails(0)'), bind('', ''), execute('')],
    ...[parse('', 'SELECT 2'), bind('', ''), execute(''), sync()],
  );
  wire.end();
  await wire.until('never');
  expect((await rows()).map(short)).toEqual(['SELECT', 'SELECT 22012 division by zero', 'ROLLBACK !64']);
});
