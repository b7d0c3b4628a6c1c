/**
 * The statement behind a chart's past. In: a probe's definition and checked numbers; out: one COPY and the columns that it
 * yields. Every name comes from the catalogue, every value is a number, but the one key asked for: its text is in the
 * statement as hexadecimal digits.
 */
import type { ColumnSpec } from '../../native/index.js';
import { quoteName } from '../base/reader.js';
import type { ProbeDefinition } from '../catalog/types.js';
import type { ColumnType, ProbeColumn } from '../wire/config.js';

export const aggregates = ['avg', 'min', 'max', 'last'] as const;
export type Aggregate = (typeof aggregates)[number];

export interface HistoryRequest {
  readonly target: number;
  readonly fromUs: number;
  readonly toUs: number;
  /** 0: rows as they were recorded. */
  readonly stepMs: number;
  /** How often the probe runs on the target. */
  readonly intervalMs: number;
  /** Metrics wanted; keys are always there. */
  readonly metrics: readonly ProbeColumn[];
  /** Undefined: avg for gauges, last for counters and labels. */
  readonly aggregate: Aggregate | undefined;
  /** Rows of one value of a key column alone. */
  readonly key?: { readonly column: string; readonly value: string } | undefined;
  readonly limit: number;
}

/**
 * The step for a span, ms; 0: rows as they were recorded. Raw where these are no more than `steps` moments, in any case so
 * coarse that `keys` rows a moment stay below `maxRows`.
 */
export function chooseStepMs(wanted: {
  spanMs: number;
  intervalMs: number;
  keys: number;
  steps: number;
  maxRows: number;
}): number {
  // One moment more than the span has steps: bins begin at round times.
  const most = Math.max(1, Math.floor(wanted.maxRows / wanted.keys) - 2);
  const stepMs = Math.ceil(wanted.spanMs / Math.min(wanted.steps, most));
  return stepMs <= wanted.intervalMs ? 0 : stepMs;
}

const numbers: ReadonlySet<ColumnType> = new Set<ColumnType>([
  'int2',
  'int4',
  'int8',
  'float4',
  'float8',
  'numeric',
]);
const ordered: ReadonlySet<ColumnType> = new Set<ColumnType>([
  ...numbers,
  'timestamptz',
  'interval',
  'pg_lsn',
]);

/** Of a long step the part at its end in which the last value is looked for: a twentieth, and a few samples at least. */
function endOfStepMs(stepMs: number, intervalMs: number): number {
  return Math.max(5 * intervalMs, Math.ceil(stepMs / 20));
}

function pick(
  column: ProbeColumn,
  wanted: Aggregate | undefined,
): { sql: string; type: ColumnType; isLast?: true } {
  const name = quoteName(column.name);
  const aggregate = wanted ?? (column.kind === 'gauge' ? 'avg' : 'last');
  if (aggregate === 'avg' && numbers.has(column.type)) return { sql: `avg(${name})::float8`, type: 'float8' };
  if ((aggregate === 'min' || aggregate === 'max') && ordered.has(column.type)) {
    return { sql: `${aggregate}(${name})`, type: column.type };
  }
  // What cannot be averaged or ordered is taken as it stood at the end of the step.
  return { sql: `(array_agg(${name} ORDER BY recorded_at DESC))[1]`, type: column.type, isLast: true };
}

/** A moment as SQL that is exact to the µs. */
const moment = (us: number): string => `(timestamptz 'epoch' + ${us} * interval '1 microsecond')`;

export function historySql(
  definition: ProbeDefinition,
  request: HistoryRequest,
): { sql: string; columns: ColumnSpec[] } {
  const keys = definition.columns.filter((column) => column.role === 'key');
  const keyNames = keys.map((column) => quoteName(column.name));
  // Rows that say "this key is gone" are not measurements.
  const gone = definition.mode === 'delta' ? ' AND NOT gone' : '';
  const { key } = request;
  const one =
    key === undefined
      ? ''
      : ` AND ${quoteName(key.column)}::text = (SELECT convert_from('\\x${Buffer.from(key.value).toString('hex')}', 'UTF8'))`;
  const from = `FROM pemhistory.${quoteName(definition.name)} WHERE target_id = ${request.target}
    AND recorded_at >= ${moment(request.fromUs)} AND recorded_at < ${moment(request.toUs)}${gone}${one}`;
  const order = ['recorded_at', ...keyNames].join(', ');
  const spec = ({ name, type }: { name: string; type: ColumnType }): ColumnSpec => ({ name, type });
  const time: ColumnSpec = { name: 'recorded_at', type: 'timestamptz' };
  if (request.stepMs === 0) {
    const columns = [...keys, ...request.metrics];
    const list = ['recorded_at', ...columns.map((column) => quoteName(column.name))].join(', ');
    return {
      sql: `COPY (SELECT ${list} ${from} ORDER BY ${order} LIMIT ${request.limit}) TO STDOUT (FORMAT binary)`,
      columns: [time, ...columns.map(spec)],
    };
  }
  const picked = request.metrics.map((column) => ({ ...pick(column, request.aggregate), name: column.name }));
  const endMs = endOfStepMs(request.stepMs, request.intervalMs);
  // A delta's rows come when something changed: the last one may be anywhere in the step.
  if (
    request.aggregate === undefined &&
    definition.mode === 'full' &&
    picked.every(({ isLast }) => isLast === true) &&
    4 * endMs < request.stepMs
  ) {
    const names = picked.map(({ name }) => quoteName(name));
    return {
      sql: lastOfSteps(`pemhistory.${quoteName(definition.name)}`, keyNames, names, request, endMs, one),
      columns: [time, ...keys.map(spec), ...picked.map(spec)],
    };
  }
  const bin = `date_bin(interval '${request.stepMs} milliseconds', recorded_at, timestamptz 'epoch')`;
  const list = [
    `${bin} AS step`,
    ...keyNames,
    ...picked.map(({ sql, name }) => `${sql} AS ${quoteName(name)}`),
  ];
  const group = ['1', ...keyNames].join(', ');
  const steps = ['step', ...keyNames].join(', ');
  return {
    sql: `COPY (SELECT ${list.join(', ')} ${from} GROUP BY ${group} ORDER BY ${steps} LIMIT ${request.limit}) TO STDOUT (FORMAT binary)`,
    columns: [time, ...keys.map(spec), ...picked.map(spec)],
  };
}

/**
 * The last row of each step, looked for at its end alone: a counter's week of seconds is 600 short reads by the index and not
 * one of everything. A step that nothing was recorded at the end of has none. The step that goes on is read whole. Bounds
 * stand in columns of their own: as expressions they would hide the index behind the table's policy.
 */
function lastOfSteps(
  relation: string,
  keyNames: readonly string[],
  metricNames: readonly string[],
  request: HistoryRequest,
  endMs: number,
  one: string,
): string {
  const step = `interval '${request.stepMs} milliseconds'`;
  const [from, to] = [moment(request.fromUs), moment(request.toUs)];
  const names = [...keyNames, ...metricNames].join(', ');
  const perKey = keyNames.length === 0 ? '' : `DISTINCT ON (${keyNames.join(', ')}) `;
  const order = [...keyNames, 'recorded_at DESC'].join(', ');
  return `COPY (WITH s AS MATERIALIZED (
      SELECT b AS step, least(b + ${step}, ${to}) AS ends,
             greatest(CASE WHEN b + ${step} < ${to} THEN b + ${step} - interval '${endMs} milliseconds' ELSE b END, ${from}) AS begins
        FROM generate_series(date_bin(${step}, ${from}, timestamptz 'epoch'), ${to} - interval '1 microsecond', ${step}) b)
    SELECT ${['s.step', ...keyNames.map((name) => `w.${name}`), ...metricNames.map((name) => `w.${name}`)].join(', ')}
      FROM s CROSS JOIN LATERAL (SELECT ${perKey}${names} FROM ${relation}
        WHERE target_id = ${request.target} AND recorded_at >= s.begins AND recorded_at < s.ends${one}
        ORDER BY ${order}${keyNames.length === 0 ? ' LIMIT 1' : ''}) w
     ORDER BY ${['s.step', ...keyNames.map((name) => `w.${name}`)].join(', ')} LIMIT ${request.limit}) TO STDOUT (FORMAT binary)`;
}
