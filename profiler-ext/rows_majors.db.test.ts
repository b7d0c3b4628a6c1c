/**
 * What is a row, and standbys, on servers of other majors: the tests of the newest installed one once more, on each that can
 * be had. They run in a process of their own, since the server is chosen by an environment variable.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { findServerBin } from '../bench/rig/cluster.js';
import { findMajorWithHeaders } from '../bench/rig/majors.js';

const run = promisify(execFile);
const files = ['rows', 'rows_portals', 'rows_errors', 'rows_columns', 'rows_texts', 'rows_counts', 'standby'];
const majors = await Promise.all(
  [13, 15, 17, 18].map(async (major) => [major, await findMajorWithHeaders(major)] as const),
);

describe.each(majors)('PostgreSQL %d', (_major, found) => {
  const reason =
    'reason' in found
      ? found.reason
      : found.bin === findServerBin()
        ? 'the tests themselves run on it'
        : undefined;
  it.skipIf(reason !== undefined)(
    reason === undefined ? 'gives the same rows' : `not run: ${reason}`,
    { timeout: 1_200_000 },
    async () => {
      if ('reason' in found) return;
      const tests = files.map((name) => `profiler-ext/${name}.db.test.ts`);
      const { stdout } = await run('npx', ['vitest', 'run', '--project', 'full', ...tests], {
        env: { ...process.env, PEM_PROFILED_BIN: found.bin, NO_COLOR: '1' },
        maxBuffer: 64 << 20,
      });
      expect(stdout).toMatch(new RegExp(`Test Files +${files.length} passed`));
    },
  );
});
