/**
 * `pem trace start`: a named trace on a server, with filters, limits and options. In: words of the command line. Out: its number.
 * The server judges what it is asked; what it refuses it explains.
 */
import { type Command, Option } from 'commander';
import { traceKinds } from '../../wire/trace.js';
import { bytes } from './format.js';
import { collect, kind, number, seconds, size } from './options.js';

interface StartWords {
  readonly db?: string;
  readonly database: readonly string[];
  readonly user: readonly string[];
  readonly application: readonly string[];
  readonly client: readonly string[];
  readonly kind: readonly string[];
  readonly minMs?: number;
  readonly sample?: number;
  readonly nested: boolean;
  readonly duration?: number;
  readonly maxFile?: number;
  readonly maxTotal?: number;
  readonly maxQuery?: number;
  readonly maxParams?: number;
  readonly maxPlan?: number;
  readonly params?: boolean;
  readonly plan?: string;
  readonly planMinMs?: number;
  readonly rusage?: boolean;
  readonly workers?: boolean;
}

export function startCommand(trace: Command): void {
  trace
    .command('start')
    .description('starts a trace: from the next statement of every session on, each statement is a row')
    .argument('<name>', 'what it shall be called')
    .option('--db <conninfo>', 'the server (libpq keywords; PGHOST and the like hold too)')
    .option('--database <name>', 'only this database; repeatable', collect, [])
    .option('--user <name>', 'only this user; repeatable', collect, [])
    .option('--application <name>', 'only this application_name; repeatable', collect, [])
    .option(
      '--client <address>',
      'only this address, network (192.0.2.0/24) or [local]; repeatable',
      collect,
      [],
    )
    .addOption(
      new Option('--kind <kind>', `only this kind of commands (${traceKinds.join(', ')}); repeatable`)
        .argParser(kind)
        .default([], 'all'),
    )
    .option('--min-ms <ms>', 'only what runs at least so long', number(0, 86_400_000))
    .option(
      '--sample <share>',
      'this share of top-level statements, with all that is nested in them',
      number(0, 1),
    )
    .option('--no-nested', 'without statements that functions and triggers run')
    .option('--duration <time>', 'ends by itself, for example after 10min', seconds)
    .option('--max-total <size>', 'ends when its files have so many bytes', size)
    .option('--max-file <size>', 'begins another file of a backend slot at this size', size)
    .option('--max-query <size>', 'longer texts are cut', size)
    .option('--params', 'with the values of parameters (they may be secret)')
    .option('--max-params <size>', 'longer parameters are cut', size)
    .addOption(new Option('--plan <form>', 'with plans').choices(['text', 'json']))
    .option('--plan-min-ms <ms>', 'plans only of what ran so long', number(0, 86_400_000))
    .option('--max-plan <size>', 'longer plans are cut', size)
    .option(
      '--rusage',
      'with CPU time, page faults and context switches (costs two system calls a statement)',
    )
    .option('--workers', 'with a row for each parallel worker')
    .action(async (name: string, words: StartWords) => {
      const { withTraced } = await import('./server.js');
      const options = startOptions(words);
      const id = await withTraced(words.db, async (client) => {
        const { rows } = await client.query<{ id: number }>('SELECT sql_profiler.start($1, $2) AS id', [
          name,
          JSON.stringify(options),
        ]);
        return rows[0]?.id;
      });
      process.stdout.write(`trace ${id} "${name}" runs\n`);
      if (words.duration === undefined && words.maxTotal === undefined)
        process.stderr.write(
          'it has no limit of its own: the server’s sql_profiler.max_total_bytes ends it, or "pem trace stop"\n',
        );
      else if (words.maxTotal !== undefined) process.stderr.write(`it ends at ${bytes(words.maxTotal)}\n`);
    });
}

const us = (ms: number): number => Math.round(ms * 1000);

/** What sql_profiler.start() takes; nothing that was not said. */
export function startOptions(words: StartWords): Record<string, unknown> {
  const options: Record<string, unknown> = {
    databases: words.database,
    users: words.user,
    applications: words.application,
    clients: words.client,
    kinds: words.kind,
    min_duration_us: words.minMs === undefined ? undefined : us(words.minMs),
    sample_rate: words.sample,
    nested: words.nested ? undefined : false,
    duration_s: words.duration,
    max_file_bytes: words.maxFile,
    max_total_bytes: words.maxTotal,
    max_query_bytes: words.maxQuery,
    max_params_bytes: words.maxParams,
    max_plan_bytes: words.maxPlan,
    params: words.params,
    plan: words.plan,
    plan_min_us: words.planMinMs === undefined ? undefined : us(words.planMinMs),
    rusage: words.rusage,
    workers: words.workers,
  };
  return Object.fromEntries(
    Object.entries(options).filter(
      ([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0),
    ),
  );
}
