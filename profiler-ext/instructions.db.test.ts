/** Keeps the profiler as cheap as it is; `npm run bench -- profiler-instructions` has the whole comparison. */
import { beforeAll, expect, test } from 'vitest';
import { findServerBin } from '../bench/rig/cluster.js';
import { profiledServer } from '../bench/rig/profiled_server.js';
import { countTraces } from '../bench/runs/profiler_instructions.js';

/** Instructions inside the library for a transaction of `pgbench -S -M prepared`, by major and processor; with gcc 12. */
const references: Readonly<Record<string, number>> = { '15 x64': 1915 };
const reference = references[`${/(\d+)\/bin$/.exec(findServerBin())?.[1]} ${process.arch}`];

let bin: string;
beforeAll(async () => {
  bin = await profiledServer();
});

test.skipIf(reference === undefined)('a trace costs at most a tenth more than it did', async () => {
  const { inside, clockReads } = await countTraces(bin, 1);
  expect(inside).toBeGreaterThan(500);
  expect(inside).toBeLessThan((reference ?? 0) * 1.1);
  expect(Math.round(clockReads)).toBeLessThanOrEqual(4);
});

test('without a trace the library costs at most 60 instructions', async () => {
  const { inside } = await countTraces(bin, 0);
  expect(inside).toBeGreaterThan(0);
  expect(inside).toBeLessThanOrEqual(60);
});
