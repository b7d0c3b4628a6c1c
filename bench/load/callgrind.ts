/**
 * Instructions that a backend spends for one transaction, counted by callgrind: the same on every machine and at every
 * load, which a clock is not. In: the server's settings, a statement of preparation, pgbench's arguments. Out: counts.
 * Two pgbench runs of different length in backends of their own; their difference is free of what a session costs at its
 * start and end. The cluster is made for the count and removed.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Cluster, startCluster } from '../rig/cluster.js';
import { pgbench } from '../rig/pgbench.js';
import { childrenOf } from '../rig/processes.js';

/** What one dump of callgrind holds. Instructions. */
interface Dump {
  readonly total: number;
  /** Of the functions of one library, and of what they call outside of it, PostgreSQL's own work in hooks left out. */
  readonly inside: number;
  /** Calls from the library to clock_gettime. */
  readonly clockReads: number;
}

/** A hook calls on to these: what they do is not the library's. */
const chained = /^(standard_(planner|Executor\w+|ProcessUtility)|pgss_\w+|explain_Executor\w+|pgaudit_\w+)/;

/** Reads a dump that was written without compressed names and positions. */
export function readDump(text: string, library: string): Dump {
  let object = '';
  let calledObject = '';
  let calledFunction = '';
  let afterCalls = false;
  let [total, inside, clockReads] = [0, 0, 0];
  for (const line of text.split('\n')) {
    if (line.startsWith('ob=')) object = basename(line.slice(3));
    else if (line.startsWith('cob=')) calledObject = basename(line.slice(4));
    else if (line.startsWith('cfn=')) calledFunction = line.slice(4);
    else if (line.startsWith('calls=')) {
      afterCalls = true;
      if (object === library && /clock_gettime/.test(calledFunction)) {
        clockReads += Number(/^calls=(\d+)/.exec(line)?.[1] ?? 0);
      }
    } else if (/^\d/.test(line)) {
      const cost = Number(line.split(' ')[1] ?? 0);
      if (afterCalls) {
        const foreign = calledObject !== '' && calledObject !== library;
        if (object === library && foreign && !chained.test(calledFunction)) inside += cost;
        afterCalls = false;
        calledObject = '';
      } else if (object === library) inside += cost;
    } else if (line.startsWith('totals:')) {
      total = Math.max(total, Number(line.split(' ')[1]));
    }
  }
  return { total, inside, clockReads };
}

export interface CountOptions {
  /** The server's programs; default: those of the rig. */
  readonly bin?: string;
  readonly settings: Readonly<Record<string, string>>;
  /** Runs before the count, with the server under valgrind: makes the extension, starts traces. */
  readonly prepare?: (cluster: Cluster) => Promise<void>;
  /** File name of the library whose inside is counted. */
  readonly library: string;
  /** pgbench's arguments beside connection, clients, count and seed. */
  readonly pgbench: readonly string[];
}

/** Per transaction. */
export interface Counted {
  readonly instructions: number;
  readonly inside: number;
  readonly clockReads: number;
}

const short = 200;
const long = 1200;

/**
 * The dump of the backend that did the work: the one that spent most. That of pgbench's own first connection is the other,
 * of 50 million instructions. A backend writes its dump when its client has gone, and is gone itself when it is written:
 * all of pgbench's must be, and what others leave meanwhile that were there before is not looked at.
 */
async function dumpOf(cluster: Cluster, options: CountOptions, transactions: number): Promise<Dump> {
  const postmaster = cluster.postmasterPid();
  const dumps = () => readdirSync(cluster.folder).filter((name) => /^callgrind\.\d+$/.test(name));
  const others = new Set([...dumps(), ...childrenOf(postmaster).map((pid) => `callgrind.${pid}`)]);
  await pgbench(cluster, [
    ...['-n', '-c1', '--random-seed=1', '-t', String(transactions)],
    ...options.pgbench,
  ]);
  const deadline = Date.now() + 120_000;
  while (childrenOf(postmaster).some((pid) => !others.has(`callgrind.${pid}`))) {
    if (Date.now() > deadline) throw new Error('backends did not end under callgrind');
    await sleep(50);
  }
  const made = dumps()
    .filter((name) => !others.has(name))
    .map((name) => readDump(readFileSync(join(cluster.folder, name), 'utf8'), options.library))
    .sort((a, b) => b.total - a.total);
  if (made.length !== 2 || made[0] === undefined)
    throw new Error(`the two connections of pgbench left ${made.length} dumps of callgrind`);
  return made[0];
}

/** @throws where valgrind is not installed: apt-get install valgrind. */
export async function count(options: CountOptions): Promise<Counted> {
  const bin = options.bin === undefined ? {} : { bin: options.bin };
  const cluster = await startCluster({ ...bin, settings: { autovacuum: 'off' } });
  try {
    await pgbench(cluster, ['-i', '-q', '-s', '1']);
    await cluster.query('VACUUM ANALYZE');
    await cluster.query('CHECKPOINT');
    await cluster.halt('fast');
    const counted = await startCluster({
      ...bin,
      settings: { autovacuum: 'off', ...options.settings },
      template: cluster.dataDirectory,
      under: [
        'valgrind',
        '--tool=callgrind',
        '--compress-strings=no',
        '--compress-pos=no',
        '--callgrind-out-file=%folder/callgrind.%p',
        '-q',
      ],
    });
    try {
      await options.prepare?.(counted);
      const few = await dumpOf(counted, options, short);
      const many = await dumpOf(counted, options, long);
      const each = (figure: (dump: Dump) => number): number => (figure(many) - figure(few)) / (long - short);
      return {
        instructions: each((dump) => dump.total),
        inside: each((dump) => dump.inside),
        clockReads: each((dump) => dump.clockReads),
      };
    } finally {
      await counted.stop();
    }
  } finally {
    rmSync(cluster.folder, { recursive: true, force: true });
  }
}
