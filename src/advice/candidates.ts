/**
 * From what plans ask of tables to indexes that might serve them. In: uses of a relation, what the catalog says of its table.
 * Out: candidates, each once, at most `mostPerRelation` for a relation of a plan. Equality stands before range before order;
 * at most three columns. Which of them are worth it, the planner says (choose.ts). Pure.
 */
import type { Operand, OrderKey, Use } from './expression.js';
import { nameSql } from './lexer.js';
import type { ScannedRelation } from './plan.js';

export interface ColumnInfo {
  readonly name: string;
  readonly type: string;
  /** Different values; null: not known. */
  readonly distinct: number | null;
}

export interface IndexInfo {
  readonly schema: string;
  readonly name: string;
  readonly definition: string;
  /** Key columns; null: an expression. */
  readonly keys: readonly (string | null)[];
  /** A btree over all rows that may be used. */
  readonly plain: boolean;
  readonly unique: boolean;
}

/** A table, or a partitioned one with all that holds its rows. */
export interface TableInfo {
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
  readonly rows: number;
  /** Where rows lie: the table itself, or its partitions. */
  readonly leaves: readonly {
    readonly oid: string;
    readonly schema: string;
    readonly name: string;
    readonly direct: boolean;
  }[];
  readonly partitioned: boolean;
  readonly columns: ReadonlyMap<string, ColumnInfo>;
  readonly indexes: readonly IndexInfo[];
  /** Share of its pages that index-only scans need not visit. */
  readonly allVisible: number;
  readonly updates: number;
  readonly hotUpdates: number;
}

export interface IndexKey {
  /** As CREATE INDEX takes it, without order. */
  readonly sql: string;
  readonly column: string | undefined;
  /** Behind it: operator class and order, or ''. */
  readonly suffix: string;
}

export interface Candidate {
  readonly table: TableInfo;
  readonly keys: readonly IndexKey[];
  readonly include: readonly string[];
  readonly where: string | undefined;
}

const mostKeys = 3;
const mostPerRelation = 24;

export function candidateId(candidate: Candidate): string {
  return [
    candidate.table.oid,
    keysSql(candidate.keys),
    candidate.include.join(','),
    candidate.where ?? '',
  ].join('|');
}

export const keysSql = (keys: readonly IndexKey[]): string =>
  keys.map(({ sql, suffix }) => sql + suffix).join(', ');

/** A cast of varchar to text changes nothing that a btree cares for; any other is an expression. */
function keyOf(operand: Operand, table: TableInfo, suffix = ''): IndexKey | undefined {
  const { column, cast } = operand;
  if (column === undefined) return { sql: operand.sql, column: undefined, suffix };
  const info = table.columns.get(column);
  if (info === undefined) return undefined;
  if (cast !== undefined && !(cast === 'text' && /^character varying/.test(info.type)))
    return { sql: operand.sql, column: undefined, suffix };
  return { sql: nameSql(column), column, suffix };
}

/** Orders that are wholly backwards are read from the other end. */
function orderKeys(order: readonly OrderKey[], table: TableInfo): IndexKey[] {
  const backwards = order.every(({ descending, nullsFirst }) => descending && nullsFirst);
  const keys: IndexKey[] = [];
  for (const { operand, descending, nullsFirst } of order) {
    const nulls = nullsFirst === descending ? '' : nullsFirst ? ' NULLS FIRST' : ' NULLS LAST';
    const key = keyOf(operand, table, backwards ? '' : `${descending ? ' DESC' : ''}${nulls}`);
    if (key === undefined) return [];
    keys.push(key);
  }
  return keys;
}

/** Different values of a key; 0: nobody knows. */
export function distinctOf(key: IndexKey | undefined, table: TableInfo): number {
  const known = key?.column === undefined ? null : table.columns.get(key.column)?.distinct;
  return known ?? 0;
}

/** The class of operators with which LIKE 'abc%' is a range whatever the collation. */
function patternClass(key: IndexKey, table: TableInfo): string {
  const type = key.column === undefined ? 'text' : (table.columns.get(key.column)?.type ?? '');
  return /^character varying/.test(type)
    ? ' varchar_pattern_ops'
    : /^character\(/.test(type)
      ? ' bpchar_pattern_ops'
      : ' text_pattern_ops';
}

interface Asked {
  readonly equal: IndexKey[];
  readonly list: IndexKey[];
  readonly range: IndexKey[];
  readonly joins: ReadonlyMap<string, IndexKey[]>;
}

function asked(uses: readonly Use[], table: TableInfo): Asked {
  const [equal, list, range]: [IndexKey[], IndexKey[], IndexKey[]] = [[], [], []];
  const joins = new Map<string, IndexKey[]>();
  const add = (keys: IndexKey[], key: IndexKey): void => {
    if (!keys.some((other) => other.sql === key.sql)) keys.push(key);
  };
  for (const use of uses) {
    const key = keyOf(use.operand, table);
    if (key === undefined) continue;
    switch (use.kind) {
      case 'equal':
        if (use.partner === undefined) add(equal, key);
        else {
          const keys = joins.get(use.partner) ?? [];
          joins.set(use.partner, keys);
          add(keys, key);
        }
        break;
      case 'null':
      case 'true':
      case 'false':
        add(equal, key);
        break;
      case 'list':
        add(list, key);
        break;
      case 'range':
        add(range, key);
        break;
      case 'prefix':
        add(range, { ...key, suffix: patternClass(key, table) });
        break;
      default:
    }
  }
  const most = (a: IndexKey, b: IndexKey): number => distinctOf(b, table) - distinctOf(a, table);
  return { equal: equal.sort(most), list: list.sort(most), range, joins };
}

/** What might serve one relation of one plan, the likeliest first. */
export function candidatesFor(relation: ScannedRelation, table: TableInfo): Candidate[] {
  const { equal, list, range, joins } = asked(relation.uses, table);
  const orders = relation.orders.map((order) => orderKeys(order, table)).filter((keys) => keys.length > 0);
  const found: IndexKey[][] = [];
  const add = (...keys: IndexKey[]): void => {
    const unlike = keys.filter((key, i) => keys.findIndex((other) => other.sql === key.sql) === i);
    if (unlike.length > 0 && unlike.length <= mostKeys) found.push(unlike);
  };
  const points = [...equal, ...list];
  const lead = (keys: readonly IndexKey[], n: number): IndexKey[] => keys.slice(0, n);
  for (const key of points) add(key);
  for (const keys of joins.values()) {
    for (const key of keys) add(key);
    add(...lead(keys, mostKeys));
    for (const key of lead(points, 2)) {
      add(...lead(keys, 2), key);
      add(key, ...lead(keys, 2));
    }
    for (const key of range) add(...lead(keys, 2), key);
    for (const order of orders) add(...lead(keys, 1), ...lead(order, 2));
    if (equal[0] !== undefined) for (const key of range) add(...lead(keys, 1), equal[0], key);
  }
  add(...lead(points, 2));
  add(...lead(points, 3));
  if (points.length > 1) add(...lead(points, 2).reverse());
  for (const order of orders) {
    for (const n of [1, 2]) if (equal.length >= n) add(...lead(equal, n), ...lead(order, mostKeys - n));
    // A shorter list of equalities leaves room for the order as a whole.
    for (const key of lead(equal, 3)) add(key, ...lead(order, 2));
    add(...lead(order, mostKeys));
  }
  for (const key of range) {
    for (const n of [1, 2]) if (points.length >= n) add(...lead(points, n), key);
    for (const point of lead(points, 3)) add(point, key);
    add(key);
  }
  const candidates = new Map<string, Candidate>();
  for (const keys of found) {
    const candidate: Candidate = { table, keys, include: [], where: undefined };
    if (!isThere(candidate)) candidates.set(candidateId(candidate), candidate);
  }
  return [...candidates.values()].slice(0, mostPerRelation);
}

/** Is there an index that does all this one would do? */
function isThere(candidate: Candidate): boolean {
  const names = candidate.keys.map(({ column, suffix }) => (suffix === '' ? column : undefined));
  if (names.includes(undefined)) return false;
  return candidate.table.indexes.some(
    (index) => index.plain && names.every((name, i) => index.keys[i] === name),
  );
}

/** The first one or two columns of an index with more of them: often they do. */
export function shorter(candidate: Candidate): Candidate[] {
  return candidate.keys
    .slice(1)
    .map((_, i) => ({ ...candidate, keys: candidate.keys.slice(0, i + 1) }))
    .filter((one) => !isThere(one));
}

/** CREATE INDEX for one of the tables that hold the rows. */
export function createSql(
  candidate: Candidate,
  leaf: { readonly schema: string; readonly name: string },
  options: { readonly name?: string; readonly how?: string; readonly only?: boolean } = {},
): string {
  const { include, where, keys } = candidate;
  return [
    `CREATE INDEX${options.how ?? ''}${options.name === undefined ? '' : ` ${nameSql(options.name)}`}`,
    `ON ${options.only === true ? 'ONLY ' : ''}${nameSql(leaf.schema)}.${nameSql(leaf.name)} (${keysSql(keys)})`,
    ...(include.length === 0 ? [] : [`INCLUDE (${include.map(nameSql).join(', ')})`]),
    ...(where === undefined ? [] : [`WHERE ${where}`]),
  ].join(' ');
}
