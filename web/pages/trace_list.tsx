/** Traces of a server, or of all that the user sees: state, what they take, start, stop, delete, and the form of a new one. */
import { useEffect, useState } from 'preact/hooks';
import { CostBanner, TraceState } from '../panels/trace_banner.js';
import { UnmanagedServers } from '../panels/trace_unmanaged.js';
import { messageOf, sendJson } from '../store/api.js';
import { fleetKnown, servers, serversByTarget } from '../store/fleet.js';
import { mayManage, type Trace, type TraceSchedule, type TraceWithRuns, useAsk } from '../store/trace.js';
import { describeOptions } from '../store/trace_form.js';
import { goTo, traceLink } from '../store/trace_route.js';
import { DataTable, type TableColumn } from '../ui/DataTable.js';
import { formatAgo, formatTime, formatValue } from '../ui/format.js';
import { Missing } from '../ui/Missing.js';
import { Panel } from '../ui/Panel.js';
import { Removal } from '../ui/Removal.js';
import { NewTrace } from './trace_form.js';

export function describeSchedule(schedule: TraceSchedule | null): string {
  if (schedule === null) return 'when asked';
  if (schedule.kind === 'once') return `once, ${formatTime((schedule.atUs ?? 0) / 1000)}`;
  const zone = schedule.timezone === undefined ? '' : ` ${schedule.timezone}`;
  return schedule.kind === 'daily' ? `daily ${schedule.time}${zone}` : `cron ${schedule.pattern}${zone}`;
}

/** Start, stop, delete; a deletion is asked twice, in place. */
export function TraceActions({ trace, onDone }: { trace: Trace; onDone: (deleted: boolean) => void }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  if (!mayManage()) return null;
  const send = async (method: 'POST' | 'DELETE', path: string): Promise<void> => {
    setBusy(true);
    setError('');
    try {
      await sendJson(method, path);
      onDone(method === 'DELETE');
    } catch (refusal) {
      setError(messageOf(refusal));
    } finally {
      setBusy(false);
    }
  };
  const going = trace.pending
    ? trace.request === 'start'
    : ['starting', 'running', 'blocked'].includes(trace.state);
  return (
    <span class="actions">
      {going ? (
        <button type="button" disabled={busy} onClick={() => void send('POST', `/traces/${trace.id}/stop`)}>
          Stop
        </button>
      ) : (
        <button
          type="button"
          disabled={busy || trace.state === 'stopping'}
          onClick={() => void send('POST', `/traces/${trace.id}/start`)}
        >
          Start
        </button>
      )}
      <Removal
        word="Delete"
        name={trace.name}
        busy={busy}
        onSure={() => void send('DELETE', `/traces/${trace.id}`)}
      />
      {error !== '' && (
        <span class="error" role="alert">
          {error}
        </span>
      )}
    </span>
  );
}

/** What a running trace costs, beside the list. */
function RunningCost({ trace }: { trace: Trace }) {
  const asked = useAsk<TraceWithRuns>(`/traces/${trace.id}`, 2000);
  if (asked.value === undefined) return null;
  const link = traceLink({ target: trace.targetId, trace: trace.id, view: 'top' });
  return (
    <CostBanner
      trace={asked.value}
      run={asked.value.runs[0]}
      title={
        <h2>
          <TraceState trace={asked.value} /> <a href={link}>{trace.name}</a>
        </h2>
      }
    />
  );
}

/** A server runs at most eight at once. */
const mostBanners = 8;
/** Of a fleet many may wait for the same: the table has all of them. */
const mostTroubles = 5;
/** A list of a whole fleet is long: it is asked for less often. */
const longList = 200;

export function TraceList({ target }: { target: number }) {
  const server = serversByTarget.value.get(target);
  const [making, setMaking] = useState(false);
  const [everyMs, setEveryMs] = useState(3000);
  const asked = useAsk<{ traces: readonly Trace[] }>(
    `/traces${target === 0 ? '' : `?targetId=${target}`}`,
    everyMs,
  );
  const isLong = (asked.value?.traces.length ?? 0) > longList;
  useEffect(() => setEveryMs(isLong ? 15_000 : 3000), [isLong]);
  if (target !== 0 && server === undefined)
    return <Missing what={`server ${target}`} known={fleetKnown.value} />;
  const traces = asked.value?.traces ?? [];
  const columns: readonly TableColumn<Trace>[] = [
    {
      title: 'State',
      value: (trace) => trace.state,
      cell: (trace) => <TraceState trace={trace} />,
    },
    {
      title: 'Trace',
      value: (trace) => trace.name,
      cell: (trace) => (
        <a title={trace.name} href={traceLink({ target: trace.targetId, trace: trace.id, view: 'top' })}>
          {trace.name}
        </a>
      ),
    },
    ...(target === 0
      ? [
          {
            title: 'Server',
            value: (trace: Trace) => serversByTarget.value.get(trace.targetId)?.name ?? null,
            cell: (trace: Trace) => (
              <a href={`#/profiler/${trace.targetId}`}>
                {serversByTarget.value.get(trace.targetId)?.name ?? `server ${trace.targetId}`}
              </a>
            ),
          },
        ]
      : []),
    {
      title: 'Takes',
      value: (trace) => describeOptions(trace.options).join(' · '),
      cell: (trace) => {
        const list = describeOptions(trace.options);
        const text = list.length === 0 ? 'every statement' : list.join(' · ');
        return (
          <span class="muted" title={text}>
            {text}
          </span>
        );
      },
      minor: true,
    },
    {
      title: 'Calls',
      value: (trace) => (trace.events ? 1 : 0),
      cell: (trace) => (trace.events ? `≤ ${formatValue(trace.eventsPerS, '')}/s` : 'sums only'),
      minor: true,
    },
    { title: 'Starts', value: (trace) => describeSchedule(trace.schedule), minor: true },
    {
      title: 'Run length',
      value: (trace) => trace.durationS,
      cell: (trace) => (trace.durationS === null ? 'until stopped' : formatValue(trace.durationS, 's')),
      numeric: true,
      minor: true,
    },
    {
      title: 'Next run',
      value: (trace) => trace.nextAtUs,
      cell: (trace) => (trace.nextAtUs === null ? '–' : formatTime(trace.nextAtUs / 1000)),
      minor: true,
    },
    {
      title: 'Said',
      value: (trace) => trace.reportedAtUs,
      cell: (trace) => formatAgo(trace.reportedAtUs, Date.now()),
      numeric: true,
      minor: true,
    },
    {
      title: 'Actions',
      value: () => null,
      cell: (trace) => <TraceActions trace={trace} onDone={asked.again} />,
    },
  ];
  const blocked = traces.filter((trace) => trace.error !== null);
  return (
    <main>
      <header class="title">
        <h1>SQL profiler</h1>
        {server === undefined ? (
          <span class="muted">Traces of all servers</span>
        ) : (
          <>
            {server.managed ? <a href={`#/server/${target}`}>{server.name}</a> : <span>{server.name}</span>}
            <a href="#/profiler/0">all servers</a>
          </>
        )}
        {mayManage() && !making && (
          <button type="button" class="main push" onClick={() => setMaking(true)}>
            New trace
          </button>
        )}
      </header>
      {making && (
        <NewTrace
          target={target}
          onCancel={() => setMaking(false)}
          onMade={(id, of) => {
            setMaking(false);
            goTo({ target: of, trace: id, view: 'top' });
          }}
        />
      )}
      {blocked.slice(0, mostTroubles).map((trace) => (
        <p key={trace.id} class="warn" role="status">
          ▲ {trace.name}: {trace.error}
        </p>
      ))}
      {blocked.length > mostTroubles && (
        <p class="warn" role="status">
          ▲ {blocked.length - mostTroubles} more are in trouble: the page of each says why.
        </p>
      )}
      {traces
        .filter((trace) => trace.state === 'running')
        .slice(0, mostBanners)
        .map((trace) => (
          <RunningCost key={trace.id} trace={trace} />
        ))}
      <Panel title="Traces" wide error={asked.value === undefined ? undefined : asked.error}>
        <DataTable
          label="Traces"
          rows={traces}
          columns={columns}
          keyOf={(trace) => trace.id}
          sortBy={1}
          empty={
            asked.value === undefined
              ? (asked.error ?? 'Loading…')
              : servers.value.length === 0
                ? 'You see no server that could be traced. One without an agent can be added below by members of pem_admin.'
                : mayManage()
                  ? 'No trace yet. “New trace” starts one; the server needs the extension sql_profiler in shared_preload_libraries.'
                  : 'No trace yet. Traces are started by members of pem_admin.'
          }
        />
      </Panel>
      <UnmanagedServers target={target} />
    </main>
  );
}
