import { expect, test } from 'vitest';
import { bar, escaped, lineChart, niceAbove } from './report_charts.js';
import type { Report, Span } from './report_model.js';
import { coarse, fewerSpans } from './series.js';

test('axes end at round numbers, of bytes at round numbers of their unit', () => {
  expect([0.7, 1, 3, 51, 99].map((value) => niceAbove(value))).toEqual([1, 1, 5, 100, 100]);
  expect(niceAbove(3 * 1024 * 1024, true)).toBe(5 * 1024 * 1024);
});

test('a chart has a step for each value, ticks at equal distances, and says in words what it shows', () => {
  const chart = (values: number[], log: boolean): string =>
    lineChart({
      title: 'a <title>',
      series: [{ name: 'one', look: 'rate', values, area: true }],
      labels: values.map((_, i) => `at ${i}`),
      ends: ['l', 'm', 'r'],
      show: (value) => `${value} x`,
      log,
    });
  const linear = chart([0, 5, 10], false);
  expect(linear).toContain('aria-label="a &lt;title&gt;: one up to 10 x"');
  expect(linear.match(/<title>/g)).toHaveLength(3);
  expect(linear).toContain('points="0,100 0,100 333.33,100 333.33,50 666.67,50 666.67,0 1000,0 1000,100"');
  const heights = [...chart([3, 70, 1_500_000], true).matchAll(/class="grid"[^>]*y1="([\d.]+)"/g)].map(
    (match) => Number(match[1]),
  );
  const steps = heights.slice(1).map((height, i) => (heights[i] as number) - height);
  expect(Math.max(...steps) - Math.min(...steps)).toBeLessThan(0.1);
  // Nothing happened at all.
  expect(chart([0, 0], true)).not.toMatch(/NaN|Infinity/);
  expect(bar(0)).toContain('width="0"');
  expect(bar(2)).toContain('width="100"');
  expect(escaped(`<a href="x">'&\0`)).toBe('&lt;a href=&quot;x&quot;&gt;&#39;&amp;\u{FFFD}');
});

test('latency in steps of 1, 2, 5 keeps every call, and has no empty ends', () => {
  const made = coarse([
    { from_us: 0, to_us: 1, calls: 2 },
    { from_us: 3, to_us: 4, calls: 1 },
    { from_us: 1024, to_us: 1088, calls: 4 },
  ]);
  expect(made[0]).toEqual({ from_us: 0, to_us: 1, calls: 2 });
  expect(made.at(-1)).toEqual({ from_us: 1000, to_us: 2000, calls: 4 });
  expect(made.reduce((sum, { calls }) => sum + calls, 0)).toBe(7);
  expect(coarse([])).toEqual([]);
});

test('spans that are put together have the sum of calls, the worst of quantiles, and rates of the time they cover', () => {
  const span = (second: number, calls: number): Span =>
    ({
      at: new Date(second * 1000).toISOString(),
      ...{ calls, nested_calls: 0, errors: 1, exec_us: calls * 500_000, mean_us: 0, max_us: calls, rows: 1 },
      ...{ p50_us: calls, p90_us: calls, p95_us: calls, p99_us: calls, blocks_read: 1, wal_bytes: 1 },
    }) as Span;
  const report = {
    time: { first: new Date(500).toISOString(), last: new Date(4500).toISOString(), seconds: 4 },
    timeline: { span_us: 1_000_000, spans: [4, 2, 6, 0, 1].map((calls, i) => span(i, calls)) },
  } as unknown as Report;
  const { spans, each } = fewerSpans(report, 3);
  expect(each).toBe(2);
  expect(spans.map(({ calls, seconds, p95_us }) => [calls, seconds, p95_us])).toEqual([
    [6, 1.5, 4],
    [6, 2, 6],
    [1, 0.5, 1],
  ]);
  expect(spans[0]).toMatchObject({ calls_per_second: 4, busy: 2, errors: 2 });
});
