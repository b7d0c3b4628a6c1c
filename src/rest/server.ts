/** Monitored servers and whether they are up. */
import * as v from 'valibot';
import { asUser } from '../base/db.js';
import { HttpError, json } from '../http/message.js';
import { type RestContext, route } from './route.js';
import { id, orNull, status, timeUs } from './schema.js';

const server = v.strictObject({
  targetId: v.number(),
  name: v.string(),
  host: v.string(),
  port: v.number(),
  database: v.string(),
  status,
  /** Not: it has no agent (/unmanaged). */
  managed: v.boolean(),
  agentId: orNull(v.number()),
  hostTargetId: orNull(v.number()),
  serverVersionNum: orNull(v.number()),
  owner: v.string(),
  team: orNull(v.string()),
  lastSampleUs: orNull(timeUs),
  error: orNull(v.string()),
});

async function readServers(context: RestContext, username: string, only: number | null): Promise<unknown[]> {
  return asUser(context.pool, username, async (client) => {
    const { rows } = await client.query<{ value: unknown }>(
      `SELECT json_build_object(
         'targetId', target_id, 'name', name, 'host', host, 'port', port, 'database', database, 'status', status,
         'managed', (SELECT s.managed FROM pem.server s WHERE s.target_id = server_status.target_id), 'agentId', agent_id, 'hostTargetId', host_target_id, 'serverVersionNum', server_version_num,
         'owner', owner, 'team', team, 'lastSampleUs', (extract(epoch FROM last_sample) * 1000000)::int8,
         'error', error) AS value
         FROM pem.server_status WHERE $1::int8 IS NULL OR target_id = $1 ORDER BY target_id`,
      [only],
    );
    return rows.map((row) => row.value);
  });
}

export const serverRoutes = [
  route({
    method: 'GET',
    path: '/server',
    summary: 'All monitored servers that the user sees',
    replies: {
      200: { description: 'Servers by target', schema: v.strictObject({ servers: v.array(server) }) },
    },
    async handle(context, { session }) {
      return json(200, { servers: await readServers(context, session.username, null) });
    },
  }),
  route({
    method: 'GET',
    path: '/server/{targetId}',
    summary: 'One monitored server',
    params: v.strictObject({ targetId: id }),
    replies: {
      200: { description: 'The server', schema: server },
      404: { description: 'There is no such server, or the user does not see it' },
    },
    async handle(context, { session, params }) {
      const [found] = await readServers(context, session.username, params.targetId);
      if (found === undefined) {
        throw new HttpError(404, 'server_unknown', `there is no server ${params.targetId} that you see`);
      }
      return json(200, found);
    },
  }),
];
