/**
 * The desk's private PostgreSQL: made once with peer and scram-sha-256 (never trust), started as a child, and found
 * again after an unclean end.
 *
 * Who may log in is the text of `hostRules`; the order matters, the first line that fits decides.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, hostname, totalmem, userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { PemError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { authorityFiles, writeWhole } from '../../pki/authority.js';
import { ensureServerCertificate } from '../init.js';
import type { Home } from './home.js';
import { type ProcessSpec, untilReady } from './supervise.js';

const run = promisify(execFile);

/** Roles that the desk's own user may take over the socket. */
export const peerRoles = ['postgres', 'pem_web', 'pem_ingest', 'pem_signer', 'pem_master', 'pem_monitor'];

/** pg_hba.conf for PEM's database, wherever it runs: `localUser` programs by peer, everybody else by what they have. */
export function hostRules(): string {
  return `# Written by pem desk at every start.
# type   database  user               address       method
local    all       ${peerRoles.join(',')}  peer map=pem
local    pem       +pem_user                        scram-sha-256
hostssl  pem       +pem_agent         all           cert
hostssl  pem       +pem_registering   all           scram-sha-256
hostssl  pem       +pem_user          all           scram-sha-256
`;
}

/** pg_ident.conf: which operating system user may be which role. */
export function identityRules(users: readonly string[]): string {
  const lines = users.flatMap((user) => peerRoles.map((role) => `pem  "${user}"  ${role}`));
  return `# Written by pem desk at every start.\n${lines.join('\n')}\n`;
}

/**
 * The programs that run the home's cluster: those of its own version, for a new one the newest installed from 15 on.
 * @throws PemError no_postgresql
 */
export function findPrograms(home?: Home): string {
  const given = process.env.PEM_PGBIN;
  if (given !== undefined) return given;
  const version = home?.path('data', 'PG_VERSION') ?? '';
  if (existsSync(version)) {
    const own = `/usr/lib/postgresql/${readFileSync(version, 'utf8').trim()}/bin`;
    if (existsSync(join(own, 'initdb'))) return own;
  }
  for (let major = 40; major >= 15; major--) {
    const folder = `/usr/lib/postgresql/${major}/bin`;
    if (existsSync(join(folder, 'initdb'))) return folder;
  }
  throw new PemError(
    'no_postgresql',
    'no PostgreSQL 15 or newer under /usr/lib/postgresql; run "npm start", which installs it, or set PEM_PGBIN to the folder of its programs',
    'operator',
  );
}

/** Makes data directory, authority and certificate where they are missing. An interrupted initdb is begun again. */
export async function prepareCluster(home: Home, bin: string, log: Log): Promise<void> {
  const data = home.path('data');
  const fresh = home.path('data.new');
  if (!existsSync(join(data, 'PG_VERSION'))) {
    rmSync(fresh, { recursive: true, force: true });
    log.info('making the private PostgreSQL cluster');
    await run(
      join(bin, 'initdb'),
      ['-D', fresh, '-U', 'postgres', '-E', 'UTF8', '--locale=C.UTF-8', '--data-checksums'].concat(
        '--auth-local=peer',
        '--auth-host=scram-sha-256',
      ),
      { cwd: home.directory },
    ).catch((error: Error & { stderr?: string }) => {
      throw new PemError(
        'initdb_failed',
        `initdb failed: ${error.stderr?.trim() ?? error.message}`,
        'outside',
      );
    });
    renameSync(fresh, data);
  }
  const major = readFileSync(join(data, 'PG_VERSION'), 'utf8').trim();
  const { stdout } = await run(join(bin, 'postgres'), ['--version']);
  const found = /\) (\d+)/.exec(stdout)?.[1] ?? '';
  if (found !== major) {
    throw new PemError(
      'cluster_version',
      `the cluster in ${data} is of PostgreSQL ${major}, the programs in ${bin} are ${found}; set PEM_PGBIN to those of ${major}, or upgrade it with pg_upgrade`,
      'operator',
    );
  }
  const names = ['localhost', '127.0.0.1', '::1', hostname()];
  if (await ensureServerCertificate(home.path('ca'), home.path('tls'), names)) {
    log.info({ names }, 'certificate of the database made');
  }
  writeFileSync(join(data, 'pg_hba.conf'), hostRules(), { mode: 0o600 });
  writeFileSync(join(data, 'pg_ident.conf'), identityRules([...new Set([userInfo().username, 'root'])]), {
    mode: 0o600,
  });
  writeFileSync(join(data, 'pem.conf'), settingsOf(home), { mode: 0o600 });
  const main = join(data, 'postgresql.conf');
  const line = "include 'pem.conf'";
  const text = readFileSync(main, 'utf8');
  if (!text.includes(line)) writeWhole(main, `${text}\n${line}\n`, 0o600);
}

/** A desk's share of the machine: the cluster is one of several programs on it. */
function settingsOf(home: Home): string {
  const mebibyte = 1024 * 1024;
  const buffers = Math.max(64, Math.min(1024, Math.floor(totalmem() / mebibyte / 16)));
  const quote = (text: string): string => `'${text.replaceAll("'", "''")}'`;
  const settings: Record<string, string> = {
    listen_addresses: quote(home.databaseListen),
    port: String(home.databasePort),
    unix_socket_directories: quote(home.socketDirectory),
    unix_socket_permissions: '0700',
    ssl: 'on',
    ssl_cert_file: quote(home.path('tls', 'server.crt')),
    ssl_key_file: quote(home.path('tls', 'server.key')),
    ssl_ca_file: quote(home.path('tls', 'root.crt')),
    ssl_crl_file: quote(home.path('ca', authorityFiles.revoked)),
    ssl_min_protocol_version: quote('TLSv1.2'),
    password_encryption: quote('scram-sha-256'),
    max_connections: '100',
    shared_buffers: quote(`${buffers}MB`),
    max_wal_size: quote('2GB'),
    wal_compression: 'on',
    checkpoint_timeout: quote('15min'),
    max_parallel_workers: String(Math.max(2, cpus().length)),
    random_page_cost: '1.1',
    jit: 'off',
    timezone: quote('UTC'),
    log_timezone: quote('UTC'),
    log_min_duration_statement: '-1',
    logging_collector: 'off',
    cluster_name: quote('pem'),
  };
  return `# Written by pem desk at every start.\n${Object.entries(settings)
    .map(([key, value]) => `${key} = ${value}`)
    .join('\n')}\n`;
}

/**
 * A server that an earlier desk left behind is stopped fast; a pid file whose process is another program is PostgreSQL's
 * own to judge.
 */
export async function endLeftover(home: Home, log: Log): Promise<void> {
  const file = home.path('data', 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number(readFileSync(file, 'utf8').split('\n')[0]);
  const ours = (): boolean => {
    try {
      return readlinkSync(`/proc/${pid}/cwd`) === home.path('data');
    } catch {
      return false;
    }
  };
  if (!ours()) return;
  log.warn({ pid }, 'ending the PostgreSQL that an earlier desk left running');
  process.kill(pid, 'SIGINT');
  const until = Date.now() + 60_000;
  while (ours()) {
    if (Date.now() > until) process.kill(pid, 'SIGQUIT');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** How the supervisor runs it: SIGINT is PostgreSQL's fast shutdown. */
export function clusterProcess(home: Home, bin: string): ProcessSpec {
  return {
    name: 'postgres',
    command: [join(bin, 'postgres'), '-D', home.path('data')],
    stopSignal: 'SIGINT',
    stopWithinMs: 60_000,
    ready: (gone) =>
      untilReady('postgres', home.path('log'), gone, 120_000, async () => {
        await (await superuser(home, 'postgres')).end();
        return true;
      }),
  };
}

/** A connection as superuser over the socket; the caller ends it. */
export async function superuser(home: Home, database: string): Promise<pg.Client> {
  const client = new pg.Client({
    host: home.socketDirectory,
    port: home.databasePort,
    user: 'postgres',
    database,
    application_name: 'pem desk',
  });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}
