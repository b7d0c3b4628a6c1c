/**
 * Series of a report, cut down to what a person reads: the histogram in steps of 1, 2, 5, and the time line in few spans. In: a
 * report. Out: rows for text and charts.
 */
import type { Bucket, Report, Span } from './report_model.js';

/** Buckets between limits of 1, 2, 5, 10, … µs. */
export function coarse(list: readonly Bucket[]): Bucket[] {
  const limits = [0];
  const most = list.at(-1)?.to_us ?? 0;
  for (let ten = 1; (limits.at(-1) ?? 0) < most; ten *= 10) limits.push(ten, 2 * ten, 5 * ten);
  const made = limits
    .slice(0, -1)
    .map((from_us, i) => ({ from_us, to_us: limits[i + 1] as number, calls: 0 }));
  for (const bucket of list) {
    // The buckets' own limits are not these: each counts where its middle lies.
    const middle = (bucket.from_us + bucket.to_us - 1) / 2;
    const into = made.find(({ to_us }) => middle < to_us) ?? made.at(-1);
    if (into !== undefined) into.calls += bucket.calls;
  }
  const first = made.findIndex(({ calls }) => calls > 0);
  const last = made.findLastIndex(({ calls }) => calls > 0);
  return first < 0 ? [] : made.slice(first, last + 1);
}

export interface ShownSpan extends Span {
  /** Of it that lies between the trace's first and last statement. */
  readonly seconds: number;
  readonly calls_per_second: number;
  readonly errors_per_second: number;
  /** Statements that ran at once, on average. */
  readonly busy: number;
}

/** Spans put together so that there are at most `most`. Quantiles of a whole are not known from its parts': the worst stands. */
export function fewerSpans(report: Report, most: number): { spans: ShownSpan[]; each: number } {
  const { spans, span_us } = report.timeline;
  const each = Math.max(1, Math.ceil(spans.length / most));
  const firstMs = Date.parse(report.time.first ?? '');
  const lastMs = Date.parse(report.time.last ?? '');
  const made: ShownSpan[] = [];
  for (let at = 0; at < spans.length; at += each) {
    const part = spans.slice(at, at + each);
    const sum = (of: (span: Span) => number): number => part.reduce((all, span) => all + of(span), 0);
    const worst = (of: (span: Span) => number): number => Math.max(...part.map(of));
    const calls = sum((s) => s.calls);
    const exec_us = sum((s) => s.exec_us);
    const fromMs = Date.parse((part[0] as Span).at);
    const toMs = fromMs + (part.length * span_us) / 1000;
    // The first and the last span are not all of the trace's; a moment alone counts as a span.
    const within = Math.min(toMs, lastMs) - Math.max(fromMs, firstMs);
    const seconds = (within > 0 ? within : toMs - fromMs) / 1000;
    made.push({
      at: (part[0] as Span).at,
      seconds,
      calls,
      calls_per_second: calls / seconds,
      errors_per_second: sum((s) => s.errors) / seconds,
      busy: exec_us / 1e6 / seconds,
      nested_calls: sum((s) => s.nested_calls),
      errors: sum((s) => s.errors),
      exec_us,
      mean_us: calls === 0 ? 0 : exec_us / calls,
      max_us: worst((s) => s.max_us),
      p50_us: worst((s) => s.p50_us),
      p90_us: worst((s) => s.p90_us),
      p95_us: worst((s) => s.p95_us),
      p99_us: worst((s) => s.p99_us),
      rows: sum((s) => s.rows),
      blocks_read: sum((s) => s.blocks_read),
      wal_bytes: sum((s) => s.wal_bytes),
    });
  }
  return { spans: made, each };
}
