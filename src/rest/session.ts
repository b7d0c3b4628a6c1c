/** The browser's session: sign in by password or one-time link, ask who one is, sign out. */
import * as v from 'valibot';
import { sessionCookie } from '../auth/gate.js';
import type { Session } from '../auth/sessions.js';
import { HttpError, type HttpReply, json } from '../http/message.js';
import { type RestContext, route } from './route.js';

const whoAmI = v.strictObject({ user: v.string(), roles: v.array(v.string()), csrf: v.string() });

async function describe(context: RestContext, session: Session): Promise<v.InferOutput<typeof whoAmI>> {
  return {
    user: session.username,
    roles: await context.gate.sessions.roles(session.username),
    csrf: session.csrf,
  };
}

async function enter(context: RestContext, username: string): Promise<HttpReply> {
  const { token, session } = await context.gate.sessions.open(username, 'cookie');
  return json(200, await describe(context, session), { 'set-cookie': sessionCookie(token, context.secure) });
}

export const credentials = v.strictObject(
  {
    username: v.pipe(v.string('it is text'), v.maxLength(63, 'it is at most 63 characters')),
    password: v.pipe(v.string('it is text'), v.maxLength(1024, 'it is at most 1024 characters')),
  },
  'the body is {"username", "password"}',
);

export const sessionRoutes = [
  route({
    method: 'POST',
    path: '/session',
    summary: 'Signs in with a PostgreSQL role and its password',
    access: 'public',
    body: credentials,
    replies: {
      200: { description: 'Signed in; the cookie pem_session holds the session', schema: whoAmI },
      401: { description: 'Wrong name or password' },
      403: { description: 'A superuser, or a role that is no PEM user' },
      429: { description: 'Too many attempts; Retry-After says how long to wait' },
    },
    async handle(context, { body, request }) {
      const username = await context.signIn.check(body.username, body.password, request.remoteAddress);
      return enter(context, username);
    },
  }),
  route({
    method: 'POST',
    path: '/session/link',
    summary: 'Signs in with a one-time link’s token',
    access: 'public',
    body: v.strictObject(
      { token: v.pipe(v.string('it is text'), v.maxLength(256, 'it is at most 256 characters')) },
      'the body is {"token"}',
    ),
    replies: {
      200: { description: 'Signed in', schema: whoAmI },
      401: { description: 'The link is unknown, used, or too old' },
      429: { description: 'Too many attempts; Retry-After says how long to wait' },
    },
    async handle(context, { body, request }) {
      context.signIn.attempt(request.remoteAddress);
      const username = await context.gate.sessions.takeLink(body.token);
      if (username === undefined) {
        throw new HttpError(
          401,
          'link_invalid',
          'this sign-in link is used, too old or unknown; make a new one',
        );
      }
      context.signIn.succeeded(request.remoteAddress);
      return enter(context, username);
    },
  }),
  route({
    method: 'GET',
    path: '/session',
    summary: 'Who is signed in',
    replies: { 200: { description: 'The user, PEM’s roles it has, and the CSRF token', schema: whoAmI } },
    async handle(context, { session }) {
      return json(200, await describe(context, session));
    },
  }),
  route({
    method: 'DELETE',
    path: '/session',
    summary: 'Signs out',
    replies: { 204: { description: 'The session is over' } },
    async handle(context, { session }) {
      // First: passwords are forgotten also where the database cannot be told.
      await context.tracer.signedOut(session);
      await context.gate.sessions.close(session);
      return { status: 204, headers: { 'set-cookie': sessionCookie('', context.secure) } };
    },
  }),
];
