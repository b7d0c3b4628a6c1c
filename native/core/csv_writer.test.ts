import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { clang, native, run, sanitize, workFolder } from '../sanitize.js';

let work: string;
beforeAll(() => {
  work = workFolder();
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe('csv writer', () => {
  it.each([
    // As the extension is built, and without vectors: the same bytes.
    ['vectors', []],
    ['bytes', ['-U__SSE2__']],
  ])(
    'writes numbers and texts as the C library and a byte-wise model do, by %s',
    { timeout: 300_000 },
    (_name, flags) => {
      const files = ['csv_writer.c', 'test/csv_writer_test.c'].map((name) => join(native, 'core', name));
      run(work, clang ?? 'gcc', [
        ...['-std=c11', '-Wall', '-Wextra', '-Werror'],
        ...sanitize,
        ...flags,
        ...['-o', 'csv_writer_test', ...files],
      ]);
      run(work, join(work, 'csv_writer_test'), []);
    },
  );
});
