/**
 * Fingerprints against pg_stat_statements: which statements a server takes for one, and which we do. Where the two differ,
 * core/AGGREGATE.md says so, and the lists below are its proof.
 */
import { readFileSync } from 'node:fs';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { type Cluster, startCluster } from '../bench/rig/cluster.js';
import { normaliseSql } from './index.js';

/** A text, or one with parameters (extended protocol). */
type Statement = string | readonly [text: string, ...parameters: unknown[]];

/** Both say: one statement. Different groups are different statements to both. */
const same: readonly (readonly Statement[])[] = [
  [
    'select 1',
    'SELECT 2',
    'select\n\t3 -- three',
    '/* hint /* nested */ */ select 4',
    'select -5',
    'select 6;',
  ],
  [
    "select 'a' as text",
    "select 'it''s' as text",
    "select E'a\\'b' as text",
    "select U&'d\\0061' as text",
    "select U&'d!0061' uescape '!' as text",
    'select $$a$$ as text',
    "select $x$ $$ ' $x$ as text",
    "select 'a'\n'b' as text",
  ],
  [
    'select 1.5 as number',
    'select .5 as number',
    'select 5. as number',
    'select 1e5 as number',
    'select 1.5e-3 as number',
  ],
  ["select B'101' as bits", "select X'1F' as bits"],
  ['select id from t where a = 1', 'SELECT ID FROM T WHERE A=2', 'select id from t where a = -3'],
  ['select id from t where a <> 1', 'select id from t where a != 1'],
  ['select id from t where a = 1 and b is null', 'select id from t where a = 2 and b is null'],
  ['select id from t where a = 1 and b is not null'],
  ["select id from t where b = 'x'", 'select id from t where b = null'],
  ['select id from t where f', 'select id from t where f'],
  ['select id from t where f = true', 'select id from t where f = false'],
  ['select id from t where f is true'],
  ['select id from t where f is not true'],
  ['select id from t where a - 1 > 2', 'select id from t where a -1 > 2', 'select id from t where a-1>-2'],
  ['select id from t where a in (1, 2)', 'select id from t where a in (3, 4)'],
  ['select id from t where a not in (1, 2)'],
  ["select id from t where b in ('a', 'b')"],
  ['select id from t limit 1', 'select id from t limit 10'],
  ['select id from t limit 1 offset 2', 'select id from t limit 3 offset 4'],
  ['select id from t order by id', 'select id from t ORDER BY id'],
  ['select id from t order by id desc'],
  ["select j->>'a' from t", "select j ->> 'b' from t"],
  ["select j ? 'a' from t", "select j?'b' from t"],
  ["select j @> '{}' from t", 'select j @> \'{"a": 1}\' from t'],
  ['select arr[1] from t', 'select arr[2] from t'],
  ['select arr[1:2] from t', 'select arr[2:3] from t'],
  [
    "select c from t where c > now() - interval '1 day'",
    "select c from t where c > now() - interval '2 days'",
  ],
  ["select '1'::text from u", "select '2'::text from u"],
  ['select count(*), sum(a) from t', 'select count ( * ) , sum( a ) from t'],
  ['select sum(a) filter (where b = $$x$$) from t', "select sum(a) filter (where b = 'y') from t"],
  [
    'select max(a) over (partition by b order by c) from t',
    'SELECT max(a) OVER (PARTITION BY b ORDER BY c) FROM t',
  ],
  ['with x as (select 1) select * from x', 'with x as (select 2) select * from x'],
  ['select case a when 1 then 2 else 3 end from t', 'select case a when 4 then -5 else -6 end from t'],
  [
    'select t.id from t join u on u.id = t.id where u.n = 1',
    'select t.id from t join u on u.id=t.id where u.n = 2',
  ],
  ['select id from t union select id from u', 'SELECT id FROM t UNION SELECT id FROM u'],
  ['select id from t union all select id from u'],
  ['select id from t where exists (select 1 from u where u.id = t.id)'],
  ['insert into t (id, a) values (1, 2)', 'INSERT INTO t(id,a) VALUES(3,-4)'],
  ["insert into t (id, b) values (1, 'x')"],
  ["insert into t (id, b) values (1, 'x') returning id"],
  [
    "insert into t (id, b) values (1, 'x') on conflict do nothing",
    "insert into t (id, b) values (2, '') on conflict do nothing",
  ],
  ['insert into t (id) select 1', 'insert into t (id) select 2'],
  ["update t set a = 1, b = 'x' where id = 2", 'update t set a = null, b = null where id = -2'],
  ['update t set a = a + 1 where id = 2', 'update t set a = a + -1 where id = 2'],
  ['delete from t where id = 1', 'delete from t where id = 2'],
  ['select "id" from "u" where "n" = 1', 'select "id" from "u" where "n" = 2'],
  [
    ['select n from u where id = $1', 1],
    ['SELECT n FROM u WHERE id = $1', 2],
  ],
  ['begin', 'begin'],
  ["select 'a' || 'b' || b from t", "select 'c'||'d'||b from t"],
  ['select "É" from é', 'select "É" FROM é -- ü'],
];

/** One fingerprint where the server sees several statements. */
const coarser: Readonly<Record<string, readonly Statement[]>> = {
  'a literal and a parameter': ['select id from t where a > 1', ['select id from t where a > $1', 1]],
  'literals of different types': [
    'select 1 from u',
    "select 'a' from u",
    'select 1.5 from u',
    'select true from u',
  ],
  'lists of different lengths': [
    'select a from t where a in (1, 2)',
    'select a from t where a in (1, 2, 3)',
    ['select a from t where a in ($1, $2, $3)', 1, 2, 3],
  ],
  'rows of VALUES': [
    'insert into u (id, n) values (1, 2)',
    'insert into u (id, n) values (1, 2), (3, 4)',
    'insert into u (id, n) values (1, 2), (3, 4), (5, 6)',
  ],
  'arrays of different lengths': [
    'select n from u where n = any (array[1, 2])',
    'select n from u where n = any (array[1, 2, 3])',
  ],
  'literals of utility commands': ["set application_name = 'a'", "set application_name = 'b'"],
  'spelling of utility commands': ['vacuum t', 'VACUUM  T'],
  'names of savepoints': ['savepoint a1', 'savepoint a2'],
  'names of cursors': ['close c1', 'close c2'],
  'literals in bodies of DO': ['do $$ begin perform 1; end $$', 'do $x$ begin perform 2; end $x$'],
};

/** Several fingerprints where the server sees one statement. */
const finer: Readonly<Record<string, readonly Statement[]>> = {
  'names of columns': ['select a as x from t', 'select a as y from t', 'select a from t'],
  'names of tables': ['select x.b from t x', 'select y.b from t y', 'select b from t'],
  'a schema that is in the path anyway': ['select c from t', 'select c from public.t'],
  'quotes that change nothing': ['select f from t', 'select "f" from t'],
  'the two forms of a cast': ["select '1'::int8", "select cast('1' as int8)", "select int8 '1'"],
  'a literal and one with its type': ['select 1 from t', "select '1'::int from t"],
  'names of types': ["select '1'::float8", "select '1'::double precision"],
  'brackets that change nothing': ['select id from t where (a = 7)', 'select id from t where a = 7'],
  'words that may be left out': [
    'select t.a from t join u using (id)',
    'select t.a from t inner join u using (id)',
  ],
  'operators and their words': ["select id from t where b like 'x'", "select id from t where b ~~ 'x'"],
  'IN with one element': ['select id from t where a in (8)', 'select id from t where a = 8'],
};

let cluster: Cluster;
let client: pg.Client;

beforeAll(async () => {
  cluster = await startCluster({
    settings: {
      shared_preload_libraries: "'pg_stat_statements'",
      'pg_stat_statements.track': "'top'",
      'pg_stat_statements.track_utility': 'on',
    },
  });
  client = await cluster.client();
  await client.query('create extension pg_stat_statements');
  await client.query('create table t (id int, a int, b text, c timestamptz, j jsonb, arr int[], f bool)');
  await client.query('create table u (id int, n int)');
  await client.query('create table "é" ("É" int)');
});

afterAll(async () => {
  await client.end();
  await cluster.stop();
});

/** The server's id of one statement. */
async function queryId(statement: Statement): Promise<string> {
  const [text, ...parameters] = typeof statement === 'string' ? [statement] : statement;
  const needsTransaction = /^(savepoint|close)/.test(text);
  if (needsTransaction) {
    await client.query('begin');
    if (text.startsWith('close')) await client.query(`declare ${text.slice(6)} cursor for select 1`);
  }
  await client.query('select pg_stat_statements_reset()');
  await (parameters.length > 0 ? client.query(text, parameters) : client.query(text));
  const { rows } = await client.query<{ queryid: string }>(
    `select queryid::text from pg_stat_statements where query !~ 'pg_stat_statements'`,
  );
  if (needsTransaction || text === 'begin') await client.query('rollback');
  expect(rows, text).toHaveLength(1);
  return rows[0]!.queryid;
}

/** How core/AGGREGATE.md says that histograms are read in SQL. */
async function bucketsInSql(histogram: string): Promise<[number, number][]> {
  const page = readFileSync(new URL('./core/AGGREGATE.md', import.meta.url), 'utf8');
  const sql = /```sql\n(select[^`]*)```/.exec(page)![1]!;
  const { rows } = await client.query<{ bucket: string; sum: string }>(
    `with statements (histogram) as (values ('${histogram}'), ('1'), ('${histogram}')) ${sql}`,
  );
  return rows.map(({ bucket, sum }) => [Number(bucket), Number(sum)]);
}

const textOf = (statement: Statement): string => (typeof statement === 'string' ? statement : statement[0]);
const fingerprintOf = (statement: Statement): bigint => normaliseSql(textOf(statement)).fingerprint;

test('a histogram is read in SQL as its format says', async () => {
  const found = await bucketsInSql('1 0:2 31 1:300 20 587:4');
  expect(found).toEqual([
    [0, 4],
    [31, 2],
    [32, 600],
    [52, 2],
    [639, 8],
  ]);
});

describe('fingerprints and pg_stat_statements', () => {
  it('take the same statements for one, and others for others', async () => {
    const ids: string[] = [];
    const fingerprints: bigint[] = [];
    for (const group of same) {
      const found = new Set<string>();
      for (const statement of group) found.add(await queryId(statement));
      expect([...found], `the server: ${group.map(textOf).join(' | ')}`).toHaveLength(1);
      ids.push(...found);
      const ours = new Set(group.map(fingerprintOf));
      expect([...ours].map(String), `we: ${group.map(textOf).join(' | ')}`).toHaveLength(1);
      fingerprints.push(...ours);
    }
    expect(new Set(ids).size).toBe(same.length);
    expect(new Set(fingerprints).size).toBe(same.length);
  });

  it.each(Object.entries(coarser))('%s: one fingerprint, several query ids', async (_, group) => {
    const ids = new Set<string>();
    for (const statement of group) ids.add(await queryId(statement));
    expect(ids.size).toBe(group.length);
    expect(new Set(group.map(fingerprintOf)).size).toBe(1);
  });

  it.each(Object.entries(finer))('%s: several fingerprints, one query id', async (_, group) => {
    const ids = new Set<string>();
    for (const statement of group) ids.add(await queryId(statement));
    expect(ids.size).toBe(1);
    expect(new Set(group.map(fingerprintOf)).size).toBe(group.length);
  });
});
