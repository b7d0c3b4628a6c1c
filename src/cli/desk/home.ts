/**
 * PEM_HOME: the folders of a desk, its remembered ports, and who runs it.
 *
 * PostgreSQL refuses root, so a desk started by root hands over to the user postgres and lives in /var/lib/pem; anybody
 * else has it in ~/.local/share/pem. The whole of it is 0700. The file settings.toml holds the two ports, the socket
 * folder and where PostgreSQL listens; it is written once and may be edited while the desk is down.
 *
 *   settings.toml   ports, socket folder            data/      the private cluster
 *   ca/             the authority (0700)            tls/       the cluster's certificate and root.crt
 *   agent1/         directory of agent 1            secrets/   first password, token (0600)
 *   log/            one file per process            desk.pid   the running desk
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { homedir, userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'smol-toml';
import * as v from 'valibot';
import { errorText, PemError } from '../../base/errors.js';
import { writeWhole } from '../../pki/authority.js';

/** The folder of package.json: the programs are under its dist/ and native/. */
export const programRoot = join(dirname(fileURLToPath(import.meta.url)), '../../../..');

/** sockaddr_un.sun_path is 108 bytes with its NUL; the longest name PostgreSQL makes is ".s.PGSQL.65535.lock". */
const longestSocketPath = 107;
const longestSocketName = '.s.PGSQL.65535.lock'.length;

const port = v.pipe(v.number(), v.integer(), v.minValue(1024), v.maxValue(65_535));
const settingsSchema = v.strictObject({
  database_port: port,
  web_port: port,
  socket_directory: v.pipe(v.string(), v.startsWith('/')),
  /** PostgreSQL's listen_addresses: who may come from there is up to certificates, tokens and passwords, over TLS alone. */
  database_listen: v.optional(
    v.pipe(v.string(), v.regex(/^[\w.:*-]+(, ?[\w.:*-]+)*$/, 'is no list of addresses')),
    '127.0.0.1',
  ),
});

export interface Home {
  readonly directory: string;
  readonly databasePort: number;
  readonly webPort: number;
  /** Addresses on which PEM's PostgreSQL listens for agents, separated by commas. */
  readonly databaseListen: string;
  readonly socketDirectory: string;
  path(...names: string[]): string;
}

export interface ServerUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Where the desk lives when --home and PEM_HOME say nothing. */
export function defaultHome(): string {
  return process.env.PEM_HOME ?? (isRoot() ? '/var/lib/pem' : join(homedir(), '.local/share/pem'));
}

export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** The user that PostgreSQL's package made. @throws PemError no_postgres_user */
export function postgresUser(): ServerUser {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith('postgres:'));
  if (line === undefined) {
    throw new PemError(
      'no_postgres_user',
      'root cannot run PostgreSQL and there is no user "postgres"; run: useradd --system postgres',
      'operator',
    );
  }
  const [name = '', , uid, gid] = line.split(':');
  return { name, uid: Number(uid), gid: Number(gid) };
}

/** As root: makes PEM_HOME and gives it to `user`. */
export function prepareHome(directory: string, user: ServerUser): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const owner = statSync(directory).uid;
  if (owner !== user.uid) {
    if (owner !== 0 || readdirSync(directory).length > 0) {
      throw new PemError(
        'home_owner',
        `${directory} holds files of another user; run: chown -R ${user.name} ${directory}`,
        'operator',
      );
    }
    chownSync(directory, user.uid, user.gid);
  }
}

/** @throws PemError home_unreachable where a folder above the home keeps its owner out */
export function checkReachable(directory: string, user: ServerUser): void {
  const identity = { uid: user.uid, gid: user.gid, stdio: 'ignore' as const, cwd: '/' };
  if (spawnSync('test', ['-x', directory], identity).status !== 0) {
    throw new PemError(
      'home_unreachable',
      `the user ${user.name} cannot enter ${directory}; give another --home, or chmod a+x the folders above it`,
      'operator',
    );
  }
}

/**
 * Where root copies the program: beside PEM_HOME, not in it. PEM_HOME is the other user's, who could put links in the way
 * of what root deletes and writes there.
 * @throws PemError home_owner where somebody else's file has that name
 */
export function programCopy(directory: string): string {
  const target = `${resolve(directory)}-program`;
  for (const path of [target, `${target}.new`]) {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found !== undefined && (found.uid !== userInfo().uid || !found.isDirectory())) {
      throw new PemError('home_owner', `${path} is of another user; remove it`, 'operator');
    }
  }
  return target;
}

/** node and the program's folder as `user` can run them: in place, or copied to PEM_HOME-program. */
export interface Program {
  readonly node: string;
  readonly root: string;
}

/**
 * A clone below /root (0700) or a Node below ~/.nvm cannot be read by another user; what runs is then copied, owned by
 * root, and copied again whenever the build changed.
 */
export function reachableProgram(directory: string, user: ServerUser): Program {
  const entry = join(programRoot, 'dist/src/cli/pem.js');
  const identity = { uid: user.uid, gid: user.gid, stdio: 'ignore' as const, cwd: '/' };
  const nodeRuns = spawnSync(process.execPath, ['-e', '0'], identity).status === 0;
  const script = 'require("fs").accessSync(process.argv[1], 4)';
  if (nodeRuns && spawnSync(process.execPath, ['-e', script, entry], identity).status === 0) {
    return { node: process.execPath, root: programRoot };
  }
  const target = programCopy(directory);
  const node = join(target, 'node');
  const stampOf = (root: string): string =>
    ['native', 'ts', 'web']
      .map((name) => join(root, `build/${name}.stamp`))
      .map((file) => (existsSync(file) ? readFileSync(file, 'utf8') : ''))
      .join(' ');
  if (!existsSync(node) || stampOf(target) !== stampOf(programRoot)) {
    const fresh = `${target}.new`;
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh, { mode: 0o755 });
    cpSync(process.execPath, join(fresh, 'node'));
    copyProgram(fresh);
    rmSync(target, { recursive: true, force: true });
    renameSync(fresh, target);
  }
  return { node, root: target };
}

/** Runtime files only: no sources of the addon, no development packages, one web server binary of sixty. */
function copyProgram(target: string): void {
  const lock = JSON.parse(readFileSync(join(programRoot, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean }>;
  };
  const webServer = `uws_linux_${process.arch}_${process.versions.modules}.node`;
  for (const name of ['package.json', 'dist', 'native', 'build', 'src']) {
    const from = join(programRoot, name);
    if (!existsSync(from)) continue;
    cpSync(from, join(target, name), {
      recursive: true,
      filter: (path) => !/\.(o|test\.ts|tests\.json|log)$/.test(path) && !path.includes('/obj.target'),
    });
  }
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (!path.startsWith('node_modules/') || entry.dev === true) continue;
    const from = join(programRoot, path);
    if (!existsSync(from)) continue;
    cpSync(from, join(target, path), {
      recursive: true,
      filter: (file) => !/\/uws_[a-z0-9_]+\.node$/.test(file) || file.endsWith(webServer),
    });
  }
}

/**
 * Opens PEM_HOME as the user that owns it (the caller holds its lock); at the first time ports are chosen and written down.
 * @throws PemError port_taken where the port that was asked for is not free, settings_syntax, no_free_port
 */
export async function openHome(directory: string, wantedWebPort: number | undefined): Promise<Home> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  chmodSync(directory, 0o700);
  const file = join(directory, 'settings.toml');
  let settings: v.InferOutput<typeof settingsSchema>;
  if (existsSync(file)) {
    settings = readSettings(file);
  } else {
    settings = {
      // Not always the same one: a desk that is down must not lose its port to the next one's start.
      database_port: await freePort(25_000 + Math.floor(Math.random() * 3_000)),
      web_port: wantedWebPort ?? (await freePort(8790)),
      socket_directory: newSocketDirectory(directory),
      database_listen: '127.0.0.1',
    };
  }
  if (wantedWebPort !== undefined) {
    if (!(await isFree(wantedWebPort))) throw portTaken(wantedWebPort, 'the page');
    settings.web_port = wantedWebPort;
  } else settings.web_port = await freePort(settings.web_port);
  settings.socket_directory = checkSocketDirectory(settings.socket_directory, directory);
  writeWhole(file, `# Written by pem desk; edit while it is down.\n${stringify(settings)}\n`, 0o600);
  for (const name of ['secrets', 'log', 'tls']) {
    mkdirSync(join(directory, name), { recursive: true, mode: 0o700 });
  }
  return {
    directory,
    databasePort: settings.database_port,
    webPort: settings.web_port,
    databaseListen: settings.database_listen,
    socketDirectory: settings.socket_directory,
    path: (...names) => join(directory, ...names),
  };
}

/** The database's address of a desk that was started before, for commands without --db; undefined where there is none. */
export function knownDesk(directory: string): { socketDirectory: string; databasePort: number } | undefined {
  const file = join(directory, 'settings.toml');
  if (!existsSync(file)) return undefined;
  const settings = readSettings(file);
  return { socketDirectory: settings.socket_directory, databasePort: settings.database_port };
}

function readSettings(file: string): v.InferOutput<typeof settingsSchema> {
  try {
    return v.parse(settingsSchema, parse(readFileSync(file, 'utf8')));
  } catch (error) {
    const at = v.isValiError(error) ? `${v.getDotPath(error.issues[0]) ?? ''}: ` : '';
    throw new PemError('settings_syntax', `${file}: ${at}${errorText(error)}`, 'operator', { cause: error });
  }
}

/** The first free port from `from` on, below the range that the kernel gives to outgoing connections. */
export async function freePort(from: number): Promise<number> {
  for (let candidate = from; candidate < from + 200 && candidate < 65_536; candidate++) {
    if (await isFree(candidate)) return candidate;
  }
  throw new PemError('no_free_port', `no free port from ${from} on 127.0.0.1`, 'outside');
}

/** Somebody else has a port that a desk needs. */
export function portTaken(taken: number, what: string): PemError {
  return new PemError(
    'port_taken',
    `port ${taken} of ${what} is taken by another program; end that one ("ss -ltnp" names it) or choose another port`,
    'operator',
  );
}

export async function isFree(candidate: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port: candidate, host: '127.0.0.1', exclusive: true }, () =>
      server.close(() => resolve(true)),
    );
  });
}

function newSocketDirectory(directory: string): string {
  const inside = join(directory, 'run');
  if (Buffer.byteLength(inside) + 1 + longestSocketName <= longestSocketPath) return inside;
  return mkdtempSync(join(process.env.XDG_RUNTIME_DIR ?? '/tmp', 'pem-'));
}

/** The folder again as ours and 0700, or a new one: /tmp is emptied at boots, and anybody may write there. */
function checkSocketDirectory(socketDirectory: string, directory: string): string {
  try {
    const found = lstatSync(socketDirectory);
    if (found.isDirectory() && found.uid === userInfo().uid) {
      chmodSync(socketDirectory, 0o700);
      return socketDirectory;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    if (dirname(socketDirectory) === directory) {
      mkdirSync(socketDirectory, { mode: 0o700 });
      return socketDirectory;
    }
  }
  const fresh = newSocketDirectory(directory);
  mkdirSync(fresh, { recursive: true, mode: 0o700 });
  return fresh;
}
