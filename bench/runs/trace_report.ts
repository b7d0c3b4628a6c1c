/**
 * trace-report: `pem trace report` on trace files of rows as the profiler writes them (about 260 bytes), as a whole process:
 * start, reading, the report as JSON. Rows for each second of processor time of that process (one core's worth), and the most
 * memory it had; the clock's rate stands beside them. Medians of runs one after the other, files in the page cache.
 *
 * - prepared: few texts, the server's query id. literals: every text another one by its literals, no query id. distinct: every
 *   text another statement, so that the table of statements is full all the time. Bars hold for all three.
 * - pgbadger, where it is installed, on a csvlog of the same workload (fewer rows, as it is slow): one process, the same rate.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeCsvlog, makeTraceFiles, type TraceTexts } from '../load/trace_files.js';
import type { Used } from '../load/trace_report_child.js';
import { atLeast, atMost, type BenchOptions, type BenchResult, median } from '../report.js';

const leastRowsPerSecond = 1_000_000;
const mostBytes = 300e6;
const kinds: readonly TraceTexts[] = ['prepared', 'literals', 'distinct'];

/** One report of a folder, in a process of its own. */
function reportOnce(folder: string): Used & { wallSeconds: number } {
  const child = fileURLToPath(new URL('../load/trace_report_child.js', import.meta.url));
  const out = join(folder, '../report.json');
  const from = performance.now();
  const ended = spawnSync(
    process.execPath,
    [child, 'trace', 'report', folder, '--format', 'json', '--out', out, '--quiet'],
    { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] },
  );
  if (ended.status !== 0) throw new Error(`the report ended with ${ended.status}`);
  const used = JSON.parse(String(ended.output[3])) as Used;
  return { ...used, wallSeconds: (performance.now() - from) / 1000 };
}

interface Measured {
  readonly rate: number;
  readonly wallRate: number;
  readonly rssBytes: number;
  readonly bytesPerRow: number;
}

function measure(
  work: string,
  texts: TraceTexts,
  rows: number,
  runs: number,
  options: BenchOptions,
): Measured {
  const folder = join(work, texts);
  mkdirSync(folder);
  options.progress(`${texts}: making ${rows.toLocaleString('en')} rows`);
  const { bytes } = makeTraceFiles(folder, { rows, texts });
  const rates: number[] = [];
  const walls: number[] = [];
  const memory: number[] = [];
  for (let run = 0; run < runs; run++) {
    const used = reportOnce(folder);
    rates.push(rows / used.cpuSeconds);
    walls.push(rows / used.wallSeconds);
    memory.push(used.rssBytes);
    options.progress(
      `${texts}: ${(rows / used.cpuSeconds / 1e6).toFixed(2)} M rows/s of processor time, ` +
        `${(rows / used.wallSeconds / 1e6).toFixed(2)} by the clock, ${(used.rssBytes / 1e6).toFixed(0)} MB`,
    );
  }
  rmSync(folder, { recursive: true });
  return {
    rate: median(rates),
    wallRate: median(walls),
    rssBytes: Math.max(...memory),
    bytesPerRow: bytes / rows,
  };
}

/** Rows of a csvlog that pgbadger reads in a second of processor time; undefined: it is not installed. */
function pgbadger(work: string, texts: TraceTexts, rows: number, options: BenchOptions): number | undefined {
  if (spawnSync('pgbadger', ['--version'], { stdio: 'ignore' }).status !== 0) return undefined;
  const log = join(work, 'pgbadger.csv');
  const bytes = makeCsvlog(log, { rows, texts });
  const script =
    'TIMEFORMAT="%U %S"; time pgbadger --quiet --format csv --jobs 1 --extension json --outfile "$0.json" "$0" >"$0.out" 2>&1';
  const ended = spawnSync('bash', ['-c', script, log], { encoding: 'utf8' });
  const [user = Number.NaN, system = Number.NaN] = ended.stderr.trim().split(' ').map(Number);
  if (ended.status !== 0 || statSync(`${log}.json`, { throwIfNoEntry: false }) === undefined)
    throw new Error(`pgbadger made no report: ${readFileSync(`${log}.out`, 'utf8').slice(-500)}`);
  const rate = rows / (user + system);
  options.progress(
    `pgbadger: ${rows.toLocaleString('en')} rows, a csvlog of ${Math.round(bytes / 1e6)} MB: ${Math.round(rate)} rows/s`,
  );
  return rate;
}

/** Runs the benchmark; see the head of this file. */
export async function run(options: BenchOptions): Promise<BenchResult> {
  const rows = options.quick ? 1_500_000 : 10_000_000;
  const runs = options.quick ? 3 : 5;
  const work = mkdtempSync(join(tmpdir(), 'pem-trace-report-'));
  try {
    const made = new Map<TraceTexts, Measured>();
    for (const texts of kinds) made.set(texts, measure(work, texts, rows, runs, options));
    const of = (texts: TraceTexts): Measured => made.get(texts) as Measured;
    const badger = pgbadger(work, 'literals', options.quick ? 20_000 : 200_000, options);
    const figures: Record<string, number | string> = { rows, runs };
    for (const texts of kinds) {
      const name = texts[0]?.toUpperCase() + texts.slice(1);
      figures[`rowsPerCpuSecond${name}`] = of(texts).rate;
      figures[`rowsPerWallSecond${name}`] = of(texts).wallRate;
      figures[`rssBytes${name}`] = of(texts).rssBytes;
      figures[`bytesPerRow${name}`] = of(texts).bytesPerRow;
    }
    figures.pgbadgerRowsPerCpuSecond = badger ?? 'not installed';
    if (badger !== undefined) figures.timesPgbadger = of('literals').rate / badger;
    return {
      figures,
      bars: kinds.flatMap((texts) => [
        atLeast(`${texts}: rows/s of one core`, of(texts).rate, leastRowsPerSecond),
        atMost(`${texts}: memory, bytes`, of(texts).rssBytes, mostBytes),
      ]),
    };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
