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
import { id, orNull, timeUs, whole } from './schema.js';
import { keySql, microseconds, runSql } from './trace_data_sql.js';

/** Of the payload of a command, which the database limits to 128 KiB. */
const mostTextBytes = 90_000;
const longestTextBytes = 8_000;
/** So many single calls are looked through for texts with values. */
const mostCalls = 20_000;
const mostStatements = 200;
/** Earlier advice that is told of. */
const mostEarlier = 20;

/**
 * $1 target, $2 trace on the server, $3 where the run begins (µs), $4 how many, $5 keys of the chosen ones (null: all). Shares
 * and gains are of the whole run's time, or of the chosen statements' alone: what helps a rare one is advice, too. A statement's text is that of its newest call
 * that is there whole, else the normal form.
 */
const statementsSql = `WITH summed AS (
    SELECT ${keySql} AS key, database, username, nested, query_id, fingerprint, sum(calls)::float8 AS calls, sum(exec_us)::float8 AS exec_us,
        sum(sum(exec_us)) FILTER (WHERE NOT nested) OVER () AS total_us
      FROM pemhistory.sql_trace_statements
     WHERE target_id = $1 AND trace = $2 AND recorded_at >= timestamptz 'epoch' + $3::float8 * interval '1 microsecond'
       AND database IS NOT NULL
     GROUP BY database, username, nested, query_id, fingerprint),
  top AS (
    SELECT * FROM summed WHERE $5::int8[] IS NULL OR key = ANY ($5::int8[]) ORDER BY exec_us DESC NULLS LAST LIMIT $4),
  calls AS (
    SELECT DISTINCT ON (e.database, e.username, e.query_id) e.database, e.username, e.query_id, e.query
      FROM (SELECT coalesce(database_name, database::text) AS database, coalesce(user_name, username::text) AS username,
               query_id, query, flags, end_time FROM pemhistory.sql_trace_events
             WHERE target_id = $1 AND trace = $2 AND recorded_at >= timestamptz 'epoch' + $3::float8 * interval '1 microsecond'
             ORDER BY recorded_at DESC LIMIT ${mostCalls}) e
     WHERE e.query_id IN (SELECT t.query_id FROM top t) AND e.query_id <> 0 AND coalesce(e.flags, 0) & 1 = 0
       AND octet_length(e.query) <= ${longestTextBytes}
     ORDER BY e.database, e.username, e.query_id, e.end_time DESC)
  SELECT t.key::text AS key, t.database, t.username, t.nested, t.query_id, t.fingerprint, t.calls, t.exec_us, t.total_us::float8 AS total_us,
      coalesce(c.query, x.text) AS text, c.query IS NULL AND octet_length(x.text) >= 8192 AS cut
    FROM top t
    LEFT JOIN calls c ON c.database = t.database AND c.username IS NOT DISTINCT FROM t.username AND c.query_id = t.query_id
    LEFT JOIN pemdata.sql_trace_texts x ON x.target_id = $1 AND x.fingerprint = t.fingerprint AND NOT x._gone
   ORDER BY t.exec_us DESC NULLS LAST`;

interface StatementRow {
  readonly key: string;
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
        key: row.key,
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

const timeOf = (rows: readonly StatementRow[]): number =>
  rows.reduce((sum, row) => sum + (row.exec_us ?? 0), 0);

const absent = (trace: number): HttpError =>
  new HttpError(404, 'trace_unknown', `there is no run of trace ${trace} that you see`);

type Body = {
  run?: string | undefined;
  statements?: number | undefined;
  keys?: readonly string[] | undefined;
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
      body.keys === undefined ? (body.statements ?? 50) : mostStatements,
      body.keys ?? null,
    ]);
    const statements = fitting(rows);
    if (statements.length === 0)
      throw new HttpError(
        400,
        'input_invalid',
        body.keys === undefined
          ? 'the run has no statements with a text and a time (yet)'
          : 'none of the chosen statements has a text and a time in this run (yet)',
      );
    const asked: Omit<AdviceRequest, 'token' | 'targetId' | 'traceId'> = {
      run: run.run,
      isChosen: body.keys !== undefined,
      totalUs: body.keys === undefined ? (rows[0]?.total_us ?? 0) : timeOf(rows),
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

/** A request that is older and has no answer is not waited for: pem.request_advice makes another one. */
const overdue = '15 min';
const isDone = `c.result -> 'ok' = 'true'`;
const ofTrace = `FROM pem.command c
  JOIN pem.trace t ON t.id = $1::bigint AND t.deleted_at IS NULL
 WHERE c.kind = 'advise_indexes' AND c.payload ->> 'traceId' = $1::text
   AND c.payload ->> 'targetId' = t.target_id::text
   AND ($3::text IS NULL OR c.payload -> 'statements' @> jsonb_build_array(jsonb_build_object('key', $3::text)))`;
const about = `'id', c.id, 'run', c.payload ->> 'run', 'isChosen', coalesce(c.payload -> 'isChosen' = 'true', false),
    'state', CASE WHEN c.done_at IS NOT NULL THEN CASE WHEN ${isDone} THEN 'done' ELSE 'failed' END
      WHEN c.created_at <= now() - interval '${overdue}' THEN 'overdue'
      WHEN c.delivered_at IS NOT NULL THEN 'working' ELSE 'waiting' END,
    'requestedBy', c.created_by, 'requestedAtUs', ${microseconds('c.created_at')}, 'doneAtUs', ${microseconds('c.done_at')}`;

/**
 * In the user's role: a command's row is there for whoever sees the server. $2: which one, null: the last. $3: of
 * those that ask about a statement.
 */
const answerSql = `SELECT json_build_object(${about}, 'timeMs', c.payload -> 'timeMs',
    'code', CASE WHEN NOT ${isDone} THEN c.result #>> '{result,code}' END,
    'error', CASE WHEN NOT ${isDone} THEN left(c.result #>> '{result,message}', 2000) END,
    'databases', CASE WHEN ${isDone} THEN c.result #> '{result,databases}' END,
    'failures', CASE WHEN ${isDone} THEN c.result #> '{result,failures}' END,
    'statements', (SELECT json_agg(json_build_object('id', s ->> 'id', 'key', s ->> 'key', 'database', s ->> 'database',
        'user', s ->> 'user', 'text', left(s ->> 'text', 600), 'calls', s -> 'calls', 'execUs', s -> 'execUs'))
      FROM jsonb_array_elements(c.payload -> 'statements') s),
    'earlier', (SELECT json_agg(it.value ORDER BY it.id DESC) FROM (
        SELECT c.id, json_build_object(${about}, 'statements', jsonb_array_length(c.payload -> 'statements'),
            'indexes', CASE WHEN ${isDone} AND jsonb_typeof(c.result #> '{result,databases}') = 'array'
              THEN (SELECT count(*) FROM jsonb_path_query(c.result, '$.result.databases[*].indexes[*]')) END) AS value
          ${ofTrace} ORDER BY c.id DESC LIMIT ${mostEarlier}) it)) AS value
  ${ofTrace} AND ($2::bigint IS NULL OR c.id = $2::bigint)
 ORDER BY c.id DESC LIMIT 1`;

const aboutEntries = {
  id: v.number(),
  run: orNull(v.string()),
  /** Statements were chosen; else the most expensive ones. */
  isChosen: v.boolean(),
  /** waiting for the agent, working, done, failed; overdue: no answer for 15 min */
  state: v.picklist(['waiting', 'working', 'done', 'failed', 'overdue']),
  requestedBy: v.string(),
  requestedAtUs: timeUs,
  doneAtUs: orNull(timeUs),
};
const adviceEntries = {
  ...aboutEntries,
  /** The agent's time for each database, ms. */
  timeMs: v.number(),
  code: orNull(v.string()),
  error: orNull(v.string()),
  /** DatabaseAdvice of src/wire/advice.ts, by the agent's word. */
  databases: orNull(v.array(v.record(v.string(), v.unknown()))),
  failures: orNull(v.array(v.record(v.string(), v.unknown()))),
  statements: v.array(v.record(v.string(), v.unknown())),
  /** All that is kept (30 days), the last first, this one too; indexes null: there is no answer. */
  earlier: v.array(v.strictObject({ ...aboutEntries, statements: v.number(), indexes: orNull(v.number()) })),
};

/** An int8, as text. */
const statementKey = v.pipe(
  v.string('it is a text'),
  v.check(
    (text) => /^-?\d{1,19}$/.test(text) && BigInt.asIntN(64, BigInt(text)) === BigInt(text),
    "it is a statement's key",
  ),
);
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
        statements: v.optional(whole(1, mostStatements)),
        keys: v.optional(
          v.pipe(
            v.array(statementKey, 'it is a list'),
            v.minLength(1, 'it names at least one statement'),
            v.maxLength(mostStatements, `it names at most ${mostStatements} statements`),
          ),
        ),
        indexes: v.optional(whole(1, 20)),
        timeS: v.optional(whole(1, 300)),
      },
      'the body is an object: run, statements, keys, indexes, timeS, all of them optional',
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
    summary:
      'Index advice that was asked for, the last one (about a statement) or that of an id: estimates of the planner with hypothetical indexes',
    params: traceParams,
    query: v.strictObject({ id: v.optional(id), key: v.optional(statementKey) }),
    replies: {
      200: { description: 'What was asked and what came of it', schema: v.strictObject(adviceEntries) },
      404: { description: 'There is no such trace that the user sees, or nobody has asked' },
    },
    async handle(context, { session, params, query }) {
      const row = await asUser(
        context.pool,
        session.username,
        async (client) =>
          (await client.query<{ value: object }>(answerSql, [params.id, query.id ?? null, query.key ?? null]))
            .rows[0],
      );
      if (row === undefined)
        throw new HttpError(404, 'trace_unknown', `there is no advice for a trace ${params.id} that you see`);
      return json(200, row.value);
    },
  }),
];
