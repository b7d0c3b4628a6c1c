/**
 * What a trace brought: statements by measure, their figures over time, single calls in pages and by key, texts. In: a
 * trace's id (and a run of it, else its latest) and numbers; out: JSON, calls as blocks. All is read in the user's own role;
 * a trace of another team is not there. Nothing is kept between two requests.
 */
import * as v from 'valibot';
import type { PgConn } from '../../native/index.js';
import { HttpError, json } from '../http/message.js';
import { columnOf, readBlock } from '../wire/index.js';
import { blockType } from './latest.js';
import { type RestContext, route } from './route.js';
import { id, orNull, wholeText } from './schema.js';
import {
  extentSql,
  histogramSql,
  keySql,
  runSql,
  type Span,
  seriesSql,
  stepSql,
  sums,
  type TraceRun,
  topSql,
} from './trace_data_sql.js';
import {
  callOrders,
  callsExtentSql,
  callsSql,
  chosenSql,
  eventColumns,
  longColumns,
  pageEndSql,
  pageSettings,
  pageSql,
  statesSql,
  unnamedSql,
} from './trace_events_sql.js';
import { Histograms } from './trace_histogram.js';

const maxStatements = 5_000;
/** Beyond so many, percentiles are taken from a part of the intervals. */
const maxHistograms = 400_000;
const maxSteps = 2_000;
const maxPage = 200_000;
const maxLongPage = 5_000;
const maxChosen = 500;
export const latestUs = 32_503_680_000_000_000;

const key = v.pipe(v.string(), v.regex(/^-?\d{1,19}$/, "it is a statement's key"));
export const runName = v.pipe(v.string(), v.maxLength(40, 'it has at most 40 characters'));
const spanQuery = {
  run: v.optional(runName),
  fromUs: v.optional(wholeText(0, latestUs)),
  toUs: v.optional(wholeText(0, latestUs)),
};
const filterQuery = {
  ...spanQuery,
  minUs: v.optional(wholeText(0, Number.MAX_SAFE_INTEGER)),
  errors: v.optional(v.picklist(['0', '1'], 'it is 0 or 1')),
};
export const notThere = { description: 'There is no such trace or run, or the user does not see it' };

const number = (text: string | null | undefined): number | null => (text == null ? null : Number(text));

/** Reads in the user's role with the run of a trace. @throws HttpError trace_unknown */
export async function withRun<T>(
  context: RestContext,
  username: string,
  trace: number,
  run: string | undefined,
  work: (conn: PgConn, found: TraceRun) => Promise<T>,
): Promise<T> {
  return context.reader.read(username, async (conn) => {
    const { rows } = await conn.query(runSql, [String(trace), run ?? null]);
    const row = rows[0];
    if (row === undefined) {
      throw new HttpError(404, 'trace_unknown', `there is no run of trace ${trace} that you see`);
    }
    return work(conn, {
      run: row.run!,
      target: row.target_id!,
      serverId: number(row.server_id),
      startedUs: number(row.started_us),
      stoppedUs: number(row.stopped_us),
    });
  });
}

const blockMeta = (run: TraceRun, probe: string) => ({
  ...{ target: BigInt(run.target), probe, probeVersion: 1, kind: 'append' as const },
  ...{ recordedAtUs: 0n, intervalUs: 0n },
});

/** Of how many intervals one is taken, so that there are not too many histograms. */
const everyNth = (intervals: number): number => Math.max(1, Math.ceil(intervals / maxHistograms));

/** Histograms merged by group: row n of `rows` has group n, which `keyOf` names in the database's terms. */
async function mergeHistograms<Row>(
  conn: PgConn,
  run: TraceRun,
  rows: readonly Row[],
  keyOf: (row: Row) => string,
  of: { span: Span; key: string | undefined; group: string; every: number; topLevel: boolean },
): Promise<Histograms> {
  const merged = new Histograms();
  if (rows.length === 0) return merged;
  const places = new Map(rows.map((row, index) => [BigInt(keyOf(row)), index]));
  const { sql, columns } = histogramSql(run, of.span, of.key, of.group, of.every, of.topLevel);
  const meta = blockMeta(run, 'sql_trace_statements');
  const { block } = await conn.copyOutBlock({ sql, columns, meta, maxRows: 2 * maxHistograms });
  const data = readBlock(block);
  const groups = columnOf(data, 'group')?.values as BigInt64Array;
  await merged.add(columnOf(data, 'histogram')!, data.rows, (row) => places.get(groups[row] as bigint) ?? -1);
  return merged;
}

const statement = v.strictObject({
  key: v.string(),
  database: v.string(),
  username: v.string(),
  nested: v.boolean(),
  queryId: v.string(),
  fingerprint: v.string(),
  tag: orNull(v.string()),
  text: orNull(v.string()),
  lastSqlstate: orNull(v.string()),
  firstUs: orNull(v.number()),
  lastUs: orNull(v.number()),
  minUs: orNull(v.number()),
  maxUs: orNull(v.number()),
  values: v.array(orNull(v.number())),
  histogram: v.array(v.number()),
});
const call = v.record(v.string(), v.unknown());

/** What calls are of a statement: the first three parameters, the query id and the fingerprint of trace_events_sql.ts. */
interface Key {
  readonly who: readonly (string | null)[];
  readonly queryId: string | null;
  readonly fingerprint: string | null;
}

/** What identifies the calls of a statement; null: the run has no such statement. */
async function callsOf(conn: PgConn, run: TraceRun, wanted: string | undefined): Promise<Key | null> {
  if (wanted === undefined) return { who: [null, null, null], queryId: null, fingerprint: null };
  const { rows } = await conn.query(
    `SELECT database, username, nested, query_id, fingerprint FROM pemhistory.sql_trace_statements
      WHERE target_id = $1 AND trace = $2 AND ${keySql} = $3 LIMIT 1`,
    [run.target, String(run.serverId ?? 0), wanted],
  );
  const row = rows[0];
  if (row === undefined) return null;
  const byId = row.query_id !== '0';
  return {
    who: [row.database!, row.username!, row.nested!],
    queryId: byId ? row.query_id! : null,
    fingerprint: row.fingerprint!,
  };
}

export const traceDataRoutes = [
  route({
    method: 'GET',
    path: '/traces/{id}/top',
    summary: 'Statements of a run with the most execution time, their sums and latency histograms',
    params: v.strictObject({ id }),
    query: v.strictObject({ ...spanQuery, key: v.optional(key) }),
    replies: {
      200: {
        description:
          'values are named by measures (null: unknown), a histogram is [bucket, count, …]; allExecUs and allCalls are of all statements that are not nested; histogramEvery n: percentiles come from one of n intervals',
        schema: v.strictObject({
          run: v.string(),
          measures: v.array(v.string()),
          statements: v.array(statement),
          allStatements: v.number(),
          allExecUs: v.number(),
          allCalls: v.number(),
          histogramEvery: v.number(),
          badHistograms: v.number(),
          truncated: v.boolean(),
        }),
      },
      404: notThere,
    },
    async handle(context, { session, params, query }) {
      const answer = await withRun(context, session.username, params.id, query.run, async (conn, run) => {
        const { rows } = await conn.query(topSql(run, query, query.key, maxStatements));
        const every = everyNth(Number(rows[0]?.all_rows ?? 0));
        const histograms = await mergeHistograms(conn, run, rows, (row) => row.key!, {
          ...{ span: query, key: query.key, group: keySql, every, topLevel: false },
        });
        return {
          run: run.run,
          measures: sums,
          statements: rows.map((row, index) => ({
            key: row.key,
            database: row.database,
            username: row.username,
            nested: row.nested === 't',
            queryId: row.query_id,
            fingerprint: row.fingerprint,
            tag: row.tag,
            text: row.text,
            lastSqlstate: row.last_sqlstate,
            firstUs: number(row.first_us),
            lastUs: number(row.last_us),
            minUs: number(row.min_us),
            maxUs: number(row.max_us),
            values: sums.map((name) => number(row[name])),
            histogram: histograms.sparse(index),
          })),
          allStatements: Number(rows[0]?.all_statements ?? 0),
          allExecUs: Number(rows[0]?.all_exec_us ?? 0),
          allCalls: Number(rows[0]?.all_calls ?? 0),
          histogramEvery: every,
          badHistograms: histograms.bad,
          truncated: Number(rows[0]?.all_statements ?? 0) > rows.length,
        };
      });
      return json(200, answer);
    },
  }),
  route({
    method: 'GET',
    path: '/traces/{id}/series',
    summary: 'Figures of a run over time: of one statement, or of all that are not nested',
    params: v.strictObject({ id }),
    query: v.strictObject({
      ...spanQuery,
      key: v.optional(key),
      stepMs: v.optional(wholeText(1_000, 86_400_000)),
    }),
    replies: {
      200: {
        description:
          'Steps with something in them; fromUs and toUs are where the run has rows, null: it has none',
        schema: v.strictObject({
          run: v.string(),
          stepMs: v.number(),
          fromUs: orNull(v.number()),
          toUs: orNull(v.number()),
          measures: v.array(v.string()),
          histogramEvery: v.number(),
          steps: v.array(
            v.strictObject({
              atUs: v.number(),
              maxUs: orNull(v.number()),
              values: v.array(orNull(v.number())),
              histogram: v.array(v.number()),
            }),
          ),
        }),
      },
      404: notThere,
    },
    async handle(context, { session, params, query }) {
      const answer = await withRun(context, session.username, params.id, query.run, async (conn, run) => {
        const extent = (await conn.query(extentSql(run))).rows[0];
        const firstUs = query.fromUs ?? number(extent?.from_us);
        const lastUs = query.toUs ?? number(extent?.to_us);
        const spanMs = firstUs === null || lastUs === null ? 0 : (lastUs - firstUs) / 1000;
        if (query.stepMs !== undefined && spanMs / query.stepMs > maxSteps) {
          throw new HttpError(400, 'input_invalid', `query stepMs: there are at most ${maxSteps} steps`);
        }
        // About 180 steps, as wide as a chart has room for, but not narrower than the agent's interval.
        const stepMs = query.stepMs ?? Math.max(10_000, Math.ceil(spanMs / 180 / 10_000) * 10_000);
        const { rows } = await conn.query(seriesSql(run, query, query.key, stepMs));
        const every = everyNth(rows.reduce((sum, row) => sum + Number(row.all_rows), 0));
        const histograms = await mergeHistograms(conn, run, rows, (row) => row.step!, {
          ...{
            span: query,
            key: query.key,
            group: stepSql(stepMs),
            every,
            topLevel: query.key === undefined,
          },
        });
        return {
          run: run.run,
          stepMs,
          fromUs: number(extent?.from_us),
          toUs: number(extent?.to_us),
          measures: sums,
          histogramEvery: every,
          steps: rows.map((row, index) => ({
            atUs: Number(row.step) * stepMs * 1000,
            maxUs: number(row.max_us),
            values: sums.map((name) => number(row[name])),
            histogram: histograms.sparse(index),
          })),
        };
      });
      return json(200, answer);
    },
  }),
  route({
    method: 'GET',
    path: '/traces/{id}/events',
    summary:
      'Calls of a run in pages, in the order of recorded_at and, of one moment, as they were stored, as a block of chosen columns',
    params: v.strictObject({ id }),
    query: v.strictObject({
      ...filterQuery,
      fields: v.optional(v.pipe(v.string(), v.maxLength(2_000, 'it is at most 2000 characters'))),
      afterUs: v.optional(wholeText(0, latestUs)),
      endUs: v.optional(wholeText(0, latestUs)),
      limit: v.optional(wholeText(1, maxPage)),
    }),
    replies: {
      200: {
        description:
          'A block. x-pem-next-us: afterUs of the next page, empty at the end. A page holds whole moments of recorded_at, so it may have some more rows than limit. With endUs it has nothing from there on, and is cut by limit all the same: x-pem-next-us is endUs where it was not',
        media: [blockType],
      },
      404: notThere,
    },
    async handle(context, { session, params, query }) {
      const names = (query.fields ?? 'recorded_at,slot,line,end_time,exec_us').split(',');
      const columns = eventColumns.filter(({ name }) => names.includes(name));
      const unknown = names.filter((name) => !columns.some((column) => column.name === name));
      if (unknown.length > 0) {
        throw new HttpError(400, 'column_unknown', `query fields: calls have no ${unknown[0]?.slice(0, 63)}`);
      }
      const long = names.some((name) => longColumns.has(name));
      const limit = Math.min(query.limit ?? maxPage, long ? maxLongPage : maxPage);
      const filter = { ...query, errors: query.errors === '1' };
      const answer = await withRun(context, session.username, params.id, query.run, async (conn, run) => {
        const meta = blockMeta(run, 'sql_trace_events');
        await conn.query(pageSettings);
        const read = (endUs: number | undefined, most?: number) => {
          const sql = pageSql(run, filter, after, endUs, columns, most);
          return conn.copyOutBlock({ sql, columns, meta, maxRows: 5 * maxPage });
        };
        const after = query.afterUs ?? 0;
        if (query.endUs !== undefined) {
          // Who names an end knows how much there is about: seldom more than a page holds.
          const page = await read(query.endUs, limit + 1);
          if (page.rows <= limit) return { end: query.endUs, ...page };
        }
        const found = await conn.query(pageEndSql(run, filter, after, query.endUs, limit));
        const next = number(found.rows[0]?.us);
        // The moment that the limit falls into goes to the next page, unless it is the only one.
        const end = next === null ? undefined : next > after ? next : after + 1;
        return { end, ...(await read(end)) };
      });
      return {
        status: 200,
        headers: {
          'content-type': blockType,
          'cache-control': 'no-store',
          'x-pem-next-us': answer.end === undefined ? '' : String(answer.end),
        },
        body: answer.block,
      };
    },
  }),
  route({
    method: 'GET',
    path: '/traces/{id}/extent',
    summary: 'When the first and the last call of a run were recorded: pages of calls lie between',
    params: v.strictObject({ id }),
    query: v.strictObject({ run: v.optional(runName) }),
    replies: {
      200: {
        description: 'µs since 1970; null: it has no calls',
        schema: v.strictObject({
          run: v.string(),
          fromUs: orNull(v.number()),
          toUs: orNull(v.number()),
        }),
      },
      404: notThere,
    },
    async handle(context, { session, params, query }) {
      const answer = await withRun(context, session.username, params.id, query.run, async (conn, run) => {
        const row = (await conn.query(callsExtentSql(run))).rows[0];
        return { run: run.run, fromUs: number(row?.from_us), toUs: number(row?.to_us) };
      });
      return json(200, answer);
    },
  }),
  route({
    method: 'GET',
    path: '/traces/{id}/calls',
    summary:
      'Single calls of a run with all their columns: the slowest, newest, failed, or of one transaction',
    params: v.strictObject({ id }),
    query: v.strictObject({
      ...filterQuery,
      key: v.optional(key),
      pid: v.optional(wholeText(0, 2_147_483_647)),
      vxid: v.optional(v.pipe(v.string(), v.regex(/^\d{1,10}\/\d{1,10}$/, 'it is BACKEND/NUMBER'))),
      order: v.optional(v.picklist(callOrders, 'it is slowest, newest, errors or time')),
      limit: v.optional(wholeText(1, 1_000)),
    }),
    replies: {
      200: {
        description:
          'Times are µs since 1970. linked false: calls of this statement have neither query id nor fingerprint (an agent of before sent them), so they cannot be told from others. states: errors by SQLSTATE, with order=errors',
        schema: v.strictObject({
          run: v.string(),
          linked: v.boolean(),
          calls: v.array(call),
          states: v.array(
            v.strictObject({
              sqlstate: v.string(),
              errors: v.number(),
              cancelled: v.number(),
              firstUs: orNull(v.number()),
              lastUs: orNull(v.number()),
              error: orNull(v.string()),
            }),
          ),
        }),
      },
      404: notThere,
    },
    async handle(context, { session, params, query }) {
      const filter = { ...query, errors: query.errors === '1' };
      const order = query.order ?? 'slowest';
      const answer = await withRun(context, session.username, params.id, query.run, async (conn, run) => {
        const of = await callsOf(conn, run, query.key);
        if (of === null) throw new HttpError(404, 'trace_unknown', 'this run has no such statement');
        const values = [
          ...of.who,
          of.queryId,
          query.pid === undefined ? null : String(query.pid),
          query.vxid ?? null,
          of.fingerprint,
        ];
        const { rows } = await conn.query(callsSql(run, filter, order, query.limit ?? 50), values);
        const states = order === 'errors' ? (await conn.query(statesSql(run, filter), values)).rows : [];
        // What had no room of its own has fingerprint 0, which no call has.
        const linked =
          of.queryId !== null ||
          of.fingerprint === null ||
          rows.length > 0 ||
          (of.fingerprint !== '0' && (await conn.query(unnamedSql(run))).rows[0]?.found !== 't');
        return {
          run: run.run,
          linked,
          calls: rows.map(callOf),
          states: states.map((row) => ({
            sqlstate: row.sqlstate,
            errors: Number(row.errors),
            cancelled: Number(row.cancelled),
            firstUs: number(row.first_us),
            lastUs: number(row.last_us),
            error: row.error,
          })),
        };
      });
      return json(200, answer);
    },
  }),
  route({
    method: 'POST',
    path: '/traces/{id}/chosen',
    summary: 'Chosen calls with all their columns, each named by recorded_at (µs), slot and line',
    params: v.strictObject({ id }),
    body: v.strictObject(
      {
        run: v.optional(runName),
        calls: v.array(v.array(v.pipe(v.number('it is a number'), v.integer('it is a whole number')))),
      },
      'the body is an object of run and calls',
    ),
    replies: {
      200: {
        description: 'In the order asked; null: there is no such call (any more)',
        schema: v.strictObject({
          calls: v.array(orNull(call)),
        }),
      },
      404: notThere,
    },
    async handle(context, { session, params, body }) {
      const { calls } = body;
      const inRange = ([us = -1, slot = -1, line = -1]: number[]): boolean =>
        us >= 0 &&
        us < latestUs &&
        slot >= 0 &&
        slot < 2 ** 31 &&
        line >= 0 &&
        line <= Number.MAX_SAFE_INTEGER;
      if (
        calls.length === 0 ||
        calls.length > maxChosen ||
        calls.some((it) => it.length !== 3 || !inRange(it))
      ) {
        throw new HttpError(
          400,
          'input_invalid',
          `body calls: 1 to ${maxChosen} times [recorded_at, slot, line]`,
        );
      }
      const found = await withRun(context, session.username, params.id, body.run, async (conn, run) => {
        const list = (place: number): string => `{${calls.map((it) => it[place]).join(',')}}`;
        const moments = [...new Set(calls.map((it) => it[0] as number))];
        const { rows } = await conn.query(chosenSql(run, moments), [list(0), list(1), list(2)]);
        return new Map(rows.map((row) => [Number(row.n), callOf(row)]));
      });
      return json(200, { calls: calls.map((_, index) => found.get(index + 1) ?? null) });
    },
  }),
];

const textual = new Set(['text', 'name', 'xid', 'json']);
const sixtyFourBits = new Set(['query_id', 'fingerprint']);

/** A row of texts as a page takes it: numbers as numbers, those of 64 bits as text. */
function callOf(row: Record<string, string | null>): Record<string, string | number | null> {
  return Object.fromEntries(
    eventColumns.map(({ name, type }) => {
      const cell = row[name] ?? null;
      return [name, cell === null || textual.has(type) || sixtyFourBits.has(name) ? cell : Number(cell)];
    }),
  );
}
