/** Agents: who they are, whether they are up, what they last said of themselves. */
import * as v from 'valibot';
import { asUser } from '../base/db.js';
import { HttpError, json } from '../http/message.js';
import { type RestContext, route } from './route.js';
import { agentId, orNull, status, timeUs } from './schema.js';

const agent = v.strictObject({
  id: v.number(),
  name: v.string(),
  targetId: v.number(),
  status,
  lastSeenUs: orNull(timeUs),
  /** Why PEM takes nothing from it (a copy of it runs elsewhere, …); null: it does. */
  quarantinedReason: orNull(v.string()),
  version: orNull(v.string()),
  owner: v.string(),
  team: orNull(v.string()),
  hostname: orNull(v.string()),
  os: orNull(v.string()),
  kernel: orNull(v.string()),
  cpus: orNull(v.number()),
  memoryBytes: orNull(v.number()),
  bootedAtUs: orNull(timeUs),
  info: v.record(v.string(), v.unknown()),
});

async function readAgents(context: RestContext, username: string, only: number | null): Promise<unknown[]> {
  return asUser(context.pool, username, async (client) => {
    const { rows } = await client.query<{ value: unknown }>(
      `SELECT json_build_object(
         'id', agent_id, 'name', display_name, 'targetId', target_id, 'status', status,
         'lastSeenUs', (extract(epoch FROM last_seen) * 1000000)::int8,
         'quarantinedReason', quarantined_reason, 'version', version,
         'owner', owner, 'team', team, 'hostname', hostname, 'os', os, 'kernel', kernel, 'cpus', cpus,
         'memoryBytes', memory_bytes, 'bootedAtUs', (extract(epoch FROM booted_at) * 1000000)::int8,
         'info', info) AS value
         FROM pem.agent_status WHERE $1::int IS NULL OR agent_id = $1 ORDER BY agent_id`,
      [only],
    );
    return rows.map((row) => row.value);
  });
}

export const agentRoutes = [
  route({
    method: 'GET',
    path: '/agent',
    summary: 'All agents that the user sees',
    replies: { 200: { description: 'Agents by id', schema: v.strictObject({ agents: v.array(agent) }) } },
    async handle(context, { session }) {
      return json(200, { agents: await readAgents(context, session.username, null) });
    },
  }),
  route({
    method: 'GET',
    path: '/agent/{id}',
    summary: 'One agent',
    params: v.strictObject({ id: agentId }),
    replies: {
      200: { description: 'The agent', schema: agent },
      404: { description: 'There is no such agent, or the user does not see it' },
    },
    async handle(context, { session, params }) {
      const [found] = await readAgents(context, session.username, params.id);
      if (found === undefined)
        throw new HttpError(404, 'agent_unknown', `there is no agent ${params.id} that you see`);
      return json(200, found);
    },
  }),
];
