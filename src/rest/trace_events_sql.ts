/**
 * SQL for the calls of a run, as trace_data_sql.ts has it for its statements. In: a run, checked numbers, columns' names; out:
 * SQL for one read in the user's own role, which gives calls as a trace file has them: what rows leave out
 * (src/wire/events.ts) is put back here, and rows of agents before that form read the same.
 */
import { type ColumnSpec, csvColumns } from '../../native/index.js';
import { quoteName } from '../base/reader.js';
import { sqlTraceEvents } from '../catalog/probes/sql_trace_events.js';
import { eventFlags, eventNames, zeroBit } from '../wire/index.js';
import { microseconds, moment, type Span, type TraceRun, within } from './trace_data_sql.js';

const events = 'pemhistory.sql_trace_events';
const kept = new Map(sqlTraceEvents.columns.map((column) => [column.name, column]));

/** Columns a page may ask of calls, in a trace file's order. Names are texts here. */
export const eventColumns: readonly ColumnSpec[] = [
  { name: 'recorded_at', type: 'timestamptz' },
  ...csvColumns
    .filter(({ name }) => kept.has(name))
    .map(({ name, type }) => ({ name, type: type === 'name' ? ('text' as const) : type })),
  { name: 'fingerprint', type: 'int8' },
];
/** Those that may be long. */
export const longColumns: ReadonlySet<string> = new Set(['query', 'params', 'plan', 'error']);

const storedAs = new Map(Object.entries(eventNames).map(([stored, name]) => [name, stored]));
const ownFlags = eventFlags.sample | eventFlags.noText;

/** A column's value of a row called `row`, as the trace file had it; of query only what the row itself holds. */
function partOf(name: string, row: string): string {
  const column = `${row}.${quoteName(name)}`;
  const stored = storedAs.get(name);
  if (stored !== undefined) return `coalesce(${row}.${quoteName(stored)}, ${column}::text)`;
  if (name === 'flags') return `(coalesce(${column}, 0) & ~${ownFlags})`;
  const bit = zeroBit(name);
  return bit === 0 ? column : `coalesce(${column}, CASE WHEN ${row}.zeros & ${bit} <> 0 THEN 0 END)`;
}

export interface EventFilter extends Span {
  /** Least execution time. */
  readonly minUs?: number | undefined;
  readonly errors?: boolean | undefined;
}

function fromEvents(run: TraceRun, filter: EventFilter): string {
  const least = filter.minUs === undefined ? '' : ` AND exec_us >= ${Math.trunc(filter.minUs)}`;
  const failed = filter.errors === true ? ' AND sqlstate IS NOT NULL' : '';
  return `FROM ${events} e WHERE ${within(run, filter, 'end_time')}${least}${failed}`;
}

/** Texts that rows without one share: `when` says at which moments. One each, also where a clock went back. */
function samplesSql(run: TraceRun, when: string): string {
  return `SELECT DISTINCT ON (recorded_at, fingerprint) recorded_at, fingerprint, query FROM ${events}
    WHERE target_id = ${BigInt(run.target)} AND trace = ${run.serverId ?? 0} AND flags & ${eventFlags.sample} <> 0 AND ${when}
    ORDER BY recorded_at, fingerprint, slot, line`;
}
const joinSamples = (row: string): string =>
  `ON s.recorded_at = ${row}.recorded_at AND s.fingerprint = ${row}.fingerprint AND ${row}.query IS NULL
    AND coalesce(${row}.flags, 0) & ${eventFlags.noText} = 0`;

/** When the first and the last call of a run were recorded; NULL: it has none. */
export function callsExtentSql(run: TraceRun): string {
  const edge = (order: string): string =>
    `(SELECT ${microseconds('recorded_at')} ${fromEvents(run, {})} ORDER BY recorded_at ${order} LIMIT 1)`;
  return `SELECT ${edge('ASC')} AS from_us, ${edge('DESC')} AS to_us`;
}

/** Where a page of calls ends: the first moment that is not in it. */
export function pageEndSql(
  run: TraceRun,
  filter: EventFilter,
  afterUs: number,
  endUs: number | undefined,
  limit: number,
): string {
  const end = endUs === undefined ? '' : ` AND recorded_at < ${moment(endUs)}`;
  return `SELECT ${microseconds('recorded_at')} AS us ${fromEvents(run, filter)} AND recorded_at >= ${moment(afterUs)}${end}
    ORDER BY recorded_at OFFSET ${Math.trunc(limit)} LIMIT 1`;
}

/**
 * For the transaction that pages are read in: rows come by the index, in their order, and nothing is sorted. (The planner
 * takes a bitmap and a sort of the whole page otherwise, at twice the time, and compiles that.)
 */
export const pageSettings = ['enable_bitmapscan', 'enable_seqscan', 'enable_sort', 'jit']
  .map((name) => `SET LOCAL ${name} = off`)
  .concat('SET LOCAL max_parallel_workers_per_gather = 0')
  .join('; ');

/**
 * Calls of a page in the order of recorded_at, of one moment as they were stored: the same each time, under pageSettings,
 * since calls are only ever added. `limit` undefined: all there are.
 */
export function pageSql(
  run: TraceRun,
  filter: EventFilter,
  afterUs: number,
  endUs: number | undefined,
  columns: readonly ColumnSpec[],
  limit: number | undefined,
): string {
  const end = endUs === undefined ? '' : ` AND recorded_at < ${moment(endUs)}`;
  const span = `recorded_at >= ${moment(afterUs)}${end}`;
  const most = limit === undefined ? '' : ` LIMIT ${Math.trunc(limit)}`;
  const rows = `${fromEvents(run, filter)} AND ${span} ORDER BY recorded_at${most}`;
  const withText = columns.some(({ name }) => name === 'query');
  const list = columns
    .map(({ name }) => (name === 'query' ? 'coalesce(e.query, s.query)' : partOf(name, 'e')))
    .join(', ');
  const query = withText
    ? `WITH e AS MATERIALIZED (SELECT e.*, row_number() OVER (ORDER BY recorded_at) AS place ${rows})
       SELECT ${list} FROM e
       LEFT JOIN (${samplesSql(run, `${span} AND recorded_at <= (SELECT max(recorded_at) FROM e)`)}) s ${joinSamples('e')}
       ORDER BY e.place`
    : `SELECT ${list} ${rows}`;
  return `COPY (${query}) TO STDOUT (FORMAT binary)`;
}

/** A call with all its columns; `e` is its row, `s` the text it shares. */
const callList = eventColumns
  .map(({ name, type }) => {
    const value = name === 'query' ? 'coalesce(e.query, s.query)' : partOf(name, 'e');
    const shown =
      type === 'timestamptz' ? microseconds(value) : longColumns.has(name) ? `left(${value}, 65536)` : value;
    return `${shown} AS ${quoteName(name)}`;
  })
  .join(', ');

export const callOrders = ['slowest', 'newest', 'errors', 'time'] as const;
export type CallOrder = (typeof callOrders)[number];

/** Statements whose aggregates go by their query id; those of commands go by their fingerprint. */
const planned = "('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MERGE')";

/**
 * What calls are chosen by: $1 database, $2 username, $3 nested, $4 query id, $5 pid, $6 vxid, $7 fingerprint; null: any.
 * With both numbers calls that have no query id are the statement's by their fingerprint; with a fingerprint alone those that
 * have one are not, unless they are commands.
 */
const chosenBy = `($1::text IS NULL OR ${partOf('database', 'e')} = $1) AND ($2::text IS NULL OR ${partOf('username', 'e')} = $2)
      AND ($3::bool IS NULL OR (${partOf('parent', 'e')} <> 0) = $3)
      AND ($4::int8 IS NULL OR query_id = $4 OR (fingerprint = $7 AND coalesce(query_id, 0) = 0))
      AND ($5::int4 IS NULL OR pid = $5) AND ($6::text IS NULL OR vxid = $6)
      AND ($7::int8 IS NULL OR $4::int8 IS NOT NULL
        OR (fingerprint = $7 AND (coalesce(query_id, 0) = 0 OR coalesce(tag, '') NOT IN ${planned})))`;

/** Single calls, whole. Parameters: see chosenBy. */
export function callsSql(run: TraceRun, filter: EventFilter, order: CallOrder, limit: number): string {
  const by = {
    slowest: 'e.exec_us DESC NULLS LAST',
    newest: 'e.end_time DESC',
    errors: 'e.end_time DESC',
    time: 'e.end_time, e.serial',
  }[order];
  // Texts are taken from their own storage for the rows that are wanted alone.
  return `WITH e AS MATERIALIZED (SELECT e.* ${fromEvents(run, { ...filter, errors: order === 'errors' || filter.errors })}
      AND ${chosenBy} ORDER BY ${by} LIMIT ${limit})
    SELECT ${callList} FROM e
      LEFT JOIN (${samplesSql(run, 'recorded_at IN (SELECT e.recorded_at FROM e)')}) s ${joinSamples('e')}
    ORDER BY ${by}`;
}

/** Errors of calls by SQLSTATE; parameters as callsSql. */
export function statesSql(run: TraceRun, filter: EventFilter): string {
  return `SELECT sqlstate, count(*) AS errors, count(*) FILTER (WHERE flags & 32 <> 0) AS cancelled,
      ${microseconds('min(end_time)')} AS first_us, ${microseconds('max(end_time)')} AS last_us,
      left((array_agg(error ORDER BY end_time DESC) FILTER (WHERE error IS NOT NULL))[1], 1000) AS error
    ${fromEvents(run, { ...filter, errors: true })} AND ${chosenBy}
    GROUP BY sqlstate ORDER BY 2 DESC LIMIT 100`;
}

/**
 * Slot and line of the calls recorded from `afterUs` up to `endUs` that have each of `words` parameters' words ($1, $2, …)
 * somewhere in the text as it ran, its parameters, its message or its names; in any case of letters.
 */
export function foundSql(
  run: TraceRun,
  afterUs: number,
  endUs: number,
  words: number,
  limit: number,
): string {
  const span = `recorded_at >= ${moment(afterUs)} AND recorded_at < ${moment(endUs)}`;
  const names = ['tag', 'database', 'username', 'application', 'sqlstate'].map((name) => partOf(name, 'e'));
  const all = ['coalesce(e.query, s.query)', 'e.params', 'e.error', ...names].join(', ');
  const holds = Array.from({ length: words }, (_, n) => `strpos(t.words, lower($${n + 1})) > 0`).join(
    ' AND ',
  );
  return `SELECT e.slot, e.line FROM (SELECT * ${fromEvents(run, {})} AND ${span}) e
    LEFT JOIN (${samplesSql(run, span)}) s ${joinSamples('e')}
    CROSS JOIN LATERAL (SELECT lower(concat_ws(' ', ${all})) AS words OFFSET 0) t
    WHERE ${holds} LIMIT ${Math.trunc(limit)}`;
}

/** Whether an agent that sends no fingerprints recorded calls of a run. */
export function unnamedSql(run: TraceRun): string {
  return `SELECT EXISTS (SELECT ${fromEvents(run, {})} AND fingerprint IS NULL) AS found`;
}

/** Chosen calls, whole. $1 recorded_at (µs), $2 slots, $3 lines: arrays of one length; `moments` are those of $1. */
export function chosenSql(run: TraceRun, moments: readonly number[]): string {
  const at = `recorded_at IN (${moments.map(moment).join(', ')})`;
  return `SELECT w.n, ${callList}
    FROM unnest($1::int8[], $2::int4[], $3::int8[]) WITH ORDINALITY AS w(us, wanted_slot, wanted_line, n)
    JOIN (SELECT * FROM ${events} WHERE target_id = ${BigInt(run.target)} AND trace = ${run.serverId ?? 0} AND ${at}) e
      ON ${microseconds('e.recorded_at')} = w.us AND e.slot = w.wanted_slot AND e.line = w.wanted_line
    LEFT JOIN (${samplesSql(run, at)}) s ${joinSamples('e')}`;
}
