/**
 * A server without an agent, for tests: it has the extension, listens on TCP, and lets a role in by its password that is no
 * superuser. And the web server as a process of its own, which can be killed. In: a PEM. The caller stops both.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Cluster, freePort } from './cluster.js';
import type { Pem } from './pem.js';
import { eventually } from './processes.js';
import { startProfiled } from './traces.js';
import { ask } from './web.js';

export const tracingRole = 'tracing';
export const tracingPassword = 'a quiet pass word';

/** `open` is let in without a password, `plain` may not read traces, database `bare` lacks the extension. */
export async function startUnmanaged(): Promise<Cluster> {
  const cluster = await startProfiled({
    tcp: true,
    hba: [
      'local all all trust',
      'host all open 127.0.0.1/32 trust',
      'host all all 127.0.0.1/32 scram-sha-256',
      '',
    ].join('\n'),
  });
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
  ) {}

  static async start(pem: Pem): Promise<WebProcess> {
    const web = new WebProcess(pem, await freePort());
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
      { stdio: ['ignore', 'pipe', 'pipe'] },
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
