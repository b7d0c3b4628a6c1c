/**
 * Who is asking. A request is one of a browser's (cookie pem_session; with X-CSRF-Token where it changes something) or
 * of a program (X-Auth-Token). A WebSocket upgrade is a browser's.
 */
import { HttpError, type RequestHead } from '../http/message.js';
import { apiTokenSeconds, type Session, type Sessions, sameSecret, sessionSeconds } from './sessions.js';

export { apiTokenSeconds };

const cookieName = 'pem_session';

/** The value of our cookie in a Cookie header. */
export function readCookie(header: string | undefined): string | undefined {
  for (const part of (header ?? '').split(';')) {
    const at = part.indexOf('=');
    if (at > 0 && part.slice(0, at).trim() === cookieName) return part.slice(at + 1).trim();
  }
  return undefined;
}

/** Set-Cookie of a session that begins, or of its end where the token is empty. */
export function sessionCookie(token: string, secure: boolean): string {
  const age = token === '' ? 0 : sessionSeconds;
  return `${cookieName}=${token}; Path=/; Max-Age=${age}; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`;
}

export class Gate {
  readonly sessions: Sessions;

  constructor(sessions: Sessions) {
    this.sessions = sessions;
  }

  /** @throws HttpError not_signed_in | csrf_missing */
  async identify(head: RequestHead): Promise<Session> {
    const token = head.headers.get('x-auth-token');
    if (token !== undefined) {
      const session = await this.sessions.find(token, 'token');
      if (session === undefined) throw notSignedIn();
      return session;
    }
    const session = await this.identifyCookie(head);
    if (head.method !== 'GET' && head.method !== 'HEAD') {
      if (!sameSecret(head.headers.get('x-csrf-token') ?? '', session.csrf)) {
        throw new HttpError(
          403,
          'csrf_missing',
          'the header X-CSRF-Token does not hold this session’s token',
        );
      }
    }
    return session;
  }

  /** @throws HttpError not_signed_in */
  async identifyCookie(head: RequestHead): Promise<Session> {
    const session = await this.sessions.find(readCookie(head.headers.get('cookie')) ?? '', 'cookie');
    if (session === undefined) throw notSignedIn();
    return session;
  }
}

function notSignedIn(): HttpError {
  return new HttpError(
    401,
    'not_signed_in',
    'sign in first: there is no session, it has ended, or the role may not log in',
  );
}
