/**
 * The way to a server without an agent, over a user's own connection. In: what PEM knows of the server, the user's password.
 * Out: a check of everything a trace needs, and the link that its follower uses. The connection authenticates by that
 * password or not at all: whatever else the web server's own user has (a client certificate, a password file, a ticket, a
 * socket that knows it) must not let somebody in.
 */

import { ConnectGate } from '../../agent/probes/gate.js';
import { linkLimits, ServerLink } from '../../agent/probes/link.js';
import { ProfilerSession } from '../../agent/profiler/session.js';
import { systemClock } from '../../agent/scheduler/clock.js';
import { connect, type PgConn } from '../../native/index.js';
import { errorCode, errorText, PemError } from '../base/errors.js';
import { HttpError } from '../http/message.js';

/** As pem.server has it. */
export interface UnmanagedServer {
  readonly targetId: number;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly sslmode: string;
}

/** libpq keywords. What is set to a file that cannot be would otherwise be looked for in the home of the web server's user. */
export function unmanagedParams(server: UnmanagedServer, password: string): Record<string, string> {
  return {
    host: server.host,
    port: String(server.port),
    dbname: server.database,
    user: server.user,
    sslmode: server.sslmode,
    password,
    passfile: '/dev/null',
    sslcert: '/dev/null/none',
    sslkey: '/dev/null/none',
    application_name: 'pem-web',
    options: `-c lock_timeout=${linkLimits.lockMs}`,
    keepalives_idle: '10',
    keepalives_interval: '5',
    keepalives_count: '3',
    tcp_user_timeout: '20000',
  };
}

/** Opens it and makes sure that it was the password that did. @throws PgError, PemError server_password_unused */
async function connectByPassword(options: Parameters<typeof connect>[0]): Promise<PgConn> {
  const connection = await connect(options);
  if (connection.usedPassword) return connection;
  connection.close();
  throw new PemError(
    'server_password_unused',
    'the server let the connection in without its password (trust, peer, cert or gss in pg_hba.conf): PEM connects by password alone, so that nobody gets in as the web server; let this role in by scram-sha-256',
    'operator',
  );
}

/** A server's answer to a wrong password; a server that speaks another language is only asked less often. */
const wrongPassword = /password authentication failed/;

/** @param onRefused the server does not take the password any more */
export function openLink(server: UnmanagedServer, password: string, onRefused: () => void): ServerLink {
  return new ServerLink({
    connect: (options) =>
      connectByPassword(options).catch((error: unknown) => {
        if (wrongPassword.test(errorText(error)) || errorCode(error) === 'server_password_unused')
          onRefused();
        throw error;
      }),
    clock: systemClock,
    gate: new ConnectGate(systemClock),
    params: () => unmanagedParams(server, password),
    onConnect: () => undefined,
  });
}

/** Refusals that a user can do something about; their codes stay. */
const explained = new Set([
  'server_version',
  'server_password_unused',
  'trace_extension_missing',
  'trace_not_loaded',
  'trace_not_permitted',
]);

/**
 * Connects once, looks whether traces could be followed, and goes.
 * @throws HttpError server_refused | server_unreachable | server_version | server_password_unused | trace_extension_missing |
 * trace_not_loaded | trace_not_permitted
 */
export async function checkServer(server: UnmanagedServer, password: string): Promise<void> {
  let cause: unknown;
  const link = new ServerLink({
    connect: (options) =>
      connectByPassword(options).catch((error: unknown) => {
        cause = error;
        throw error;
      }),
    clock: systemClock,
    gate: new ConnectGate(systemClock),
    params: () => unmanagedParams(server, password),
    onConnect: () => undefined,
  });
  try {
    const session = new ProfilerSession(
      await link.lend(new AbortController().signal),
      server.database,
      server.user,
    );
    await session.list();
  } catch (error) {
    const code = errorCode(cause ?? error);
    const text = errorText(cause ?? error);
    if (explained.has(code)) throw new HttpError(422, code, text);
    if (code === 'connect_failed')
      throw new HttpError(422, 'server_refused', `no connection to ${server.host}:${server.port}: ${text}`);
    throw new HttpError(
      422,
      'server_unreachable',
      `${server.host}:${server.port} does not answer as it should: ${text}`,
    );
  } finally {
    link.close();
  }
}
