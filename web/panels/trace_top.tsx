/**
 * Statements of a run by any measure, with their share of the load. Columns are chosen by the reader and kept in the browser;
 * the order is of the column whose title was pressed, or of the measure chosen beside the filter.
 */
import { useMemo, useState } from 'preact/hooks';
import { probes } from '../store/fleet.js';
import { mayManage, type Statement, spanQuery, type TopAnswer, useAsk } from '../store/trace.js';
import {
  allMeasures,
  defaultMeasures,
  findStatements,
  Measures,
  statementText,
} from '../store/trace_measures.js';
import { traceLink, traceRoute } from '../store/trace_route.js';
import { DataTable, type TableColumn } from '../ui/DataTable.js';
import { formatValue } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';
import { ChooseStatement, ToAdvice } from './trace_advice.js';
import { ColumnChoice, useChoice } from './trace_choice.js';

/** A share as a bar behind its number. */
export function Share({ percent }: { percent: number }) {
  if (Number.isNaN(percent)) return <span class="muted">–</span>;
  return (
    <span class="share">
      <span class="part">
        <span style={{ width: `${Math.min(100, Math.max(0, percent)).toFixed(1)}%` }} />
      </span>
      <span>{formatValue(percent, 'percent')}</span>
    </span>
  );
}

/** Link to a statement's page, its text in one line. */
export function StatementLink({ statement }: { statement: Statement }) {
  return (
    <a href={traceLink({ view: 'statement' }, { key: statement.key })} title={statementText(statement)}>
      <code>{statementText(statement)}</code>
    </a>
  );
}

const noColumns: readonly never[] = [];

/** @param everyMs how often the figures are asked for again; 0: once */
export function TopStatements({ run, everyMs }: { run: string; everyMs: number }) {
  const { trace, fromUs, toUs } = traceRoute.value;
  const asked = useAsk<TopAnswer>(`/traces/${trace}/top${spanQuery({ run, fromUs, toUs })}`, everyMs);
  const [typed, setTyped] = useState('');
  const [order, setOrder] = useState('exec_us');
  const [chosen, choose] = useChoice('pem.trace.top', defaultMeasures);
  const answer = asked.value;
  const of = `${trace}/${run}`;
  const columnsOfProbe = probes.value.get('sql_trace_statements')?.columns ?? noColumns;
  const known = useMemo(
    () => (answer === undefined ? [] : allMeasures(answer.measures, columnsOfProbe)),
    [answer, columnsOfProbe],
  );
  const rows = useMemo(() => (answer === undefined ? [] : findStatements(answer, typed)), [answer, typed]);
  const shown = known.filter((measure) => chosen.includes(measure.id) || measure.id === order);
  const columns = useMemo((): readonly TableColumn<Statement>[] => {
    if (answer === undefined) return [];
    const reader = new Measures(answer);
    return [
      {
        title: 'Statement',
        value: statementText,
        cell: (row) => (
          <>
            {mayManage() && <ChooseStatement of={of} id={row.key} text={statementText(row)} />}
            <StatementLink statement={row} />
          </>
        ),
      },
      ...shown.map(
        (measure): TableColumn<Statement> => ({
          title: measure.title,
          value: (row) => reader.read(row, measure.id),
          cell: (row) => {
            const value = reader.read(row, measure.id);
            if (measure.id === 'share') return <Share percent={value} />;
            if (measure.id === 'errors' && value > 0)
              return (
                <a class="error" href={traceLink({ view: 'statement' }, { key: row.key })}>
                  {formatValue(value, '')}
                </a>
              );
            return formatValue(value, measure.unit);
          },
          numeric: true,
          minor: !['share', 'exec_us', 'calls', order].includes(measure.id),
        }),
      ),
      { title: 'Database', value: (row) => row.database, minor: true },
      { title: 'User', value: (row) => row.username, minor: true },
      ...(answer.statements.some((row) => row.nested)
        ? [
            {
              title: 'Level',
              value: (row: Statement) => (row.nested ? 'nested' : 'top'),
              cell: (row: Statement) => <span class="muted">{row.nested ? 'nested' : 'top'}</span>,
              minor: true,
            },
          ]
        : []),
    ];
  }, [answer, of, known, shown.map((measure) => measure.id).join(), order]);
  const sortBy = Math.max(0, 1 + shown.findIndex((measure) => measure.id === order));
  const notes = [
    answer === undefined
      ? undefined
      : `${formatValue(answer.allCalls, 'calls')}, ${formatValue(answer.allExecUs, 'us')} in all`,
    answer?.truncated === true
      ? `the first ${answer.statements.length} of ${answer.allStatements} by time`
      : undefined,
    (answer?.histogramEvery ?? 1) > 1
      ? `percentiles from one of ${answer?.histogramEvery} intervals`
      : undefined,
    (answer?.badHistograms ?? 0) > 0 ? `${answer?.badHistograms} histograms could not be read` : undefined,
  ].filter((note) => note !== undefined);
  return (
    <Panel
      title="Top statements"
      wide
      note={notes.join(' · ') || undefined}
      error={answer === undefined ? undefined : asked.error}
    >
      <div class="tools">
        <input
          type="search"
          class="filter"
          placeholder="Find in text, database, user, SQLSTATE"
          aria-label="Find statements"
          value={typed}
          onInput={(event) => setTyped(event.currentTarget.value)}
        />
        <label>
          By{' '}
          <select
            value={order}
            onChange={(event) => setOrder(event.currentTarget.value)}
            aria-label="Order by"
          >
            {known.map((measure) => (
              <option key={measure.id} value={measure.id}>
                {measure.title}
              </option>
            ))}
          </select>
        </label>
        <ColumnChoice options={known} chosen={chosen} onChange={choose} />
        <ToAdvice of={of} />
      </div>
      <DataTable
        key={`${order}/${sortBy}/${shown.length}`}
        label="Top statements"
        rows={rows}
        columns={columns}
        keyOf={(row) => row.key}
        sortBy={sortBy}
        descending
        empty={
          answer === undefined
            ? (asked.error ?? 'Loading…')
            : typed !== ''
              ? `No statement contains “${typed}”.`
              : fromUs !== undefined
                ? 'No statement ended in the chosen span. Clear the selection to see all.'
                : 'No statement yet: sums come every 10 s while the trace runs and statements match its filters.'
        }
      />
    </Panel>
  );
}
