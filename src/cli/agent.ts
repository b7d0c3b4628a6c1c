/** `pem agent register` and `pem agent run`: the agent's own parts, called from the command line and from the desk. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { registerAgent } from '../../agent/register.js';
import { PemError } from '../base/errors.js';
import { programRoot } from './desk/home.js';
import { readSecret } from './secret.js';

export interface RegisterWords {
  readonly server: string;
  readonly database: string;
  readonly caSha256: string;
  readonly tokenFile: string;
  readonly directory: string;
  readonly verifyName?: boolean;
}

/** @returns what to tell the operator */
export async function registerHost(words: RegisterWords): Promise<string> {
  const { tokenFile, ...rest } = words;
  const made = await registerAgent({ ...rest, token: readSecret(tokenFile) });
  return `registered as ${made.role} in ${made.directory}; start it with "pem agent run --directory ${made.directory}"`;
}

/** The command line of an agent under its watchdog. */
export function agentCommand(directory: string): string[] {
  return [
    join(programRoot, 'native/watchdog/build/pem-watchdog'),
    '--',
    process.execPath,
    join(programRoot, 'dist/agent/main.js'),
    '--config',
    join(directory, 'agent.toml'),
  ];
}

/** Runs it in the foreground; signals are passed on. @returns its exit status */
export async function runAgent(directory: string): Promise<number> {
  if (!existsSync(join(directory, 'agent.toml'))) {
    throw new PemError(
      'agent_missing',
      `no agent in ${directory}; make one with "pem agent register --directory ${directory} …"`,
      'operator',
    );
  }
  const [program = '', ...args] = agentCommand(directory);
  // The kernel ends the watchdog, and with it the worker, when this process is killed for good.
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', program, ...args], {
    stdio: 'inherit',
    detached: true,
  });
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}
