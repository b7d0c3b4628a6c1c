/**
 * A whole PEM on a temporary home: `pem desk` as a child process, as a person starts it. Its owner is the test or
 * benchmark that called; `stop` ends it as Ctrl-C would and removes the home.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from './cluster.js';

export interface Desk {
  readonly home: string;
  /** http://127.0.0.1:PORT */
  readonly url: string;
  /** Token of the one-time sign-in link. */
  readonly signInToken: string;
  readonly process: ChildProcess;
  /** All it printed. */
  output(): string;
  stop(): Promise<void>;
}

const root = fileURLToPath(new URL('../../', import.meta.url)).replace(/dist\/$/, '');

export async function startDesk(options: { home?: string } = {}): Promise<Desk> {
  const folder = options.home === undefined ? mkdtempSync(join(tmpdir(), 'pemdesk-')) : '';
  const home = options.home ?? join(folder, 'home');
  // Started by root it runs as the user postgres, who must be able to enter the folder.
  if (folder !== '') chmodSync(folder, 0o711);
  // Two that look for the same free port at the same time find the same one; a home that is there already knows its own.
  const port = options.home === undefined ? ['--port', String(await freePort())] : [];
  const child = spawn(
    process.execPath,
    [join(root, 'dist/src/cli/pem.js'), 'desk', '--home', home, ...port],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let output = '';
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const link = await new Promise<{ url: string; token: string }>((resolve, reject) => {
    const take = (data: Buffer): void => {
      output += data.toString();
      const match = /(https?:\/\/[\w.:[\]-]+)\/#signin=([\w.~-]+)/.exec(output);
      if (match !== null) resolve({ url: match[1] as string, token: match[2] as string });
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.once('exit', (code) => reject(new Error(`pem desk ended with ${code}:\n${output}`)));
  });
  return {
    home,
    url: link.url,
    signInToken: link.token,
    process: child,
    output: () => output,
    async stop() {
      child.kill('SIGINT');
      await exited;
      if (folder !== '') rmSync(folder, { recursive: true, force: true });
    },
  };
}
