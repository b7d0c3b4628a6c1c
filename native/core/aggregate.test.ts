import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { clang, native, run, sanitizeFor, targets, workFolder } from '../sanitize.js';

let work: string;
beforeAll(() => {
  work = workFolder();
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** Each program and the sources that it tests. */
const programs: Readonly<Record<string, readonly string[]>> = {
  fingerprint_test: ['fingerprint', 'hash64', 'sql_lexer'],
  histogram_test: ['histogram'],
  aggregate_test: ['aggregate', 'aggregate_line', 'aggregate_merge', 'hash64', 'histogram', 'utf8'],
};
// The last one is what the addon is built for; for the others, what has vectors.
const cases = Object.keys(programs).flatMap((program) =>
  (program === 'fingerprint_test' ? targets : targets.slice(-1)).map((target) => [program, target] as const),
);

describe('fingerprints, histogram and aggregate', () => {
  it.each(cases)(
    '%s finds every promise kept under the sanitizers, for %s',
    { timeout: 300_000 },
    (program, target) => {
      const sources = [...programs[program]!.map((name) => `${name}.c`), `test/${program}.c`];
      run(work, clang ?? 'gcc', [
        ...['-std=c11', '-Wall', '-Wextra', '-Werror', ...sanitizeFor(target)],
        ...['-o', program, ...sources.map((name) => join(native, 'core', name))],
      ]);
      run(work, join(work, program), []);
    },
  );
});
