/**
 * A panel with one chart of one probe: history of the range, then live blocks, redrawn at most once per animation frame.
 * An empty panel says why it is empty.
 */
import { Chart, type ChartSeries } from '../chart/Chart.js';
import { alignSeries, type SampleSet, type SeriesRequest } from '../store/samples.js';
import { useProbeSamples } from '../store/useProbeSamples.js';
import { axisNoun } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';

export interface PlottedSeries extends ChartSeries, SeriesRequest {}

/** A series of a column as it is; tracks of one moment are added up. */
export function plot(title: string, column: string, more: Partial<PlottedSeries> = {}): PlottedSeries {
  return { title, column, transform: 'value', combine: 'sum', ...more };
}

/** A counter's rate a second. */
export function plotRate(title: string, column: string, more: Partial<PlottedSeries> = {}): PlottedSeries {
  return plot(title, column, { transform: 'rate', ...more });
}

export interface ChartPanelProps {
  readonly title: string;
  readonly target: number;
  readonly probe: string;
  readonly unit: string;
  /** Fixed series, or made from what is there (one per device, …). */
  readonly series: readonly PlottedSeries[] | ((set: SampleSet) => readonly PlottedSeries[]);
  /** Numeric columns to load. */
  readonly columns: readonly string[];
  /** One key's samples alone, where a target may have many. */
  readonly only?: `${string}:${string}`;
  readonly least?: number;
  readonly note?: string;
}

export function ChartPanel(props: ChartPanelProps) {
  const state = useProbeSamples(props.target, props.probe, props.columns, props.only);
  const series = typeof props.series === 'function' ? props.series(state.set) : props.series;
  const data = alignSeries(state.set, series, state.fromS, state.toS);
  const empty = data[0].length === 0;
  return (
    <Panel
      title={props.title}
      note={[axisNoun(props.unit), props.note].filter((part) => part !== undefined).join(' · ') || undefined}
      error={empty ? undefined : state.error}
      truncated={state.truncated}
    >
      {empty ? (
        <p class="empty">{state.error ?? state.emptyReason}</p>
      ) : (
        <Chart
          title={props.title}
          unit={props.unit}
          series={series}
          data={data}
          fromS={state.fromS}
          toS={state.toS}
          {...(props.least === undefined ? {} : { least: props.least })}
        />
      )}
    </Panel>
  );
}
