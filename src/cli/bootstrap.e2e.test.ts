import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

const root = join(import.meta.dirname, '../..');
let bin: string;

beforeEach(() => {
  bin = mkdtempSync(join(tmpdir(), 'pem-bin-'));
});
afterEach(() => rmSync(bin, { recursive: true, force: true }));

/** Set-up with nothing but `bin` on the PATH. */
function bootstrap(...words: string[]): { status: number | null; out: string; err: string } {
  const ended = spawnSync(process.execPath, [join(root, 'src/cli/bootstrap.mjs'), ...words], {
    encoding: 'utf8',
    env: { PATH: bin },
  });
  return { status: ended.status, out: ended.stdout, err: ended.stderr };
}

test('a machine without compilers and apt is told what is missing and why, and nothing is touched', () => {
  const ended = bootstrap('start');
  expect(ended.status).toBe(1);
  expect(ended.out).toContain('C and C++ compiler (g++): builds the native addon and the watchdog');
  expect(ended.out).toContain('flatc (flatbuffers-compiler)');
  expect(ended.err).toMatch(/^\nPEM: there is no apt-get here; install the above/);
});

test('a failing apt-get is named with the command and the way out, exit status 2', () => {
  // Every installer on this PATH is a program that fails at once.
  for (const name of ['apt-get', 'sudo', 'sh']) symlinkSync('/bin/false', join(bin, name));
  const ended = bootstrap('start');
  const asRoot = process.getuid?.() === 0;
  expect(ended.status).toBe(asRoot ? 2 : 1);
  expect(ended.err).toContain('apt-get install -y --no-install-recommends g++ make python3');
  expect(ended.err).toContain(asRoot ? 'system packages failed' : 'neither root nor password-less sudo');
});

test('every Node that a pinned web server is for has its hash for both processors', () => {
  const names = readFileSync(join(root, 'src/http/uws.sha256'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => /^[0-9a-f]{64} {2}(uws_linux_(?:x64|arm64)_\d+\.node)$/.exec(line)?.[1]);
  expect(names).toHaveLength(6);
  expect(names).toContain(`uws_linux_${process.arch}_${process.versions.modules}.node`);
});

test('an unknown word is refused', () => {
  expect(bootstrap('stop')).toMatchObject({ status: 1, err: expect.stringContaining('usage') });
});
