/**
 * profiler-row: the profiler's own work for one statement, on the real sink and fresh files, in units of clock_gettime of
 * the same process, and how often it reads a clock for a straight SELECT.
 *
 * A function in the backend (bench/load/row_clock.c) runs a saved plan thousands of times and times itself: no client, no
 * socket, no wake-up is in it. Calls with and without a trace alternate; each trace is a new one and its files are too. A
 * short call comes before each: that the files are made is no work of a statement (see profiler.ts). The clock is timed
 * between them. Clock reads are counted by callgrind.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadSource } from '../load/source.js';
import { atMost, type BenchOptions, type BenchResult, median } from '../report.js';
import { findServerBin, startCluster } from '../rig/cluster.js';
import { pgbench } from '../rig/pgbench.js';
import { profiledServer } from '../rig/profiled_server.js';
import { settling } from './profiler.js';
import { countTraces } from './profiler_instructions.js';

const statements = 10_000;
const clockCalls = 200_000;

export async function run(options: BenchOptions): Promise<BenchResult> {
  const bin = await profiledServer();
  const folder = mkdtempSync(join(tmpdir(), 'pemrow-'));
  chmodSync(folder, 0o755);
  const library = join(folder, 'row_clock.so');
  const include = execFileSync(join(findServerBin(), 'pg_config'), ['--includedir-server'], {
    encoding: 'utf8',
  }).trim();
  execFileSync('cc', ['-O2', '-fPIC', '-shared', `-I${include}`, loadSource('row_clock.c'), '-o', library]);
  const cluster = await startCluster({
    bin,
    settings: {
      shared_preload_libraries: "'sql_profiler'",
      shared_buffers: '256MB',
      autovacuum: 'off',
      jit: 'off',
    },
  });
  try {
    await pgbench(cluster, ['-i', '-q']);
    await cluster.query('VACUUM ANALYZE');
    await cluster.query('CREATE EXTENSION sql_profiler');
    for (const name of ['bench_statements', 'bench_clock']) {
      await cluster.query(`CREATE FUNCTION ${name}(bigint) RETURNS bigint AS '${library}' LANGUAGE C`);
    }
    const client = await cluster.client();
    const nanoseconds = async (name: string, count: number): Promise<number> =>
      Number((await client.query(`SELECT ${name}(${count}) AS ns`)).rows[0]?.ns) / count;
    const own: number[] = [];
    const clocks: number[] = [];
    const ratios: number[] = [];
    let logged = 0;
    const pairs = options.quick ? 15 : 60;
    for (let pair = -3; pair < pairs; pair += 1) {
      const timed = { off: 0, on: 0 };
      for (const which of pair % 2 === 0 ? (['off', 'on'] as const) : (['on', 'off'] as const)) {
        if (which === 'off') {
          await nanoseconds('bench_statements', settling);
          timed.off = await nanoseconds('bench_statements', statements);
          continue;
        }
        const { rows } = await cluster.query("SELECT sql_profiler.start('row') AS id");
        await nanoseconds('bench_statements', settling);
        timed.on = await nanoseconds('bench_statements', statements);
        await cluster.query('SELECT sql_profiler.stop($1)', [rows[0]?.id]);
        const state = await cluster.query('SELECT rows FROM sql_profiler.traces WHERE id = $1', [
          rows[0]?.id,
        ]);
        logged = Number(state.rows[0]?.rows);
        await cluster.query('SELECT sql_profiler.drop($1)', [rows[0]?.id]);
      }
      const clock = await nanoseconds('bench_clock', clockCalls);
      if (pair < 0) continue;
      own.push(timed.on - timed.off);
      clocks.push(clock);
      ratios.push((timed.on - timed.off) / clock);
      if (pair % 10 === 0) {
        options.progress(
          `pair ${pair + 1} of ${pairs}: + ${(timed.on - timed.off).toFixed(0)} ns a statement, clock_gettime ${clock.toFixed(1)} ns`,
        );
      }
    }
    await client.end();
    const { clockReads } = await countTraces(bin, 1);
    return {
      figures: {
        own_ns_per_statement: median(own),
        clock_gettime_ns: median(clocks),
        clock_reads_per_select: clockReads,
        rows_of_the_last_trace: logged,
        statements_of_a_call: statements,
      },
      bars: [
        atMost('own work a statement, in clock_gettime calls', median(ratios), 10),
        atMost('clock reads of a straight SELECT', clockReads, 4.01),
      ],
    };
  } finally {
    await cluster.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
