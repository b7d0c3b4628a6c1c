/** The watchdog as built, over real worker processes. What happened is read from its log and the workers' own output. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, expect, test } from 'vitest';

const folder = fileURLToPath(new URL('.', import.meta.url));
const program = `${folder}build/pem-watchdog`;
const beating = 'while :; do printf . >&"$PEM_HEARTBEAT_FD"; sleep 0.1; done';

class Watched {
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  private readonly waiting: (() => void)[] = [];

  constructor(args: string[], command = program) {
    this.child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      let rest = '';
      stream?.on('data', (data: Buffer) => {
        const parts = (rest + data.toString()).split('\n');
        rest = parts.pop() ?? '';
        this.lines.push(...parts);
        for (const wake of this.waiting.splice(0)) wake();
      });
    }
    this.ended = new Promise((resolve) =>
      this.child.once('close', (code, signal) => resolve({ code, signal })),
    );
  }

  /** The match of the `nth` line that matches. */
  async line(pattern: RegExp, nth = 1): Promise<RegExpExecArray> {
    for (;;) {
      const found = this.lines.map((text) => pattern.exec(text)).filter((match) => match !== null);
      if (found[nth - 1] !== undefined) return found[nth - 1]!;
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }

  async worker(nth = 1): Promise<number> {
    return Number((await this.line(/worker (\d+) started/, nth))[1]);
  }
}

const running: Watched[] = [];

function watch(script: string, options: string[] = []): Watched {
  const watched = new Watched([...options, '--', 'sh', '-c', script]);
  running.push(watched);
  return watched;
}

function alive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

async function gone(pid: number): Promise<void> {
  while (alive(pid)) await new Promise((resolve) => setTimeout(resolve, 10));
}

beforeAll(() => {
  execFileSync('make', ['-s', '-C', folder]);
});

afterEach(async () => {
  for (const watched of running.splice(0)) {
    watched.child.kill('SIGKILL');
    for (const text of watched.lines) {
      const worker = /worker (\d+) started/.exec(text)?.[1];
      try {
        if (worker !== undefined) process.kill(-Number(worker), 'SIGKILL');
      } catch {
        // Its group is empty already.
      }
    }
    await watched.ended;
  }
});

test('a killed worker is there again at once, and knows how many came before it', async () => {
  const watched = watch('echo "count=$PEM_WATCHDOG_RESTARTS"; exec sleep 1000');
  await watched.line(/^count=0$/);
  process.kill(await watched.worker(1), 'SIGKILL');
  await watched.line(/killed by signal 9, died young 1 times running; restart in 0 s/);
  await watched.line(/^count=1$/);
  expect(alive(await watched.worker(2))).toBe(true);
});

test('a worker that ends is seen also where SIGCHLD was ignored before the start', async () => {
  const script = `trap '' CHLD; exec "$0" -- sh -c 'exit 3'`;
  const watched = new Watched(['-c', script, program], 'bash');
  running.push(watched);
  await watched.line(/ended with status 3, died young 2 times running/);
});

test('a worker that keeps dying young is restarted three times at once, then with growing waits', async () => {
  const watched = watch('exit 3');
  await watched.line(/ended with status 3, died young 5 times running/);
  const waits = watched.lines
    .map((text) => /restart in (\d+) s/.exec(text)?.[1])
    .filter((wait) => wait !== undefined);
  expect(waits).toEqual(['0', '0', '0', '1', '2']);
});

test('a stop during the wait for a restart ends the watchdog', async () => {
  const watched = watch('exit 3');
  await watched.line(/restart in 1 s/);
  watched.child.kill('SIGTERM');
  expect(await watched.ended).toEqual({ code: 0, signal: null });
});

test('a silent worker is killed with its children and restarted; a beating one is not', async () => {
  const silent = watch('sleep 1000 & echo "child=$!"; wait', ['--hang-seconds', '1']);
  // A shell that beats each tenth of a second may be kept from it for a second, not for five.
  const beats = watch(beating, ['--hang-seconds', '5']);
  const child = Number((await silent.line(/^child=(\d+)$/))[1]);
  await beats.worker();
  await silent.line(/silent for 1 s: SIGKILL/, 2);
  await gone(child);
  await silent.line(/silent for 1 s: SIGKILL/, 6);
  await silent.worker(7);
  expect(beats.lines.filter((text) => text.includes('started'))).toHaveLength(1);
  expect(beats.lines.some((text) => text.includes('silent'))).toBe(false);
});

test('a worker that closes its end of the pipe is silent', async () => {
  const watched = watch('eval "exec $PEM_HEARTBEAT_FD>&-"; exec sleep 1000', ['--hang-seconds', '1']);
  await watched.line(/silent for 1 s: SIGKILL/);
  await watched.worker(2);
});

test('--hang-seconds 0 never judges', async () => {
  const patient = watch('exec sleep 1000', ['--hang-seconds', '0']);
  const strict = watch('exec sleep 1000', ['--hang-seconds', '1']);
  await patient.worker();
  await strict.line(/silent/, 2);
  expect(patient.lines.some((text) => text.includes('silent'))).toBe(false);
});

test('SIGHUP and SIGUSR1 are passed on', async () => {
  const watched = watch(`trap 'echo got-HUP' HUP; trap 'echo got-USR1' USR1; echo ready; ${beating}`);
  await watched.line(/^ready$/);
  watched.child.kill('SIGHUP');
  await watched.line(/^got-HUP$/);
  watched.child.kill('SIGUSR1');
  await watched.line(/^got-USR1$/);
  expect(watched.lines.filter((text) => text.includes('started'))).toHaveLength(1);
});

test.each(['SIGTERM', 'SIGINT'] as const)(
  '%s waits for the worker and ends with its status',
  async (name) => {
    const trap = name.slice(3);
    const watched = watch(`trap 'sleep 0.3; echo stopped; exit 7' ${trap}; echo ready; ${beating}`);
    await watched.line(/^ready$/);
    watched.child.kill(name);
    expect(await watched.ended).toEqual({ code: 7, signal: null });
    expect(watched.lines).toContain('stopped');
  },
);

test('a killed watchdog takes its worker with it', async () => {
  const watched = watch(`trap '' TERM HUP INT; echo ready; ${beating}`);
  await watched.line(/^ready$/);
  const worker = await watched.worker();
  watched.child.kill('SIGKILL');
  await gone(worker);
});

test('a watchdog that was stopped itself does not blame the worker', async () => {
  const watched = watch('echo ready; exec sleep 1000', ['--hang-seconds', '8']);
  await watched.line(/^ready$/);
  watched.child.kill('SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, 10_500));
  watched.child.kill('SIGCONT');
  watched.child.kill('SIGHUP');
  await watched.line(/signal 1 passed on/);
  await watched.line(/killed by signal 1,/);
  expect(watched.lines.some((text) => text.includes('silent'))).toBe(false);
});

test('a worker program that is not there, and wrong options, stop the start', async () => {
  const missing = new Watched(['--', '/nonexistent/worker']);
  expect((await missing.ended).code).toBe(127);
  expect(missing.lines.some((text) => text.includes('cannot start /nonexistent/worker: No such file'))).toBe(
    true,
  );
  for (const args of [
    [],
    ['--hang-seconds', '-1', 'true'],
    ['--hang-seconds', 'x', 'true'],
    ['--other', 'true'],
  ]) {
    const refused = new Watched(args);
    expect((await refused.ended).code).toBe(64);
    expect(refused.lines[0]).toMatch(/^usage:/);
  }
});

test('lines carry the time, and the watchdog stays under 2 MB', async () => {
  const watched = watch(beating);
  const worker = await watched.worker();
  process.kill(worker, 'SIGKILL');
  await watched.worker(2);
  for (const text of watched.lines)
    expect(text).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z pem-watchdog\[\d+\] /);
  const status = readFileSync(`/proc/${watched.child.pid}/status`, 'utf8');
  expect(Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1])).toBeLessThan(2048);
});
