/**
 * Two finer forms of an index that is chosen: with further columns, so that the table need not be read at all, and of a part
 * of the rows alone. In: the index, the plans that use it. Out: candidates, each with how much it must save. Pure.
 */
import type { Candidate, TableInfo } from './candidates.js';
import type { UseKind } from './expression.js';
import { nameSql } from './lexer.js';
import type { PlanFacts, Reader, ScannedRelation } from './plan.js';

/** A plan that uses the index, under these names. */
export interface Need {
  readonly plan: PlanFacts;
  readonly names: ReadonlySet<string>;
}

export interface Variant {
  readonly candidate: Candidate;
  /** Kept where the statements' time becomes at most this part of what it is with the plain index, */
  readonly mostTime: number;
  /** and the index at most this part of its size. */
  readonly mostSize: number;
}

const mostIncluded = 3;
/** Index-only scans pay where most pages need not be visited. */
const leastAllVisible = 0.8;

/** Conditions that stand in the statement itself, not in its values: these alone can be those of an index. */
const predicates: Readonly<Partial<Record<UseKind, (column: string) => string>>> = {
  null: (column) => `${column} IS NULL`,
  not_null: (column) => `${column} IS NOT NULL`,
  true: (column) => column,
  false: (column) => `NOT ${column}`,
};

export function variants(candidate: Candidate, needs: readonly Need[]): Variant[] {
  const relations = needs.flatMap(({ plan, names }) => readers(plan, names, candidate));
  if (relations.length === 0) return [];
  return [...partial(candidate, relations), ...covering(candidate, relations)];
}

interface Reading {
  readonly relation: ScannedRelation;
  readonly columns: readonly string[];
}

const systemColumns = new Set(['ctid', 'tableoid', 'xmin', 'xmax', 'cmin', 'cmax', '*']);

/** Columns that a node needs. One that hands on whole rows because that is cheap needs what the node above takes. */
function columnsOf({ output, conditions, above }: Reader, table: TableInfo): string[] {
  const known = (names: readonly string[]): string[] =>
    names.filter((name) => table.columns.has(name) || systemColumns.has(name));
  const whole = [...table.columns.keys()].every((name) => output.includes(name));
  return known([...conditions, ...(whole && above !== undefined ? above : output)]);
}

/** Where plans read the table by way of the index. A bitmap scan does not say which table its index is of. */
function readers(plan: PlanFacts, names: ReadonlySet<string>, { table }: Candidate): Reading[] {
  const leaves = new Set(table.leaves.map(({ schema, name }) => `${schema}.${name}`));
  return plan.relations
    .filter(({ schema, name }) => leaves.has(`${schema}.${name}`))
    .flatMap((relation) =>
      relation.readers
        .filter(({ index }) => index === undefined || names.has(index))
        .map((reader) => ({ relation, columns: columnsOf(reader, table) })),
    );
}

function covering(candidate: Candidate, all: readonly Reading[]): Variant[] {
  const { table, keys } = candidate;
  if (table.allVisible < leastAllVisible || candidate.include.length > 0) return [];
  if (keys.some(({ column }) => column === undefined)) return [];
  const there = new Set(keys.map(({ column }) => column));
  const wanted = new Set(all.flatMap(({ columns }) => columns).filter((column) => !there.has(column)));
  if (wanted.size === 0 || wanted.size > mostIncluded || [...wanted].some((name) => !table.columns.has(name)))
    return [];
  // An index with all columns is a second table.
  if (wanted.size + keys.length >= table.columns.size) return [];
  return [{ candidate: { ...candidate, include: [...wanted] }, mostTime: 0.6, mostSize: 2 }];
}

function partial(candidate: Candidate, all: readonly Reading[]): Variant[] {
  const [first] = all;
  if (first === undefined || candidate.where !== undefined) return [];
  const conditionsOf = ({ relation }: Reading): string[] =>
    relation.uses.flatMap(({ kind, operand }) => {
      const write = predicates[kind];
      return write === undefined || operand.column === undefined ? [] : [write(nameSql(operand.column))];
    });
  return conditionsOf(first)
    .filter((where) => all.every((reader) => conditionsOf(reader).includes(where)))
    .map((where) => {
      // A column that is the same in all rows of the index is no use as its key.
      const rest = candidate.keys.filter(
        ({ sql }) => where !== sql && where !== `NOT ${sql}` && where !== `${sql} IS NULL`,
      );
      const keys = rest.length === 0 ? candidate.keys : rest;
      return { candidate: { ...candidate, keys, where }, mostTime: 1.02, mostSize: 0.3 };
    });
}
