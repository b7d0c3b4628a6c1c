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

export const microseconds = (sql: string): string => `(extract(epoch FROM ${sql}) * 1000000)::int8`;
/** A moment as SQL that is exact to the µs. */
export const moment = (us: number): string =>
  `(timestamptz 'epoch' + ${Math.trunc(us)} * interval '1 microsecond')`;

/** What identifies a statement of a trace. */
const identity = ['database', 'username', 'nested', 'query_id', 'fingerprint'] as const;
export const keySql = `hash_record_extended(ROW(${identity.join(', ')}), 0)`;

export const runSql = `SELECT r.run, r.target_id, r.server_id, ${microseconds('r.started_at')} AS started_us,
    ${microseconds('r.stopped_at')} AS stopped_us
  FROM pem.trace_run r WHERE r.trace_id = $1 AND ($2::text IS NULL OR r.run = $2)
  ORDER BY r.started_at DESC NULLS FIRST LIMIT 1`;

export function within(run: TraceRun, span: Span, at: string): string {
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
