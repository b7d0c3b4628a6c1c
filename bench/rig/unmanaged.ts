/**
 * A server without an agent, for tests: it has the extension, listens on TCP, and lets a role in by its password that is no
 * superuser. And the web server as a process of its own, which can be killed. In: a PEM. The caller stops both.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeAuthority } from './certificates.js';
import { type Cluster, freePort, serverUser } from './cluster.js';
import type { Pem } from './pem.js';
import { eventually } from './processes.js';
import { startProfiled } from './traces.js';
import { ask } from './web.js';

export const tracingRole = 'tracing';
export const tracingPassword = 'a quiet pass word';

/** With TLS for localhost and 127.0.0.1, root.crt in its data directory. `open` is let in without a password, `plain` may not read traces, database `bare` lacks the extension. */
export async function startUnmanaged(): Promise<Cluster> {
  const folder = mkdtempSync(join(tmpdir(), 'pemtls-'));
  await makeAuthority(folder);
  const { uid, gid } = serverUser();
  const cluster = await startProfiled({
    tcp: true,
    settings: {
      listen_addresses: "'127.0.0.1,127.0.0.2'",
      ssl: 'on',
      ssl_cert_file: "'server.crt'",
      ssl_key_file: "'server.key'",
    },
    prepare: (data) => {
      for (const file of ['server.crt', 'server.key', 'root.crt']) {
        copyFileSync(join(folder, file), join(data, file));
        chmodSync(join(data, file), 0o600);
        if (uid !== undefined && gid !== undefined) chownSync(join(data, file), uid, gid);
      }
    },
    hba: [
      'local all all trust',
      'host all open 127.0.0.0/8 trust',
      'host all all 127.0.0.0/8 scram-sha-256',
      '',
    ].join('\n'),
  });
  rmSync(folder, { recursive: true, force: true });
  await cluster.query(`CREATE ROLE ${tracingRole} LOGIN PASSWORD '${tracingPassword}' IN ROLE pg_read_all_stats;
    CREATE ROLE open LOGIN PASSWORD '${tracingPassword}' IN ROLE pg_read_all_stats;
    CREATE ROLE plain LOGIN PASSWORD '${tracingPassword}'`);
  await cluster.query('CREATE DATABASE bare');
  return cluster;
}

const entry = join(import.meta.dirname, '../../dist/src/cli/pem.js');

/** `pem server` in a process; needs `npm run build:ts`. */
export class WebProcess {
  readonly folder = mkdtempSync(join(tmpdir(), 'pemweb-'));
  readonly stateDirectory = join(this.folder, 'state');
  log = '';
  #child: ChildProcess | null = null;

  private constructor(
    private readonly pem: Pem,
    readonly port: number,
    private readonly env: Readonly<Record<string, string>>,
  ) {
    // What libpq would take from the home of its user, if it were let: a certificate that is none ends each connection.
    mkdirSync(join(this.folder, 'home/.postgresql'), { recursive: true });
    writeFileSync(join(this.folder, 'home/.postgresql/postgresql.crt'), 'no certificate');
  }

  static async start(pem: Pem, env: Readonly<Record<string, string>> = {}): Promise<WebProcess> {
    const web = new WebProcess(pem, await freePort(), env);
    await web.begin();
    return web;
  }

  async begin(): Promise<void> {
    mkdirSync(join(this.folder, 'push'), { recursive: true, mode: 0o700 });
    const words = [
      'server',
      '--db',
      this.pem.conninfo('pem_web'),
      '--push-directory',
      join(this.folder, 'push'),
    ];
    const child = spawn(
      process.execPath,
      [entry, ...words, '--state', this.stateDirectory, '--listen', `127.0.0.1:${this.port}`],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, HOME: join(this.folder, 'home'), ...this.env },
      },
    );
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data: Buffer) => {
        this.log += data.toString();
      });
    this.#child = child;
    await eventually('the web server', async () => {
      if (child.exitCode !== null) throw new Error(`it ended: ${this.log}`);
      return (await ask(this.port, '/pem/api/v1/session')).status === 401;
    });
  }

  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await exited;
  }

  async remove(): Promise<void> {
    await this.end('SIGTERM');
    rmSync(this.folder, { recursive: true, force: true });
  }
}
