/**
 * Keeps a list of processes alive and ends them in order.
 *
 * In: what to run. Out: one log line for each start that was not asked for, each death, each stop. Output of a process
 * goes to its own file in the log folder, which is moved aside when it has grown past 8 MB (one old copy is kept; looked
 * at once a minute). A process that dies is started again after 0.1 s, doubling to 30 s while it keeps dying young.
 *
 * Every process has its own process group, so that Ctrl-C at a terminal reaches the desk alone, and `setpriv
 * --pdeathsig` makes the kernel end it when the desk is killed for good. `stop` ends them last started first, each within
 * its own time, then with SIGKILL.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode, PemError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { openLogFile, shortenLogFile } from './log.js';

const youngMs = 10_000;
const firstWaitMs = 100;
const longestWaitMs = 30_000;
const logLookMs = 60_000;

export interface ProcessSpec {
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly stopSignal: NodeJS.Signals;
  readonly stopWithinMs: number;
  /** Awaited after each start; the desk goes on once it resolves. It gets the process's own end as a promise. */
  readonly ready?: (gone: Promise<void>) => Promise<void>;
}

export interface Supervisor {
  /** Starts a process and keeps it; @throws PemError process_died when it ends before it is ready. */
  start(spec: ProcessSpec): Promise<void>;
  pid(name: string): number | undefined;
  stop(): Promise<void>;
}

interface Kept {
  readonly spec: ProcessSpec;
  child: ChildProcess | undefined;
  gone: Promise<void>;
  startedAt: number;
  waitMs: number;
  timer: NodeJS.Timeout | undefined;
}

export function openSupervisor(
  logDirectory: string,
  log: Log,
  options: { readonly logLookMs?: number } = {},
): Supervisor {
  const kept: Kept[] = [];
  let stopping = false;
  const logs = setInterval(() => {
    for (const name of [...kept.map((entry) => entry.spec.name), 'desk']) {
      const failure = shortenLogFile(join(logDirectory, `${name}.log`));
      if (failure !== undefined && errorCode(failure) !== 'ENOENT')
        log.warn({ process: name, code: errorCode(failure) }, 'its log cannot be moved aside');
    }
  }, options.logLookMs ?? logLookMs);
  logs.unref();

  const launch = (entry: Kept): void => {
    const { spec } = entry;
    const output = openLogFile(join(logDirectory, `${spec.name}.log`));
    const child = spawn('setpriv', ['--pdeathsig', spec.stopSignal.slice(3), ...spec.command], {
      detached: true,
      cwd: logDirectory,
      stdio: ['ignore', output, output],
      env: { ...process.env, ...spec.env },
    });
    closeSync(output);
    entry.child = child;
    entry.startedAt = Date.now();
    entry.gone = new Promise((resolve) => {
      const ended = (code: number | null, signal: NodeJS.Signals | null): void => {
        if (entry.child !== child) return;
        entry.child = undefined;
        resolve();
        if (stopping) return;
        entry.waitMs =
          Date.now() - entry.startedAt < youngMs ? Math.min(entry.waitMs * 2, longestWaitMs) : firstWaitMs;
        log.warn(
          { process: spec.name, pid: child.pid, status: code ?? signal, againInMs: entry.waitMs },
          'process ended, starting it again',
        );
        entry.timer = setTimeout(() => launch(entry), entry.waitMs);
      };
      child.once('exit', ended);
      child.once('error', () => ended(127, null));
    });
  };

  return {
    async start(spec) {
      const entry: Kept = {
        spec,
        child: undefined,
        gone: Promise.resolve(),
        startedAt: 0,
        waitMs: firstWaitMs / 2,
        timer: undefined,
      };
      kept.push(entry);
      launch(entry);
      await spec.ready?.(entry.gone);
    },
    pid: (name) => kept.find((entry) => entry.spec.name === name)?.child?.pid,
    async stop() {
      stopping = true;
      clearInterval(logs);
      for (const entry of kept) clearTimeout(entry.timer);
      for (const entry of [...kept].reverse()) {
        const child = entry.child;
        if (child === undefined) continue;
        const from = Date.now();
        child.kill(entry.spec.stopSignal);
        const hard = setTimeout(() => {
          log.error({ process: entry.spec.name, pid: child.pid }, 'did not stop in time, killed');
          child.kill('SIGKILL');
        }, entry.spec.stopWithinMs);
        await entry.gone;
        clearTimeout(hard);
        log.info({ process: entry.spec.name, ms: Date.now() - from }, 'stopped');
      }
    },
  };
}

/** The last lines a process wrote, for an error message. */
export function logTail(logDirectory: string, name: string, lines = 12): string {
  try {
    return readFileSync(join(logDirectory, `${name}.log`), 'utf8')
      .trimEnd()
      .split('\n')
      .slice(-lines)
      .join('\n');
  } catch {
    return '';
  }
}

/** Waits until `probe` resolves true; a process that ends or `withinMs` that pass are errors with its last lines. */
export async function untilReady(
  name: string,
  logDirectory: string,
  gone: Promise<void>,
  withinMs: number,
  probe: () => Promise<boolean>,
): Promise<void> {
  let ended = false;
  void gone.then(() => {
    ended = true;
  });
  const until = Date.now() + withinMs;
  while (!(await probe().catch(() => false))) {
    if (ended || Date.now() > until) {
      throw new PemError(
        ended ? 'process_died' : 'process_not_ready',
        `${name} ${ended ? 'ended' : `was not ready within ${withinMs / 1000} s`}; its last lines (${logDirectory}/${name}.log):\n${logTail(logDirectory, name)}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
}
