/**
 * The web program put together: HTTP server, sign-in, REST, push. In: where PEM's database is and where to listen; out:
 * a running server and how to stop it. Start-up refuses what must not run: a database that lets a random password in,
 * a pem_web that is a superuser, an address beyond loopback without TLS.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Gate } from '../auth/gate.js';
import { mayLogIn, type Session, Sessions } from '../auth/sessions.js';
import { refuseTrustingDatabase, SignIn, type SignInOptions } from '../auth/sign_in.js';
import type { Conninfo } from '../base/conninfo.js';
import { openPool, type Pool } from '../base/db.js';
import { PemError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { RoleReader } from '../base/reader.js';
import { type Client, PushHub } from '../push/hub.js';
import { LatestSource } from '../push/latest.js';
import { IngestLink } from '../push/link.js';
import { Probes } from '../push/probes.js';
import { lookAs, Watch, type WatchOptions } from '../push/watch.js';
import { httpRoutes } from '../rest/index.js';
import { Tracer, type TracerOptions } from '../tracer/index.js';
import { Assets } from './assets.js';
import { HttpServer } from './server.js';

export interface WebOptions {
  /** PEM's database as pem_web. */
  readonly db: Conninfo;
  /** Where users' passwords are tried; default: the same host, port and database. */
  readonly signIn?: Conninfo;
  readonly listen: { readonly host: string; readonly port: number };
  /** Names under which the server answers, beside loopback's. */
  readonly hosts: readonly string[];
  /** Directory of push.sock. */
  readonly pushDirectory: string;
  readonly tls?: { readonly keyFile: string; readonly certFile: string };
  /** The UI's built files; default dist/web of this installation. */
  readonly webDirectory?: string;
  /** Where traces of servers without an agent are followed from (0700); without it there are none. */
  readonly stateDirectory?: string;
  readonly log: Log;
  /** For tests: attempts, times, bounds. */
  readonly throttle?: Pick<SignInOptions, 'perUser' | 'perAddress'>;
  readonly watch?: WatchOptions;
  readonly tracer?: Pick<TracerOptions, 'limits' | 'idleMs'>;
  readonly maxBackpressureBytes?: number;
}

export interface WebServer {
  readonly port: number;
  stop(): Promise<void>;
}

/** dist/web beside this file's own dist, or below the repository when run from source. */
function defaultWebDirectory(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, 'package.json')) && dirname(directory) !== directory) {
    directory = dirname(directory);
  }
  return join(directory, 'dist/web');
}

/** @throws PemError web_role_super | sign_in_unsafe | sign_in_unreachable */
async function checkDatabase(pool: Pool, signIn: Conninfo): Promise<void> {
  const { rows } = await pool.query<{ rolsuper: boolean; rolbypassrls: boolean; username: string }>(
    'SELECT rolsuper, rolbypassrls, rolname AS username FROM pg_roles WHERE rolname = session_user',
  );
  const own = rows[0];
  if (own === undefined || own.rolsuper || own.rolbypassrls) {
    throw new PemError(
      'web_role_super',
      `the web server must not run as "${own?.username ?? ''}", which may read everything; use pem_web`,
      'operator',
    );
  }
  const users = await pool.query<{ rolname: string }>(
    `SELECT r.rolname FROM pg_roles r WHERE ${mayLogIn} ORDER BY random() LIMIT 1`,
  );
  const user = users.rows[0];
  if (user !== undefined) await refuseTrustingDatabase(signIn, user.rolname);
}

/**
 * Runs the web server until `stop`.
 * @throws PemError of kind 'operator' where a setting forbids the start
 */
export async function runWeb(options: WebOptions): Promise<WebServer> {
  const { log } = options;
  const pool = openPool(options.db, { applicationName: 'pem web', max: 8, statementTimeoutMs: 20_000 });
  const reader = new RoleReader(options.db, { applicationName: 'pem web reader', max: 4 });
  const signInConninfo = options.signIn ?? options.db;
  try {
    const server = new HttpServer({
      listen: options.listen,
      hosts: options.hosts,
      ...(options.tls === undefined ? {} : { tls: options.tls }),
      log,
      otherwise: (head) => assets.reply(head),
    });
    const assets = new Assets(options.webDirectory ?? defaultWebDirectory());
    await checkDatabase(pool, signInConninfo);

    const sessions = new Sessions(pool);
    const gate = new Gate(sessions);
    const tracer = new Tracer({
      ...options.tracer,
      ...{ db: options.db, pool, sessions, log },
      folder: options.stateDirectory,
    });
    const probes = new Probes(pool);
    const latest = new LatestSource(reader, probes);
    const hub = new PushHub({ publisher: server, source: latest, log });
    const watchSource = {
      look: (username: string, withFleet: boolean) => lookAs(pool, username, withFleet),
      stillOpen: (hashes: readonly Buffer[]) => sessions.stillOpen(hashes),
    };
    const watch = new Watch(hub, watchSource, log, options.watch);
    const link = new IngestLink(
      options.pushDirectory,
      {
        commit: (entries) => hub.commit(entries),
        lost: (reason) => hub.lost(reason),
        joined: (name) => hub.joined(name),
      },
      log,
    );

    for (const route of httpRoutes({
      pool,
      reader,
      probes,
      latest,
      gate,
      signIn: new SignIn({ conninfo: signInConninfo, ...options.throttle }),
      secure: server.secure,
      tracer,
      webStats: async () => ({ sessions: await sessions.count(), ...hub.stats }),
    })) {
      server.route(route);
    }
    server.live<{ session: Session; client?: Client }>({
      path: '/pem/live',
      maxMessageBytes: 64 * 1024,
      maxBackpressureBytes: options.maxBackpressureBytes ?? 1024 * 1024,
      accept: async (head) => ({ session: await gate.identifyCookie(head) }),
      opened(socket) {
        const client = hub.attach(socket, socket.data.session.username);
        socket.data.client = client;
        watch.add(client, socket.data.session.tokenHash);
      },
      message: (socket, text) => socket.data.client && hub.message(socket.data.client, text),
      dropped: (socket) => socket.data.client && hub.dropped(socket.data.client),
      drained: (socket) => socket.data.client && hub.drained(socket.data.client),
      closed(socket) {
        if (socket.data.client === undefined) return;
        watch.remove(socket.data.client);
        hub.detach(socket.data.client);
      },
    });

    await link.start();
    await tracer.start();
    watch.start();
    let port: number;
    try {
      port = await server.start();
    } catch (error) {
      watch.stop();
      await tracer.stop();
      await link.stop();
      throw error;
    }
    log.info({ port, host: options.listen.host }, 'web server listens');
    return {
      port,
      async stop() {
        watch.stop();
        hub.stop();
        await link.stop();
        server.stop();
        await tracer.stop();
        reader.stop();
        await pool.end();
      },
    };
  } catch (error) {
    reader.stop();
    await pool.end();
    throw error;
  }
}
