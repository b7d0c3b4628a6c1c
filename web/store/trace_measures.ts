/**
 * What statements of a trace can be measured by: the sums of the catalogue, and what follows from them. Pure. Unknown stays
 * NaN: a server without I/O timing has no I/O time, not one of 0.
 */
import type { ProbeColumn } from '../../src/wire/config.js';
import type { Statement, TopAnswer } from './trace.js';
import { quantileUs, type Sparse } from './trace_histogram.js';

export interface Measure {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  /** What it says, where the title does not. */
  readonly hint?: string;
}

/** What a measure is taken from: a statement, a step of time, or several of them added up. */
export interface Measured {
  readonly values: readonly (number | null)[];
  readonly histogram: Sparse;
  readonly minUs?: number | null;
  readonly maxUs: number | null;
}

const derived: readonly Measure[] = [
  {
    id: 'share',
    title: 'Load',
    unit: 'percent',
    hint: 'Share of the execution time of all top-level statements',
  },
  { id: 'mean_us', title: 'Mean', unit: 'us', hint: 'Execution time a call' },
  { id: 'p50_us', title: 'p50', unit: 'us', hint: 'Half of all calls took no longer; within 3.2 %' },
  { id: 'p95_us', title: 'p95', unit: 'us', hint: '95 % of all calls took no longer; within 3.2 %' },
  { id: 'p99_us', title: 'p99', unit: 'us', hint: '99 % of all calls took no longer; within 3.2 %' },
  { id: 'min_us', title: 'Min', unit: 'us' },
  { id: 'max_us', title: 'Max', unit: 'us' },
  { id: 'rows_call', title: 'Rows a call', unit: '' },
  { id: 'blocks', title: 'Blocks', unit: 'blocks', hint: 'Shared blocks, hit and read' },
  { id: 'blocks_call', title: 'Blocks a call', unit: 'blocks' },
  { id: 'hit', title: 'Hit', unit: 'percent', hint: 'Share of shared blocks that were in shared buffers' },
  { id: 'error_share', title: 'Failed', unit: 'percent', hint: 'Share of calls that failed' },
];
const titles: Readonly<Record<string, string>> = { exec_us: 'Total', calls: 'Calls', rows: 'Rows' };
export const defaultMeasures = ['share', 'exec_us', 'calls', 'mean_us', 'p95_us', 'rows', 'blocks', 'errors'];

/** All measures, the usual ones first. */
export function allMeasures(names: readonly string[], columns: readonly ProbeColumn[]): readonly Measure[] {
  const sums = names.map((id): Measure => {
    const column = columns.find((it) => it.name === id);
    const unit = column?.unit ?? '';
    return { id, title: titles[id] ?? column?.title ?? id, unit: unit === 'count' ? '' : unit };
  });
  const all = [...derived, ...sums];
  const usual = defaultMeasures.map((id) => all.find((it) => it.id === id)).filter((it) => it !== undefined);
  return [...usual, ...all.filter((it) => !defaultMeasures.includes(it.id))];
}

/** Reads measures of one answer: places of its sums are looked up once. */
export class Measures {
  readonly #place: ReadonlyMap<string, number>;
  readonly #allExecUs: number;

  constructor(answer: { readonly measures: readonly string[]; readonly allExecUs?: number }) {
    this.#place = new Map(answer.measures.map((name, index) => [name, index]));
    this.#allExecUs = answer.allExecUs ?? Number.NaN;
  }

  sum(of: Measured, name: string): number {
    const place = this.#place.get(name);
    return place === undefined ? Number.NaN : (of.values[place] ?? Number.NaN);
  }

  read(of: Measured, id: string): number {
    switch (id) {
      case 'share':
        return this.#allExecUs > 0 ? (100 * this.sum(of, 'exec_us')) / this.#allExecUs : Number.NaN;
      case 'mean_us':
        return this.#per(of, 'exec_us', 'timed');
      case 'p50_us':
        return quantileUs(of.histogram, 0.5);
      case 'p95_us':
        return quantileUs(of.histogram, 0.95);
      case 'p99_us':
        return quantileUs(of.histogram, 0.99);
      case 'min_us':
        return of.minUs ?? Number.NaN;
      case 'max_us':
        return of.maxUs ?? Number.NaN;
      case 'rows_call':
        return this.#per(of, 'rows', 'calls');
      case 'blocks':
        return this.sum(of, 'shared_hit') + this.sum(of, 'shared_read');
      case 'blocks_call':
        return this.read(of, 'blocks') / this.sum(of, 'calls');
      case 'hit':
        return (100 * this.sum(of, 'shared_hit')) / this.read(of, 'blocks');
      case 'error_share':
        return 100 * this.#per(of, 'errors', 'calls');
      default:
        return this.sum(of, id);
    }
  }

  #per(of: Measured, sum: string, count: string): number {
    const calls = this.sum(of, count);
    return calls > 0 ? this.sum(of, sum) / calls : Number.NaN;
  }
}

/** What a statement is called where it has no text (yet). */
export function statementText(statement: Statement): string {
  if (statement.text !== null) return statement.text;
  if (statement.fingerprint === '0') return '(statements that had no room of their own)';
  return `${statement.tag ?? 'statement'} ${statement.queryId === '0' ? statement.fingerprint : statement.queryId} (its text has not come yet)`;
}

/** Statements that a typed word is in: text, database, user, command, SQLSTATE, query id. */
export function findStatements(answer: TopAnswer, typed: string): readonly Statement[] {
  const words = typed.trim().toLowerCase().split(/\s+/);
  if (words[0] === '') return answer.statements;
  return answer.statements.filter((it) => {
    const text =
      `${it.text ?? ''} ${it.database} ${it.username} ${it.tag ?? ''} ${it.lastSqlstate ?? ''} ${it.queryId}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}
