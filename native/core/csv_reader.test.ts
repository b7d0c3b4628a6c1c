import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { clang, native, run, sanitize, workFolder } from '../sanitize.js';

let work: string;
beforeAll(() => {
  work = workFolder();
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const core = (name: string) => join(native, 'core', name);

describe('csv_reader', () => {
  // As the addon is built for this processor, and without any of its vectors.
  const targets = process.arch === 'x64' ? ['x86-64', 'x86-64-v2'] : ['armv8-a+crc'];
  it.each(targets)('keeps its promises under the sanitizers, for %s', { timeout: 120_000 }, (target) => {
    run(work, clang ?? 'gcc', [
      ...['-std=c11', '-Wall', '-Wextra', '-Werror', ...sanitize, `-march=${target}`],
      ...['-o', 'csv_reader_test', core('test/csv_reader_test.c')],
      ...['csv_reader.c', 'encoding.c', 'utf8.c'].map(core),
    ]);
    run(work, join(work, 'csv_reader_test'), []);
  });
});
