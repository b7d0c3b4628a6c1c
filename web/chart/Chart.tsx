/**
 * The one wrapper around uPlot. In: aligned data ([times s, values…], null = no value), series with title and unit, the
 * window to show. The plot is rebuilt only when its series, unit or theme change; data, size and window are set.
 * Dragging over the plot chooses a range, a double click goes back to live, arrow keys move the shared cursor.
 */
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { setRange } from '../store/route.js';
import { formatAxis, formatClock, formatTime, formatValue } from '../ui/format.js';
import { theme } from '../ui/theme.js';
import { cursorTime, syncKey } from './cursor.js';
import { resolveColour, resolveToken } from './palette.js';

export interface ChartSeries {
  readonly title: string;
  /** Index into the palette; default: its place in the list. */
  readonly colour?: number;
  /** Filled down to zero. */
  readonly area?: boolean;
}

export interface ChartProps {
  readonly title: string;
  readonly unit: string;
  readonly series: readonly ChartSeries[];
  readonly data: readonly [readonly number[], ...(readonly (number | null)[])[]];
  readonly fromS: number;
  readonly toS: number;
  /** Least top of the scale, for example 100 for percentages. */
  readonly least?: number;
  /** Equal ratios are equally high: for values that span powers of ten. */
  readonly log?: boolean;
  readonly height?: number;
  /** Takes the range that was dragged over; default: the page's address does. Undefined: all of it again. */
  readonly onRange?: (range: { fromMs: number; toMs: number } | undefined) => void;
}

type Aligned = uPlot.AlignedData;

function lastValue(values: readonly (number | null)[] | undefined): number | null {
  if (values === undefined) return null;
  for (let index = values.length - 1; index >= 0; index -= 1) {
    const value = values[index];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

/** Index of the sample nearest to a moment. */
function nearest(times: readonly number[], moment: number): number {
  let low = 0;
  let high = times.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((times[middle] as number) < moment) low = middle + 1;
    else high = middle;
  }
  const before = times[low - 1];
  return before !== undefined && moment - before < (times[low] as number) - moment ? low - 1 : low;
}

/** Steps of a scale in bytes: powers of two, so that lines stand at 512 KiB and not at 488. */
const binarySteps = Array.from({ length: 50 }, (_, power) => 2 ** power);

/** Samples with no neighbour have no line; they are drawn as points. */
function lonely(plot: uPlot, seriesIndex: number): number[] | null {
  const values = plot.data[seriesIndex];
  if (values === undefined) return null;
  const alone: number[] = [];
  for (let index = 0; index < values.length; index += 1) {
    const missing = (at: number): boolean => values[at] === null || values[at] === undefined;
    if (!missing(index) && missing(index - 1) && missing(index + 1)) alone.push(index);
  }
  return alone.length === 0 ? null : alone;
}

/** Whole powers of ten around what is there. */
function logRange(min: number | null, max: number | null): [number, number] {
  const low = 10 ** Math.floor(Math.log10(Math.max(min ?? 1, 1e-9)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(max ?? 10, 1e-9)));
  return [low, high > low ? high : low * 10];
}

function options(props: ChartProps, width: number, height: number): uPlot.Options {
  const grid = { stroke: resolveToken('--grid'), width: 1 };
  const axis = {
    stroke: resolveToken('--muted'),
    grid,
    ticks: { show: false },
    font: '11px system-ui, sans-serif',
  };
  return {
    width,
    height,
    // On the right half a time's width: the last label of the axis is not cut.
    padding: [8, 18, 0, 0],
    legend: { show: false },
    cursor: {
      sync: { key: syncKey, setSeries: false },
      drag: { x: true, y: false, setScale: false },
      points: { size: 6 },
      focus: { prox: -1 },
    },
    scales: {
      x: { time: true, range: (_plot, min, max) => [min, max] },
      y: {
        ...(props.log === true ? { distr: 3 as const } : {}),
        range: (_plot, min, max) => {
          if (props.log === true) return logRange(min, max);
          const top = Math.max(max ?? 0, props.least ?? 0, 0);
          const bottom = Math.min(min ?? 0, 0);
          return top === bottom ? [0, 1] : [bottom, top + (top - bottom) * (props.least === top ? 0 : 0.08)];
        },
      },
    },
    axes: [
      {
        ...axis,
        size: 22,
        space: 60,
        values: (plot, splits, _index, _space, stepS) =>
          splits.map((split) =>
            formatClock(split, stepS, (plot.scales.x?.max ?? 0) - (plot.scales.x?.min ?? 0)),
          ),
      },
      {
        ...axis,
        size: 66,
        space: 28,
        ...(/^bytes/.test(props.unit) ? { incrs: binarySteps } : {}),
        // A logarithmic scale leaves out most of its lines' names: null.
        values: (_plot, splits) =>
          splits.map((value: number | null) => (value === null ? '' : formatAxis(value, props.unit))),
      },
    ],
    series: [
      {},
      ...props.series.map((series, index): uPlot.Series => {
        const stroke = resolveColour(series.colour ?? index);
        return {
          label: series.title,
          stroke,
          width: 1.5,
          points: { show: false, size: 4, fill: stroke, filter: lonely },
          spanGaps: false,
          ...(series.area === true ? { fill: `${stroke}2e` } : {}),
        };
      }),
    ],
    hooks: {
      setCursor: [
        (plot) => {
          const moment =
            plot.cursor.left !== undefined && plot.cursor.left >= 0
              ? plot.posToVal(plot.cursor.left, 'x')
              : undefined;
          cursorTime.value = moment;
        },
      ],
      setSelect: [
        (plot) => {
          if (plot.select.width < 8) return;
          const fromMs = Math.round(plot.posToVal(plot.select.left, 'x') * 1000);
          const toMs = Math.round(plot.posToVal(plot.select.left + plot.select.width, 'x') * 1000);
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          if (props.onRange === undefined) setRange({ live: false, fromMs, toMs });
          else props.onRange({ fromMs, toMs });
        },
      ],
    },
  };
}

export function Chart(props: ChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const height = props.height ?? 150;
  const shape = JSON.stringify([props.series, props.unit, props.least, props.log, theme.value, height]);

  // Rebuilt only when the chart's shape changes; data, size and window are set below.
  useEffect(() => {
    const element = host.current;
    if (element === null) return;
    const made = new uPlot(
      options(props, element.clientWidth || 300, height),
      props.data as Aligned,
      element,
    );
    made.over.addEventListener('dblclick', () => {
      if (props.onRange === undefined) setRange({ live: true, id: '5m', ms: 300_000 });
      else props.onRange(undefined);
    });
    plot.current = made;
    if (performance.getEntriesByName('pem:chart').length === 0) performance.mark('pem:chart');
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [shape]);

  useEffect(() => {
    const made = plot.current;
    if (made === undefined) return;
    made.batch(() => {
      made.setData(props.data as Aligned, false);
      made.setScale('x', { min: props.fromS, max: props.toS });
    });
  });

  const moveCursor = (event: KeyboardEvent): void => {
    const made = plot.current;
    const times = props.data[0];
    if (made === undefined || times.length === 0) return;
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (event.key === 'Escape') {
      made.setCursor({ left: -10, top: -10 });
      return;
    }
    if (step === undefined) return;
    event.preventDefault();
    const at = cursorTime.value === undefined ? times.length : nearest(times, cursorTime.value);
    const moment = times[Math.min(times.length - 1, Math.max(0, at + step))] as number;
    made.setCursor({ left: made.valToPos(moment, 'x'), top: height / 3 });
  };

  const moment = cursorTime.value;
  const times = props.data[0];
  const at = moment === undefined || times.length === 0 ? undefined : nearest(times, moment);
  const shown = props.series.map((series, index) => ({
    series,
    index,
    value: at === undefined ? lastValue(props.data[index + 1]) : (props.data[index + 1]?.[at] ?? null),
  }));

  return (
    <div>
      <div
        class="plot"
        ref={host}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: arrow keys move the cursor over the samples
        tabIndex={0}
        role="img"
        onKeyDown={moveCursor}
        aria-label={`${props.title}. ${shown.map(({ series, value }) => `${series.title} ${formatValue(value, props.unit)}`).join(', ')}`}
      />
      <ul class="legend">
        {shown.map(({ series, index, value }) => (
          <li key={series.title}>
            <span class={`swatch s${((series.colour ?? index) % 8) + 1}`} />
            {series.title} <b>{formatValue(value, props.unit)}</b>
          </li>
        ))}
        <li class="moment">{at === undefined ? '' : formatTime((times[at] as number) * 1000)}</li>
      </ul>
    </div>
  );
}
