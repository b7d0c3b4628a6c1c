/**
 * `pem trace report`: a trace, from a folder or a server, as text, JSON or one HTML file. In: words of the command line. Out:
 * the report on stdout or in a file (0600: statements may hold anything), progress on stderr.
 */
import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { TraceFilter } from '../../../native/index.js';
import { PemError } from '../../base/errors.js';
import { duration, isoInstant } from './format.js';
import { type FilterWords, filterOf, number, withFilters } from './options.js';
import type { Report } from './report_model.js';
import type { TraceStore } from './store.js';

export const reportForms = ['text', 'json', 'html'] as const;

interface ReportWords extends FilterWords {
  readonly db?: string;
  readonly trace?: string;
  readonly format?: string;
  readonly out?: string;
  readonly top: number;
  readonly columns?: number;
  readonly quiet?: boolean;
}

export function reportCommand(trace: Command): void {
  const command = trace
    .command('report')
    .description(
      'what a trace tells: top statements, latency, errors, time line; from files alone or from a server',
    )
    .argument('[folder]', 'a folder of trace files (pgsql_tmp_<id>, or a copy), or one CSV file')
    .option('--db <conninfo>', 'read the trace from this server instead')
    .option('--trace <id|name>', 'which trace of that server')
    .option('--format <format>', `${reportForms.join(', ')} (default: by the ending of --out, else text)`)
    .option('--out <file>', 'write there instead of to stdout')
    .option('--top <n>', 'statements of each measure', number(1, 1000, true), 10)
    .option('--columns <n>', 'width of the text (default: the terminal’s, else 100)', number(80, 200, true))
    .option('--quiet', 'no progress');
  withFilters(command, true).action(async (folder: string | undefined, words: ReportWords) => {
    const form = formOf(words);
    const report = await makeReport(folder, words);
    const text = await render(report, form, words);
    if (words.out === undefined) process.stdout.write(text);
    else writeFileSync(words.out, text, { mode: 0o600 });
    if (words.out !== undefined && words.quiet !== true)
      process.stderr.write(
        `${words.out}: ${report.trace.rows.toLocaleString('en')} rows in ${duration(report.read.seconds * 1e6)}\n`,
      );
    // Scripts are to notice that nothing was told.
    if (report.trace.rows === 0 && report.problems.length > 0) process.exitCode = 1;
    if (form !== 'text' && report.problems.length > 0 && words.quiet !== true)
      process.stderr.write(`${report.problems.length} problems with files; the report lists them\n`);
  });
}

function formOf(words: ReportWords): (typeof reportForms)[number] {
  const byName = words.out === undefined ? 'text' : /\.(html?|json)$/i.exec(words.out)?.[1]?.toLowerCase();
  const wanted = words.format ?? (byName === 'htm' ? 'html' : (byName ?? 'text'));
  const form = reportForms.find((one) => one === wanted);
  if (form === undefined)
    throw new PemError('trace_option', `--format is one of ${reportForms.join(', ')}`, 'operator');
  return form;
}

/** @throws PemError trace_* where there is nothing to read */
export async function openStore(
  folder: string | undefined,
  words: { readonly db?: string; readonly trace?: string },
): Promise<TraceStore> {
  const { isServerNamed, ServerStore } = await import('./server.js');
  if (folder === undefined ? words.db === undefined && !isServerNamed() : words.db !== undefined)
    throw new PemError(
      'option_missing',
      'give a folder of trace files, or --db (or PGHOST) of a server: one of both',
      'operator',
    );
  if (folder !== undefined) {
    const { FolderStore } = await import('./folder.js');
    return new FolderStore(folder);
  }
  return ServerStore.open(words.db, words.trace);
}

/** The filter as the report shows it. */
function shownFilter(filter: TraceFilter): Record<string, unknown> {
  const { fromUs, toUs, minUs, ...rest } = filter;
  return {
    ...rest,
    ...(fromUs === undefined ? {} : { from: isoInstant(fromUs) }),
    ...(toUs === undefined ? {} : { to: isoInstant(toUs) }),
    ...(minUs === undefined ? {} : { min_us: minUs }),
  };
}

async function makeReport(folder: string | undefined, words: ReportWords): Promise<Report> {
  const { scanTrace } = await import('./scan.js');
  const { buildReport } = await import('./report_model.js');
  const filter = filterOf(words);
  const store = await openStore(folder, words);
  const stop = new AbortController();
  // The first Ctrl-C ends the reading; the report tells of what was read. The second one ends the command.
  const interrupted = (): void => stop.abort();
  process.once('SIGINT', interrupted);
  try {
    const scanned = await scanTrace(store, {
      filter,
      top: words.top,
      quiet: words.quiet === true,
      signal: stop.signal,
    });
    return buildReport(scanned, {
      kind: store.kind,
      name: store.name,
      filter: shownFilter(filter),
      madeAt: new Date(),
      interrupted: stop.signal.aborted,
    });
  } finally {
    process.off('SIGINT', interrupted);
    await store.close();
  }
}

async function render(
  report: Report,
  form: (typeof reportForms)[number],
  words: ReportWords,
): Promise<string> {
  if (form === 'json') return `${JSON.stringify(report, null, 1)}\n`;
  if (form === 'html') {
    const { reportHtml } = await import('./report_html.js');
    return reportHtml(report);
  }
  const { reportText } = await import('./report_text.js');
  return reportText(report, { columns: words.columns ?? process.stdout.columns ?? 100, top: words.top });
}
