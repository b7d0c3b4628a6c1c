/**
 * PGXS's tests of the extension, run as anybody runs them: `make installcheck` against a server that has it, every script of
 * sql/ and every specification of specs/ against its file of expected/. PEM_WRITE_EXPECTED=1 writes those files.
 */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { findServerBin } from '../bench/rig/cluster.js';
import { startProfiled } from '../bench/rig/traces.js';

const run = promisify(execFile);
const room = fileURLToPath(new URL('.', import.meta.url));
const names = (folder: string, end: string): string[] =>
  readdirSync(join(room, folder))
    .filter((name) => name.endsWith(end) && !name.startsWith('sql_profiler--'))
    .map((name) => basename(name, end));

it('make installcheck', { timeout: 400_000 }, async () => {
  // The installed major: pg_regress of an unpacked one wants its own C library.
  const cluster = await startProfiled({ bin: findServerBin() });
  const work = mkdtempSync(join(tmpdir(), 'pem-installcheck-'));
  try {
    const made = await run(
      'make',
      ['-f', join(room, 'Makefile'), 'installcheck', `PG_CONFIG=${join(cluster.bin, 'pg_config')}`],
      {
        cwd: work,
        env: {
          ...process.env,
          PGHOST: cluster.folder,
          PGPORT: String(cluster.port),
          PGUSER: 'postgres',
          PGISOLATIONTIMEOUT: '120',
        },
        maxBuffer: 16 << 20,
      },
    ).catch((error: { stdout: string; stderr: string }) => error);
    if (process.env.PEM_WRITE_EXPECTED === '1')
      for (const results of ['results', 'output_iso/results'])
        if (existsSync(join(work, results)))
          cpSync(join(work, results), join(room, 'expected'), { recursive: true });
    const differences = ['regression.diffs', 'output_iso/regression.diffs']
      .map((file) => join(work, file))
      .filter((file) => existsSync(file))
      .map((file) => readFileSync(file, 'utf8'));
    expect(differences.join('')).toBe('');
    expect(made).not.toBeInstanceOf(Error);
    // Each of them, in whatever words this version says that it went well.
    const well = [...made.stdout.matchAll(/^(?:test (\w+) +\.\.\. ok|ok \d+ +- (\w+))/gm)].map(
      (line) => line[1] ?? line[2],
    );
    const isolation = existsSync(join(work, 'output_iso'));
    expect(well.sort()).toEqual(
      [...names('sql', '.sql'), ...(isolation ? names('specs', '.spec') : [])].sort(),
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
    await cluster.stop();
  }
});
