/** The masking of secrets, outside of a server: known statements, random ones, and the fuzzer where there is one. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { clang, run, sanitize, workFolder } from '../native/sanitize.js';

const room = fileURLToPath(new URL('.', import.meta.url));
const sources = [join(room, 'src/prof_mask.c'), join(room, 'test/mask_test.c')];
const flags = ['-std=c11', '-Wall', '-Wextra', '-Werror', ...sanitize];

let work: string;
beforeAll(() => {
  work = workFolder();
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe('masking of secrets', () => {
  it.each([
    ['vectors', []],
    ['bytes', ['-U__SSE2__']],
  ])('leaves no secret in known statements, cut anywhere, by %s', { timeout: 300_000 }, (_name, more) => {
    run(work, clang ?? 'gcc', [...flags, ...more, '-o', 'mask_test', ...sources]);
    run(work, join(work, 'mask_test'), []);
  });

  it.skipIf(clang === undefined)('takes any bytes', { timeout: 300_000 }, () => {
    run(work, clang as string, [...flags, '-DFUZZ', '-fsanitize=fuzzer', '-o', 'mask_fuzz', ...sources]);
    run(work, join(work, 'mask_fuzz'), ['-runs=200000', '-max_total_time=10', '-max_len=400', '-seed=1']);
  });
});
