/** PGXS's regression tests of the extension: every script of sql/ against its file of expected/. */
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { findServerBin, startCluster } from '../bench/rig/cluster.js';
import { profiledServer } from '../bench/rig/profiled_server.js';

const run = promisify(execFile);
const room = fileURLToPath(new URL('.', import.meta.url));
const scripts = readdirSync(join(room, 'sql'))
  .filter((name) => name.endsWith('.sql') && !name.startsWith('sql_profiler--'))
  .map((name) => name.slice(0, -4));

it.each(scripts)('%s', async (script) => {
  const cluster = await startCluster({
    bin: await profiledServer(),
    settings: { shared_preload_libraries: "'sql_profiler'" },
  });
  const work = mkdtempSync(join(tmpdir(), 'pem-regress-'));
  try {
    const { stdout } = await run(join(findServerBin(), 'pg_config'), ['--pgxs']);
    const program = join(stdout.trim(), '../../../src/test/regress/pg_regress');
    const where = [`--host=${cluster.folder}`, `--port=${cluster.port}`, '--user=postgres'];
    await run(
      program,
      [...where, `--inputdir=${room}`, `--outputdir=${work}`, `--bindir=${cluster.bin}`, script],
      { cwd: work },
    ).catch(() => undefined);
    if (process.env.PEM_WRITE_EXPECTED === '1')
      cpSync(join(work, 'results', `${script}.out`), join(room, 'expected', `${script}.out`));
    const results = readFileSync(join(work, 'results', `${script}.out`), 'utf8');
    expect(results).toBe(readFileSync(join(room, 'expected', `${script}.out`), 'utf8'));
  } finally {
    rmSync(work, { recursive: true, force: true });
    await cluster.stop();
  }
});
