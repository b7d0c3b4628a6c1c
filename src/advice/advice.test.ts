/** The parts of index advice that need no server: texts, expressions as EXPLAIN shows them, plans, names. */
import { expect, test } from 'vitest';
import { type Candidate, createSql, type TableInfo } from './candidates.js';
import { createLines, overlapsOf } from './ddl.js';
import { orderKeyOf, usesOf } from './expression.js';
import { tokensOf } from './lexer.js';
import { planFacts } from './plan.js';
import { prepareText, readingText, withVariable } from './statement.js';

const uses = (condition: string): string[] =>
  usesOf(condition).map(
    ({ kind, operand, partner }) =>
      `${kind} ${operand.alias}:${operand.sql}${partner === undefined ? '' : ` <- ${partner}`}`,
  );

test('conditions: what a btree can serve, and nothing else', () => {
  expect(uses("((o.status = 'a''b'::text) AND (o.at > $1) AND (o.n <> 3))")).toEqual([
    'equal o:status',
    'range o:at',
  ]);
  expect(uses('(o.customer_id = c.id)')).toEqual(['equal o:customer_id <- c', 'equal c:id <- o']);
  expect(uses("((c.email)::text = 'x'::text)")).toEqual(['equal c:((email)::text)']);
  expect(uses("(o.status = ANY ('{a,b}'::text[]))")).toEqual(['list o:status']);
  expect(uses('((o.k = 1) OR (o.k = 2))')).toEqual(['list o:k']);
  expect(uses('((o.k = 1) OR (o.m = 2))')).toEqual([]);
  expect(uses('(c.active AND (NOT c.gone) AND (c.x IS NULL) AND (c.y IS NOT NULL))')).toEqual([
    'true c:active',
    'false c:gone',
    'null c:x',
    'not_null c:y',
  ]);
  expect(uses("(lower(c.name) = 'x'::text)")).toEqual(['equal c:lower(name)']);
  expect(uses("((c.data ->> 'a'::text) = 'x'::text)")).toEqual(["equal c:(data ->> 'a'::text)"]);
  expect(uses("(c.name ~~ 'abc%'::text)")).toEqual(['prefix c:name']);
  expect(uses("(c.name ~~ '%abc'::text)")).toEqual([]);
  // The same row on both sides, a parameter inside an expression, another plan's value: no index finds that.
  expect(uses('(o.a = o.b)')).toEqual([]);
  expect(uses('((o.a + $1) = 5)')).toEqual([]);
  expect(uses('(o.a = $0)')).toEqual(['equal o:a']);
  expect(uses('(NOT (hashed SubPlan 1))')).toEqual([]);
  expect(uses('("My T"."A b" = 1)')).toEqual(['equal My T:"A b"']);
  for (const odd of ['', '(', ')', '((', "('", 'AND', '(o.)', '(= 1)', 'o.a = ', '"', '$$', 'NOT', 'IS NULL'])
    expect(() => usesOf(odd)).not.toThrow();
  expect(orderKeyOf('o.at DESC NULLS LAST')).toMatchObject({ descending: true, nullsFirst: false });
  expect(orderKeyOf('o.name COLLATE "C"')).toBeUndefined();
});

test('texts: kinds, parameters of the normal form, operators that look like them', () => {
  const prepare = (text: string): string => {
    const prepared = prepareText(text, false);
    return 'refused' in prepared ? `refused: ${prepared.refused}` : `${prepared.kind} ${prepared.text}`;
  };
  expect(prepare('select * from a where x in (?) and y = ? limit ?')).toBe(
    'select select * from a where x in ($1) and y = $2 limit $3',
  );
  expect(prepare('select interval ?, now() - interval ? day, date ?')).toBe(
    'select select $1::interval, now() - $2::interval, $3::date',
  );
  expect(prepare("SELECT j ? 'k', j ?| '{a}' FROM a WHERE j ? 'x'")).toBe(
    "select SELECT j ? 'k', j ?| '{a}' FROM a WHERE j ? 'x'",
  );
  expect(prepare('select j ? ? from a')).toBe('select select j ? $1 from a');
  expect(prepare("SELECT '?', $1, $x$ ? $x$ -- ?")).toBe("select SELECT '?', $1, $x$ ? $x$ -- ?");
  expect(prepare('WITH x AS (SELECT 1) UPDATE a SET b = 1')).toMatch(/^update/);
  expect(prepare('(values (1))')).toMatch(/^select/);
  for (const other of ['VACUUM a', 'EXPLAIN ANALYZE SELECT 1', 'CALL f()', 'DO $$x$$', ';', '--', ''])
    expect(prepare(other)).toMatch(/^refused/);
  expect(prepareText('SELECT 1', true)).toMatchObject({ refused: expect.stringMatching(/beginning/) });
  // Long hostile texts end soon.
  const started = process.cpuUsage();
  for (const long of [
    '('.repeat(60_000),
    "'".repeat(59_999),
    '/*'.repeat(30_000),
    '$a$'.repeat(20_001),
    '?'.repeat(60_000),
  ])
    tokensOf(long);
  expect(process.cpuUsage(started).user / 1000).toBeLessThan(3000);
});

test('UPDATE and DELETE as the SELECT that finds their rows', () => {
  const squeeze = (text: string | undefined): string | undefined => text?.replaceAll(/\s+/g, ' ').trim();
  expect(squeeze(readingText('UPDATE a SET x = (SELECT 1 FROM b WHERE c) WHERE y = 2 RETURNING *;'))).toBe(
    'SELECT 1 FROM a WHERE y = 2',
  );
  expect(squeeze(readingText('update only s.a as t set x = b.y from b where b.id = t.id'))).toBe(
    'SELECT 1 FROM only s.a as t , b where b.id = t.id',
  );
  expect(squeeze(readingText('DELETE FROM a USING b WHERE a.id = b.id'))).toBe(
    'SELECT 1 FROM a , b WHERE a.id = b.id',
  );
  expect(squeeze(readingText('DELETE FROM a'))).toBe('SELECT 1 FROM a');
  expect(readingText('DELETE FROM a WHERE CURRENT OF c')).toBeUndefined();
  expect(readingText('INSERT INTO a SELECT 1')).toBeUndefined();
});

test('variables of a function become parameters, and nothing of the same name does', () => {
  expect(withVariable('SELECT c.c, c(1) FROM t WHERE a = c AND b = $2', 'a')).toBe(
    'SELECT c.c, c(1) FROM t WHERE $3 = c AND b = $2',
  );
  expect(withVariable('SELECT t.c, c(1) FROM t WHERE a = c', 'c')).toBe(
    'SELECT t.c, c(1) FROM t WHERE a = $1',
  );
  expect(withVariable("SELECT 'new' FROM t WHERE a = new.id", 'new')).toBe(
    "SELECT 'new' FROM t WHERE a = $1",
  );
  expect(withVariable('SELECT 1', 'x')).toBeUndefined();
});

test('plans: partitions answer to the alias of their table; odd ones are refused or harmless', () => {
  const scan = (alias: string, name: string): object => ({
    'Node Type': 'Seq Scan',
    Schema: 'public',
    'Relation Name': name,
    Alias: alias,
    Output: [`${alias}.id`],
    Filter: `(${alias}.k = 5)`,
  });
  const facts = planFacts(
    JSON.stringify([
      {
        Plan: {
          'Node Type': 'Sort',
          'Total Cost': 12.5,
          'Sort Key': ['x.at'],
          Plans: [{ 'Node Type': 'Append', Plans: [scan('x_1', 'p1'), scan('x_2', 'p2')] }],
        },
      },
    ]),
  );
  expect(facts.cost).toBe(12.5);
  expect(facts.relations.map(({ name, uses: of, orders }) => [name, of.length, orders.length])).toEqual([
    ['p1', 1, 1],
    ['p2', 1, 1],
  ]);
  expect(() => planFacts('[]')).toThrow(/no plan/);
  expect(
    planFacts('[{"Plan": {"Filter": 5, "Plans": [{"Sort Key": "x", "Output": [1]}]}}]').relations,
  ).toEqual([]);
});

test('names and lines: quoted, at most 63 bytes, not taken; what there is already', () => {
  const table: TableInfo = {
    oid: '1',
    schema: 'Odd',
    name: 'ü'.repeat(30),
    rows: 1,
    leaves: [],
    partitioned: false,
    columns: new Map(),
    allVisible: 0,
    updates: 0,
    hotUpdates: 0,
    indexes: [
      { schema: 'Odd', name: 'one', definition: '…', keys: ['a'], plain: true, unique: false },
      { schema: 'Odd', name: 'key', definition: '…', keys: ['a'], plain: true, unique: true },
      { schema: 'Odd', name: 'two', definition: '…', keys: ['b', 'a'], plain: true, unique: false },
      { schema: 'Odd', name: 'part', definition: '…', keys: ['a'], plain: false, unique: false },
    ],
  };
  const keys = ['a', 'b'].map((column) => ({ sql: column, column, suffix: '' }));
  const candidate: Candidate = { table, keys, include: ['select'], where: 'c IS NULL' };
  const taken = new Set<string>();
  const [first, second] = [createLines(candidate, taken), createLines(candidate, taken)];
  expect(Buffer.byteLength(first.name)).toBeLessThanOrEqual(63);
  expect(first.name).not.toBe(second.name);
  expect(first.create[0]).toBe(
    `CREATE INDEX CONCURRENTLY "${first.name}" ON "Odd"."${table.name}" (a, b) INCLUDE ("select") WHERE c IS NULL;`,
  );
  expect(createSql({ ...candidate, include: [], where: undefined }, { schema: 's', name: 't' })).toBe(
    'CREATE INDEX ON s.t (a, b)',
  );
  expect(overlapsOf({ ...candidate, where: undefined }).map(({ index, how }) => [index, how])).toEqual([
    ['"Odd".one', 'redundant'],
    ['"Odd".key', 'prefix'],
    ['"Odd".two', 'same_columns'],
  ]);
});
