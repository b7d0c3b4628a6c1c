/**
 * A throw-away PostgreSQL cluster for tests and benchmarks: initdb in a temporary folder as a user that is not root,
 * listening on a unix socket (and 127.0.0.1 where asked), removed at `stop`. Its owner is the test that started it; a
 * cluster whose test was killed is swept by the next `startCluster` (its owner's pid is in the folder's name).
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chownSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';

const run = promisify(execFile);

export interface ClusterOptions {
  /** Folder of the server's programs; default: the newest under /usr/lib/postgresql, or PEM_TEST_PGBIN. */
  readonly bin?: string;
  /** Extra lines of postgresql.conf. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Replaces pg_hba.conf; default: trust on the socket only. */
  readonly hba?: string;
  /** Replaces pg_ident.conf. */
  readonly ident?: string;
  /** Also listen on 127.0.0.1. */
  readonly tcp?: boolean;
  /** A stopped data directory to copy instead of running initdb. */
  readonly template?: string;
  /** Program and arguments that the server is run under, for example valgrind's; `%folder` is the cluster's folder. */
  readonly under?: readonly string[];
  /** Where its folder is made; default: the system's temporary folder. */
  readonly parent?: string;
  /** Called with the data directory before the first start: certificates and the like. */
  readonly prepare?: (dataDirectory: string) => void;
}

export interface Cluster {
  readonly folder: string;
  readonly dataDirectory: string;
  readonly socketDirectory: string;
  readonly port: number;
  readonly bin: string;
  readonly superuser: string;
  /** Connection settings for `pg` as superuser. */
  config(database?: string): pg.ClientConfig;
  /** A connected client as superuser; the caller ends it. */
  client(database?: string): Promise<pg.Client>;
  /** One statement as superuser. */
  query(sql: string, parameters?: unknown[], database?: string): Promise<pg.QueryResult>;
  postmasterPid(): number;
  start(): Promise<void>;
  /** Stops the server, the folder stays. */
  halt(mode: 'smart' | 'fast' | 'immediate'): Promise<void>;
  /** Stops and removes everything. */
  stop(): Promise<void>;
}

/** uid and gid to run server programs as: PostgreSQL refuses root. */
export function serverUser(): { uid?: number; gid?: number; name: string } {
  if (process.getuid?.() !== 0) return { name: process.env.USER ?? 'postgres' };
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith('postgres:'));
  if (line === undefined)
    throw new Error('tests run as root need the user "postgres" (apt-get install postgresql)');
  const [, , uid, gid] = line.split(':');
  return { uid: Number(uid), gid: Number(gid), name: 'postgres' };
}

/** The newest installed server's program folder. */
export function findServerBin(): string {
  if (process.env.PEM_TEST_PGBIN !== undefined) return process.env.PEM_TEST_PGBIN;
  const majors = readdirSync('/usr/lib/postgresql')
    .map(Number)
    .filter((major) => major >= 13)
    .sort((a, b) => b - a);
  if (majors[0] === undefined) throw new Error('no PostgreSQL server under /usr/lib/postgresql');
  return `/usr/lib/postgresql/${majors[0]}/bin`;
}

/** Below those that the kernel gives to connections (and to `listen(0)`), and below those of `pem desk`. */
const firstPort = 12_000;
const ports = 12_000;
/** Processes begin far from each other: two that look at the same time look at different ports. */
let nextPort = (process.pid * 101) % ports;

/**
 * A port that nobody listens on. A server may be stopped and started on it again: meanwhile no connection of others is given
 * it as its own port, as one of the kernel's could be.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < ports; tries++) {
    const port = firstPort + nextPort;
    nextPort = (nextPort + 1) % ports;
    const isFree = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once('error', () => resolve(false));
      server.listen(port, '0.0.0.0', () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
  throw new Error('no free port');
}

function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const owner = /^pemrig-(\d+)-/.exec(name)?.[1];
    if (owner === undefined) continue;
    try {
      process.kill(Number(owner), 0);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') continue;
      const folder = join(tmpdir(), name);
      try {
        const pid = Number(readFileSync(join(folder, 'data/postmaster.pid'), 'utf8').split('\n')[0]);
        process.kill(pid, 'SIGQUIT');
      } catch {
        // It is not running.
      }
      try {
        rmSync(folder, { recursive: true, force: true });
      } catch {
        // Its server is still ending, or another process sweeps as well: the next sweep has the rest.
      }
    }
  }
}

export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  sweep();
  const bin = options.bin ?? findServerBin();
  const user = serverUser();
  const folder = mkdtempSync(join(options.parent ?? tmpdir(), `pemrig-${process.pid}-`));
  const dataDirectory = join(folder, 'data');
  if (user.uid !== undefined && user.gid !== undefined) chownSync(folder, user.uid, user.gid);
  const identity = {
    ...(user.uid === undefined ? {} : { uid: user.uid }),
    ...(user.gid === undefined ? {} : { gid: user.gid }),
  };
  if (options.template === undefined) {
    await run(
      join(bin, 'initdb'),
      ['-D', dataDirectory, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '-N'],
      {
        ...identity,
        cwd: folder,
      },
    );
  } else {
    await run('cp', ['-a', options.template, dataDirectory], { ...identity, cwd: folder });
  }
  let port = 0;
  const choosePort = async (): Promise<void> => {
    port = await freePort();
    const settings: Record<string, string> = {
      listen_addresses: options.tcp === true ? "'127.0.0.1'" : "''",
      unix_socket_directories: `'${folder}'`,
      port: String(port),
      fsync: 'off',
      shared_buffers: '64MB',
      max_connections: '100',
      logging_collector: 'off',
      ...options.settings,
    };
    writeFileSync(
      join(dataDirectory, 'postgresql.auto.conf'),
      `${Object.entries(settings)
        .map(([key, value]) => `${key} = ${value}`)
        .join('\n')}\n`,
    );
  };
  await choosePort();
  if (options.hba !== undefined) writeFileSync(join(dataDirectory, 'pg_hba.conf'), options.hba);
  if (options.ident !== undefined) writeFileSync(join(dataDirectory, 'pg_ident.conf'), options.ident);
  options.prepare?.(dataDirectory);

  let server: ChildProcess | undefined;
  let exited: Promise<void> = Promise.resolve();
  const config = (database = 'postgres'): pg.ClientConfig => ({
    host: folder,
    port,
    user: 'postgres',
    database,
  });
  const client = async (database?: string): Promise<pg.Client> => {
    const opened = new pg.Client(config(database));
    opened.on('error', () => undefined);
    await opened.connect();
    return opened;
  };

  const cluster: Cluster = {
    folder,
    dataDirectory,
    socketDirectory: folder,
    get port() {
      return port;
    },
    bin,
    superuser: 'postgres',
    config,
    client,
    async query(sql, parameters, database) {
      const opened = await client(database);
      try {
        return await opened.query(sql, parameters);
      } finally {
        await opened.end();
      }
    },
    postmasterPid: () => Number(readFileSync(join(dataDirectory, 'postmaster.pid'), 'utf8').split('\n')[0]),
    async start() {
      const command = [...(options.under ?? []), join(bin, 'postgres'), '-D', dataDirectory];
      const [program = '', ...parameters] = command.map((word) => word.replace('%folder', folder));
      const child = spawn(program, parameters, {
        ...identity,
        cwd: folder,
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      server = child;
      let output = '';
      child.stderr?.on('data', (data: Buffer) => {
        output = (output + data.toString()).slice(-8000);
      });
      let gone = false;
      exited = new Promise((resolve) =>
        child.once('exit', () => {
          gone = true;
          resolve();
        }),
      );
      for (;;) {
        try {
          await (await client()).end();
          return;
        } catch (error) {
          if (gone) throw new Error(`postgres did not start: ${output}`, { cause: error });
          await new Promise((resolve) => setTimeout(resolve, 30));
        }
      }
    },
    async halt(mode) {
      const signal = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT' } as const;
      server?.kill(signal[mode]);
      await exited;
      server = undefined;
    },
    async stop() {
      await cluster.halt('immediate');
      rmSync(folder, { recursive: true, force: true });
    },
  };
  try {
    await cluster.start();
  } catch (error) {
    // Somebody else was quicker to listen there.
    if (!/could not (bind|create any TCP)|Address already in use/.test(String(error))) throw error;
    await choosePort();
    await cluster.start();
  }
  return cluster;
}

/** Copies a stopped cluster's data directory to `target`, for `ClusterOptions.template`. */
export function keepTemplate(dataDirectory: string, target: string): void {
  cpSync(dataDirectory, target, { recursive: true, preserveTimestamps: true });
}
