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
  // As the addon is built for this processor, and without any of its vectors.
  const targets = process.arch === 'x64' ? ['x86-64', 'x86-64-v2'] : ['armv8-a+crc'];
  it.each(targets)('keeps its promises under the sanitizers, for %s', { timeout: 120_000 }, (target) => {
    const files = [...coreSources, join(native, 'core', 'test', 'core_test.c')];
    run(work, clang ?? 'gcc', [
      '-std=c11',
      '-Wall',
      '-Wextra',
      '-Werror',
      `-march=${target}`,
      ...sanitize,
      '-o',
      'core_test',
      ...files,
    ]);
    run(work, join(work, 'core_test'), []);
  });
});
