/**
 * Each call that can fail, failing: memory, files, mappings. A session runs the same statements again and again while the
 * first, the second, the third ... of the library's own calls fails in it (test/failing.c), once, or from then on all of them.
 * Its statements never notice; each row is there or counted as lost; functions fail with an error that says why, and what
 * they leave behind can be used.
 */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Cluster } from '../bench/rig/cluster.js';
import {
  brokenLines,
  readTrace,
  startProfiled,
  startTrace,
  stopTrace,
  traceStatus,
} from '../bench/rig/traces.js';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startProfiled({ variant: 'failing' });
  await cluster.query(`
    CREATE TABLE t (a int);
    CREATE FUNCTION nested() RETURNS int LANGUAGE plpgsql AS
      $$ BEGIN PERFORM count(*) FROM t; RETURN 1; END $$;
    CREATE FUNCTION long_ones() RETURNS int LANGUAGE plpgsql AS $$
      BEGIN
        EXECUTE format('SELECT length(%L)', repeat('m', 50000));
        EXECUTE format('SELECT length(%L)', repeat('n', 50000));
        RETURN 1;
      END $$`);
});
afterAll(() => cluster?.stop());

const logFile = (): string => join(cluster.dataDirectory, 'failing.log');

/** Names of the calls that failed since the last time. */
function failed(): string[] {
  if (!existsSync(logFile())) return [];
  const names = readFileSync(logFile(), 'utf8').trim().split('\n');
  rmSync(logFile());
  return names;
}

const long = (letter: string, bytes: number): string => `SELECT length('${letter.repeat(bytes)}') AS n`;

const statements: readonly (readonly [sql: string, values?: unknown[]])[] = [
  ['SELECT 1 AS n'],
  ['SELECT $1::int AS n, $2::text AS b, $3::numeric AS c', [1, 'x'.repeat(3000), '1.5']],
  ['SELECT 1 / 0'],
  ['SELEKT'],
  ['SELECT nested() AS n'],
  [long('a', 30_000)],
  ['SELECT long_ones() AS n'],
  [long('b', 30_000)],
  [long('c', 200_000)],
  ['INSERT INTO t VALUES (1)'],
  ['DELETE FROM t'],
  ['BEGIN'],
  ['DECLARE c CURSOR FOR SELECT generate_series(1, 9) AS n'],
  ['FETCH 2 FROM c'],
  ['SELECT 1 / (1 - 1)'],
  ['ROLLBACK'],
  ["ALTER ROLE postgres PASSWORD 'hidden'"],
  [long('d', 60_000)],
];

/** What a client sees of them all. */
async function work(client: pg.Client): Promise<unknown[]> {
  const seen: unknown[] = [];
  for (const [text, values] of statements)
    seen.push(
      await client.query({ text, ...(values === undefined ? {} : { values }) }).then(
        (result) => result.rows,
        (error: pg.DatabaseError) => error.code,
      ),
    );
  return seen;
}

const all = { applications: ['victim'], max_file_bytes: 100_000, max_query_bytes: 1 << 20 };
const select = { ...all, kinds: ['select'], min_duration_us: 1, plan: 'json', params: true };

interface Round {
  readonly seen: unknown[];
  readonly failed: string[];
  /** Rows that are there and rows that are counted as lost, of both traces. */
  readonly counts: readonly [rows: number, lost: number][];
}

/** Two traces and all statements, in a new session in which calls fail. */
async function round(at: string): Promise<Round> {
  const ids = [await startTrace(cluster, 'all', all), await startTrace(cluster, 'select', select)];
  const victim = await cluster.client();
  await victim.query(`SET failing.at = '${at}'`);
  await victim.query("SET application_name = 'victim'");
  const seen = await work(victim);
  for (const id of ids) await stopTrace(cluster, id);
  // The session lets its files go, which may fail too.
  expect((await victim.query('SELECT 1 AS stopped')).rows).toEqual([{ stopped: 1 }]);
  await victim.end();
  const counts: [number, number][] = [];
  for (const id of ids) {
    const rows = await readTrace(cluster, id);
    const status = await traceStatus(cluster, id);
    expect([at, id, brokenLines(rows)]).toEqual([at, id, []]);
    expect([at, id, Number(status.rows)]).toEqual([at, id, rows.length]);
    if (Number(status.lost_rows) > 0) expect(status.lost_reason).not.toBeNull();
    counts.push([rows.length, Number(status.lost_rows)]);
    await cluster.query('SELECT sql_profiler.drop($1)', [id]);
  }
  return { seen, failed: failed(), counts };
}

const sums = (of: Round): number[] => of.counts.map(([rows, lost]) => rows + lost);

it.each([
  ['one call fails', '', 1],
  ['all calls fail from one on', '+', 4],
])('statements never notice that %s', { timeout: 900_000 }, async (_title, onwards, step) => {
  const well = await round('0');
  expect(well.counts.map(([, lost]) => lost)).toEqual([0, 0]);
  const kinds = new Set<string>();
  let n = 1;
  for (; ; n += step) {
    const now = await round(`${n}${onwards}`);
    expect([n, now.seen]).toEqual([n, well.seen]);
    expect([n, now.failed, sums(now)]).toEqual([n, now.failed, sums(well)]);
    for (const name of now.failed) kinds.add(name);
    if (now.failed.length === 0) break;
  }
  expect(n).toBeGreaterThan(30);
  // From one on, they fail where the way begins; one by one, each kind has its turn.
  if (onwards === '')
    expect([...kinds]).toEqual(
      expect.arrayContaining([
        ...['open', 'fallocate', 'mmap', 'fstat', 'lstat', 'link', 'pwritev', 'MemoryContextAllocExtended'],
        ...['NewExplainState', 'OidOutputFunctionCall'],
      ]),
    );
});

const calls = [
  "SELECT sql_profiler.start('own', '{}') AS id",
  'SELECT state FROM sql_profiler.traces WHERE id = $1',
  'SELECT count(*) FROM sql_profiler.progress($1)',
  'SELECT length(string_agg(sql_profiler.read($1, slot, file, 0), NULL)) FROM sql_profiler.changed($1, 0)',
  'SELECT sql_profiler.stop($1)',
  'SELECT sql_profiler.drop($1)',
] as const;

it('functions say what failed, and what they leave behind can be used', { timeout: 900_000 }, async () => {
  const kinds = new Set<string>();
  const messages = new Set<string>();
  let n = 1;
  for (; ; n++) {
    const client = await cluster.client();
    let id: number | null = null;
    for (const sql of calls) {
      // Each from where it stands alone.
      await client.query(`SET failing.at = '${n} '`);
      await client.query(`SET failing.at = '${n}'`);
      id ??= sql === calls[0] ? null : await startTrace(cluster, 'own');
      await client.query(sql, sql === calls[0] ? [] : [id]).then(
        ({ rows }) => {
          if (sql === calls[0]) id = rows[0].id;
        },
        (error: Error) => messages.add(error.message.replaceAll(/\d+/g, 'N')),
      );
      await client.query("SET failing.at = '0'");
    }
    await client.end();
    // Whatever became of it: with nothing failing, all can be ended and removed, and nothing is left on the disk.
    await cluster.query("SELECT sql_profiler.stop(id) FROM sql_profiler.traces WHERE state = 'running'");
    await cluster.query('SELECT sql_profiler.drop(id) FROM sql_profiler.traces');
    // A drop that could not remove a folder left that to the next one.
    const last = await startTrace(cluster, 'last');
    await stopTrace(cluster, last);
    await cluster.query('SELECT sql_profiler.drop($1)', [last]);
    expect([n, readdirSync(join(cluster.dataDirectory, 'sql_profiler')).sort()]).toEqual([
      n,
      ['pgsql_tmp_state'],
    ]);
    expect([n, readdirSync(join(cluster.dataDirectory, 'sql_profiler/pgsql_tmp_state'))]).toEqual([
      n,
      ['last_id'],
    ]);
    const names = failed();
    for (const name of names) kinds.add(name);
    if (names.length === 0) break;
  }
  expect(n).toBeGreaterThan(15);
  expect([...kinds]).toEqual(
    expect.arrayContaining(['write', 'fsync', 'rename', 'mkdir', 'malloc', 'palloc']),
  );
  // A trace that could not be stopped is not dropped.
  for (const message of messages)
    expect(message).toMatch(/^(out of memory|could not .+: .+|trace N is running)$/);
});
