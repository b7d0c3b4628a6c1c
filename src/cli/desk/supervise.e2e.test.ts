import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openSupervisor, type Supervisor, untilReady } from './supervise.js';

let folder: string;
let supervisor: Supervisor;
const lines: { process?: string; msg: string }[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pem-supervise-'));
  lines.length = 0;
  supervisor = openSupervisor(
    folder,
    pino({ level: 'trace' }, { write: (text: string) => void lines.push(JSON.parse(text)) }),
  );
});

afterEach(async () => {
  await supervisor.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Says its pid, then waits; ends orderly on SIGTERM, with a line. */
const worker = (name: string): string[] => [
  process.execPath,
  '-e',
  `process.on('SIGTERM', () => { require('fs').appendFileSync('ends', '${name}\\n'); process.exit(0); });
   require('fs').appendFileSync('${name}.pids', process.pid + '\\n'); setInterval(() => {}, 1000);`,
];

const pids = (name: string): number[] => {
  try {
    return readFileSync(join(folder, `${name}.pids`), 'utf8')
      .trim()
      .split('\n')
      .filter((line) => line !== '')
      .map(Number);
  } catch {
    return [];
  }
};

const started = (name: string, count: number) => (gone: Promise<void>) =>
  untilReady(name, folder, gone, 60_000, async () => pids(name).length >= count);

const spec = (name: string) => ({
  name,
  command: worker(name),
  stopSignal: 'SIGTERM' as const,
  stopWithinMs: 60_000,
  ready: started(name, 1),
});

test('a killed process is started again, with one line, and the others are left alone', async () => {
  await supervisor.start(spec('a'));
  await supervisor.start(spec('b'));
  const before = supervisor.pid('b');
  process.kill(pids('a')[0] as number, 'SIGKILL');
  await started('a', 2)(new Promise(() => undefined));
  expect(pids('a')[1]).not.toBe(pids('a')[0]);
  expect(supervisor.pid('a')).toBe(pids('a')[1]);
  expect(supervisor.pid('b')).toBe(before);
  expect(lines.filter((line) => line.process === 'a')).toMatchObject([{ status: 'SIGKILL', againInMs: 100 }]);
});

test('stop ends the last started first and starts nothing again', async () => {
  await supervisor.start(spec('a'));
  await supervisor.start(spec('b'));
  await supervisor.stop();
  expect(readFileSync(join(folder, 'ends'), 'utf8')).toBe('b\na\n');
  expect([...pids('a'), ...pids('b')].filter((pid) => alive(pid))).toEqual([]);
  expect(pids('a')).toHaveLength(1);
});

test('a process that does not stop is killed after its time', async () => {
  await supervisor.start({
    ...spec('deaf'),
    command: [
      process.execPath,
      '-e',
      `process.on('SIGTERM', () => {}); require('fs').writeFileSync('deaf.pids', process.pid + '\\n'); setInterval(() => {}, 1000);`,
    ],
    stopWithinMs: 200,
  });
  await supervisor.stop();
  expect(alive(pids('deaf')[0] as number)).toBe(false);
  expect(lines.map((line) => line.msg)).toContain('did not stop in time, killed');
});

test('what ends before it is ready is an error with its last lines, and a missing program one too', async () => {
  const dies = {
    ...spec('dies'),
    command: [process.execPath, '-e', 'console.error("no such thing"); process.exit(3)'],
  };
  await expect(supervisor.start(dies)).rejects.toMatchObject({
    code: 'process_died',
    message: expect.stringContaining('no such thing'),
  });
  await expect(supervisor.start({ ...spec('gone'), command: ['/nowhere/program'] })).rejects.toMatchObject({
    code: 'process_died',
  });
});

test('a log that has grown large is moved aside at the next start', async () => {
  writeFileSync(join(folder, 'a.log'), 'x'.repeat(9 * 1024 * 1024));
  await supervisor.start(spec('a'));
  expect(readFileSync(join(folder, 'a.log.1')).length).toBe(9 * 1024 * 1024);
  expect(readFileSync(join(folder, 'a.log'), 'utf8').length).toBeLessThan(1000);
});

test('a log that grows large under its process is moved aside too, and the process writes on', async () => {
  const looking = openSupervisor(folder, pino({ level: 'silent' }), { logLookMs: 20 });
  try {
    await looking.start({
      ...spec('talks'),
      command: [
        process.execPath,
        '-e',
        `console.log('x'.repeat(9 * 1024 * 1024)); require('fs').writeFileSync('talks.pids', process.pid + '\\n');
         setInterval(() => console.log('still here'), 20);`,
      ],
    });
    const size = (name: string): number =>
      existsSync(join(folder, name)) ? statSync(join(folder, name)).size : 0;
    while (size('talks.log.1') === 0 || size('talks.log') > 1024 * 1024 || size('talks.log') === 0)
      await new Promise((resolve) => setTimeout(resolve, 20));
    expect(size('talks.log.1')).toBeGreaterThan(9 * 1024 * 1024);
    expect(readFileSync(join(folder, 'talks.log'), 'utf8')).toMatch(/^(still here\n)+$/);
    expect(statSync(join(folder, 'talks.log.1')).mode & 0o077).toBe(0);
  } finally {
    await looking.stop();
  }
});

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
