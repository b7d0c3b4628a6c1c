/** Swim lanes of the sessions in view, from the calls loaded: a press shows the call that is there. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { heatEdges } from '../chart/heat.js';
import { callAt, drawLanes, laneHeight, lanesHeight, makeLanes } from '../chart/lanes.js';
import type { Run, Trace } from '../store/trace.js';
import { useRows } from '../store/trace_load.js';
import { traceRoute } from '../store/trace_route.js';
import { selectRows } from '../store/trace_rows.js';
import { formatValue } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';
import { theme } from '../ui/theme.js';
import { CallOfRow } from './trace_call.js';
import { useWidth } from './trace_heat.js';
import { LoadBar } from './trace_loadbar.js';

interface Props {
  readonly trace: Trace;
  readonly run: Run;
  readonly fromUs: number;
  readonly toUs: number;
}

export function SwimLanes(props: Props) {
  return props.trace.events ? (
    <Lanes {...props} />
  ) : (
    <Panel title="Sessions" wide>
      <p class="empty">This trace keeps sums per statement alone; lanes need its calls one by one.</p>
    </Panel>
  );
}

function Lanes({ trace, run, fromUs, toUs }: Props) {
  const loaded = useRows(trace.id, run.run, run.eventsSent);
  const [host, width] = useWidth();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [picked, setPicked] = useState<number | undefined>(undefined);
  const { least, most } = traceRoute.value.query;
  const selected = useMemo(
    () =>
      selectRows(loaded.rows, {
        fromUs,
        toUs,
        leastUs: least === undefined ? undefined : Number(least),
        mostUs: most === undefined ? undefined : Number(most),
      }),
    [loaded.rows, loaded.version, fromUs, toUs, least, most],
  );
  const columns = Math.max(1, width - heatEdges.left - heatEdges.right);
  const lanes = useMemo(
    () => makeLanes(loaded.rows, selected, fromUs, toUs, columns),
    [loaded.rows, selected, fromUs, toUs, columns],
  );
  const mark = picked === undefined ? undefined : loaded.rows.numbers.end_time[picked];
  useEffect(() => {
    if (canvas.current !== null && width > 0) drawLanes(canvas.current, lanes, width, mark);
  }, [lanes, width, mark, theme.value]);
  const press = (event: MouseEvent): void => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const lane = Math.floor((event.clientY - box.top - heatEdges.top) / laneHeight);
    const pid = lanes.pids[lane];
    if (pid === undefined) return;
    const perPixel = (toUs - fromUs) / columns;
    const us = fromUs + (event.clientX - box.left - heatEdges.left) * perPixel;
    setPicked(callAt(loaded.rows, selected, pid, us, 3 * perPixel));
  };
  const note = `${formatValue(lanes.pids.length + lanes.hidden, 'sessions')}, ${formatValue(selected.length, 'calls')}${lanes.hidden > 0 ? ` · the ${lanes.pids.length} busiest are drawn` : ''}`;
  return (
    <Panel title="Sessions" wide note={note}>
      <LoadBar loaded={loaded} run={run} />
      <div ref={host}>
        {lanes.pids.length === 0 ? (
          <p class="empty">
            {loaded.state === 'loading'
              ? 'Loading calls…'
              : loaded.state === 'failed'
                ? 'No calls could be loaded.'
                : loaded.rows.count === 0
                  ? 'No call of this run was kept: none matched yet, or they are older than PEM keeps them.'
                  : 'No call ended in the chosen span.'}
          </p>
        ) : (
          <canvas
            ref={canvas}
            class="lanes"
            role="img"
            aria-label={`Busy time of ${lanes.pids.length} sessions over time; all calls stand in the view Calls`}
            style={{ height: `${lanesHeight(lanes)}px` }}
            onClick={press}
          />
        )}
      </div>
      {lanes.pids.length > 0 && (
        <p class="muted says">
          A lane is a session, named by its process ID: the stronger its colour, the busier;{' '}
          <span class="error">▀</span> a call failed. Press on a bar to see its call.
        </p>
      )}
      {picked !== undefined && (
        <CallOfRow
          trace={trace.id}
          run={run.run}
          rows={loaded.rows}
          row={picked}
          onClose={() => setPicked(undefined)}
        />
      )}
    </Panel>
  );
}
