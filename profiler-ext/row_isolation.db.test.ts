/** PGXS's isolation tests of the extension: every specification of specs/ against its file of expected/. */
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
const specifications = readdirSync(join(room, 'specs')).map((name) => name.slice(0, -'.spec'.length));

it.each(specifications)('%s', async (specification) => {
  const cluster = await startCluster({
    bin: await profiledServer(),
    settings: { shared_preload_libraries: "'sql_profiler'" },
  });
  const work = mkdtempSync(join(tmpdir(), 'pem-isolation-'));
  try {
    const { stdout } = await run(join(findServerBin(), 'pg_config'), ['--pgxs']);
    const folder = join(stdout.trim(), '../../../src/test/isolation');
    const where = [`--host=${cluster.folder}`, `--port=${cluster.port}`, '--user=postgres'];
    await run(
      join(folder, 'pg_isolation_regress'),
      [...where, `--inputdir=${room}`, `--outputdir=${work}`, `--bindir=${cluster.bin}`, specification],
      { cwd: folder },
    ).catch(() => undefined);
    const result = join(work, 'results', `${specification}.out`);
    const expected = join(room, 'expected', `${specification}.out`);
    if (process.env.PEM_WRITE_EXPECTED === '1') cpSync(result, expected);
    expect(readFileSync(result, 'utf8')).toBe(readFileSync(expected, 'utf8'));
  } finally {
    rmSync(work, { recursive: true, force: true });
    await cluster.stop();
  }
});
