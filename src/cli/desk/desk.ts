/**
 * `pem desk`: the whole of PEM on one machine.
 *
 * In: PEM_HOME. Out: a page at 127.0.0.1 and the processes behind it, in this order: PostgreSQL, signer, ingester, web
 * server, watchdog with agent 1. Each part is made where it is missing, so a second start, or one after an interrupted
 * first, does only what is left. Started by root it runs itself again as the user postgres. SIGTERM, SIGINT, SIGHUP: the
 * processes end in the opposite order and PostgreSQL shuts down cleanly; a failure on the way up does the same.
 */
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, unwatchFile, watchFile } from 'node:fs';
import { join } from 'node:path';
import { configText, readConfig } from '../../../agent/config.js';
import { type Conninfo, formatConninfo } from '../../base/conninfo.js';
import type { Log } from '../../base/log.js';
import { authorityFiles, writeWhole } from '../../pki/authority.js';
import { createToken } from '../../schema/users.js';
import { agentCommand, registerHost } from '../agent.js';
import { withClient } from '../connect.js';
import { ensureAdministrator, ensureAuthority, ensureDatabase, noteAuthority } from '../init.js';
import { addServer } from '../operator.js';
import { writeSecret } from '../secret.js';
import { clusterProcess, endLeftover, findPrograms, prepareCluster } from './cluster.js';
import {
  checkReachable,
  defaultHome,
  type Home,
  isFree,
  isRoot,
  openHome,
  portTaken,
  postgresUser,
  prepareHome,
  programRoot,
  reachableProgram,
} from './home.js';
import { lockHome } from './lock.js';
import { openDeskLog } from './log.js';
import { openSupervisor, type ProcessSpec, type Supervisor, untilReady } from './supervise.js';

export interface DeskOptions {
  readonly home?: string | undefined;
  readonly port?: number | undefined;
  readonly agent: boolean;
}

const administrator = 'admin';
const linkMinutes = 10;

/** Runs until a signal ends it. */
export async function desk(options: DeskOptions): Promise<void> {
  const directory = options.home ?? defaultHome();
  if (isRoot()) {
    process.exitCode = await asPostgres(directory, options);
    return;
  }
  const stopped = signalled();
  // First of all: a second start must not change what the running one lives by.
  const unlock = lockHome(directory);
  try {
    await run(await openHome(directory, options.port), options, stopped);
  } finally {
    unlock();
  }
}

async function run(home: Home, options: DeskOptions, stopped: Promise<string>): Promise<void> {
  const log = openDeskLog(home.path('log', 'desk.log'));
  const supervisor = openSupervisor(home.path('log'), log);
  try {
    await Promise.race([bringUp(home, options, supervisor, log), stopped]);
    const signal = await stopped;
    log.info({ signal }, 'stopping');
  } finally {
    unwatchFile(home.path('ca', authorityFiles.revoked));
    await supervisor.stop();
  }
}

function signalled(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, resolve);
  });
}

/** The desk again as the user postgres; signals are passed on, its exit status is ours. */
async function asPostgres(directory: string, options: DeskOptions): Promise<number> {
  const user = postgresUser();
  prepareHome(directory, user);
  checkReachable(directory, user);
  const program = reachableProgram(directory, user);
  const words = ['desk', '--home', directory];
  if (options.port !== undefined) words.push('--port', String(options.port));
  if (!options.agent) words.push('--no-agent');
  const entry = join(program.root, 'dist/src/cli/pem.js');
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', program.node, entry, ...words], {
    uid: user.uid,
    gid: user.gid,
    cwd: '/',
    stdio: 'inherit',
    env: { ...process.env, HOME: directory, USER: user.name, LOGNAME: user.name },
  });
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(code ?? (signal === null ? 1 : 128)));
  });
}

async function bringUp(home: Home, options: DeskOptions, supervisor: Supervisor, log: Log): Promise<void> {
  const from = Date.now();
  const bin = findPrograms(home);
  const authority = await ensureAuthority(home.path('ca'));
  await prepareCluster(home, bin, log);
  await endLeftover(home, log);
  if (!(await isFree(home.databasePort))) throw portTaken(home.databasePort, "PEM's cluster");
  await supervisor.start(clusterProcess(home, bin));
  log.info({ port: home.databasePort, ms: Date.now() - from }, 'PostgreSQL is up');

  const superuser = address(home, 'postgres');
  const ran = await ensureDatabase(superuser);
  if (ran.length > 0) log.info({ migrations: ran.length }, 'schema made');
  await noteAuthority(superuser, authority.fingerprint);
  await ensureMonitorRole(superuser);
  const passwordFile = home.path('secrets', 'admin-password');
  if (await ensureAdministrator(superuser, administrator, passwordFile)) {
    log.info({ user: administrator, passwordFile }, 'first administrator made');
  }

  const pushDirectory = join(home.socketDirectory, 'push');
  mkdirSync(pushDirectory, { recursive: true, mode: 0o700 });
  await supervisor.start(program('sign', ['sign', '--db', conninfo(home), '--ca', home.path('ca')]));
  await supervisor.start(
    program('ingest', [
      'ingest',
      '--db',
      conninfo(home),
      '--push-directory',
      pushDirectory,
      '--name',
      'desk',
    ]),
  );
  // Whoever answers there instead would pass for ours, and be handed the sign-in link.
  if (!(await isFree(home.webPort))) throw portTaken(home.webPort, 'the page');
  await supervisor.start({
    ...program('server', [
      'server',
      '--db',
      conninfo(home),
      '--push-directory',
      pushDirectory,
      '--state',
      home.path('web'),
      '--listen',
      `127.0.0.1:${home.webPort}`,
    ]),
    ready: (gone) =>
      untilReady('server', home.path('log'), gone, 30_000, async () => {
        const reply = await fetch(`http://127.0.0.1:${home.webPort}/pem/api/v1/session`);
        return reply.status === 401;
      }),
  });
  // A new revocation list counts once PostgreSQL has read it.
  watchFile(home.path('ca', authorityFiles.revoked), { interval: 2_000 }, () => {
    const pid = supervisor.pid('postgres');
    if (pid !== undefined) process.kill(pid, 'SIGHUP');
  });
  if (options.agent) {
    await ensureAgent(home, superuser, authority.fingerprint, log);
    await supervisor.start({
      name: 'agent',
      command: agentCommand(home.path('agent1')),
      stopSignal: 'SIGTERM',
      stopWithinMs: 15_000,
    });
  }
  log.info({ ms: Date.now() - from }, 'PEM is up');
  await printAddress(home, superuser, passwordFile);
}

function address(home: Home, user: string): Conninfo {
  return { host: home.socketDirectory, port: String(home.databasePort), dbname: 'pem', user };
}

function conninfo(home: Home): string {
  const { user: _user, ...place } = address(home, '');
  return formatConninfo(place);
}

function program(name: string, words: readonly string[]): ProcessSpec {
  return {
    name,
    command: [process.execPath, join(programRoot, 'dist/src/cli/pem.js'), ...words],
    stopSignal: 'SIGTERM',
    stopWithinMs: 15_000,
  };
}

/** The role that watches the private cluster: pg_monitor and nothing more. */
async function ensureMonitorRole(superuser: Conninfo): Promise<void> {
  await withClient(superuser, async (client) => {
    await client.query(`
      DO $$ BEGIN
        IF to_regrole('pem_monitor') IS NULL THEN
          CREATE ROLE pem_monitor LOGIN CONNECTION LIMIT 3 IN ROLE pg_monitor;
        END IF;
      END $$;
      GRANT CONNECT ON DATABASE postgres, template1, pem TO pem_monitor`);
  });
}

/** Agent 1, registered on the road that every agent takes, watching its host and the private cluster. */
async function ensureAgent(home: Home, superuser: Conninfo, caSha256: string, log: Log): Promise<void> {
  const directory = home.path('agent1');
  const config = join(directory, 'agent.toml');
  if (!existsSync(config)) {
    const tokenFile = home.path('secrets', 'agent-token');
    // A token that was handed in before an interruption goes on waiting for its certificate.
    if (!existsSync(tokenFile) || !existsSync(join(directory, 'register.json'))) {
      rmSync(tokenFile, { force: true });
      const token = await withClient(superuser, (client) =>
        createToken(client, { displayName: 'desk', owner: administrator, ttlSeconds: 600 }),
      );
      writeSecret(tokenFile, token.token);
    }
    const server = `localhost:${home.databasePort}`;
    log.info(
      await registerHost({ server, database: 'pem', caSha256, tokenFile, directory, verifyName: true }),
    );
    rmSync(tokenFile);
  }
  const { agentId } = readConfig(config);
  followHome(config, home);
  await withClient(superuser, async (client) => {
    // The private cluster is known by its identifier: port and socket folder may be others by now, and whoever took it off
    // the list does not want it back.
    const known = await client.query<{ target_id: string }>(
      `SELECT s.target_id FROM pem.server s
        WHERE s.host = $1 OR (s.host LIKE '/%' AND s.system_identifier = (SELECT c.system_identifier FROM pg_control_system() c))`,
      [home.socketDirectory],
    );
    if (known.rows.length > 0) {
      const moved = await client.query(
        `UPDATE pem.server SET host = $1, port = $2 WHERE target_id = ANY ($3) AND (host, port) <> ($1, $2)`,
        [home.socketDirectory, home.databasePort, known.rows.map((row) => row.target_id)],
      );
      if (moved.rowCount !== 0) {
        await client.query('SELECT pem.bump_config(ARRAY[$1::int])', [agentId]);
        log.info({ port: home.databasePort }, 'agent 1 finds the private cluster at its new address');
      }
      return;
    }
    const target = await addServer(client, 'PEM', {
      agent: agentId,
      host: home.socketDirectory,
      port: home.databasePort,
      database: 'pem',
      user: 'pem_monitor',
      sslmode: 'disable',
      owner: administrator,
    });
    log.info({ target }, 'agent 1 watches the private cluster');
  });
}

/** Brings agent.toml to the duties of agent 1 and to the ports and folders of this home; what else stands in it stays. */
function followHome(config: string, home: Home): void {
  const { agentId, role, pem, master } = readConfig(config);
  const { host, dbname, sslmode } = pem;
  const place = formatConninfo({
    host: `${host}`,
    port: `${home.databasePort}`,
    dbname: `${dbname}`,
    sslmode: `${sslmode}`,
  });
  const duties = formatConninfo(address(home, 'pem_master'));
  const before = readFileSync(config, 'utf8');
  let text = before;
  if (master === null) {
    text = configText({ agentId, role, conninfo: place, master: { conninfo: duties } });
  } else {
    const wanted = [
      { section: 'pem', value: place, holds: `${pem.port}` === `${home.databasePort}` },
      { section: 'master', value: duties, holds: formatConninfo(master) === duties },
    ];
    for (const { section, value, holds } of wanted) {
      if (holds) continue;
      const line = new RegExp(`(^\\[${section}\\][^[]*?^conninfo = )"[^"\\n]*"`, 'm');
      text = text.replace(line, (_all, start: string) => `${start}${JSON.stringify(value)}`);
    }
  }
  if (text !== before) writeWhole(config, text, 0o600);
}

/** The address with a one-time sign-in link: the token stands behind '#', which no server or proxy ever sees. */
async function printAddress(home: Home, superuser: Conninfo, passwordFile: string): Promise<void> {
  const token = randomBytes(32).toString('base64url');
  await withClient(superuser, (client) =>
    client.query(
      `INSERT INTO pem.one_time_link (token_hash, username, expires_at) VALUES ($1, $2, now() + $3 * interval '1 minute')`,
      [createHash('sha256').update(token).digest(), administrator, linkMinutes],
    ),
  );
  process.stdout.write(`
PEM is running. Open this within ${linkMinutes} minutes; it signs you in once:

  http://127.0.0.1:${home.webPort}/#signin=${token}

Later sign in as "${administrator}" with the password in ${passwordFile}
Logs are in ${home.path('log')}. Ctrl-C ends it.
`);
}
