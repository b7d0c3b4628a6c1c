/**
 * The system's own page: ingesters, what agents say of their spools, quarantine, strays, inbox, this web process. Of agents
 * the sums, and by name the `mostAgents` that are farthest behind: a page asks every other second, and a fleet is large.
 */
import * as v from 'valibot';
import { asUser } from '../base/db.js';
import { json } from '../http/message.js';
import { route } from './route.js';
import { orNull, status, timeUs } from './schema.js';

const info = v.record(v.string(), v.unknown());

const system = v.strictObject({
  ingesters: v.array(v.strictObject({ name: v.string(), pid: v.number(), atUs: timeUs, info })),
  agents: v.strictObject({
    count: v.number(),
    pendingBatches: v.number(),
    spoolBytes: v.number(),
    droppedRows: v.number(),
    /** Those with the most batches waiting, then with the most rows dropped. Counters run from the worker's start. */
    list: v.array(
      v.strictObject({
        agentId: v.number(),
        name: v.string(),
        status,
        pendingBatches: orNull(v.number()),
        oldestPendingUs: orNull(timeUs),
        spoolBytes: orNull(v.number()),
        droppedRows: orNull(v.number()),
        setAsideBatches: orNull(v.number()),
        reconnects: orNull(v.number()),
        clockOffsetUs: orNull(v.number()),
      }),
    ),
  }),
  quarantine: v.array(v.strictObject({ code: v.string(), count: v.number(), lastAtUs: timeUs })),
  stray: v.array(
    v.strictObject({
      reason: v.string(),
      probe: v.string(),
      batches: v.number(),
      rows: v.number(),
      lastAtUs: timeUs,
    }),
  ),
  inbox: orNull(v.strictObject({ batches: v.number(), bytes: v.number() })),
  web: v.strictObject({
    sessions: v.number(),
    sockets: v.number(),
    topics: v.number(),
    framesSent: v.number(),
    framesDropped: v.number(),
    bytesSent: v.number(),
  }),
});

const mostAgents = 100;

/** A number in what an agent says of itself: of any size there, or none. */
const figure = (...path: readonly string[]): string => {
  const value = `s.info #> '{${path.join(',')}}'`;
  return `CASE WHEN jsonb_typeof(${value}) = 'number' THEN greatest(least((${value})::numeric, 9e15), -9e15)::float8 END`;
};
const agentsSql = `WITH a AS (
    SELECT s.agent_id, s.display_name, s.status, ${figure('spoolPendingBatches')} AS pending,
           ${figure('spoolOldestUs')} AS oldest, ${figure('spoolBytes')} AS bytes, ${figure('dropped', 'rows')} AS dropped,
           ${figure('setAsideBatches')} AS aside, ${figure('reconnects')} AS reconnects, ${figure('clockOffsetUs')} AS clock
      FROM pem.agent_status s
  ), worst AS (
    SELECT * FROM a ORDER BY coalesce(pending, 0) DESC, coalesce(dropped, 0) DESC, agent_id LIMIT ${mostAgents}
  )
  SELECT json_build_object('count', count(*), 'pendingBatches', coalesce(sum(pending), 0),
    'spoolBytes', coalesce(sum(bytes), 0), 'droppedRows', coalesce(sum(dropped), 0),
    'list', (SELECT coalesce(json_agg(json_build_object('agentId', agent_id, 'name', display_name, 'status', status,
        'pendingBatches', pending, 'oldestPendingUs', nullif(oldest, 0), 'spoolBytes', bytes, 'droppedRows', dropped,
        'setAsideBatches', aside, 'reconnects', reconnects, 'clockOffsetUs', clock)
      ORDER BY coalesce(pending, 0) DESC, coalesce(dropped, 0) DESC, agent_id), '[]') FROM worst)) AS value
    FROM a`;

const us = (column: string): string => `(extract(epoch FROM ${column}) * 1000000)::int8`;

export const systemRoutes = [
  route({
    method: 'GET',
    path: '/system',
    summary: 'How PEM itself is doing: of the agents the user sees; ingesters and inbox for super admins',
    replies: { 200: { description: 'Counters and lags', schema: system } },
    async handle(context, { session }) {
      const roles = await context.gate.sessions.roles(session.username);
      const isSuper = roles.includes('pem_super_admin');
      const value = await asUser(context.pool, session.username, async (client) => {
        const list = async (sql: string): Promise<unknown[]> =>
          (await client.query<{ value: unknown }>(sql)).rows.map((row) => row.value);
        const ingesters = isSuper
          ? await list(`SELECT json_build_object('name', name, 'pid', pid, 'atUs', ${us('at')}, 'info', info) AS value
                          FROM pem.ingester ORDER BY name`)
          : [];
        const inbox = isSuper
          ? await list(
              `SELECT json_build_object('batches', batches, 'bytes', bytes) AS value FROM pem.inbox_totals()`,
            )
          : [];
        return {
          ingesters,
          agents: (await list(agentsSql))[0],
          quarantine: await list(
            `SELECT json_build_object('code', code, 'count', sum(count), 'lastAtUs', ${us('max(last_at)')}) AS value
               FROM pem.quarantine_totals() GROUP BY code ORDER BY code`,
          ),
          stray: await list(
            `SELECT json_build_object('reason', reason, 'probe', probe, 'batches', count(*), 'rows', sum(rows),
               'lastAtUs', ${us('max(at)')}) AS value FROM pem.stray GROUP BY reason, probe ORDER BY reason, probe`,
          ),
          inbox: inbox[0] ?? null,
        };
      });
      return json(200, { ...value, web: await context.webStats() });
    },
  }),
];
