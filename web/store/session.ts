/**
 * Who is signed in. States: `unknown` (page just opened, asking), `out`, `in`. A one-time link (#signin=TOKEN) is posted
 * once and taken out of the address bar before the answer comes.
 */
import { signal } from '@preact/signals';
import { ApiError, getJson, messageOf, sendJson, setCsrfToken, setUnauthorizedListener } from './api.js';

interface SessionAnswer {
  readonly user: string;
  readonly roles: readonly string[];
  readonly csrf: string;
}

export type Session =
  | { state: 'unknown' }
  | { state: 'out' }
  | { state: 'in'; user: string; roles: readonly string[] };

export const session = signal<Session>({ state: 'unknown' });
export const signInError = signal<string>('');

function entered(answer: SessionAnswer | undefined): void {
  if (answer === undefined) return;
  setCsrfToken(answer.csrf);
  signInError.value = '';
  session.value = { state: 'in', user: answer.user, roles: answer.roles };
}

function refused(error: unknown): void {
  signInError.value = messageOf(error);
  session.value = { state: 'out' };
}

export async function openSession(): Promise<void> {
  setUnauthorizedListener(() => {
    signInError.value = 'The session has ended. Sign in again.';
    session.value = { state: 'out' };
  });
  const link = /^#signin=([\w.~-]+)$/.exec(location.hash)?.[1];
  if (link !== undefined) {
    history.replaceState(null, '', `${location.pathname}#/`);
    try {
      entered(await sendJson<SessionAnswer>('POST', '/session/link', { token: link }));
      return;
    } catch (error) {
      refused(error);
      return;
    }
  }
  try {
    entered(await getJson<SessionAnswer>('/session'));
  } catch (error) {
    session.value = { state: 'out' };
    if (error instanceof ApiError && error.status !== 401) signInError.value = error.message;
  }
}

export async function signIn(username: string, password: string): Promise<void> {
  try {
    entered(await sendJson<SessionAnswer>('POST', '/session', { username, password }));
  } catch (error) {
    refused(error);
  }
}

export async function signOut(): Promise<void> {
  try {
    await sendJson('DELETE', '/session');
  } finally {
    session.value = { state: 'out' };
  }
}
