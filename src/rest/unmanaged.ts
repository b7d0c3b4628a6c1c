/**
 * Servers without an agent: made known, connected to with a password, left, removed. The password is in the body of one
 * request and in this process's memory (src/tracer), nowhere else; traces are asked for as those of any server (trace.ts).
 */
import * as v from 'valibot';
import { asUser } from '../base/db.js';
import { errorCode, errorText } from '../base/errors.js';
import { HttpError, json } from '../http/message.js';
import { refuseFromDatabase, route } from './route.js';
import { id, orNull, timeUs } from './schema.js';

/** Beyond those libpq has allow and prefer, which promise nothing. */
const sslmodes = ['verify-full', 'verify-ca', 'require', 'disable'] as const;

const name = (what: string) =>
  v.pipe(
    v.string(`${what} is missing`),
    v.check(
      (text) => Buffer.byteLength(text) >= 1 && Buffer.byteLength(text) <= 63,
      `${what} has 1 to 63 bytes`,
    ),
    v.check((text) => !text.includes('\0'), `${what} holds no NUL`),
  );

const newServer = v.strictObject(
  {
    name: v.pipe(
      v.string('it is missing'),
      v.check((text) => text.trim() !== '' && text.length <= 200, 'it has 1 to 200 characters'),
    ),
    host: v.pipe(
      v.string('it is missing'),
      v.maxLength(255, 'it has at most 255 characters'),
      v.regex(
        /^[0-9A-Za-z:][0-9A-Za-z._:%-]*$/,
        'it is one host name or address; a path, a list or anything else of a connection string is not taken',
      ),
    ),
    port: v.optional(
      v.pipe(
        v.number('it is a number'),
        v.integer('it is a whole number'),
        v.minValue(1, 'it is 1 to 65535'),
        v.maxValue(65_535, 'it is 1 to 65535'),
      ),
    ),
    database: v.optional(name('the database')),
    user: name('the role'),
    sslmode: v.optional(v.picklist(sslmodes, `it is one of ${sslmodes.join(', ')}`)),
    team: v.optional(v.nullable(name('the team'))),
  },
  'the body is an object that describes a server',
);

const password = v.strictObject(
  {
    password: v.pipe(
      v.string('it is missing'),
      v.minLength(1, 'it is empty'),
      v.maxLength(1024, 'it is at most 1024 characters'),
      v.check((text) => !text.includes('\0'), 'it holds no NUL'),
    ),
  },
  'the body is {"password"}',
);

const server = v.strictObject({
  targetId: v.number(),
  name: v.string(),
  host: v.string(),
  port: v.number(),
  database: v.string(),
  user: v.string(),
  sslmode: v.string(),
  owner: v.string(),
  team: orNull(v.string()),
  /** This session may start and stop its traces. */
  connected: v.boolean(),
  connections: v.array(v.strictObject({ user: v.string(), sinceUs: timeUs })),
});

const listSql = `SELECT json_build_object('targetId', s.target_id, 'name', t.name, 'host', s.host, 'port', s.port,
    'database', s.database, 'user', s.username, 'sslmode', s.sslmode, 'owner', t.owner, 'team', t.team,
    'connections', (SELECT coalesce(json_agg(json_build_object('user', c.username,
        'sinceUs', (extract(epoch FROM c.since) * 1000000)::int8) ORDER BY c.since), '[]')
      FROM pem.server_connection c WHERE c.target_id = s.target_id)) AS value
  FROM pem.server s JOIN pem.target t ON t.id = s.target_id AND t.deleted_at IS NULL
 WHERE NOT s.managed ORDER BY t.name, s.target_id`;

const params = v.strictObject({ targetId: id });
const refusals = {
  403: { description: 'The user is no pem_admin' },
  404: { description: 'There is no such server, or the user does not see it' },
};

function refuse(error: unknown): never {
  if (errorCode(error) === 'PE027') throw new HttpError(409, 'server_connected_elsewhere', errorText(error));
  return refuseFromDatabase(error);
}

export const unmanagedRoutes = [
  route({
    method: 'GET',
    path: '/unmanaged',
    summary: 'Servers without an agent that the user sees, and who is connected to them',
    replies: {
      200: {
        description: 'Servers by name; tracing is false where this web server has no folder to trace from',
        schema: v.strictObject({ tracing: v.boolean(), servers: v.array(server) }),
      },
    },
    async handle(context, { session }) {
      const rows = await asUser(
        context.pool,
        session.username,
        async (client) => (await client.query<{ value: { targetId: number } }>(listSql)).rows,
      );
      const servers = rows.map(({ value }) => ({
        ...value,
        connected: context.tracer.isConnected(session, value.targetId),
      }));
      return json(200, { tracing: context.tracer.isOn, servers });
    },
  }),
  route({
    method: 'POST',
    path: '/unmanaged',
    summary: 'Makes a server known that has no agent (pem_admin); no password is kept with it',
    body: newServer,
    replies: {
      201: { description: 'The server', schema: v.strictObject({ targetId: v.number() }) },
      403: { description: 'The user is no pem_admin' },
    },
    async handle(context, { session, body }) {
      const made = await asUser(context.pool, session.username, async (client) => {
        const { rows } = await client.query<{ id: string }>(
          'SELECT pem.add_unmanaged_server($1, $2, $3, $4, $5, $6, NULL, $7) AS id',
          [
            body.name.trim(),
            body.host,
            body.port ?? 5432,
            body.database ?? 'postgres',
            body.user,
            body.sslmode ?? 'verify-full',
            body.team ?? null,
          ],
        );
        return Number(rows[0]?.id);
      }).catch(refuse);
      return json(201, { targetId: made });
    },
  }),
  route({
    method: 'DELETE',
    path: '/unmanaged/{targetId}',
    summary:
      'Forgets a server without an agent (pem_admin): a running trace goes on there up to its limits, rows stay until their retention',
    params,
    replies: { 204: { description: 'It is forgotten' }, ...refusals },
    async handle(context, { session, params: { targetId } }) {
      await asUser(context.pool, session.username, async (client) => {
        await client.query('SELECT pem.unmanaged_server($1)', [targetId]);
        await client.query('SELECT pem.remove_server($1)', [targetId]);
      }).catch(refuse);
      await context.tracer.removed(targetId);
      return { status: 204 };
    },
  }),
  route({
    method: 'POST',
    path: '/unmanaged/{targetId}/connect',
    summary:
      'Connects to a server without an agent (pem_admin); the password stays in the memory of this web server until the session ends or disconnects',
    params,
    body: password,
    replies: {
      204: { description: 'Connected: this user may start, stop and delete its traces' },
      ...refusals,
      409: { description: 'This web server cannot take it on, or another one is connected to it' },
      422: { description: 'The server cannot be traced over that connection; the message says what to do' },
      429: { description: 'Too many tries; Retry-After says how long to wait' },
    },
    async handle(context, { session, params: { targetId }, body }) {
      await context.tracer.connect(session, targetId, body.password).catch(refuse);
      return { status: 204 };
    },
  }),
  route({
    method: 'POST',
    path: '/unmanaged/{targetId}/disconnect',
    summary:
      'Ends this session’s connection; the password is forgotten, a running trace goes on at the server',
    params,
    replies: { 204: { description: 'There is none any more' } },
    async handle(context, { session, params: { targetId } }) {
      await context.tracer.disconnect(session, targetId);
      return { status: 204 };
    },
  }),
];
