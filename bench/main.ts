/**
 * `npm run bench -- <name> [--quick] [--json]`: runs one benchmark of bench/runs/, shows progress on stderr and a table
 * on stdout; with --json the last line is {"name", "machine", "figures", "bars"}. Exit status 1 where a bar does not
 * hold, 2 where the benchmark itself failed.
 */
import { parseArgs } from 'node:util';
import { type BenchRun, machine, table } from './report.js';

/** One line per file of bench/runs/; a test fails where one is missing. */
const runs: Readonly<Record<string, () => Promise<BenchRun>>> = {
  transcode: () => import('./runs/transcode.js'),
  ingest: () => import('./runs/ingest.js'),
  latency: () => import('./runs/latency.js'),
  push: () => import('./runs/push.js'),
  ui: () => import('./runs/ui.js'),
  'csv-read': () => import('./runs/csv_read.js'),
  'profiler-instructions': () => import('./runs/profiler_instructions.js'),
  profiler: () => import('./runs/profiler.js'),
  'profiler-row': () => import('./runs/profiler_row.js'),
  'trace-report': () => import('./runs/trace_report.js'),
};

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { quick: { type: 'boolean', default: false }, json: { type: 'boolean', default: false } },
  });
  const name = positionals[0] ?? '';
  const load = runs[name];
  if (load === undefined || positionals.length !== 1) {
    process.stderr.write(`usage: npm run bench -- ${Object.keys(runs).join('|')} [--quick] [--json]\n`);
    return 2;
  }
  const from = Date.now();
  const progress = (line: string): void => {
    process.stderr.write(`[${((Date.now() - from) / 1000).toFixed(1).padStart(6)} s] ${line}\n`);
  };
  progress(`${name}${values.quick ? ', quick' : ''} on ${machine()}`);
  const result = await (await load()).run({ quick: values.quick, progress });
  process.stdout.write(`${table(result)}\n`);
  if (values.json) {
    const { figures, bars } = result;
    process.stdout.write(`${JSON.stringify({ name, machine: machine(), figures, bars })}\n`);
  }
  return result.bars.every((bar) => bar.holds) ? 0 : 1;
}

// A benchmark that leaves a socket open must not keep the finished program alive.
process.exit(
  await main().catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
    return 2;
  }),
);
