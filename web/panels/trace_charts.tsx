/** Figures of a run or of one statement over time. Steps in which nothing ended are gaps, not zeros. */
import { Chart, type ChartSeries } from '../chart/Chart.js';
import type { SeriesAnswer } from '../store/trace.js';
import { Measures } from '../store/trace_measures.js';
import { brush } from '../store/trace_route.js';
import { Panel } from '../ui/Panel.js';

interface Plot {
  readonly title: string;
  readonly unit: string;
  readonly note?: string;
  readonly log?: boolean;
  /** Title, measure, whether it is divided by the step's length. */
  readonly series: readonly (readonly [
    title: string,
    measure: string,
    perSecond: boolean,
    colour?: number,
  ])[];
}

export const tracePlots: readonly Plot[] = [
  {
    title: 'Calls',
    unit: 'calls/s',
    series: [
      ['calls', 'calls', true],
      ['errors', 'errors', true, 5],
    ],
  },
  {
    title: 'Latency',
    unit: 'us',
    log: true,
    note: 'logarithmic',
    series: [
      ['p50', 'p50_us', false, 1],
      ['p95', 'p95_us', false, 0],
      ['p99', 'p99_us', false, 5],
    ],
  },
  {
    title: 'Rows and blocks',
    unit: '/s',
    note: 'a second',
    series: [
      ['rows', 'rows', true],
      ['blocks hit', 'shared_hit', true],
      ['blocks read', 'shared_read', true],
    ],
  },
  { title: 'WAL', unit: 'bytes/s', series: [['WAL', 'wal_bytes', true, 2]] },
];

export function TraceChart({ plot, series }: { plot: Plot; series: SeriesAnswer }) {
  const reader = new Measures(series);
  const stepUs = series.stepMs * 1000;
  const fromUs = series.steps[0]?.atUs;
  const last = series.steps.at(-1);
  if (fromUs === undefined || last === undefined) return null;
  const count = Math.round((last.atUs - fromUs) / stepUs) + 1;
  const times = Array.from({ length: count }, (_, step) => (fromUs + (step + 0.5) * stepUs) / 1e6);
  const data = plot.series.map(([, measure, perSecond]) => {
    const values = new Array<number | null>(count).fill(null);
    for (const step of series.steps) {
      const value = reader.read(step, measure);
      values[Math.round((step.atUs - fromUs) / stepUs)] =
        Number.isNaN(value) || (plot.log === true && value <= 0)
          ? null
          : perSecond
            ? value / (series.stepMs / 1000)
            : value;
    }
    return values;
  });
  const drawn = plot.series.map(
    ([title, , , colour], index): ChartSeries => ({ title, colour: colour ?? index }),
  );
  return (
    <Panel title={plot.title} note={plot.note ?? (plot.unit === 'calls/s' ? 'a second' : undefined)}>
      <Chart
        title={plot.title}
        unit={plot.unit}
        series={drawn}
        data={[times, ...data]}
        fromS={fromUs / 1e6}
        toS={(last.atUs + stepUs) / 1e6}
        {...(plot.log === true ? { log: true } : {})}
        onRange={(range) =>
          brush(range === undefined ? undefined : { fromUs: range.fromMs * 1000, toUs: range.toMs * 1000 })
        }
      />
    </Panel>
  );
}
