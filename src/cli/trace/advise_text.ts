/** Index advice for people. In: advice of one or several databases. Out: text of a width; first of all that it is an estimate. */
import type { AdviceFailure, AdvisedIndex, DatabaseAdvice, WorkStatement } from '../../advice/index.js';
import type { TracedWork } from './advise.js';
import { bytes, count, duration, percent, printable, textTable } from './format.js';

const mostStatements = 8;
const mostSkipped = 20;

/** Planner units: no more digits than an estimate has. */
const cost = (value: number): string => (value < 100 ? value.toPrecision(3) : count(value));

export function adviceText(
  work: TracedWork,
  all: readonly DatabaseAdvice[],
  failures: readonly AdviceFailure[],
  columns: number,
): string {
  const width = Math.min(200, Math.max(80, columns));
  const lines = [
    `Index advice for ${printable(work.name)}`,
    'ESTIMATE of the planner with hypothetical indexes: nothing was measured, no statement was run, nothing was changed.',
  ];
  if (work.databases.size === 0) lines.push('', 'The trace has no statements with a database and a time.');
  for (const advice of all)
    lines.push('', ...databaseLines(advice, work.databases.get(advice.database) ?? [], width));
  for (const { database, code, reason } of failures)
    lines.push('', `Database ${printable(database)}: ${code}: ${printable(reason)}`);
  if (work.left.length > 0)
    lines.push('', `Not looked at, with less time: databases ${work.left.map(printable).join(', ')}`);
  return `${lines.join('\n')}\n`;
}

function databaseLines(
  advice: DatabaseAdvice,
  statements: readonly WorkStatement[],
  width: number,
): string[] {
  const texts = new Map(statements.map(({ id, text }) => [id, printable(text.trim())]));
  const { indexes, skipped } = advice;
  const found =
    indexes.length === 0
      ? 'no index would gain enough'
      : indexes.length === 1
        ? '1 index'
        : `${indexes.length} indexes`;
  const lines = [
    `Database ${printable(advice.database)}: ${found}; ${advice.statements.length} statements planned, ${skipped.length} not; ` +
      `${count(advice.plans)} plans in ${duration(advice.elapsedMs * 1000)}`,
  ];
  for (const [i, index] of indexes.entries()) lines.push('', ...indexLines(index, i + 1, texts, width));
  if (indexes.length === 0) {
    const used = [...new Set(advice.statements.flatMap(({ uses }) => uses))];
    if (used.length > 0) lines.push(`  in use already: ${used.slice(0, 12).map(printable).join(', ')}`);
  }
  if (skipped.length > 0) {
    lines.push('', 'Not planned:');
    const shown = skipped
      .slice(0, mostSkipped)
      .map(({ id, share, reason }) => [percent(share), printable(reason), texts.get(id) ?? '']);
    const table = textTable(
      [{ title: 'share', right: true }, { title: 'why' }, { title: 'statement', fill: true }],
      shown,
      width - 2,
    );
    lines.push(...indented(table));
    if (skipped.length > mostSkipped) lines.push(`  and ${skipped.length - mostSkipped} more`);
  }
  lines.push('', ...advice.notes.map((note) => `Note: ${note}`));
  return lines;
}

const indented = (text: string): string[] => text.split('\n').map((line) => `  ${line}`);

function indexLines(
  index: AdvisedIndex,
  number: number,
  texts: ReadonlyMap<string, string>,
  width: number,
): string[] {
  const there = index.tableIndexes === 1 ? '1 index' : `${index.tableIndexes} indexes`;
  const lines = [
    ...index.create.map((line, i) => `${i === 0 ? `${number}.` : '  '} ${printable(line)}`),
    `   saves about ${percent(index.gain)} of the trace's time, takes about ${bytes(index.sizeBytes)}; ${printable(index.table)} has ${there}`,
  ];
  const rows = index.statements
    .slice(0, mostStatements)
    .map(({ id, costBefore, costAfter, share }) => [
      cost(costBefore),
      cost(costAfter),
      percent(share),
      texts.get(id) ?? '',
    ]);
  const titles = [
    { title: 'cost now', right: true },
    { title: 'then', right: true },
    { title: 'share', right: true },
    { title: 'statement', fill: true },
  ];
  lines.push(...indented(textTable(titles, rows, width - 2)));
  if (index.statements.length > mostStatements)
    lines.push(`     and ${index.statements.length - mostStatements} more statements`);
  for (const { index: name, how, definition } of index.overlaps)
    if (how !== 'redundant')
      lines.push(
        `   ${how === 'prefix' ? 'begins like' : 'has the columns of'} ${printable(name)}: ${printable(definition)}`,
      );
  for (const warning of index.warnings) lines.push(`   ! ${printable(warning)}`);
  return lines;
}
