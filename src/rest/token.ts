/** Tokens for programs: twenty minutes, in the header X-Auth-Token. */
import * as v from 'valibot';
import { apiTokenSeconds } from '../auth/sessions.js';
import { json } from '../http/message.js';
import { route } from './route.js';
import { credentials } from './session.js';

export const tokenRoutes = [
  route({
    method: 'POST',
    path: '/token',
    summary: 'Makes a token for a program; it comes in the header X-Subject-Token',
    access: 'public',
    body: credentials,
    replies: {
      201: {
        description: 'The token is in the header X-Subject-Token',
        schema: v.strictObject({ expiresInSeconds: v.number() }),
      },
      401: { description: 'Wrong name or password' },
      403: { description: 'A superuser, or a role that is no PEM user' },
      429: { description: 'Too many attempts; Retry-After says how long to wait' },
    },
    async handle(context, { body, request }) {
      const username = await context.signIn.check(body.username, body.password, request.remoteAddress);
      const { token } = await context.gate.sessions.open(username, 'token');
      return json(201, { expiresInSeconds: apiTokenSeconds }, { 'x-subject-token': token });
    },
  }),
];
