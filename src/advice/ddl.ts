/**
 * The statements that make an advised index, and what else is to be said of it. In: a candidate, names that are taken. Out:
 * CREATE INDEX lines with quoted names, how it stands to the indexes there are, warnings. Pure.
 */

import type { AdvisedIndex, Overlap } from '../wire/advice.js';
import { type Candidate, createSql, type IndexInfo, type TableInfo } from './candidates.js';
import { nameSql } from './lexer.js';
import { tableKey } from './tables.js';

const longestNameBytes = 63;
/** More partitions than that are not written out one by one. */
const mostPartitionLines = 50;

function cutBytes(text: string, most: number): string {
  let cut = text;
  while (Buffer.byteLength(cut) > most) cut = [...cut].slice(0, -1).join('');
  return cut;
}

/** orders_customer_id_created_idx, with a number behind it where that is taken; then it is taken too. */
function nameFor(candidate: Candidate, table: { schema: string; name: string }, taken: Set<string>): string {
  const columns = candidate.keys.map(
    ({ column, sql }) => column ?? /[a-z_][a-z0-9_]*/i.exec(sql)?.[0]?.toLowerCase() ?? 'expr',
  );
  for (let n = 0; ; n++) {
    const end = `${n === 0 ? '' : n}_idx`;
    const middle = `_${columns.join('_')}`;
    const most = longestNameBytes - Buffer.byteLength(end);
    const head = cutBytes(table.name, Math.max(20, most - Buffer.byteLength(middle)));
    const name = `${cutBytes(head + middle, most)}${end}`;
    const key = tableKey(table.schema, name);
    if (taken.has(key)) continue;
    taken.add(key);
    return name;
  }
}

export function createLines(candidate: Candidate, taken: Set<string>): { name: string; create: string[] } {
  const { table } = candidate;
  const name = nameFor(candidate, table, taken);
  const concurrently = { how: ' CONCURRENTLY' };
  if (!table.partitioned)
    return { name, create: [`${createSql(candidate, table, { name, ...concurrently })};`] };
  const plain = table.leaves.length > mostPartitionLines || table.leaves.some(({ direct }) => !direct);
  if (plain) return { name, create: [`${createSql(candidate, table, { name })};`] };
  const create = [`${createSql(candidate, table, { name, only: true })};`];
  for (const leaf of table.leaves) {
    const own = nameFor(candidate, leaf, taken);
    create.push(`${createSql(candidate, leaf, { name: own, ...concurrently })};`);
    const [parent, part] = [
      [table.schema, name],
      [leaf.schema, own],
    ].map((names) => names.map((one) => nameSql(one as string)).join('.'));
    create.push(`ALTER INDEX ${parent} ATTACH PARTITION ${part};`);
  }
  return { name, create };
}

function howOverlaps(index: IndexInfo, candidate: Candidate): Overlap['how'] | undefined {
  const names = candidate.keys.map(({ column }) => column ?? null);
  if (!index.plain || index.keys.includes(null) || names.includes(null)) return undefined;
  const begins = (long: readonly (string | null)[], short: readonly (string | null)[]): boolean =>
    short.every((one, i) => one === long[i]);
  if (candidate.where === undefined && !index.unique && begins(names, index.keys)) return 'redundant';
  if (names[0] === index.keys[0]) return 'prefix';
  const same = new Set([...names, ...index.keys]).size === names.length && names.length === index.keys.length;
  return same ? 'same_columns' : undefined;
}

export function overlapsOf(candidate: Candidate): Overlap[] {
  return candidate.table.indexes.flatMap((index) => {
    const how = howOverlaps(index, candidate);
    return how === undefined
      ? []
      : [{ index: `${nameSql(index.schema)}.${nameSql(index.name)}`, definition: index.definition, how }];
  });
}

/** What speaks against it, or must be known before. */
export function warningsOf(
  candidate: Candidate,
  index: Pick<AdvisedIndex, 'writeCalls' | 'writeShare' | 'overlaps'>,
): string[] {
  const { table } = candidate;
  const warnings: string[] = [];
  if (index.writeCalls > 0) {
    const part = (100 * index.writeShare).toFixed(1);
    warnings.push(
      `${index.writeCalls.toLocaleString('en')} calls of the trace (${part} % of its time) write to this table: each pays for one index more`,
    );
  }
  warnings.push(...hotWarning(table));
  for (const { index: name, how } of index.overlaps)
    if (how === 'redundant')
      warnings.push(`${name} does nothing that the new index would not do: look whether it can go`);
  if (table.partitioned && table.leaves.some(({ direct }) => !direct))
    warnings.push('its partitions have partitions: as it stands, the line blocks writes while it runs');
  else if (table.partitioned && table.leaves.length > mostPartitionLines)
    warnings.push(
      `it has ${table.leaves.length} partitions or more: as it stands, the line blocks writes while it runs`,
    );
  if (candidate.keys.some(({ column }) => column === undefined))
    warnings.push(
      'there are no statistics of an expression before its index is there: this estimate is the roughest',
    );
  return warnings;
}

function hotWarning({ updates, hotUpdates }: TableInfo): string[] {
  if (updates < 1000 || hotUpdates / updates < 0.5) return [];
  return [
    `${Math.round((100 * hotUpdates) / updates)} % of its updates touch no index so far (HOT): those that change a column of the new one would`,
  ];
}
