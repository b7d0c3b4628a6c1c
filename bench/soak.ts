/**
 * `npm run soak -- --schedules 300 --seed N [--seconds 15]`: the conservation harness over many random
 * schedules. One line for each; a failing one is printed with its seed and ends the run with status 1 after the others.
 * `--seed S --schedules 1` repeats it: the order of what is struck is the seed's, the exact moments are the machine's.
 */
import { parseArgs } from 'node:util';
import { buildPrograms, runConservation } from './rig/conservation.js';
import template from './rig/template.js';

const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '300' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    seconds: { type: 'string', default: '15' },
  },
});
const schedules = Number(values.schedules);
const firstSeed = Number(values.seed);
await buildPrograms();
await template();
console.log(`${schedules} schedules from seed ${firstSeed} on, ${values.seconds} s of trouble each`);
let failed = 0;
const totals: Record<string, number> = {};
for (let at = 0; at < schedules; at += 1) {
  const seed = firstSeed + at;
  const startMs = performance.now();
  try {
    const result = await runConservation({ seed, chaosMs: Number(values.seconds) * 1000 });
    for (const [event, count] of Object.entries(result.events)) totals[event] = (totals[event] ?? 0) + count;
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
    console.log(
      `seed ${seed}: ${result.rows} rows in ${result.batches} batches of ${result.boots} boots conserved, ${seconds} s`,
    );
  } catch (error) {
    failed += 1;
    console.error(error instanceof Error ? error.message : error);
  }
}
console.log(`${schedules - failed} of ${schedules} conserved; struck: ${JSON.stringify(totals)}`);
process.exit(failed === 0 ? 0 : 1);
