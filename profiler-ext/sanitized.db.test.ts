/**
 * The library itself under UBSan, in a server: the tests of rows, portals, errors, texts, of the sink and of control once more,
 * in a process of their own. Not under ASan: with its library preloaded, Debian 12's PostgreSQL stands still in its C library's
 * locks before it reads a setting. The parts that know nothing of PostgreSQL are run under ASan on their own (ring.test.ts).
 */
import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const run = promisify(execFile);
const files = ['rows', 'rows_portals', 'rows_errors', 'rows_texts', 'sink', 'control'];
const library = execFileSync('gcc', ['-print-file-name=libubsan.so'], { encoding: 'utf8' }).trim();
const missing = !isAbsolute(library);

it.skipIf(missing)(
  missing ? 'not run: gcc has no libubsan' : 'nothing is found',
  { timeout: 1_200_000 },
  async () => {
    const reports = mkdtempSync(join(tmpdir(), 'pem-sanitizer-'));
    chmodSync(reports, 0o777);
    try {
      const tests = files.map((name) => `profiler-ext/${name}.db.test.ts`);
      const { stdout } = await run('npx', ['vitest', 'run', '--project', 'full', ...tests], {
        env: { ...process.env, PEM_SANITIZER_REPORTS: reports, NO_COLOR: '1' },
        maxBuffer: 64 << 20,
      }).catch((error: { stdout: string }) => error);
      const found = readdirSync(reports).map((name) =>
        readFileSync(join(reports, name), 'utf8').slice(0, 4000),
      );
      expect(found).toEqual([]);
      expect(stdout).toMatch(new RegExp(`Test Files +${files.length} passed`));
    } finally {
      rmSync(reports, { recursive: true, force: true });
    }
  },
);
