/**
 * `pem trace advise`: indexes that would make the statements of a trace cheaper, by the planner's estimate. In: a trace, from a
 * folder or a server, and the server to ask. Out: advice on stdout or in a file (0600: it holds statements), progress on
 * stderr. Changes nothing and runs no statement; src/advice says how.
 */
import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import type {
  AdviceFailure,
  AdviceOptions,
  AdviceProgress,
  DatabaseAdvice,
  Session,
  WorkStatement,
} from '../../advice/index.js';
import { errorCode, errorText, PemError } from '../../base/errors.js';
import { collect, type FilterWords, filterOf, number, seconds, withFilters } from './options.js';
import { openStore } from './report.js';
import type { Scanned } from './scan.js';
import type { TraceStore } from './store.js';

interface AdviseWords extends FilterWords {
  readonly db?: string;
  readonly trace?: string;
  readonly most: number;
  readonly statements: number;
  readonly time: number;
  readonly leastGain: number;
  readonly searchPath: readonly string[];
  readonly trustStatements?: boolean;
  readonly format?: string;
  readonly out?: string;
  readonly quiet?: boolean;
}

/** Statements of a trace by the database that they ran in. */
export interface TracedWork {
  readonly name: string;
  /** Execution time of all statements that no other called, µs. */
  readonly totalUs: number;
  readonly databases: ReadonlyMap<string, readonly WorkStatement[]>;
  /** Databases beyond those that are looked at. */
  readonly left: readonly string[];
}

/** Of a trace, those with the most time. */
const mostDatabases = 5;
const forms = ['text', 'json'];
/** Of a sample as the scan reads it; longer ones are cut there. */
const sampleBytes = 4000;
const queryCut = 1;

export function adviseCommand(trace: Command): void {
  const command = trace
    .command('advise')
    .description(
      'indexes that would make its statements cheaper: estimates of the planner with hypopg, nothing is changed',
    )
    .argument(
      '[folder]',
      'a folder of trace files, or one CSV file (default: the trace is read from the server)',
    )
    .option('--db <conninfo>', 'the server with the tables; each statement is planned in its own database')
    .option('--trace <id|name>', 'which trace of that server')
    .option('--most <n>', 'most indexes for one database', number(1, 20, true), 5)
    .option('--statements <n>', 'so many statements, those with the most time', number(1, 500, true), 50)
    .option('--time <time>', 'at most so long for one database', seconds, 60)
    .option('--least-gain <percent>', 'an index must save so much of the time', number(0.01, 100), 1)
    .option('--search-path <schema>', 'instead of what users and databases have set; repeatable', collect, [])
    .option(
      '--trust-statements',
      'also as a superuser: functions that statements name may then run as him while he plans',
    )
    .option('--format <format>', `${forms.join(', ')} (default: by the ending of --out, else text)`)
    .option('--out <file>', 'write there instead of to stdout')
    .option('--quiet', 'no progress');
  withFilters(command, true).action(async (folder: string | undefined, words: AdviseWords) => {
    const form = words.format ?? (/\.json$/i.test(words.out ?? '') ? 'json' : 'text');
    if (!forms.includes(form))
      throw new PemError('trace_option', `--format is one of ${forms.join(', ')}`, 'operator');
    const stop = new AbortController();
    const interrupted = (): void => stop.abort();
    process.once('SIGINT', interrupted);
    try {
      const work = await readWork(folder, words, stop.signal);
      const { advice, failures } = await adviseAll(work, words, stop.signal);
      const { adviceText } = await import('./advise_text.js');
      const text =
        form === 'json'
          ? `${JSON.stringify({ trace: work.name, totalUs: work.totalUs, databases: advice, failures, left: work.left }, null, 1)}\n`
          : adviceText(work, advice, failures, process.stdout.columns ?? 110);
      if (words.out === undefined) process.stdout.write(text);
      else writeFileSync(words.out, text, { mode: 0o600 });
    } finally {
      process.off('SIGINT', interrupted);
    }
  });
}

async function readWork(
  folder: string | undefined,
  words: AdviseWords,
  signal: AbortSignal,
): Promise<TracedWork> {
  const { tracedServer } = await import('./server.js');
  tracedServer(words.db);
  // With a folder --db names the server with the tables, not the one with the trace.
  const store: TraceStore = await openStore(folder, folder === undefined ? words : {});
  try {
    const { scanTrace } = await import('./scan.js');
    const scanned = await scanTrace(store, {
      filter: filterOf(words),
      top: words.statements,
      quiet: words.quiet === true,
      signal,
    });
    return { name: store.name, ...workOf(scanned, words.statements) };
  } finally {
    await store.close();
  }
}

/** The statements with the most time, each with a text that has its values, where the trace holds one whole. */
export function workOf(scanned: Scanned, most: number): Omit<TracedWork, 'name'> {
  const { statements, top } = scanned.result;
  const first = [...statements].sort((a, b) => b.exec_us - a.exec_us).slice(0, most);
  const databases = new Map<string, WorkStatement[]>();
  for (const one of first) {
    if (one.database === null || one.exec_us <= 0) continue;
    const sample = one.samples
      .map(({ file, offset }) => scanned.rows.get(`${file}:${offset}`))
      .find(
        (row) =>
          row?.query !== undefined &&
          ((row.flags ?? 0) & queryCut) === 0 &&
          Buffer.byteLength(row.query) < sampleBytes,
      );
    const work: WorkStatement = {
      id: `${one.key}${one.nested ? '/nested' : ''}/${one.user ?? ''}`,
      text: sample?.query ?? one.text,
      cut: sample === undefined && one.text_cut,
      user: one.user,
      nested: one.nested,
      calls: one.calls,
      execUs: one.exec_us,
    };
    databases.set(one.database, [...(databases.get(one.database) ?? []), work]);
  }
  const names = [...databases.keys()];
  for (const name of names.slice(mostDatabases)) databases.delete(name);
  return { totalUs: top.exec_us, databases, left: names.slice(mostDatabases) };
}

async function adviseAll(
  work: TracedWork,
  words: AdviseWords,
  signal: AbortSignal,
): Promise<{ advice: DatabaseAdvice[]; failures: AdviceFailure[] }> {
  const advice: DatabaseAdvice[] = [];
  const failures: AdviceFailure[] = [];
  let first: unknown;
  for (const [database, statements] of work.databases) {
    if (signal.aborted) break;
    try {
      advice.push(await adviseOne(database, statements, work.totalUs, words, signal));
    } catch (error) {
      first ??= error;
      failures.push({ database, code: errorCode(error), reason: errorText(error) });
    }
  }
  if (advice.length === 0 && first !== undefined) throw first;
  return { advice, failures };
}

async function adviseOne(
  database: string,
  statements: readonly WorkStatement[],
  totalUs: number,
  words: AdviseWords,
  signal: AbortSignal,
): Promise<DatabaseAdvice> {
  const { connect } = await import('../../../native/index.js');
  const { adviseIndexes } = await import('../../advice/index.js');
  const { tracedServer } = await import('./server.js');
  const params = { ...tracedServer(words.db), dbname: database, application_name: 'pem trace advise' };
  const session: Session & { close(): void } = await connect({ params, timeoutMs: 10_000 });
  const progress = words.quiet === true ? undefined : progressLine(database);
  try {
    const options: AdviceOptions = {
      mostIndexes: words.most,
      timeMs: words.time * 1000,
      leastGain: words.leastGain / 100,
      totalUs,
      ...(words.searchPath.length === 0 ? {} : { searchPath: words.searchPath.map(quoted).join(', ') }),
      trustStatements: words.trustStatements === true,
      ...(progress === undefined ? {} : { onProgress: progress.show }),
      signal,
    };
    return await adviseIndexes(session, statements, options);
  } finally {
    progress?.end();
    session.close();
  }
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

const steps: Readonly<Record<AdviceProgress['step'], string>> = {
  planning: 'planning statements as they are',
  trying: 'trying candidates, statement',
  choosing: 'choosing, candidate',
  refining: 'refining, index',
};

/** A line that is written over on a terminal, else one every few seconds; none of what is over within a second. */
function progressLine(database: string): { show(progress: AdviceProgress): void; end(): void } {
  const terminal = process.stderr.isTTY;
  let lastMs = performance.now() + (terminal ? 800 : 0);
  let shown = false;
  return {
    show({ step, done, total, plans }) {
      if (performance.now() - lastMs < (terminal ? 200 : 5000)) return;
      lastMs = performance.now();
      shown = true;
      const text = `${database}: ${steps[step]} ${done} of ${total}, ${plans} plans`;
      process.stderr.write(terminal ? `\r\u001b[K${text}` : `${text}\n`);
    },
    end() {
      if (shown && terminal) process.stderr.write('\r\u001b[K');
    },
  };
}
