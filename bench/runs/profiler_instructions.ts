/**
 * profiler-instructions: instructions that the profiler adds to a backend for a transaction of `pgbench -S -M prepared`,
 * counted by callgrind on fresh clusters of one template: no library, pg_stat_statements, the profiler loaded without a
 * trace, and with 1, 2 and 8 traces of default options (all columns that cost no system call).
 *
 * Counts are medians of three clusters: what PostgreSQL does by the clock (statistics that are due) is in the totals.
 * The same on every machine; what it does not see are caches and the kernel. "Inside" is what the library's own
 * functions and what they call outside of it take, without the executor's standard functions that hooks go on to.
 */
import { existsSync } from 'node:fs';
import { type Counted, count } from '../load/callgrind.js';
import { atMost, type BenchOptions, type BenchResult, median } from '../report.js';
import type { Cluster } from '../rig/cluster.js';
import { profiledServer } from '../rig/profiled_server.js';

export const library = 'sql_profiler.so';
const pgbench = ['-S', '-M', 'prepared'];

async function startTraces(cluster: Cluster, traces: number): Promise<void> {
  await cluster.query('CREATE EXTENSION sql_profiler');
  for (let n = 1; n <= traces; n += 1) await cluster.query('SELECT sql_profiler.start($1)', [`bench ${n}`]);
}

/** Per transaction, with so many traces running; undefined: the library is not loaded. */
export async function countTraces(bin: string, traces: number | undefined): Promise<Counted> {
  return count({
    bin,
    library,
    pgbench,
    settings: traces === undefined ? {} : { shared_preload_libraries: "'sql_profiler'" },
    ...(traces === undefined ? {} : { prepare: (cluster: Cluster) => startTraces(cluster, traces) }),
  });
}

export async function run(options: BenchOptions): Promise<BenchResult> {
  if (!existsSync('/usr/bin/valgrind')) throw new Error('valgrind is missing: apt-get install valgrind');
  const bin = await profiledServer();
  const show = async (what: string, once: () => Promise<Counted>): Promise<Counted> => {
    const made: Counted[] = [];
    while (made.length < (options.quick ? 1 : 3)) made.push(await once());
    const counted: Counted = {
      instructions: median(made.map((one) => one.instructions)),
      inside: median(made.map((one) => one.inside)),
      clockReads: median(made.map((one) => one.clockReads)),
    };
    options.progress(
      `${what}: ${made.map((one) => one.instructions.toFixed(0)).join(', ')} a transaction, ${counted.inside.toFixed(0)} inside, ${counted.clockReads.toFixed(1)} clock reads`,
    );
    return counted;
  };
  const none = await show('no library', () => countTraces(bin, undefined));
  const statements = await show('pg_stat_statements', () =>
    count({
      bin,
      library: 'pg_stat_statements.so',
      pgbench,
      settings: { shared_preload_libraries: "'pg_stat_statements'" },
    }),
  );
  const off = await show('loaded, no trace', () => countTraces(bin, 0));
  const one = await show('1 trace', () => countTraces(bin, 1));
  const more: Record<string, number> = {};
  for (const traces of options.quick ? [] : [2, 8]) {
    const counted = await show(`${traces} traces`, () => countTraces(bin, traces));
    more[`with_${traces}_traces`] = counted.instructions - none.instructions;
  }
  const added = one.instructions - none.instructions;
  const ratio = added / (statements.instructions - none.instructions);
  return {
    figures: {
      no_library: none.instructions,
      pg_stat_statements: statements.instructions - none.instructions,
      loaded_but_off: off.instructions - none.instructions,
      loaded_but_off_inside: off.inside,
      with_1_trace: added,
      with_1_trace_inside: one.inside,
      ...more,
      clock_reads_with_1_trace: one.clockReads,
    },
    bars: [
      atMost('instructions a transaction beyond no library', added, 2900),
      atMost('of those that pg_stat_statements adds', ratio, 1.4),
      atMost('loaded but off, inside the library', off.inside, 60),
    ],
  };
}
