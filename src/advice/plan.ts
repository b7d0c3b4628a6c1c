/**
 * A plan as EXPLAIN (FORMAT JSON, VERBOSE) gives it, read for index advice. In: its text. Out: its cost, and for each relation
 * that it reads what conditions, joins and orders ask of the relation's columns. Pure.
 */
import { columnsIn, type OrderKey, orderKeyOf, type Use, usesOf } from './expression.js';

export interface ScannedRelation {
  readonly alias: string;
  readonly schema: string;
  readonly name: string;
  readonly uses: Use[];
  /** Sort and group keys that are all of this relation. */
  readonly orders: (readonly OrderKey[])[];
  readonly readers: Reader[];
}

/** A node that reads a relation; names may be columns or not. */
export interface Reader {
  readonly index: string | undefined;
  readonly output: readonly string[];
  readonly conditions: readonly string[];
  /** What the node above takes of it; undefined: there is none, or it does not say. */
  readonly above: readonly string[] | undefined;
}

export interface PlanFacts {
  /** Planner units, for all rows. */
  readonly cost: number;
  readonly relations: readonly ScannedRelation[];
  /** Names of the indexes that are used, hypothetical ones too. */
  readonly indexes: ReadonlySet<string>;
  /** Tables that it writes to. */
  readonly writes: readonly { readonly schema: string; readonly name: string; readonly operation: string }[];
}

interface Node {
  readonly [key: string]: unknown;
}

const conditions = [
  'Filter',
  'Index Cond',
  'Recheck Cond',
  'Hash Cond',
  'Merge Cond',
  'Join Filter',
] as const;
const deepest = 500;

const textOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
const textsOf = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((one): one is string => typeof one === 'string') : [];

/** @throws Error where it is no plan */
export function planFacts(json: string): PlanFacts {
  const parsed = JSON.parse(json) as { Plan?: Node }[];
  const root = parsed[0]?.Plan;
  if (root === undefined) throw new Error('EXPLAIN gave no plan');
  const nodes = allNodes(root);
  const relations: ScannedRelation[] = [];
  const writes: PlanFacts['writes'][number][] = [];
  const indexes = new Set<string>();
  for (const { node, above } of nodes) {
    const index = textOf(node['Index Name']);
    if (index !== undefined) indexes.add(index);
    const [schema, name, alias] = [node.Schema, node['Relation Name'], node.Alias].map(textOf);
    if (schema === undefined || name === undefined) continue;
    if (node['Node Type'] === 'ModifyTable') {
      writes.push({ schema, name, operation: textOf(node.Operation) ?? '' });
      continue;
    }
    const shown = alias ?? name;
    let relation = relations.find((one) => one.alias === shown);
    if (relation === undefined) {
      relation = { alias: shown, schema, name, uses: [], orders: [], readers: [] };
      relations.push(relation);
    }
    const names = (texts: readonly string[]): string[] => [
      ...new Set(texts.flatMap((text) => columnsIn(text, shown))),
    ];
    relation.readers.push({
      index,
      output: names(textsOf(node.Output)),
      conditions: names(conditionsOf(node)),
      above: above?.Output === undefined ? undefined : names(allTexts(above)),
    });
  }
  for (const { node } of nodes) note(node, relations);
  return { cost: Number(root['Total Cost']), relations, indexes, writes };
}

interface Placed {
  readonly node: Node;
  readonly above: Node | undefined;
}

function allNodes(root: Node): Placed[] {
  const found: Placed[] = [];
  const visit = (node: Node, above: Node | undefined, depth: number): void => {
    found.push({ node, above });
    const plans = node.Plans;
    if (depth < deepest && Array.isArray(plans))
      for (const plan of plans) visit(plan as Node, node, depth + 1);
  };
  visit(root, undefined, 0);
  return found;
}

const conditionsOf = (node: Node): string[] => conditions.flatMap((key) => textOf(node[key]) ?? []);

/** All that a node says of columns. */
function allTexts(node: Node): string[] {
  return Object.entries(node).flatMap(([key, value]) =>
    key === 'Plans' ? [] : typeof value === 'string' ? [value] : textsOf(value),
  );
}

/** The relations that an alias names: itself, or the partitions of it, which are numbered. */
function named(relations: readonly ScannedRelation[], alias: string): ScannedRelation[] {
  const exact = relations.filter((relation) => relation.alias === alias);
  if (exact.length > 0) return exact;
  return relations.filter(
    (relation) =>
      relation.alias.startsWith(`${alias}_`) && /^\d+$/.test(relation.alias.slice(alias.length + 1)),
  );
}

function note(node: Node, relations: readonly ScannedRelation[]): void {
  for (const key of conditions) {
    const condition = textOf(node[key]);
    if (condition === undefined) continue;
    for (const use of usesOf(condition)) {
      for (const relation of named(relations, use.operand.alias)) {
        const known = relation.uses.some(
          (other) =>
            other.kind === use.kind && other.operand.sql === use.operand.sql && other.partner === use.partner,
        );
        if (!known) relation.uses.push(use);
      }
    }
  }
  for (const keys of [textsOf(node['Sort Key']), textsOf(node['Group Key'])]) {
    const order = keys.map(orderKeyOf);
    const alias = order[0]?.operand.alias;
    if (alias === undefined || order.some((one) => one?.operand.alias !== alias)) continue;
    for (const relation of named(relations, alias)) relation.orders.push(order as OrderKey[]);
  }
}
