/**
 * `pem trace export`: rows of a trace as CSV (the trace's own form, in UTF-8) or JSON lines, with filters, all slots merged in
 * the order of their end times. In: words of the command line. Out: rows on stdout or in a file (0600). What is damaged is left
 * out and said at the end.
 */
import { createWriteStream } from 'node:fs';
import type { Command } from 'commander';
import { PemError } from '../../base/errors.js';
import { bytes, count, printable } from './format.js';
import { collect, type FilterWords, filterOf, number, withFilters } from './options.js';
import { openStore } from './report.js';

interface ExportWords extends FilterWords {
  readonly db?: string;
  readonly trace?: string;
  readonly format?: string;
  readonly out?: string;
  readonly column: readonly string[];
  readonly limit?: number;
  readonly quiet?: boolean;
}

const forms = ['csv', 'json'] as const;
const faultsShown = 20;

export function exportCommand(trace: Command): void {
  const command = trace
    .command('export')
    .description('rows of a trace as CSV or JSON lines, in the order of time; from files or a server')
    .argument('[folder]', 'a folder of trace files, or one CSV file')
    .option('--db <conninfo>', 'read the trace from this server instead')
    .option('--trace <id|name>', 'which trace of that server')
    .option('--format <format>', 'csv or json (default: by the ending of --out, else csv)')
    .option('--out <file>', 'write there instead of to stdout')
    .option('--column <name>', 'only this column; repeatable (default: all)', collect, [])
    .option('--limit <rows>', 'at most so many rows', number(1, Number.MAX_SAFE_INTEGER, true))
    .option('--quiet', 'no progress');
  withFilters(command, true).action(async (folder: string | undefined, words: ExportWords) => {
    const wanted = words.format ?? (/\.(json|jsonl|ndjson)$/i.test(words.out ?? '') ? 'json' : 'csv');
    if (!(forms as readonly string[]).includes(wanted))
      throw new PemError('trace_option', `--format is one of ${forms.join(', ')}`, 'operator');
    const { exportRows } = await import('./merge.js');
    const { Progress } = await import('./progress.js');
    const store = await openStore(folder, words);
    const out =
      words.out === undefined ? process.stdout : createWriteStream(words.out, { mode: 0o600, flags: 'w' });
    const failed = new Promise<never>((_, reject) => {
      out.once('error', reject);
    });
    failed.catch(() => undefined);
    const done = { bytes: 0, rows: 0 };
    const progress = new Progress('reading', 0, () => done, words.quiet === true);
    try {
      const work = exportRows(store, {
        filter: filterOf(words),
        json: wanted === 'json',
        columns: words.column,
        limit: words.limit ?? Number.POSITIVE_INFINITY,
        done,
        write: async (text) => {
          if (!out.write(text)) await new Promise<void>((resolve) => out.once('drain', () => resolve()));
        },
      });
      const made = await Promise.race([work, failed]);
      if (out !== process.stdout) await new Promise<void>((resolve) => out.end(() => resolve()));
      progress.stop();
      tell(words, made);
    } finally {
      progress.stop();
      await store.close();
    }
  });
}

function tell(
  words: ExportWords,
  made: { rows: number; bytes: number; damaged: number; faults: readonly string[] },
): void {
  for (const fault of made.faults.slice(0, faultsShown)) process.stderr.write(`${printable(fault)}\n`);
  if (made.faults.length > faultsShown)
    process.stderr.write(`and ${count(made.faults.length - faultsShown)} more\n`);
  if (words.quiet === true) return;
  const damaged = made.damaged === 0 ? '' : `, ${count(made.damaged)} damaged rows left out`;
  process.stderr.write(`${count(made.rows)} rows, ${bytes(made.bytes)}${damaged}\n`);
}
