/** A run over time: heat map of latencies, figures, sessions. Brushing in any of them chooses the span for all views. */
import { useMemo } from 'preact/hooks';
import { heatGrid } from '../chart/heat.js';
import { type Run, refreshMs, type SeriesAnswer, spanQuery, type Trace, useAsk } from '../store/trace.js';
import { traceRoute } from '../store/trace_route.js';
import { formatMs } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';
import { TraceChart, tracePlots } from './trace_charts.js';
import { HeatMap } from './trace_heat.js';
import { SwimLanes } from './trace_lanes.js';

export function Timeline({ trace, run }: { trace: Trace; run: Run }) {
  const { fromUs, toUs } = traceRoute.value;
  const asked = useAsk<SeriesAnswer>(
    `/traces/${trace.id}/series${spanQuery({ run: run.run, fromUs, toUs })}`,
    fromUs === undefined ? refreshMs(run) : 0,
  );
  const series = asked.value;
  const first = fromUs ?? series?.fromUs ?? undefined;
  const last = toUs ?? series?.toUs ?? undefined;
  const grid = useMemo(
    () =>
      series === undefined || first === undefined || last === undefined
        ? undefined
        : heatGrid(series, first, last),
    [series, first, last],
  );
  if (series === undefined || series.steps.length === 0 || first === undefined || last === undefined) {
    return (
      <Panel title="Time line" wide>
        <p class="empty">
          {series === undefined
            ? (asked.error ?? 'Loading…')
            : fromUs === undefined
              ? 'Nothing yet: sums come every 10 s while the trace runs and statements match its filters.'
              : 'Nothing ended in the chosen span. Clear the selection to see all.'}
        </p>
      </Panel>
    );
  }
  const note = [
    `steps of ${formatMs(series.stepMs)}`,
    series.histogramEvery > 1 ? `estimated from one of ${series.histogramEvery} intervals` : undefined,
  ];
  return (
    <>
      <Panel
        title="Latency heat map"
        wide
        note={note.filter((part) => part !== undefined).join(' · ')}
        error={asked.error}
      >
        {grid === undefined ? (
          <p class="empty">No latency histogram came with these sums.</p>
        ) : (
          <HeatMap grid={grid} />
        )}
      </Panel>
      <div class="grid narrow">
        {tracePlots.map((plot) => (
          <TraceChart key={plot.title} plot={plot} series={series} />
        ))}
      </div>
      <SwimLanes trace={trace} run={run} fromUs={first} toUs={last + 1} />
    </>
  );
}
