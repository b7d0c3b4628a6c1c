/**
 * Traces of the SQL profiler: what people want of them, what agents say of them, and each run. Whoever sees a server sees its
 * traces; pem_admins make, start, stop and delete them. Their rows are history like that of any probe: sql_trace_events,
 * sql_trace_statements, sql_trace_texts, whose column trace is a run's serverId.
 */
import * as v from 'valibot';
import { asUser, type Client } from '../base/db.js';
import { errorCode, errorText } from '../base/errors.js';
import { HttpError, json } from '../http/message.js';
import { type RestContext, refuseFromDatabase, route } from './route.js';
import { id, orNull, status, timeUs } from './schema.js';
import { createArguments, newTrace } from './trace_input.js';

const mostRuns = 200;

const traceEntries = {
  id: v.number(),
  targetId: v.number(),
  name: v.string(),
  options: v.record(v.string(), v.unknown()),
  schedule: orNull(v.record(v.string(), v.unknown())),
  durationS: orNull(v.number()),
  events: v.boolean(),
  eventsPerS: v.number(),
  continuous: v.boolean(),
  keepFiles: v.boolean(),
  createdBy: v.string(),
  createdAtUs: timeUs,
  request: v.picklist(['none', 'start', 'stop']),
  requestedBy: orNull(v.string()),
  requestedAtUs: orNull(timeUs),
  /** The agent has not said yet that it knows of the last request. */
  pending: v.boolean(),
  /** new, idle, starting, running, stopping, blocked; an agent of another version may say something else. */
  state: v.string(),
  code: orNull(v.string()),
  error: orNull(v.string()),
  run: orNull(v.string()),
  nextAtUs: orNull(timeUs),
  reportedAtUs: orNull(timeUs),
  agentId: orNull(v.number()),
  agentStatus: orNull(status),
};
const trace = v.strictObject(traceEntries);

const run = v.strictObject({
  run: v.string(),
  serverId: orNull(v.number()),
  serverName: v.string(),
  /** starting, running, ending, ended */
  state: v.string(),
  startedAtUs: orNull(timeUs),
  stoppedAtUs: orNull(timeUs),
  untilUs: orNull(timeUs),
  stopReason: orNull(v.string()),
  rowsRead: v.number(),
  bytesRead: v.number(),
  eventsSent: v.number(),
  eventsDropped: v.number(),
  rowsSkipped: v.number(),
  badRows: v.number(),
  repeatedRows: v.number(),
  lagBytes: v.number(),
  serverRows: orNull(v.number()),
  serverBytes: orNull(v.number()),
  serverLostRows: orNull(v.number()),
  serverLostReason: orNull(v.string()),
  reportedAtUs: timeUs,
});

const us = (column: string): string => `(extract(epoch FROM ${column}) * 1000000)::int8`;

/** Every entry of `trace`; $1 a trace or NULL, $2 a target or NULL. */
const traceSql = `SELECT json_build_object('id', x.id, 'targetId', x.target_id, 'name', x.name, 'options', x.options,
    'schedule', x.schedule, 'durationS', x.duration_s, 'events', x.events, 'eventsPerS', x.events_per_s,
    'continuous', x.continuous, 'keepFiles', x.keep_files, 'createdBy', x.created_by, 'createdAtUs', ${us('x.created_at')},
    'request', x.request, 'requestedBy', x.requested_by, 'requestedAtUs', ${us('x.requested_at')},
    'pending', x.request_seq > x.handled_seq, 'state', x.state, 'code', x.code, 'error', x.error, 'run', x.run)::jsonb
  || jsonb_build_object('nextAtUs', ${us('x.next_at')}, 'reportedAtUs', ${us('x.reported_at')}, 'agentId', a.agent_id,
    'agentStatus', s.status) AS value
  FROM pem.trace x
  JOIN pem.target t ON t.id = x.target_id AND t.deleted_at IS NULL
  LEFT JOIN pem.target_agent a ON a.target_id = x.target_id AND a.until IS NULL
  LEFT JOIN pem.agent_status s ON s.agent_id = a.agent_id
 WHERE x.deleted_at IS NULL AND ($1::int8 IS NULL OR x.id = $1) AND ($2::int8 IS NULL OR x.target_id = $2)
 ORDER BY x.target_id, x.name`;

const runSql = `SELECT json_build_object('run', run, 'serverId', server_id, 'serverName', server_name, 'state', state,
    'startedAtUs', ${us('started_at')}, 'stoppedAtUs', ${us('stopped_at')}, 'untilUs', ${us('until_at')},
    'stopReason', stop_reason, 'rowsRead', rows_read, 'bytesRead', bytes_read, 'eventsSent', events_sent,
    'eventsDropped', events_dropped, 'rowsSkipped', rows_skipped, 'badRows', bad_rows, 'repeatedRows', repeated_rows,
    'lagBytes', lag_bytes, 'serverRows', server_rows, 'serverBytes', server_bytes, 'serverLostRows', server_lost_rows,
    'serverLostReason', server_lost_reason, 'reportedAtUs', ${us('reported_at')}) AS value
  FROM pem.trace_run WHERE trace_id = $1 ORDER BY started_at DESC NULLS FIRST, run DESC LIMIT ${mostRuns}`;

async function values(client: Client, sql: string, parameters: unknown[]): Promise<object[]> {
  return (await client.query<{ value: object }>(sql, parameters)).rows.map((row) => row.value);
}

const absent = (traceId: number): HttpError =>
  new HttpError(404, 'trace_unknown', `there is no trace ${traceId} that you see`);

/** A change by one of the database's functions, in the role of the user. */
async function change(context: RestContext, username: string, sql: string, parameters: unknown[]) {
  return asUser(context.pool, username, (client) => client.query(sql, parameters)).catch((error: unknown) => {
    if (errorCode(error) === 'PE021' && /trace/.test(errorText(error))) throw absent(Number(parameters[0]));
    return refuseFromDatabase(error);
  });
}

const traceParams = v.strictObject({ id });
const refusals = {
  403: { description: 'The user is no pem_admin' },
  404: { description: 'There is no such trace, or the user does not see it' },
  409: { description: 'The server has no agent, and this user is not connected to it' },
};

const requestRoute = (request: 'start' | 'stop', summary: string) =>
  route({
    method: 'POST',
    path: `/traces/{id}/${request}`,
    summary,
    params: traceParams,
    replies: {
      204: { description: 'It is asked for; the agent follows within a second or two' },
      ...refusals,
    },
    async handle(context, { session, params }) {
      await change(context, session.username, 'SELECT pem.request_trace($1, $2)', [params.id, request]);
      return { status: 204 };
    },
  });

export const traceRoutes = [
  route({
    method: 'GET',
    path: '/traces',
    summary: 'Traces of all servers that the user sees, or of one',
    query: v.strictObject({ targetId: v.optional(id) }),
    replies: {
      200: { description: 'Traces by server and name', schema: v.strictObject({ traces: v.array(trace) }) },
    },
    async handle(context, { session, query }) {
      const traces = await asUser(context.pool, session.username, (client) =>
        values(client, traceSql, [null, query.targetId ?? null]),
      );
      return json(200, { traces });
    },
  }),
  route({
    method: 'POST',
    path: '/traces',
    summary: 'Makes a trace (pem_admin); `start` begins a run at once, a schedule begins runs by itself',
    body: newTrace,
    replies: {
      201: { description: 'The trace', schema: v.strictObject({ id: v.number() }) },
      403: { description: 'The user is no pem_admin' },
      404: { description: 'There is no such server, or the user does not see it' },
      409: { description: 'The server has no agent, and this user is not connected to it' },
    },
    async handle(context, { session, body }) {
      const made = await asUser(context.pool, session.username, async (client) => {
        const { rows } = await client.query<{ id: string }>(
          'SELECT pem.create_trace($1, $2, $3, $4, $5, $6, $7, $8, $9) AS id',
          createArguments(body),
        );
        const traceId = Number(rows[0]?.id);
        if (body.start === true) await client.query(`SELECT pem.request_trace($1, 'start')`, [traceId]);
        return traceId;
      }).catch(refuseFromDatabase);
      return json(201, { id: made });
    },
  }),
  route({
    method: 'GET',
    path: '/traces/{id}',
    summary: `One trace and its last ${mostRuns} runs`,
    params: traceParams,
    replies: {
      200: {
        description: 'The trace with what the agent says of it',
        schema: v.strictObject({ ...traceEntries, runs: v.array(run) }),
      },
      404: { description: 'There is no such trace, or the user does not see it' },
    },
    async handle(context, { session, params }) {
      const found = await asUser(context.pool, session.username, async (client) => {
        const [one] = await values(client, traceSql, [params.id, null]);
        return one === undefined ? undefined : { ...one, runs: await values(client, runSql, [params.id]) };
      });
      if (found === undefined) throw absent(params.id);
      return json(200, found);
    },
  }),
  requestRoute('start', 'Begins a run, unless one is going on (pem_admin)'),
  requestRoute('stop', 'Ends the run that is going on; a schedule stays (pem_admin)'),
  route({
    method: 'DELETE',
    path: '/traces/{id}',
    summary:
      'Deletes a trace: a run ends, its files go from the server, rows stay until their retention (pem_admin)',
    params: traceParams,
    replies: { 204: { description: 'It is gone' }, ...refusals },
    async handle(context, { session, params }) {
      await change(context, session.username, 'SELECT pem.delete_trace($1)', [params.id]);
      return { status: 204 };
    },
  }),
];
