/**
 * Index advice for a run of a trace. In: the trace; PEM's own rows of it, read in the user's role. Out: a command for the agent of
 * its server (pem_admin, as all that makes an agent do something), and its answer for whoever sees the server. The answer is
 * the agent's word: estimates of that server's planner, never measurements.
 */
import * as v from 'valibot';
import { asUser } from '../base/db.js';
import { errorCode, errorText } from '../base/errors.js';
import { HttpError, json } from '../http/message.js';
import type { AdviceRequest, TracedStatement } from '../wire/advice.js';
import { type RestContext, refuseFromDatabase, route } from './route.js';
import { id, orNull, timeUs } from './schema.js';
import { microseconds, runSql } from './trace_data_sql.js';

/** Of the payload of a command, which the database limits to 128 KiB. */
const mostTextBytes = 90_000;
const longestTextBytes = 8_000;
/** So many single calls are looked through for texts with values. */
const mostCalls = 20_000;

const whole = (from: number, to: number) =>
  v.pipe(
    v.number('it is a number'),
    v.integer('it is a whole number'),
    v.minValue(from, `it is at least ${from}`),
    v.maxValue(to, `it is at most ${to}`),
  );

/**
 * $1 target, $2 trace on the server, $3 where the run begins (µs), $4 how many. A statement's text is that of its newest call
 * that is there whole, else the normal form.
 */
const statementsSql = `WITH top AS (
    SELECT database, username, nested, query_id, fingerprint, sum(calls)::float8 AS calls, sum(exec_us)::float8 AS exec_us,
        sum(sum(exec_us)) FILTER (WHERE NOT nested) OVER () AS total_us
      FROM pemhistory.sql_trace_statements
     WHERE target_id = $1 AND trace = $2 AND recorded_at >= timestamptz 'epoch' + $3::float8 * interval '1 microsecond'
       AND database IS NOT NULL
     GROUP BY database, username, nested, query_id, fingerprint
     ORDER BY sum(exec_us) DESC NULLS LAST LIMIT $4),
  calls AS (
    SELECT DISTINCT ON (e.database, e.username, e.query_id) e.database, e.username, e.query_id, e.query
      FROM (SELECT database, username, query_id, query, flags, end_time FROM pemhistory.sql_trace_events
             WHERE target_id = $1 AND trace = $2 AND recorded_at >= timestamptz 'epoch' + $3::float8 * interval '1 microsecond'
             ORDER BY recorded_at DESC LIMIT ${mostCalls}) e
     WHERE e.query_id IN (SELECT t.query_id FROM top t) AND e.query_id <> 0 AND coalesce(e.flags, 0) & 1 = 0
       AND octet_length(e.query) <= ${longestTextBytes}
     ORDER BY e.database, e.username, e.query_id, e.end_time DESC)
  SELECT t.database, t.username, t.nested, t.query_id, t.fingerprint, t.calls, t.exec_us, t.total_us::float8 AS total_us,
      coalesce(c.query, x.text) AS text, c.query IS NULL AND octet_length(x.text) >= 8192 AS cut
    FROM top t
    LEFT JOIN calls c ON c.database = t.database AND c.username IS NOT DISTINCT FROM t.username AND c.query_id = t.query_id
    LEFT JOIN pemdata.sql_trace_texts x ON x.target_id = $1 AND x.fingerprint = t.fingerprint AND NOT x._gone
   ORDER BY t.exec_us DESC NULLS LAST`;

interface StatementRow {
  readonly database: string;
  readonly username: string | null;
  readonly nested: boolean;
  readonly query_id: string;
  readonly fingerprint: string;
  readonly calls: number;
  readonly exec_us: number | null;
  readonly total_us: number | null;
  readonly text: string | null;
  readonly cut: boolean;
}

/** The statements with the most time whose texts fit into a command. */
function fitting(rows: readonly StatementRow[]): TracedStatement[] {
  let left = mostTextBytes;
  return rows.flatMap((row) => {
    const text = row.text ?? '';
    const size = Buffer.byteLength(JSON.stringify(text)) + 200;
    if (text === '' || (row.exec_us ?? 0) <= 0 || size > left) return [];
    left -= size;
    return [
      {
        id: `${row.query_id === '0' ? row.fingerprint : row.query_id}${row.nested ? '/nested' : ''}/${row.username ?? ''}`,
        text,
        cut: row.cut,
        database: row.database,
        user: row.username,
        nested: row.nested,
        calls: row.calls,
        execUs: row.exec_us ?? 0,
      },
    ];
  });
}

const absent = (trace: number): HttpError =>
  new HttpError(404, 'trace_unknown', `there is no run of trace ${trace} that you see`);

type Body = {
  run?: string | undefined;
  statements?: number | undefined;
  indexes?: number | undefined;
  timeS?: number | undefined;
};

async function request(context: RestContext, username: string, trace: number, body: Body): Promise<number> {
  return asUser(context.pool, username, async (client) => {
    const run = (await client.query(runSql, [trace, body.run ?? null])).rows[0];
    if (run === undefined) throw absent(trace);
    const { rows } = await client.query<StatementRow>(statementsSql, [
      run.target_id,
      run.server_id ?? 0,
      Number(run.started_us ?? 0) - 600_000_000,
      body.statements ?? 50,
    ]);
    const statements = fitting(rows);
    if (statements.length === 0)
      throw new HttpError(400, 'input_invalid', 'the run has no statements with a text and a time (yet)');
    const asked: Omit<AdviceRequest, 'token' | 'targetId' | 'traceId'> = {
      run: run.run,
      totalUs: rows[0]?.total_us ?? 0,
      mostIndexes: body.indexes ?? 5,
      timeMs: (body.timeS ?? 60) * 1000,
      statements,
    };
    const made = await client.query<{ id: string }>('SELECT pem.request_advice($1, $2) AS id', [
      trace,
      JSON.stringify(asked),
    ]);
    return Number(made.rows[0]?.id);
  }).catch((error: unknown) => {
    if (errorCode(error) === 'PE021' && /trace/.test(errorText(error))) throw absent(trace);
    if (error instanceof HttpError) throw error;
    return refuseFromDatabase(error);
  });
}

/** In the user's role: a command's row is there for whoever sees the server. */
const answerSql = `SELECT json_build_object('id', c.id, 'run', c.payload ->> 'run',
    'state', CASE WHEN c.done_at IS NOT NULL THEN CASE WHEN c.result -> 'ok' = 'true' THEN 'done' ELSE 'failed' END
      WHEN c.delivered_at IS NOT NULL THEN 'working' ELSE 'waiting' END,
    'requestedBy', c.created_by, 'requestedAtUs', ${microseconds('c.created_at')}, 'doneAtUs', ${microseconds('c.done_at')},
    'code', CASE WHEN c.result -> 'ok' <> 'true' THEN c.result #>> '{result,code}' END,
    'error', CASE WHEN c.result -> 'ok' <> 'true' THEN left(c.result #>> '{result,message}', 2000) END,
    'databases', CASE WHEN c.result -> 'ok' = 'true' THEN c.result #> '{result,databases}' END,
    'failures', CASE WHEN c.result -> 'ok' = 'true' THEN c.result #> '{result,failures}' END,
    'statements', (SELECT json_agg(json_build_object('id', s ->> 'id', 'database', s ->> 'database', 'user', s ->> 'user',
        'text', left(s ->> 'text', 600), 'calls', s -> 'calls', 'execUs', s -> 'execUs'))
      FROM jsonb_array_elements(c.payload -> 'statements') s)) AS value
  FROM pem.command c
  JOIN pem.trace t ON t.id = $1::bigint AND t.deleted_at IS NULL
 WHERE c.kind = 'advise_indexes' AND c.payload ->> 'traceId' = $1::text
   AND c.payload ->> 'targetId' = t.target_id::text
 ORDER BY c.id DESC LIMIT 1`;

const adviceEntries = {
  id: v.number(),
  run: orNull(v.string()),
  /** waiting for the agent, working, done, failed */
  state: v.picklist(['waiting', 'working', 'done', 'failed']),
  requestedBy: v.string(),
  requestedAtUs: timeUs,
  doneAtUs: orNull(timeUs),
  code: orNull(v.string()),
  error: orNull(v.string()),
  /** DatabaseAdvice of src/wire/advice.ts, by the agent's word. */
  databases: orNull(v.array(v.record(v.string(), v.unknown()))),
  failures: orNull(v.array(v.record(v.string(), v.unknown()))),
  statements: v.array(v.record(v.string(), v.unknown())),
};

const traceParams = v.strictObject({ id });

export const traceAdviceRoutes = [
  route({
    method: 'POST',
    path: '/traces/{id}/advice',
    summary:
      'Asks the agent for indexes that would make the statements of a run cheaper (pem_admin); nothing is changed on the server',
    params: traceParams,
    body: v.strictObject(
      {
        run: v.optional(v.pipe(v.string('it is a text'), v.maxLength(40, 'it has at most 40 characters'))),
        statements: v.optional(whole(1, 200)),
        indexes: v.optional(whole(1, 20)),
        timeS: v.optional(whole(1, 300)),
      },
      'the body is an object: run, statements, indexes, timeS, all of them optional',
    ),
    replies: {
      202: {
        description:
          'It is asked for; GET tells when there is an answer. A request that waits already is given again',
        schema: v.strictObject({ id: v.number() }),
      },
      403: { description: 'The user is no pem_admin' },
      404: { description: 'There is no such trace or run, or the user does not see it' },
    },
    async handle(context, { session, params, body }) {
      return json(202, { id: await request(context, session.username, params.id, body) });
    },
  }),
  route({
    method: 'GET',
    path: '/traces/{id}/advice',
    summary: 'The last index advice that was asked for: estimates of the planner with hypothetical indexes',
    params: traceParams,
    replies: {
      200: { description: 'What was asked and what came of it', schema: v.strictObject(adviceEntries) },
      404: { description: 'There is no such trace that the user sees, or nobody has asked' },
    },
    async handle(context, { session, params }) {
      const row = await asUser(
        context.pool,
        session.username,
        async (client) => (await client.query<{ value: object }>(answerSql, [params.id])).rows[0],
      );
      if (row === undefined)
        throw new HttpError(404, 'trace_unknown', `there is no advice for a trace ${params.id} that you see`);
      return json(200, row.value);
    },
  }),
];
