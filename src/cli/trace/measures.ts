/**
 * What statements can be ordered by, and how a figure of theirs is shown. In: statements of a report. Out: titles, texts,
 * orders: the same ones for text and HTML.
 */
import type { TraceMeasure } from '../../../native/index.js';
import { bytes, count, duration } from './format.js';
import type { Report, Statement } from './report_model.js';

export interface Measure {
  readonly name: TraceMeasure;
  /** Of a section: "Top statements by …". */
  readonly title: string;
  /** Of a column. */
  readonly short: string;
  value(statement: Statement): number;
  show(value: number): string;
}

export const measures: readonly Measure[] = [
  { name: 'total', title: 'total time', short: 'time', value: (s) => s.exec_us, show: duration },
  { name: 'calls', title: 'calls', short: 'calls', value: (s) => s.calls, show: count },
  { name: 'mean', title: 'mean time', short: 'mean', value: (s) => s.mean_us, show: duration },
  { name: 'max', title: 'slowest call', short: 'max', value: (s) => s.max_us, show: duration },
  { name: 'p95', title: '95th percentile', short: 'p95', value: (s) => s.p95_us, show: duration },
  { name: 'p99', title: '99th percentile', short: 'p99', value: (s) => s.p99_us, show: duration },
  { name: 'rows', title: 'rows', short: 'rows', value: (s) => s.rows, show: count },
  {
    name: 'reads',
    title: 'blocks read',
    short: 'read',
    value: (s) => s.blocks_read,
    show: (value) => `${count(value)} blk`,
  },
  {
    name: 'temp_written',
    title: 'temporary blocks written',
    short: 'temp',
    value: (s) => s.temp_blocks_written,
    show: (value) => `${count(value)} blk`,
  },
  { name: 'wal', title: 'WAL', short: 'WAL', value: (s) => s.wal_bytes, show: bytes },
  { name: 'errors', title: 'errors', short: 'errors', value: (s) => s.errors, show: count },
  { name: 'plan', title: 'planning time', short: 'plan', value: (s) => s.plan_us, show: duration },
];

/** The first statements by a measure, as the scan has ordered them. */
export function topBy(report: Report, measure: Measure, most: number): Statement[] {
  return report.statements
    .filter(({ ranks }) => (ranks[measure.name] ?? Number.POSITIVE_INFINITY) <= most)
    .sort((a, b) => (a.ranks[measure.name] ?? 0) - (b.ranks[measure.name] ?? 0));
}

/** Why a list by this measure is empty. */
export function whyNone(report: Report, measure: Measure): string {
  if (report.totals.calls + report.totals.nested_calls === 0) return 'No statement passed the filter.';
  switch (measure.name) {
    case 'errors':
      return 'No statement failed.';
    case 'plan':
      return 'No statement was planned: all ran from plans that were there, or are commands without one.';
    case 'wal':
      return 'No statement wrote WAL.';
    case 'reads':
      return 'No statement read a block: all were in shared buffers.';
    case 'temp_written':
      return 'No statement wrote temporary files: work_mem was enough.';
    case 'rows':
      return 'No statement returned or changed rows.';
    default:
      return 'No execution time is known, or all calls took less than a microsecond.';
  }
}
