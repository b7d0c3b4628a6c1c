/**
 * `pem trace tail`: statements as they end, of a server over SQL or of a folder on this machine. In: words of the command line.
 * Out: a line a statement (or JSON) on stdout; notes on stderr. Polls every 50 ms, less often where a look takes long. The way to
 * the server may break: it is tried again until the trace is gone, and no row is shown twice or left out.
 */
import type { Command } from 'commander';
import type { TraceFilter } from '../../../native/index.js';
import { errorText, PemError } from '../../base/errors.js';
import { type FilterWords, filterOf, withFilters } from './options.js';
import type { FollowedStore } from './store.js';

interface TailWords extends FilterWords {
  readonly db?: string;
  readonly folder?: string;
  readonly json?: boolean;
  readonly all?: boolean;
  readonly wide?: boolean;
}

const pollMs = 50;
/** A look may take this share of the time at most. */
const lookShare = 0.25;
const longestPauseMs = 200;
/** A round that takes longer shows what is past: the next one begins with what is new. */
const roundMs = 2000;
const endedEveryMs = 1000;
const firstRetryMs = 250;
const longestRetryMs = 2000;

export function tailCommand(trace: Command): void {
  const command = trace
    .command('tail')
    .description('statements as they end')
    .argument('[trace]', 'number or name of a trace of --db; without one the only trace that runs')
    .option('--db <conninfo>', 'the server')
    .option('--folder <folder>', 'a trace’s folder on this machine instead (…/sql_profiler/pgsql_tmp_<id>)')
    .option('--all', 'from the trace’s first row instead of from now on')
    .option('--json', 'JSON, one object a line, with all columns')
    .option('--wide', 'texts in full instead of one line of the terminal');
  withFilters(command, false).action(async (wanted: string | undefined, words: TailWords) => {
    const store = await openFollowed(wanted, words);
    const stop = new AbortController();
    const ask = (): void => stop.abort();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, ask);
    try {
      await follow(store, words, filterOf(words), stop.signal);
    } finally {
      await store.close();
    }
  });
}

async function openFollowed(wanted: string | undefined, words: TailWords): Promise<FollowedStore> {
  const { isServerNamed, ServerStore } = await import('./server.js');
  if (words.folder === undefined ? words.db === undefined && !isServerNamed() : words.db !== undefined)
    throw new PemError(
      'option_missing',
      'give --db (or PGHOST) of a server or --folder: one of both',
      'operator',
    );
  if (words.folder !== undefined) {
    const { FolderStore } = await import('./folder.js');
    return new FolderStore(words.folder, { allowEmpty: true });
  }
  return ServerStore.open(words.db, wanted);
}

const note = (text: string): void => {
  process.stderr.write(`${text}\n`);
};

/** Resolves after the pause, or at once when the signal is given. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done, { once: true });
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
  });
}

async function follow(
  store: FollowedStore,
  words: TailWords,
  filter: TraceFilter,
  signal: AbortSignal,
): Promise<void> {
  const { Follower } = await import('./follow.js');
  const { Printer } = await import('./tail_print.js');
  const { connectionIsGone } = await import('./server.js');
  const follower = new Follower(store, { all: words.all === true });
  const printer = new Printer({
    filter,
    json: words.json === true,
    wide: words.wide === true,
    write: (text) => process.stdout.write(text),
    drained: () => new Promise((resolve) => process.stdout.once('drain', resolve)),
    columns: () => process.stdout.columns,
    note,
    colours: process.stdout.isTTY === true && process.env.NO_COLOR === undefined,
  });
  let retryMs = 0;
  let askedAt = performance.now();
  const mostMs = words.all === true ? Number.POSITIVE_INFINITY : roundMs;
  let following = false;
  while (!signal.aborted) {
    let lookMs = performance.now();
    try {
      await follower.look();
      lookMs = performance.now() - lookMs;
      // The first look is where "from now on" begins.
      if (!following) note(`following ${store.name}; times are UTC, Ctrl-C ends`);
      following = true;
      const whole = await printer.print(follower, signal, mostMs);
      if (retryMs > 0) note('connected again');
      retryMs = 0;
      if (!whole) {
        await follower.look();
        follower.passOver();
        note(
          'more rows than can be shown were passed over: filter them, or have them all by "pem trace export"',
        );
      }
      if (performance.now() - askedAt >= endedEveryMs) {
        const ended = await store.ended();
        askedAt = performance.now();
        if (ended !== undefined) {
          // Rows that came between the look and the end.
          await follower.look();
          await printer.print(follower, signal, mostMs);
          note(`the trace has ended (${ended})`);
          return;
        }
      }
    } catch (error) {
      if (!connectionIsGone(error)) throw error;
      if (retryMs === 0) note(`no connection (${errorText(error)}); trying again`);
      retryMs = Math.min(longestRetryMs, Math.max(firstRetryMs, retryMs * 2));
      await pause(retryMs, signal);
      continue;
    }
    await pause(Math.min(longestPauseMs, Math.max(pollMs, lookMs * (1 / lookShare - 1))), signal);
  }
}
