import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { clang, native, run, sanitizeFor, targets, workFolder } from '../sanitize.js';

let work: string;
beforeAll(() => {
  work = workFolder();
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const core = (name: string) => join(native, 'core', name);

describe('csv_reader', () => {
  it.each(targets)('keeps its promises under the sanitizers, for %s', { timeout: 300_000 }, (target) => {
    run(work, clang ?? 'gcc', [
      ...['-std=c11', '-Wall', '-Wextra', '-Werror', ...sanitizeFor(target)],
      ...['-o', 'csv_reader_test', core('test/csv_reader_test.c')],
      ...['csv_reader.c', 'encoding.c', 'utf8.c'].map(core),
    ]);
    run(work, join(work, 'csv_reader_test'), []);
  });
});
