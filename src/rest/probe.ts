/** The catalogue of probes, and what of it is set for one target. */
import * as v from 'valibot';
import { asUser } from '../base/db.js';
import type { ProbeDefinition } from '../catalog/types.js';
import { HttpError, json } from '../http/message.js';
import {
  collectorKinds,
  columnKinds,
  columnRoles,
  columnTypes,
  probeLevels,
  probeModes,
} from '../wire/config.js';
import { refuseFromDatabase, route } from './route.js';
import { id, orNull, probeName } from './schema.js';

const column = v.strictObject({
  name: v.string(),
  type: v.picklist(columnTypes),
  role: v.picklist(columnRoles),
  kind: v.picklist(columnKinds),
  unit: v.string(),
  title: v.string(),
});

const probe = v.strictObject({
  name: v.string(),
  title: v.string(),
  description: v.string(),
  version: v.number(),
  level: v.picklist(probeLevels),
  collector: v.picklist(collectorKinds),
  columns: v.array(column),
  mode: v.picklist(probeModes),
  history: v.boolean(),
  intervalMs: v.number(),
  retentionDays: v.number(),
  scopeColumn: orNull(v.string()),
  enabled: v.boolean(),
});

function describe(definition: ProbeDefinition): v.InferOutput<typeof probe> {
  const { name, title, description, version, level, collector, mode, history, intervalMs, retentionDays } =
    definition;
  return {
    name,
    title,
    description,
    version,
    level,
    collector,
    columns: definition.columns.map((entry) => ({
      name: entry.name,
      type: entry.type,
      role: entry.role,
      kind: entry.kind,
      unit: entry.unit,
      title: entry.title,
    })),
    mode,
    history,
    intervalMs,
    retentionDays,
    scopeColumn: definition.scopeColumn ?? null,
    enabled: definition.enabled ?? true,
  };
}

const setting = {
  enabled: v.optional(orNull(v.boolean('it is true, false or null'))),
  intervalMs: v.optional(
    orNull(
      v.pipe(
        v.number('it is a number or null'),
        v.integer('it is a whole number'),
        v.minValue(1000, 'an interval is at least 1000 ms'),
        v.maxValue(604_800_000, 'an interval is at most 7 days'),
      ),
    ),
  ),
  retentionDays: v.optional(
    orNull(
      v.pipe(
        v.number('it is a number or null'),
        v.integer('it is a whole number'),
        v.minValue(1, 'a retention is at least a day'),
        v.maxValue(36_500, 'a retention is at most 36500 days'),
      ),
    ),
  ),
};

const configured = v.strictObject({
  probe: v.string(),
  enabled: v.boolean(),
  intervalMs: v.number(),
  retentionDays: v.number(),
  overridden: v.strictObject({
    enabled: orNull(v.boolean()),
    intervalMs: orNull(v.number()),
    retentionDays: orNull(v.number()),
  }),
});

export const probeRoutes = [
  route({
    method: 'GET',
    path: '/probe',
    summary: 'The catalogue of probes',
    replies: { 200: { description: 'Probes by name', schema: v.strictObject({ probes: v.array(probe) }) } },
    async handle(context) {
      return json(200, { probes: [...(await context.probes.all()).values()].map(describe) });
    },
  }),
  route({
    method: 'GET',
    path: '/probe/{name}',
    summary: 'One probe of the catalogue',
    params: v.strictObject({ name: probeName }),
    replies: {
      200: { description: 'The probe', schema: probe },
      404: { description: 'There is no such probe' },
    },
    async handle(context, { params }) {
      const found = await context.probes.find(params.name);
      if (found === undefined) throw new HttpError(404, 'probe_unknown', `there is no probe ${params.name}`);
      return json(200, describe(found));
    },
  }),
  route({
    method: 'GET',
    path: '/probe/config/{target}',
    summary: 'What is set for the probes of one target',
    params: v.strictObject({ target: id }),
    replies: {
      200: {
        description:
          'Settings in force, and which of them are of this target alone (null: as the catalogue says)',
        schema: v.strictObject({ probes: v.array(configured) }),
      },
      404: { description: 'There is no such target, or the user does not see it' },
    },
    async handle(context, { session, params }) {
      const rows = await asUser(context.pool, session.username, async (client) => {
        const target = await client.query<{ kind: string; is_pem: boolean }>(
          `SELECT t.kind, EXISTS (SELECT FROM pem.agent a WHERE a.id = 1 AND a.host_target_id = t.id) AS is_pem
             FROM pem.target t WHERE t.id = $1 AND t.deleted_at IS NULL`,
          [params.target],
        );
        const seen = target.rows[0];
        if (seen === undefined) return undefined;
        const levels = [
          'target',
          ...(seen.kind === 'host' ? ['host', ...(seen.is_pem ? ['pem'] : [])] : ['server', 'database']),
        ];
        const { rows } = await client.query<{ value: unknown }>(
          `SELECT json_build_object('probe', p.name, 'enabled', coalesce(c.enabled, p.enabled),
             'intervalMs', coalesce(c.interval_ms, p.interval_ms),
             'retentionDays', coalesce(c.retention_days, p.retention_days),
             'overridden', json_build_object('enabled', c.enabled, 'intervalMs', c.interval_ms,
               'retentionDays', c.retention_days)) AS value
             FROM pem.probe p LEFT JOIN pem.probe_config c ON c.probe = p.name AND c.target_id = $1
            WHERE NOT p.retired AND p.level = ANY ($2) ORDER BY p.name`,
          [params.target, levels],
        );
        return rows;
      });
      if (rows === undefined) {
        throw new HttpError(404, 'target_unknown', `there is no target ${params.target} that you see`);
      }
      return json(200, { probes: rows.map((row) => row.value) });
    },
  }),
  route({
    method: 'PUT',
    path: '/probe/config/{target}/{probe}',
    summary:
      'Sets a probe on one target, whole: what is null or left out is as the catalogue says (pem_admin)',
    params: v.strictObject({ target: id, probe: probeName }),
    body: v.strictObject(setting, 'the body is an object of enabled, intervalMs, retentionDays'),
    replies: {
      204: { description: 'It is set; the agent follows within a second or two' },
      403: { description: 'The user is no pem_admin' },
      404: { description: 'There is no such target or probe, or the user does not see it' },
    },
    async handle(context, { session, params, body }) {
      if ((await context.probes.find(params.probe)) === undefined) {
        throw new HttpError(404, 'probe_unknown', `there is no probe ${params.probe}`);
      }
      const values = [body.enabled ?? null, body.intervalMs ?? null, body.retentionDays ?? null];
      await asUser(context.pool, session.username, (client) =>
        client.query('SELECT pem.set_probe_config($1, $2, $3, $4, $5)', [
          params.target,
          params.probe,
          ...values,
        ]),
      ).catch(refuseFromDatabase);
      return { status: 204 };
    },
  }),
];
