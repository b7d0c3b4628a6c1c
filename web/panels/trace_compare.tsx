/**
 * Two runs side by side, of this trace or another one of the server: each statement's figures there and here, and what changed.
 * Runs differ in length, so load is a share and calls are a second.
 */
import { useMemo } from 'preact/hooks';
import {
  type Run,
  refreshMs,
  type Statement,
  spanQuery,
  type TopAnswer,
  type Trace,
  type TraceWithRuns,
  useAsk,
} from '../store/trace.js';
import { Measures, statementText } from '../store/trace_measures.js';
import { goTo, traceLink, traceRoute } from '../store/trace_route.js';
import { DataTable, type TableColumn } from '../ui/DataTable.js';
import { formatTime, formatValue } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';

interface Pair {
  readonly key: string;
  readonly here: Statement | undefined;
  readonly there: Statement | undefined;
}

/** Statements of both runs by what identifies them. */
export function pairStatements(here: TopAnswer, there: TopAnswer): Pair[] {
  const others = new Map(there.statements.map((it) => [it.key, it]));
  const pairs: Pair[] = here.statements.map((it) => ({ key: it.key, here: it, there: others.get(it.key) }));
  const known = new Set(here.statements.map((it) => it.key));
  for (const it of there.statements)
    if (!known.has(it.key)) pairs.push({ key: it.key, here: undefined, there: it });
  return pairs;
}

function Change({ before, after, unit }: { before: number; after: number; unit: string }) {
  if (Number.isNaN(before) || Number.isNaN(after)) return <span>{formatValue(after, unit)}</span>;
  const ratio = before === 0 ? Number.NaN : after / before;
  // Within a tenth runs differ by chance.
  const kind = ratio > 1.1 ? 'error' : ratio < 0.9 ? 'good' : 'muted';
  return (
    <span>
      <span class="muted">{formatValue(before, unit)} → </span>
      {formatValue(after, unit)}
      {!Number.isNaN(ratio) && (
        <span class={kind}>
          {' '}
          {ratio > 1.1 ? '▲' : ratio < 0.9 ? '▼' : '·'} {ratio.toPrecision(2)}×
        </span>
      )}
    </span>
  );
}

const lengthS = (run: Run | undefined): number =>
  run?.startedAtUs == null ? Number.NaN : ((run.stoppedAtUs ?? run.reportedAtUs) - run.startedAtUs) / 1e6;

export function Compare({ trace, run }: { trace: Trace; run: Run }) {
  const { query, fromUs, toUs } = traceRoute.value;
  const list = useAsk<{ traces: readonly Trace[] }>(`/traces?targetId=${trace.targetId}`);
  const withTrace = Number(query.with) > 0 ? Number(query.with) : trace.id;
  const other = useAsk<TraceWithRuns>(`/traces/${withTrace}`);
  const runs = (other.value?.runs ?? []).filter((it) => withTrace !== trace.id || it.run !== run.run);
  const otherRun = runs.find((it) => it.run === query.withRun) ?? runs[0];
  const here = useAsk<TopAnswer>(
    `/traces/${trace.id}/top${spanQuery({ run: run.run, fromUs, toUs })}`,
    refreshMs(run),
  );
  const there = useAsk<TopAnswer>(
    otherRun === undefined ? undefined : `/traces/${withTrace}/top${spanQuery({ run: otherRun.run })}`,
    otherRun === undefined ? 0 : refreshMs(otherRun),
  );
  const pairs = useMemo(
    () =>
      here.value === undefined || there.value === undefined ? [] : pairStatements(here.value, there.value),
    [here.value, there.value],
  );
  const hereS = fromUs !== undefined && toUs !== undefined ? (toUs - fromUs) / 1e6 : lengthS(run);
  const thereS = lengthS(otherRun);
  const columns = useMemo((): readonly TableColumn<Pair>[] => {
    if (here.value === undefined || there.value === undefined) return [];
    const readHere = new Measures(here.value);
    const readThere = new Measures(there.value);
    const pair = (row: Pair, id: string): [before: number, after: number] => [
      row.there === undefined ? Number.NaN : readThere.read(row.there, id),
      row.here === undefined ? Number.NaN : readHere.read(row.here, id),
    ];
    const changed = (title: string, id: string, unit: string, minor: boolean): TableColumn<Pair> => ({
      title,
      value: (row) => {
        const [before, after] = pair(row, id);
        return after / before;
      },
      cell: (row) => {
        const [before, after] = pair(row, id);
        return <Change before={before} after={after} unit={unit} />;
      },
      numeric: true,
      minor,
    });
    return [
      {
        title: 'Statement',
        value: (row) => statementText((row.here ?? row.there) as Statement),
        cell: (row) =>
          row.here === undefined ? (
            <code class="muted">{statementText(row.there as Statement)}</code>
          ) : (
            <a href={traceLink({ view: 'statement' }, { key: row.key })}>
              <code>{statementText(row.here)}</code>
            </a>
          ),
      },
      {
        title: 'Load',
        value: (row) => pair(row, 'share')[1] || 0,
        cell: (row) => {
          const [before, after] = pair(row, 'share');
          if (Number.isNaN(before)) return <span>new, {formatValue(after, 'percent')}</span>;
          if (Number.isNaN(after))
            return <span class="muted">gone, was {formatValue(before, 'percent')}</span>;
          return (
            <span>
              <span class="muted">{formatValue(before, 'percent')} → </span>
              {formatValue(after, 'percent')}
            </span>
          );
        },
        numeric: true,
        minor: true,
      },
      changed('Mean', 'mean_us', 'us', false),
      changed('p95', 'p95_us', 'us', true),
      {
        title: 'Calls',
        value: (row) => pair(row, 'calls')[1] / hereS,
        cell: (row) => {
          const [before, after] = pair(row, 'calls');
          return (
            <span>
              <span class="muted">{formatValue(before / thereS, '/s')} → </span>
              {formatValue(after / hereS, '/s')}
            </span>
          );
        },
        numeric: true,
        minor: true,
      },
      changed('Blocks a call', 'blocks_call', '', true),
      {
        title: 'Failed',
        value: (row) => pair(row, 'error_share')[1],
        cell: (row) => {
          const [before, after] = pair(row, 'error_share');
          return `${formatValue(before, 'percent')} → ${formatValue(after, 'percent')}`;
        },
        numeric: true,
        minor: true,
      },
    ];
  }, [here.value, there.value, hereS, thereS]);
  const error = list.error ?? other.error ?? here.error ?? there.error;
  return (
    <Panel
      title="Compare"
      wide
      note="there → here; ▲ more than a tenth worse, ▼ more than a tenth better"
      error={pairs.length > 0 ? error : undefined}
    >
      <div class="tools">
        <label>
          With{' '}
          <select
            value={withTrace}
            onChange={(event) => goTo({}, { with: event.currentTarget.value, withRun: undefined })}
          >
            {(list.value?.traces ?? []).map((it) => (
              <option key={it.id} value={it.id}>
                {it.id === trace.id ? `${it.name} (this one)` : it.name}
              </option>
            ))}
          </select>
        </label>
        {runs.length > 0 && (
          <label>
            Run{' '}
            <select
              value={otherRun?.run}
              onChange={(event) => goTo({}, { withRun: event.currentTarget.value })}
            >
              {runs.map((it) => (
                <option key={it.run} value={it.run}>
                  {it.startedAtUs === null ? it.run : formatTime(it.startedAtUs / 1000)}
                </option>
              ))}
            </select>
          </label>
        )}
      </div>
      <DataTable
        key={`${withTrace}/${otherRun?.run}/${columns.length}`}
        label="Statements of two runs"
        rows={pairs}
        columns={columns}
        keyOf={(row) => row.key}
        sortBy={1}
        descending
        empty={
          error ??
          (other.value !== undefined && otherRun === undefined
            ? 'There is no other run to compare with. Choose another trace, or start this one again.'
            : here.value === undefined || there.value === undefined
              ? 'Loading…'
              : 'Neither run has a statement.')
        }
      />
    </Panel>
  );
}
