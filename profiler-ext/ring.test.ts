/** The sink outside of a server, under sanitizers: rings and files that are harmed, killed owners, bytes of anybody. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { clang, native, run, sanitize, workFolder } from '../native/sanitize.js';

const room = fileURLToPath(new URL('.', import.meta.url));
const include = [`-I${join(room, 'src')}`, `-I${join(native, 'core')}`];
const flags = ['-std=c11', '-Wall', '-Wextra', '-Werror', ...include, ...sanitize];
const source = (name: string): string => join(room, 'src', `prof_${name}.c`);
const ring = [...['ring', 'ring_files', 'row_ends', 'fault'].map(source), join(room, 'test/ring_test.c')];
const record = [
  ...['record', 'ring', 'ring_files', 'row_ends', 'fault'].map(source),
  join(room, 'test/record_test.c'),
];

let work: string;
beforeAll(() => {
  work = workFolder();
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe('the sink', () => {
  it('keeps whole rows whatever happens to its owner and to its files', { timeout: 300_000 }, () => {
    run(work, clang ?? 'gcc', [...flags, '-o', 'ring_test', ...ring]);
    run(work, join(work, 'ring_test'), [process.env.PEM_RACE_SECONDS ?? '2']);
  });

  it('believes no state file and no row that it did not write', { timeout: 300_000 }, () => {
    run(work, clang ?? 'gcc', [...flags, '-o', 'record_test', ...record]);
    run(work, join(work, 'record_test'), []);
  });

  it.skipIf(clang === undefined)('takes any bytes', { timeout: 300_000 }, () => {
    run(work, clang as string, [...flags, '-DFUZZ', '-fsanitize=fuzzer', '-o', 'record_fuzz', ...record]);
    run(work, join(work, 'record_fuzz'), ['-runs=300000', '-max_total_time=10', '-max_len=4000', '-seed=1']);
  });
});
