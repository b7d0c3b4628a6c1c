/**
 * A known workload, counted three ways: by the client, by pg_stat_statements, by the rows of a trace; and beside other
 * extensions, loaded before and after, whose figures stay what they are without us.
 *
 * How pg_stat_statements' calls map to rows: a planned statement is a row with its query id, at level 0 where it is
 * "toplevel"; a command is a row with its text, but a prepared one is counted once for each session (it clears the query
 * id in the cached plan). It does not count what fails, EXECUTE, PREPARE, DEALLOCATE and what core
 * commits by itself, nor a query that core gives no id (before 16 that of DECLARE and CREATE TABLE AS); it counts EXPLAIN, which
 * is a row only with ANALYZE.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type pg from 'pg';
import { describe, expect, test } from 'vitest';
import { type Cluster, findServerBin, startCluster } from '../bench/rig/cluster.js';
import { pgbench } from '../bench/rig/pgbench.js';
import { eventually } from '../bench/rig/processes.js';
import { profiledServer } from '../bench/rig/profiled_server.js';
import { brokenLines, readTrace, startTrace, stopTrace, type TraceRow } from '../bench/rig/traces.js';

const server = process.env.PEM_PROFILED_BIN ?? findServerBin();
const audit = existsSync(join(dirname(server), 'lib/pgaudit.so'));
const others = ['pg_stat_statements', 'auto_explain', ...(audit ? ['pgaudit'] : [])];

async function start(libraries: readonly string[]): Promise<Cluster> {
  const cluster = await startCluster({
    bin: await profiledServer(server),
    settings: {
      shared_preload_libraries: `'${libraries.join(',')}'`,
      autovacuum: 'off',
      max_connections: '20',
      logging_collector: 'on',
      log_filename: "'server.log'",
      log_line_prefix: "'%a|'",
      'pg_stat_statements.track': "'all'",
      'pg_stat_statements.max': '5000',
      'auto_explain.log_min_duration': '0',
      'auto_explain.log_nested_statements': 'on',
      'auto_explain.log_analyze': 'on',
      ...(audit ? { 'pgaudit.log': "'all'" } : {}),
    },
  });
  for (const extension of [
    'pg_stat_statements',
    ...(libraries.includes('sql_profiler') ? ['sql_profiler'] : []),
  ])
    await cluster.query(`CREATE EXTENSION ${extension}`);
  await cluster.query(`CREATE TABLE t (a int PRIMARY KEY, b text);
    CREATE TABLE log (a int);
    CREATE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (NEW.a); RETURN NEW; END $$;
    CREATE TRIGGER logged AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION logged();
    CREATE FUNCTION counts(int) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM t WHERE a > $1); END $$;
    CREATE PROCEDURE committing() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (1); COMMIT; INSERT INTO log VALUES (2); END $$`);
  return cluster;
}

/** Statements of all kinds, the same each time. Returns how many were sent. */
async function work(client: pg.Client): Promise<number> {
  let sent = 0;
  const send = async (sql: string, values?: unknown[], name?: string): Promise<void> => {
    sent++;
    await client
      .query({
        text: sql,
        ...(values === undefined ? {} : { values }),
        ...(name === undefined ? {} : { name }),
      })
      .catch(() => undefined);
  };
  for (let i = 0; i < 20; i++) {
    await send(`INSERT INTO t VALUES (${2 * i}, 'x'), (${2 * i + 1}, 'y')`);
    await send('SELECT * FROM t WHERE a = $1', [i], 'one');
    await send('SELECT counts($1)', [i]);
    await send('SELECT 1 / $1::int', [i % 3]);
    await send('INSERT INTO t VALUES (1)');
    await send('SELECT nothing');
    await send('UPDATE t SET b = b || $1 WHERE a < $2', ['z', i], 'two');
  }
  await send('BEGIN');
  await send('DECLARE c CURSOR FOR SELECT * FROM t');
  await send('FETCH 5 FROM c');
  await send('FETCH 7 FROM c');
  await send('SAVEPOINT s');
  await send('SELEKT');
  await send('ROLLBACK TO s');
  await send('CLOSE c');
  await send('COMMIT');
  await send('DO $$ BEGIN FOR i IN 1..10 LOOP PERFORM counts(i); END LOOP; END $$');
  await send('CALL committing()');
  await send('CREATE TABLE made AS SELECT * FROM t');
  await send('CREATE INDEX ON made (a)');
  await send('VACUUM made');
  await send('DELETE FROM made RETURNING a');
  await send('DROP TABLE made');
  return sent;
}

interface Statement {
  readonly query: string;
  readonly queryid: string;
  readonly toplevel: boolean;
  readonly calls: number;
  readonly rows: number;
  readonly wal_records: number;
  readonly wal_bytes: number;
}

/** What pg_stat_statements has of the work, ours and the reading of it left out. */
async function statements(cluster: Cluster): Promise<Statement[]> {
  const { rows } = await cluster.query(`SELECT query, queryid::text, ${await has(
    cluster,
    'toplevel',
  )} AS toplevel, calls::int, rows::int, wal_records::int, wal_bytes::int
    FROM pg_stat_statements WHERE query !~ 'sql_profiler|pg_stat_statements|application_name|information_schema' ORDER BY query, toplevel`);
  return rows;
}

/** The column's name where the view has it. */
async function has(cluster: Cluster, column: string): Promise<string> {
  const { rows } = await cluster.query(
    "SELECT 1 FROM information_schema.columns WHERE table_name = 'pg_stat_statements' AND column_name = $1",
    [column],
  );
  return rows.length > 0 ? column : 'true';
}

/** Lines that other extensions wrote for the work's session, of a server that has stopped. */
async function logged(cluster: Cluster): Promise<{ plans: number; audits: number }> {
  const folder = join(cluster.dataDirectory, 'log');
  // The process that writes the log outlives the server by a moment.
  const all = await eventually('the last line', () => {
    const text = readdirSync(folder)
      .map((name) => readFileSync(join(folder, name), 'utf8'))
      .join('');
    return text.includes('database system is shut down') && text.split('\n');
  });
  const lines = all.filter((line) => line.startsWith('work|'));
  return {
    plans: lines.filter((line) => / {2}plan:$/.test(line)).length,
    audits: lines.filter((line) => line.includes('AUDIT: ')).length,
  };
}

const majorOf = async (cluster: Cluster): Promise<number> =>
  Math.floor(Number((await cluster.query('SHOW server_version_num')).rows[0].server_version_num) / 10_000);

interface Outcome {
  readonly major: number;
  readonly statements: Statement[];
  readonly plans: number;
  readonly audits: number;
  readonly sent: number;
  readonly rows: TraceRow[];
}

async function outcome(libraries: readonly string[]): Promise<Outcome> {
  const cluster = await start(libraries);
  try {
    const traced = libraries.includes('sql_profiler');
    const client = await cluster.client();
    await client.query("SET application_name = 'work'");
    await cluster.query('CHECKPOINT');
    const id = traced
      ? await startTrace(cluster, 'all', { applications: ['work'], params: true, rusage: true, plan: 'text' })
      : 0;
    await cluster.query('SELECT pg_stat_statements_reset()');
    const sent = await work(client);
    const seen = await statements(cluster);
    await client.end();
    if (traced) await stopTrace(cluster, id);
    const rows = traced ? await readTrace(cluster, id) : [];
    const major = await majorOf(cluster);
    await cluster.halt('fast');
    return { major, statements: seen, ...(await logged(cluster)), sent, rows };
  } finally {
    await cluster.stop();
  }
}

const planned = ['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MERGE'];
const isPlanned = (row: TraceRow): boolean => planned.includes(row.tag as string);

/** Rows that pg_stat_statements counts, by query id and level or by text. */
function expectSame(all: readonly TraceRow[], seen: readonly Statement[], major: number): void {
  const counted = all.filter((row) => row.sqlstate === '' && (Number(row.flags) & 64) === 0);
  const plannedIds = new Set(counted.filter(isPlanned).map((row) => row.query_id));
  for (const statement of seen) {
    const command = !plannedIds.has(statement.queryid);
    // From 16 on the texts of commands are without their constants.
    if (command && major >= 16) continue;
    const own = counted.filter((row) =>
      isPlanned(row)
        ? row.query_id === statement.queryid && (major < 14 || (row.level === '0') === statement.toplevel)
        : command && row.query === statement.query,
    );
    expect([statement.query, own.length]).toEqual([statement.query, statement.calls]);
    const sum = (column: string): number => own.reduce((total, row) => total + Number(row[column]), 0);
    if (!command || major >= 14)
      expect([statement.query, sum('rows')]).toEqual([statement.query, statement.rows]);
    // A commit's WAL is in the commit's row alone.
    if (!/^(COMMIT|END)/.test(statement.query)) {
      expect([statement.query, sum('wal_records')]).toEqual([statement.query, statement.wal_records]);
      expect([statement.query, sum('wal_bytes')]).toEqual([statement.query, statement.wal_bytes]);
    }
  }
  const calls = seen.reduce((sum, statement) => sum + statement.calls, 0);
  const unknown = counted.filter((row) => isPlanned(row) && row.query_id === '');
  for (const row of unknown) expect(row.query).toMatch(/^(DECLARE|CREATE TABLE made AS) /);
  expect(counted.length - unknown.length).toBe(calls);
}

describe('beside other extensions', () => {
  test(`${others.join(', ')}, before and after: their figures are theirs, ours are right`, {
    timeout: 600_000,
  }, async () => {
    const without = await outcome(others);
    for (const libraries of [
      ['sql_profiler', ...others],
      [...others, 'sql_profiler'],
    ]) {
      const beside = await outcome(libraries);
      const figures = (one: Outcome): unknown =>
        one.statements.map(({ query, toplevel, calls, rows }) => ({
          query,
          toplevel,
          calls,
          rows,
        }));
      expect(figures(beside)).toEqual(figures(without));
      expect([beside.plans, beside.audits]).toEqual([without.plans, without.audits]);
      expect(beside.plans).toBeGreaterThan(100);
      if (audit) expect(beside.audits).toBeGreaterThan(100);
      expect(brokenLines(beside.rows)).toEqual([]);
      expectSame(beside.rows, beside.statements, beside.major);
      // Each statement of the client is one row at level 0, neither more nor less.
      const own = beside.rows.filter((row) => row.level === '0' && (Number(row.flags) & 64) === 0);
      expect(own.length).toBe(beside.sent);
    }
  });
});

describe('pgbench', () => {
  test.each(['simple', 'extended', 'prepared'])(
    'every statement of four clients is one row, in %s mode',
    { timeout: 300_000 },
    async (mode) => {
      const cluster = await start(['pg_stat_statements', 'sql_profiler']);
      try {
        await pgbench(cluster, ['-i', '-q', '-s', '1']);
        await cluster.query('ALTER SYSTEM SET auto_explain.log_min_duration = -1');
        const id = await startTrace(cluster, 'bench', { applications: ['pgbench'] });
        await cluster.query('SELECT pg_stat_statements_reset()');
        await pgbench(cluster, ['-n', '-c4', '-j1', '-t', '250', '-M', mode]);
        const mapped =
          mode === 'prepared' ? /^(?!select o\.n).*pgbench_/s : /^(?!select o\.n).*pgbench_|^BEGIN|^END/s;
        const seen = (await statements(cluster)).filter(({ query }) => mapped.test(query));
        await stopTrace(cluster, id);
        const all = await readTrace(cluster, id);
        expect(brokenLines(all)).toEqual([]);
        const { rows: status } = await cluster.query(
          'SELECT rows::int, lost_rows::int FROM sql_profiler.traces WHERE id = $1',
          [id],
        );
        expect(status[0]).toEqual({ rows: all.length, lost_rows: 0 });
        const bench = all.filter((row) => row.level === '0' && (Number(row.flags) & 64) === 0);
        const counts = Object.fromEntries(
          ['BEGIN', 'UPDATE', 'SELECT', 'INSERT', 'COMMIT'].map((tag) => [
            tag,
            bench.filter((row) => row.tag === tag).length,
          ]),
        );
        const own = bench.filter(
          (row) => row.tag === 'SELECT' && !/pgbench_accounts WHERE aid/.test(row.query as string),
        ).length;
        expect({ ...counts, SELECT: (counts.SELECT ?? 0) - own }).toEqual({
          ...{ BEGIN: 1000, UPDATE: 3000, SELECT: 1000, INSERT: 1000, COMMIT: 1000 },
        });
        const abalance = seen.find(({ query }) => /^SELECT abalance/.test(query));
        expect(abalance?.calls).toBe(1000);
        expectSame(
          all.filter((row) => mapped.test(row.query as string)),
          seen,
          await majorOf(cluster),
        );
        expect(new Set(all.map((row) => `${row.pid} ${row.serial}`)).size).toBe(all.length);
      } finally {
        await cluster.stop();
      }
    },
  );

  test('short sessions, savepoints and errors: nothing is missing, nothing twice', {
    timeout: 300_000,
  }, async () => {
    const cluster = await start(['pg_stat_statements', 'sql_profiler']);
    try {
      const script = join(cluster.folder, 'mixed.sql');
      writeFileSync(
        script,
        `BEGIN;\nSAVEPOINT a;\nSELECT counts(3);\nRELEASE a;\nINSERT INTO log VALUES (:client_id);\nCOMMIT;\nSELECT 7 \\; SELECT 8;\n`,
      );
      const id = await startTrace(cluster, 'mixed', { applications: ['pgbench'] });
      const said = await pgbench(cluster, ['-n', '-C', '-c3', '-j1', '-t', '60', '-f', script]);
      expect(said).toContain('180/180');
      await stopTrace(cluster, id);
      const all = await readTrace(cluster, id);
      const count = (text: string): number =>
        all.filter((row) => row.query === text && row.level === '0').length;
      expect(
        ['BEGIN', 'SAVEPOINT a', 'SELECT counts(3)', 'RELEASE a', 'COMMIT', 'SELECT 7', 'SELECT 8'].map(
          count,
        ),
      ).toEqual(Array(7).fill(180));
      expect(all.filter((row) => row.level === '0' && row.tag === 'INSERT').length).toBe(180);
      expect(all.filter((row) => row.level === '1').length).toBe(180);
      expect(new Set(all.map((row) => `${row.pid} ${row.backend_start} ${row.serial}`)).size).toBe(
        all.length,
      );
      expect(brokenLines(all)).toEqual([]);
    } finally {
      await cluster.stop();
    }
  });
});
