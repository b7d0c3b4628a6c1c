/** One trace: its state and cost, which run is looked at, what is brushed, and the views on what it brought. */

import { TraceAdvice } from '../panels/trace_advice.js';
import { CostBanner, TraceState } from '../panels/trace_banner.js';
import { Calls } from '../panels/trace_calls.js';
import { Compare } from '../panels/trace_compare.js';
import { LiveTail } from '../panels/trace_live.js';
import { StatementPlans } from '../panels/trace_plans.js';
import { StatementPage } from '../panels/trace_statement.js';
import { Timeline } from '../panels/trace_timeline.js';
import { TopStatements } from '../panels/trace_top.js';
import { Transaction } from '../panels/trace_transaction.js';
import { serversByTarget } from '../store/fleet.js';
import { type Run, refreshMs, type TraceWithRuns, useAsk } from '../store/trace.js';
import { describeOptions } from '../store/trace_form.js';
import { brush, goTo, traceLink, traceRoute, type View } from '../store/trace_route.js';
import { formatMs, formatTime, formatValue } from '../ui/format.js';
import { TraceActions } from './trace_list.js';

const tabs: readonly [View, string][] = [
  ['top', 'Top statements'],
  ['timeline', 'Time line'],
  ['calls', 'Calls'],
  ['live', 'Live'],
  ['compare', 'Compare'],
];

function runTitle(run: Run): string {
  const start = run.startedAtUs === null ? 'starting' : formatTime(run.startedAtUs / 1000);
  const length =
    run.startedAtUs === null || run.stoppedAtUs === null
      ? run.stopReason === null
        ? 'running'
        : ''
      : formatMs((run.stoppedAtUs - run.startedAtUs) / 1000);
  const reason = run.stopReason === null || run.stopReason === '' ? '' : `, ended by ${run.stopReason}`;
  return `${start} · ${length}${reason}`;
}

/** What is brushed, and a way out of it. */
export function Selection() {
  const { fromUs, toUs, query } = traceRoute.value;
  if (fromUs === undefined || toUs === undefined) return null;
  const { least, most } = query;
  return (
    <p class="selection" role="status">
      <span>
        {formatTime(fromUs / 1000)} – {formatTime(toUs / 1000)} ({formatMs((toUs - fromUs) / 1000)})
        {least !== undefined &&
          ` · ${formatValue(Number(least), 'us')} – ${most === undefined ? 'longest' : formatValue(Number(most), 'us')} (calls alone)`}
      </span>
      <button type="button" onClick={() => brush(undefined)}>
        Clear selection
      </button>
    </p>
  );
}

export function TraceRun({ trace: id }: { trace: number }) {
  const { target, view, query } = traceRoute.value;
  const asked = useAsk<TraceWithRuns>(`/traces/${id}`, 2000);
  const trace = asked.value;
  if (trace === undefined) {
    return (
      <main>
        <p class="empty" role={asked.error === undefined ? 'status' : 'alert'}>
          {asked.status === 404
            ? `There is no trace ${id} that you may see. It was deleted, or it belongs to another team.`
            : (asked.error ?? 'Loading…')}
        </p>
      </main>
    );
  }
  const server = serversByTarget.value.get(target);
  const run = trace.runs.find((it) => it.run === query.run) ?? trace.runs[0];
  const active: View = view === 'statement' || view === 'transaction' ? 'top' : view;
  const takes = describeOptions(trace.options);
  return (
    <main>
      <header class="title">
        <h1>{trace.name}</h1>
        <TraceState trace={trace} />
        <span class="muted">
          {server !== undefined && <a href={`#/profiler/${target}`}>{server.name}</a>}
          {server !== undefined && ' · '}
          {takes.length === 0 ? 'every statement' : takes.join(' · ')}
        </span>
        <TraceActions trace={trace} onDone={(deleted) => (deleted ? goTo({ trace: 0 }) : asked.again())} />
      </header>
      {asked.error !== undefined && (
        <p class="warn" role="status">
          ▲ {asked.error} What is shown may be old.
        </p>
      )}
      <CostBanner trace={trace} run={run} />
      {run !== undefined && (
        <>
          <nav class="tabs" aria-label="Views of the trace">
            {tabs.map(([name, title]) => (
              <a
                key={name}
                href={traceLink({ view: name }, { key: undefined, pid: undefined, vxid: undefined })}
                {...(active === name ? { 'aria-current': 'page' as const } : {})}
              >
                {title}
              </a>
            ))}
            {trace.runs.length > 1 && (
              <label>
                Run{' '}
                <select
                  value={run.run}
                  onChange={(event) =>
                    goTo(
                      {},
                      {
                        run: event.currentTarget.value,
                        from: undefined,
                        to: undefined,
                        least: undefined,
                        most: undefined,
                      },
                    )
                  }
                >
                  {trace.runs.map((it) => (
                    <option key={it.run} value={it.run}>
                      {runTitle(it)}
                    </option>
                  ))}
                </select>
              </label>
            )}
          </nav>
          {active !== 'live' && <Selection />}
          <div key={`${run.run}/${view}`}>
            {view === 'top' && <TopStatements run={run.run} everyMs={refreshMs(run)} />}
            {view === 'statement' && (
              <StatementPage run={run.run} keyText={query.key ?? ''} everyMs={refreshMs(run)} />
            )}
            {view === 'statement' && <StatementPlans trace={trace} run={run.run} keyText={query.key ?? ''} />}
            {(view === 'top' || view === 'statement') && (
              <TraceAdvice trace={trace} run={run.run} only={view === 'statement' ? query.key : undefined} />
            )}
            {view === 'timeline' && <Timeline trace={trace} run={run} />}
            {view === 'calls' && <Calls trace={trace} run={run} />}
            {view === 'live' && <LiveTail trace={trace} run={run} />}
            {view === 'transaction' && <Transaction run={run.run} />}
            {view === 'compare' && <Compare trace={trace} run={run} />}
          </div>
        </>
      )}
    </main>
  );
}
