/**
 * What a benchmark gives back, and how it is shown. Every figure that has a bar is a ratio or a limit measured in the
 * same run; see docs/benchmarks.md.
 */
import { cpus, release, totalmem } from 'node:os';

export interface Bar {
  readonly what: string;
  readonly value: number;
  /** The limit, or the limit as a person reads it, for example '≥ 0.85'. */
  readonly bar: number | string;
  readonly holds: boolean;
}

export interface BenchResult {
  readonly figures: Readonly<Record<string, number | string>>;
  readonly bars: readonly Bar[];
}

export interface BenchOptions {
  /** A first figure within 40 s: fewer pairs, smaller data. */
  readonly quick: boolean;
  /** One line of progress. */
  progress(line: string): void;
}

/** One file in bench/runs/. */
export interface BenchRun {
  run(options: BenchOptions): Promise<BenchResult>;
}

/** The middle value; of an even number the upper one. NaN for none. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** `value` must be at least `limit`. */
export function atLeast(what: string, value: number, limit: number, unit = ''): Bar {
  return { what, value, bar: `≥ ${limit}${unit === '' ? '' : ` ${unit}`}`, holds: value >= limit };
}

/** `value` must be at most `limit`. */
export function atMost(what: string, value: number, limit: number, unit = ''): Bar {
  return { what, value, bar: `≤ ${limit}${unit === '' ? '' : ` ${unit}`}`, holds: value <= limit };
}

/** What the figures were taken on; no name of the machine. */
export function machine(): string {
  const processors = cpus();
  const gibibytes = Math.round(totalmem() / 2 ** 30);
  return `${processors.length} × ${processors[0]?.model.trim() ?? process.arch}, ${gibibytes} GiB, Linux ${release()}, Node ${process.versions.node}`;
}

/** Figures and bars as an aligned table. */
export function table(result: BenchResult): string {
  const rows: string[][] = Object.entries(result.figures).map(([name, value]) => [
    name,
    number(value),
    '',
    '',
  ]);
  for (const bar of result.bars) {
    rows.push([bar.what, number(bar.value), number(bar.bar), bar.holds ? 'holds' : 'DOES NOT HOLD']);
  }
  const widths = [0, 1, 2].map((column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map(([what = '', value = '', bar = '', verdict = '']) =>
      `${what.padEnd(widths[0] ?? 0)}  ${value.padStart(widths[1] ?? 0)}  ${bar.padEnd(widths[2] ?? 0)}  ${verdict}`.trimEnd(),
    )
    .join('\n');
}

function number(value: number | string): string {
  if (typeof value === 'string') return value;
  if (Number.isInteger(value)) return value.toLocaleString('en');
  return Math.abs(value) >= 1000
    ? Math.round(value).toLocaleString('en')
    : value.toPrecision(4).replace(/\.?0+$/, '');
}
