/** A short run of the conservation harness; `npm run soak` is the long one. The seed stands in the error. */
import { beforeAll, expect, test } from 'vitest';
import { buildPrograms, runConservation } from './conservation.js';

const seed = Number(process.env.PEM_SEED ?? Date.now() % 1_000_000);

beforeAll(() => buildPrograms());

test.each([seed, seed + 1])(
  'whatever is killed, cut off or set back, every row arrives once (seed %i)',
  async (ofRun) => {
    const result = await runConservation({ seed: ofRun, chaosMs: 12_000 });
    expect(result.rows).toBeGreaterThan(100);
    expect(Object.keys(result.events).length).toBeGreaterThan(2);
  },
  600_000,
);
