import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { clang, coreSources, native, run, sanitizeFor, targets, workFolder } from '../sanitize.js';

let work: string;
beforeAll(() => {
  work = workFolder();
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe('core', () => {
  it.each(targets)('keeps its promises under the sanitizers, for %s', { timeout: 300_000 }, (target) => {
    const files = [...coreSources, join(native, 'core', 'test', 'core_test.c')];
    run(work, clang ?? 'gcc', [
      ...['-std=c11', '-Wall', '-Wextra', '-Werror', ...sanitizeFor(target)],
      ...['-o', 'core_test', ...files],
    ]);
    run(work, join(work, 'core_test'), []);
  });
});
