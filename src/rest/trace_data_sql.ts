/**
 * The statements behind a trace's pages. In: a run of a trace as the database has it, column names of the catalogue and
 * checked numbers; out: SQL for one read in the user's own role. No text of a user is in it: a statement of a trace is named
 * by a number, its key, which the database computes from what identifies it.
 *
 * Time: aggregates stand at their last end (last_at), calls at their end (end_time), both by the traced server's clock;
 * recorded_at, by which history is indexed, is later. `skewUs` is how much earlier a wrong clock may make it.
 */
import type { ColumnSpec } from '../../native/index.js';
import { quoteName } from '../base/reader.js';
import { sqlTraceEvents } from '../catalog/probes/sql_trace_events.js';
import { sqlTraceStatements } from '../catalog/probes/sql_trace_statements.js';

/** One run of a trace, found by its user. */
export interface TraceRun {
  readonly run: string;
  readonly target: string;
  /** Column trace of the rows; null: the server has not begun it. */
  readonly serverId: number | null;
  readonly startedUs: number | null;
  readonly stoppedUs: number | null;
}

export interface Span {
  readonly fromUs?: number | undefined;
  readonly toUs?: number | undefined;
}

const skewUs = 600_000_000;
const dayUs = 86_400_000_000;

/** Columns of sql_trace_statements that are added up, in the catalogue's order. */
export const sums: readonly string[] = sqlTraceStatements.columns
  .filter((column) => column.kind === 'gauge' && !['min_us', 'max_us'].includes(column.name))
  .map((column) => column.name);

/** Columns a page may ask of calls. */
export const eventColumns: readonly ColumnSpec[] = [
  { name: 'recorded_at', type: 'timestamptz' },
  ...sqlTraceEvents.columns.map(({ name, type }) => ({ name, type })),
];
/** Those that may be long. */
export const longColumns: ReadonlySet<string> = new Set(['query', 'params', 'plan', 'error']);

export const microseconds = (sql: string): string => `(extract(epoch FROM ${sql}) * 1000000)::int8`;
/** A moment as SQL that is exact to the µs. */
const moment = (us: number): string => `(timestamptz 'epoch' + ${Math.trunc(us)} * interval '1 microsecond')`;

/** What identifies a statement of a trace. */
const identity = ['database', 'username', 'nested', 'query_id', 'fingerprint'] as const;
export const keySql = `hash_record_extended(ROW(${identity.join(', ')}), 0)`;

export const runSql = `SELECT r.run, r.target_id, r.server_id, ${microseconds('r.started_at')} AS started_us,
    ${microseconds('r.stopped_at')} AS stopped_us
  FROM pem.trace_run r WHERE r.trace_id = $1 AND ($2::text IS NULL OR r.run = $2)
  ORDER BY r.started_at DESC NULLS FIRST LIMIT 1`;

function within(run: TraceRun, span: Span, at: string): string {
  const conditions = [`target_id = ${BigInt(run.target)}`, `trace = ${run.serverId ?? 0}`];
  const from = Math.max(run.startedUs ?? 0, span.fromUs ?? 0);
  if (from > 0) conditions.push(`recorded_at >= ${moment(from - skewUs)}`);
  // An agent that was behind may have read the last rows long after the end; the next run has another number.
  if (run.stoppedUs !== null) conditions.push(`recorded_at < ${moment(run.stoppedUs + dayUs)}`);
  if (span.fromUs !== undefined) conditions.push(`${at} >= ${moment(span.fromUs)}`);
  if (span.toUs !== undefined) conditions.push(`${at} < ${moment(span.toUs)}`);
  return conditions.join(' AND ');
}

const statementAt = 'coalesce(last_at, recorded_at)';
const statements = 'pemhistory.sql_trace_statements';
const events = 'pemhistory.sql_trace_events';

function fromStatements(run: TraceRun, span: Span, key: string | undefined): string {
  const one = key === undefined ? '' : ` AND ${keySql} = ${BigInt(key)}`;
  return `FROM ${statements} WHERE ${within(run, span, statementAt)}${one}`;
}

const sumList = sums.map((name) => `sum(${quoteName(name)})::float8 AS ${quoteName(name)}`).join(', ');

/** Statements with the most execution time first. */
export function topSql(run: TraceRun, span: Span, key: string | undefined, limit: number): string {
  return `SELECT s.*, left(t.text, ${key === undefined ? 600 : 65_536}) AS text
    FROM (SELECT ${keySql} AS key, ${identity.join(', ')}, max(tag) AS tag,
        (array_agg(last_sqlstate ORDER BY last_at DESC) FILTER (WHERE last_sqlstate IS NOT NULL))[1] AS last_sqlstate,
        ${microseconds('min(first_at)')} AS first_us, ${microseconds('max(last_at)')} AS last_us,
        min(min_us) AS min_us, max(max_us) AS max_us, ${sumList},
        count(*) OVER () AS all_statements, sum(count(*)) OVER () AS all_rows,
        coalesce(sum(sum(exec_us)) FILTER (WHERE NOT nested) OVER (), 0)::float8 AS all_exec_us,
        coalesce(sum(sum(calls)) FILTER (WHERE NOT nested) OVER (), 0)::float8 AS all_calls
      ${fromStatements(run, span, key)} GROUP BY ${identity.join(', ')}
      ORDER BY sum(exec_us) DESC NULLS LAST, 1 LIMIT ${limit}) s
    LEFT JOIN pemdata.sql_trace_texts t
      ON t.target_id = ${BigInt(run.target)} AND t.fingerprint = s.fingerprint AND NOT t._gone
    ORDER BY s.exec_us DESC NULLS LAST, s.key`;
}

/**
 * Histograms, one row as it was recorded: its group and its text. `everyNth`: of so many intervals one;
 * `topLevel`: without nested statements.
 */
export function histogramSql(
  run: TraceRun,
  span: Span,
  key: string | undefined,
  group: string,
  everyNth: number,
  topLevel = false,
): { sql: string; columns: ColumnSpec[] } {
  const top = topLevel ? ' AND NOT nested' : '';
  const some =
    everyNth <= 1 ? '' : ` AND ${microseconds('recorded_at')} / 10000000 % ${Math.trunc(everyNth)} = 0`;
  return {
    sql: `COPY (SELECT ${group}, histogram ${fromStatements(run, span, key)} AND histogram IS NOT NULL${top}${some}) TO STDOUT (FORMAT binary)`,
    columns: [
      { name: 'group', type: 'int8' },
      { name: 'histogram', type: 'text' },
    ],
  };
}

/** Number of the step that an aggregate belongs to. */
export const stepSql = (stepMs: number): string =>
  `(${microseconds(statementAt)} / ${Math.trunc(stepMs) * 1000})::int8`;

/** Sums per step, of one statement or of all that are not nested. */
export function seriesSql(run: TraceRun, span: Span, key: string | undefined, stepMs: number): string {
  const top = key === undefined ? ' AND NOT nested' : '';
  return `SELECT ${stepSql(stepMs)} AS step, max(max_us) AS max_us, count(*) AS all_rows, ${sumList}
    ${fromStatements(run, span, key)}${top} GROUP BY 1 ORDER BY 1`;
}

/** When the first and the last aggregate ended. */
export function extentSql(run: TraceRun): string {
  return `SELECT ${microseconds(`min(${statementAt})`)} AS from_us, ${microseconds(`max(${statementAt})`)} AS to_us
    FROM ${statements} WHERE ${within(run, {}, statementAt)}`;
}

export interface EventFilter extends Span {
  /** Least execution time. */
  readonly minUs?: number | undefined;
  readonly errors?: boolean | undefined;
}

function fromEvents(run: TraceRun, filter: EventFilter): string {
  const least = filter.minUs === undefined ? '' : ` AND exec_us >= ${Math.trunc(filter.minUs)}`;
  const failed = filter.errors === true ? ' AND sqlstate IS NOT NULL' : '';
  return `FROM ${events} WHERE ${within(run, filter, 'end_time')}${least}${failed}`;
}

/** Where a page of calls ends: the first moment that is not in it. */
export function pageEndSql(run: TraceRun, filter: EventFilter, afterUs: number, limit: number): string {
  return `SELECT ${microseconds('recorded_at')} AS us ${fromEvents(run, filter)} AND recorded_at >= ${moment(afterUs)}
    ORDER BY recorded_at OFFSET ${limit} LIMIT 1`;
}

/** Calls of a page in the order (recorded_at, slot, line), which is the same each time. */
export function pageSql(
  run: TraceRun,
  filter: EventFilter,
  afterUs: number,
  endUs: number | undefined,
  columns: readonly ColumnSpec[],
): string {
  const end = endUs === undefined ? '' : ` AND recorded_at < ${moment(endUs)}`;
  return `COPY (SELECT ${columns.map(({ name }) => quoteName(name)).join(', ')} ${fromEvents(run, filter)}
    AND recorded_at >= ${moment(afterUs)}${end} ORDER BY recorded_at, slot, line) TO STDOUT (FORMAT binary)`;
}

const callList = eventColumns
  .map(({ name, type }) =>
    type === 'timestamptz'
      ? `${microseconds(quoteName(name))} AS ${quoteName(name)}`
      : longColumns.has(name)
        ? `left(${quoteName(name)}, 65536) AS ${quoteName(name)}`
        : quoteName(name),
  )
  .join(', ');

export const callOrders = ['slowest', 'newest', 'errors', 'time'] as const;
export type CallOrder = (typeof callOrders)[number];

/** Single calls, whole. $1 database, $2 username, $3 nested, $4 query id, $5 pid, $6 vxid; null: any. */
export function callsSql(run: TraceRun, filter: EventFilter, order: CallOrder, limit: number): string {
  const by = {
    slowest: 'exec_us DESC NULLS LAST',
    newest: 'end_time DESC',
    errors: 'end_time DESC',
    time: 'end_time, serial',
  }[order];
  // Texts are taken from their own storage for the rows that are wanted alone.
  return `SELECT ${callList} FROM (SELECT * ${fromEvents(run, { ...filter, errors: order === 'errors' })}
      AND ($1::name IS NULL OR database = $1) AND ($2::name IS NULL OR username = $2)
      AND ($3::bool IS NULL OR (parent <> 0) = $3) AND ($4::int8 IS NULL OR query_id = $4)
      AND ($5::int4 IS NULL OR pid = $5) AND ($6::text IS NULL OR vxid = $6)
      ORDER BY ${by} LIMIT ${limit}) e
    ORDER BY ${by}`;
}

/** Errors of calls by SQLSTATE; parameters as callsSql. */
export function statesSql(run: TraceRun, filter: EventFilter): string {
  return `SELECT sqlstate, count(*) AS errors, count(*) FILTER (WHERE flags & 32 <> 0) AS cancelled,
      ${microseconds('min(end_time)')} AS first_us, ${microseconds('max(end_time)')} AS last_us,
      left((array_agg(error ORDER BY end_time DESC) FILTER (WHERE error IS NOT NULL))[1], 1000) AS error
    ${fromEvents(run, { ...filter, errors: true })}
    AND ($1::name IS NULL OR database = $1) AND ($2::name IS NULL OR username = $2)
    AND ($3::bool IS NULL OR (parent <> 0) = $3) AND ($4::int8 IS NULL OR query_id = $4)
    AND ($5::int4 IS NULL OR pid = $5) AND ($6::text IS NULL OR vxid = $6)
    GROUP BY sqlstate ORDER BY 2 DESC LIMIT 100`;
}

/** Chosen calls, whole. $1 recorded_at (µs), $2 slots, $3 lines: arrays of one length; `moments` are those of $1. */
export function chosenSql(run: TraceRun, moments: readonly number[]): string {
  return `SELECT w.n, e.*
    FROM unnest($1::int8[], $2::int4[], $3::int8[]) WITH ORDINALITY AS w(us, wanted_slot, wanted_line, n)
    JOIN (SELECT ${callList} FROM ${events} WHERE target_id = ${BigInt(run.target)} AND trace = ${run.serverId ?? 0}
        AND recorded_at IN (${moments.map(moment).join(', ')})) e
      ON e.recorded_at = w.us AND e.slot = w.wanted_slot AND e.line = w.wanted_line`;
}
