import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { clang, coreSources, native, run, sanitize, workFolder } from '../sanitize.js';

let work: string;
beforeAll(() => {
  work = workFolder();
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe('core', () => {
  it('keeps its promises under the sanitizers', { timeout: 120_000 }, () => {
    const files = [...coreSources, join(native, 'core', 'test', 'core_test.c')];
    run(work, clang ?? 'gcc', [
      '-std=c11',
      '-Wall',
      '-Wextra',
      '-Werror',
      ...sanitize,
      '-o',
      'core_test',
      ...files,
    ]);
    run(work, join(work, 'core_test'), []);
  });
});
