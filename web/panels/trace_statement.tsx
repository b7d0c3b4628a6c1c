/** One statement of a run: text, sums, figures over time, distribution, errors, slowest calls with plans where kept. */
import { useState } from 'preact/hooks';
import { probes } from '../store/fleet.js';
import {
  type Call,
  type CallsAnswer,
  type SeriesAnswer,
  spanQuery,
  type TopAnswer,
  useAsk,
} from '../store/trace.js';
import { allMeasures, Measures, statementText } from '../store/trace_measures.js';
import { traceRoute } from '../store/trace_route.js';
import { DataTable, type TableColumn } from '../ui/DataTable.js';
import { formatTime, formatValue } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';
import { CallDetail, CopyButton, preciseTime } from './trace_call.js';
import { TraceChart, tracePlots } from './trace_charts.js';
import { Distribution } from './trace_distribution.js';

type State = CallsAnswer['states'][number];

const stateColumns: readonly TableColumn<State>[] = [
  { title: 'SQLSTATE', value: (row) => row.sqlstate },
  { title: 'Errors', value: (row) => row.errors, numeric: true },
  { title: 'Cancelled', value: (row) => row.cancelled, numeric: true, minor: true },
  { title: 'Message, latest', value: (row) => row.error },
  {
    title: 'Last',
    value: (row) => row.lastUs,
    cell: (row) => (row.lastUs === null ? '–' : formatTime(row.lastUs / 1000)),
    minor: true,
  },
];

export function callColumns(onOpen: (call: Call) => void): readonly TableColumn<Call>[] {
  const number = (title: string, name: string, unit: string, minor = true): TableColumn<Call> => ({
    title,
    value: (call) => call[name] as number | null,
    cell: (call) => formatValue(call[name] as number | null, unit),
    numeric: true,
    minor,
  });
  return [
    number('Time', 'exec_us', 'us', false),
    {
      title: 'Ended',
      value: (call) => call.end_time as number,
      cell: (call) => preciseTime(call.end_time as number),
    },
    {
      title: 'Statement',
      value: (call) => String(call.query ?? ''),
      cell: (call) => (
        <button type="button" class="plain" onClick={() => onOpen(call)} title="Show this call">
          <code>{call.query ?? call.tag}</code>
        </button>
      ),
    },
    number('Rows', 'rows', ''),
    number('Hit', 'shared_hit', 'blocks'),
    number('Read', 'shared_read', 'blocks'),
    { title: 'PID', value: (call) => call.pid as number, numeric: true, minor: true },
    {
      title: 'SQLSTATE',
      value: (call) => call.sqlstate as string | null,
      cell: (call) => <span class="error">{call.sqlstate}</span>,
      minor: true,
    },
  ];
}

function Samples({ run, keyText }: { run: string; keyText: string }) {
  const { trace, fromUs, toUs } = traceRoute.value;
  const [order, setOrder] = useState<'slowest' | 'newest' | 'errors'>('slowest');
  const [open, setOpen] = useState<Call | undefined>(undefined);
  const asked = useAsk<CallsAnswer>(
    `/traces/${trace}/calls${spanQuery({ run, fromUs, toUs }, { key: keyText, order, limit: 100 })}`,
  );
  const answer = asked.value;
  const notLinked =
    answer?.linked === false
      ? 'Its calls carry neither query id nor fingerprint (an agent of an older version sent them), so they cannot be told from others.'
      : undefined;
  return (
    <Panel title="Calls" wide>
      <fieldset class="tools bare" aria-label="Which calls">
        {(['slowest', 'newest', 'errors'] as const).map((it) => (
          <button key={it} type="button" aria-pressed={order === it} onClick={() => setOrder(it)}>
            {it === 'errors' ? 'failed' : it}
          </button>
        ))}
      </fieldset>
      {order === 'errors' && answer !== undefined && answer.states.length > 0 && (
        <DataTable
          label="Errors by SQLSTATE"
          rows={answer.states}
          columns={stateColumns}
          keyOf={(row) => row.sqlstate}
          sortBy={1}
          descending
          empty=""
        />
      )}
      {open !== undefined && <CallDetail call={open} onClose={() => setOpen(undefined)} />}
      <DataTable
        key={order}
        label="Calls of the statement"
        rows={answer?.calls ?? []}
        columns={callColumns(setOpen)}
        keyOf={(call) => `${call.recorded_at}/${call.slot}/${call.line}`}
        sortBy={order === 'slowest' ? 0 : 1}
        descending
        pageSize={10}
        empty={
          answer === undefined
            ? (asked.error ?? 'Loading…')
            : (notLinked ??
              (order === 'errors'
                ? 'None of its calls failed, as far as they are kept one by one.'
                : 'No call of it was kept one by one.'))
        }
      />
    </Panel>
  );
}

/** @param everyMs how often the figures are asked for again; 0: once */
export function StatementPage({ run, keyText, everyMs }: { run: string; keyText: string; everyMs: number }) {
  const { trace, fromUs, toUs } = traceRoute.value;
  const top = useAsk<TopAnswer>(
    `/traces/${trace}/top${spanQuery({ run, fromUs, toUs }, { key: keyText })}`,
    everyMs,
  );
  const over = useAsk<SeriesAnswer>(
    `/traces/${trace}/series${spanQuery({ run, fromUs, toUs }, { key: keyText })}`,
    everyMs,
  );
  const statement = top.value?.statements[0];
  if (top.value === undefined || statement === undefined) {
    return (
      <Panel title="Statement" wide>
        <p class="empty">
          {top.value === undefined
            ? (top.error ?? 'Loading…')
            : fromUs === undefined
              ? 'This run has no such statement.'
              : 'It did not end in the chosen span. Clear the selection to see all of it.'}
        </p>
      </Panel>
    );
  }
  const reader = new Measures(top.value);
  const measures = allMeasures(
    top.value.measures,
    probes.value.get('sql_trace_statements')?.columns ?? [],
  ).filter(({ id }) => !['share', 'timed', 'planned', 'missed_calls', 'missed_us'].includes(id));
  const missed = reader.sum(statement, 'missed_calls');
  const text = statementText(statement);
  return (
    <>
      <Panel
        title="Statement"
        wide
        note={`${statement.database} · ${statement.username} · ${statement.nested ? 'nested' : 'top level'}${statement.queryId === '0' ? '' : ` · query id ${statement.queryId}`}`}
      >
        <pre class="sql">{text}</pre>
        <p>
          <CopyButton text={text} />
        </p>
        {missed > 0 && (
          <p class="warn">
            Up to {formatValue(missed, 'calls')} more may be its own: there were more statements than the
            agent keeps apart.
          </p>
        )}
        <dl class="figures">
          {measures
            .map((measure) => [measure, reader.read(statement, measure.id)] as const)
            .filter(([, value]) => !Number.isNaN(value))
            .map(([measure, value]) => (
              <div key={measure.id} title={measure.hint}>
                <dt>{measure.title}</dt>
                <dd>{formatValue(value, measure.unit)}</dd>
              </div>
            ))}
        </dl>
      </Panel>
      <div class="grid figures-grid">
        <Panel title="Latency distribution" note="time by powers of two">
          <Distribution histogram={statement.histogram} />
        </Panel>
        {over.value === undefined || over.value.steps.length === 0 ? (
          <Panel title="Over time">
            <p class="empty">{over.error ?? (over.value === undefined ? 'Loading…' : 'Nothing to draw.')}</p>
          </Panel>
        ) : (
          tracePlots.map((plot) => (
            <TraceChart key={plot.title} plot={plot} series={over.value as SeriesAnswer} />
          ))
        )}
      </div>
      <Samples run={run} keyText={keyText} />
    </>
  );
}
