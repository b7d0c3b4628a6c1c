/**
 * profiler: what a trace costs a backend, beside today's ways of keeping every statement, on one cluster.
 *
 * One connection that stays open runs pgbench's statements in short blocks, pairs of one block off and one on, in turn
 * first. Processor time is the backend's own (its scheduler account, read while it is idle), time is the client's clock.
 * Pairs go on until the 95 % interval of the processor time that a trace adds to a statement is at most ± 0.2 µs. The
 * peers are switched by their settings in the same session: their libraries are loaded all the time, for all alike.
 *
 * Client and server share one processor. Where they wander, a wake-up costs one time 2 µs and another time 20, and that is
 * the backend's account too; and on a machine that is busy what the logging collector takes is missing elsewhere, so the
 * clock should see it. A neighbour of the virtual machine takes its time from single blocks: hence means without the
 * extreme fifths.
 *
 * Each block on has a trace of its own, whose files are made with its first statement. After each switch some transactions
 * settle what comes once, and what that was is a figure of its own, for it is the file system's: ext4 goes past every
 * inode that was freed in the last minutes (its recently_deleted), and where a cluster was just removed the two files of a
 * slot take 3 ms instead of 0.03, which is 1 µs a statement of a block.
 */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { loadSource } from '../load/source.js';
import { atMost, type BenchOptions, type BenchResult, median } from '../report.js';
import { type Cluster, startCluster } from '../rig/cluster.js';
import { pgbench } from '../rig/pgbench.js';
import { childrenOf } from '../rig/processes.js';
import { profiledServer } from '../rig/profiled_server.js';

const scale = 10;
const widestUs = 0.2;
const mostPairs = 400;
/** Transactions after each switch that are no part of the block. */
export const settling = 20;

type Mode = 'prepared' | 'simple';
type Script = 'select' | 'tpcb';

/** Statements of a transaction, BEGIN and END among them. */
const statementsOf: Readonly<Record<Script, number>> = { select: 1, tpcb: 7 };

/** Builds the client program in a temporary folder; the caller removes the folder. */
function buildLoop(): { folder: string; program: string } {
  const folder = mkdtempSync(join(tmpdir(), 'pemloop-'));
  const program = join(folder, 'statement_loop');
  const include = execFileSync('pg_config', ['--includedir'], { encoding: 'utf8' }).trim();
  execFileSync('cc', [
    '-std=c11',
    '-O2',
    '-D_GNU_SOURCE',
    `-I${include}`,
    loadSource('statement_loop.c'),
    '-o',
    program,
    '-lpq',
  ]);
  return { folder, program };
}

/** Puts the server's processes, and by that all that it will start, on the first processor. */
function pin(cluster: Cluster): void {
  const postmaster = cluster.postmasterPid();
  // One of them may have been on its way out.
  for (const pid of [postmaster, ...childrenOf(postmaster)])
    spawnSync('taskset', ['-pc', '0', String(pid)], { stdio: 'ignore' });
}

/** A client that stays connected. */
class Client {
  private constructor(
    private readonly child: ChildProcessWithoutNullStreams,
    private readonly lines: AsyncIterator<string>,
    private readonly reader: Interface,
    private readonly backendPid: number,
    private readonly script: Script,
  ) {}

  static async open(program: string, cluster: Cluster, mode: Mode, script: Script): Promise<Client> {
    const conninfo = `host=${cluster.socketDirectory} port=${cluster.port} user=postgres dbname=postgres`;
    const child = spawn('taskset', ['-c', '0', program, conninfo, mode, script, String(scale)]);
    child.stderr.pipe(process.stderr);
    const reader = createInterface({ input: child.stdout });
    const lines = reader[Symbol.asyncIterator]();
    const backendPid = Number((await lines.next()).value);
    return new Client(child, lines, reader, backendPid, script);
  }

  private async ask(line: string): Promise<string> {
    this.child.stdin.write(`${line}\n`);
    const answer = await this.lines.next();
    if (answer.done === true) throw new Error(`the client ended at: ${line}`);
    return answer.value;
  }

  async sql(statement: string): Promise<void> {
    await this.ask(statement);
  }

  private cpuUs(): number {
    return Number(readFileSync(`/proc/${this.backendPid}/schedstat`, 'utf8').split(' ')[0]) / 1000;
  }

  /** Processor time of the backend and time of the client for a statement. */
  async block(transactions: number): Promise<{ cpuUs: number; wallUs: number; statements: number }> {
    const statements = transactions * statementsOf[this.script];
    const before = this.cpuUs();
    const nanoseconds = Number(await this.ask(String(transactions)));
    return {
      cpuUs: (this.cpuUs() - before) / statements,
      wallUs: nanoseconds / 1000 / statements,
      statements,
    };
  }

  close(): void {
    this.reader.close();
    this.child.stdin.end();
  }
}

/** A way of keeping statements that can be switched in a session. */
interface Way {
  readonly name: string;
  on(client: Client): Promise<void>;
  off(client: Client): Promise<void>;
}

function setting(name: string, settings: readonly (readonly [name: string, on: string, off: string])[]): Way {
  const set = async (client: Client, column: 1 | 2): Promise<void> => {
    for (const one of settings) await client.sql(`SET ${one[0]} = ${one[column]}`);
  };
  return { name, on: (client) => set(client, 1), off: (client) => set(client, 2) };
}

interface Difference {
  readonly pairs: number;
  /** Added to a statement: mean and half of its 95 % interval. */
  readonly cpuUs: number;
  readonly intervalUs: number;
  /** What switching on takes once in this backend, beside what it adds to each statement: the median. */
  readonly onceUs: number;
  /** Time of a statement off / on: the ratio of transactions a second. */
  readonly tpsRatio: number;
  /** Transactions that were run while it was on. */
  readonly transactions: number;
}

/**
 * The mean without the lowest and highest fifth, and half of its 95 % interval from the winsorised variance (Tukey and
 * McLaughlin, Sankhya A 25, 1963).
 */
function trimmedInterval(values: readonly number[]): { mean: number; half: number } {
  const sorted = [...values].sort((a, b) => a - b);
  const count = sorted.length;
  const cut = Math.floor(count / 5);
  const kept = sorted.slice(cut, count - cut);
  const mean = kept.reduce((sum, value) => sum + value, 0) / kept.length;
  const low = kept[0] ?? Number.NaN;
  const high = kept.at(-1) ?? Number.NaN;
  const pulled = sorted.map((value) => Math.min(Math.max(value, low), high));
  const middle = pulled.reduce((sum, value) => sum + value, 0) / count;
  const variance = pulled.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (count - 1);
  return { mean, half: (1.96 * Math.sqrt(variance * count)) / kept.length };
}

/** Pairs of blocks until the interval is narrow enough, `least` at least and `most` at most. */
async function compare(
  client: Client,
  way: Way,
  transactions: number,
  least: number,
  most: number,
): Promise<Difference> {
  const cpu: number[] = [];
  const once: number[] = [];
  const ratios: number[] = [];
  for (let pair = 0; pair < most; pair += 1) {
    const measured = { off: { cpuUs: 0, wallUs: 0 }, on: { cpuUs: 0, wallUs: 0 } };
    for (const which of pair % 2 === 0 ? (['off', 'on'] as const) : (['on', 'off'] as const)) {
      await way[which](client);
      const first = await client.block(settling);
      measured[which] = await client.block(transactions);
      if (which === 'on') once.push((first.cpuUs - measured.on.cpuUs) * first.statements);
    }
    await way.off(client);
    cpu.push(measured.on.cpuUs - measured.off.cpuUs);
    ratios.push(measured.off.wallUs / measured.on.wallUs);
    if (pair + 1 >= least && trimmedInterval(cpu).half <= widestUs) break;
  }
  const { mean, half } = trimmedInterval(cpu);
  return {
    pairs: cpu.length,
    cpuUs: mean,
    intervalUs: half,
    onceUs: median(once),
    tpsRatio: median(ratios),
    transactions: cpu.length * (transactions + settling),
  };
}

/** The profiler: a trace of its own for each block, so that its files are fresh; rows are counted and the trace dropped. */
class Tracing implements Way {
  readonly name = 'sql_profiler';
  rows = 0;
  lost = 0;
  private id: number | undefined;

  constructor(private readonly cluster: Cluster) {}

  async on(): Promise<void> {
    const { rows } = await this.cluster.query(
      `SELECT sql_profiler.start('bench', '{"applications": ["statement_loop"]}') AS id`,
    );
    this.id = Number(rows[0]?.id);
  }

  async off(): Promise<void> {
    if (this.id === undefined) return;
    await this.cluster.query('SELECT sql_profiler.stop($1)', [this.id]);
    const { rows } = await this.cluster.query(
      'SELECT rows, lost_rows FROM sql_profiler.traces WHERE id = $1',
      [this.id],
    );
    this.rows += Number(rows[0]?.rows);
    this.lost += Number(rows[0]?.lost_rows);
    await this.cluster.query('SELECT sql_profiler.drop($1)', [this.id]);
    this.id = undefined;
  }
}

const loggingOff = ['log_min_duration_statement', '0', '-1'] as const;

/** What is installed on this machine; pgaudit is a package of its own. */
function peers(audit: boolean): Way[] {
  return [
    setting('pg_stat_statements', [['pg_stat_statements.track', 'top', 'none']]),
    setting('csvlog, log_min_duration_statement=0', [loggingOff]),
    setting('log_statement=all', [['log_statement', "'all'", "'none'"]]),
    setting('auto_explain, log_min_duration=0', [['auto_explain.log_min_duration', '0', '-1']]),
    ...(audit ? [setting('pgaudit, log=all', [['pgaudit.log', "'all'", "'none'"]])] : []),
  ];
}

export async function run(options: BenchOptions): Promise<BenchResult> {
  const bin = await profiledServer();
  const audit = existsSync(join(bin, '../lib/pgaudit.so'));
  const libraries = ['sql_profiler', 'pg_stat_statements', 'auto_explain', ...(audit ? ['pgaudit'] : [])];
  const { folder, program } = buildLoop();
  const cluster = await startCluster({
    bin,
    settings: {
      shared_preload_libraries: `'${libraries.join(',')}'`,
      'pg_stat_statements.track': 'none',
      logging_collector: 'on',
      log_destination: 'csvlog',
      shared_buffers: '512MB',
      synchronous_commit: 'off',
      autovacuum: 'off',
    },
  });
  const figures: Record<string, number> = {};
  const bars: BenchResult['bars'][number][] = [];
  try {
    pin(cluster);
    await pgbench(cluster, ['-i', '-q', '-s', String(scale)]);
    await cluster.query('CREATE EXTENSION sql_profiler');
    await cluster.query('CREATE EXTENSION pg_stat_statements');
    const loads: [Mode, Script][] = [
      ['prepared', 'select'],
      ...(options.quick
        ? []
        : ([
            ['simple', 'select'],
            ['prepared', 'tpcb'],
          ] as [Mode, Script][])),
    ];
    for (const [mode, script] of loads) {
      const load = `${script}_${mode}`;
      const client = await Client.open(program, cluster, mode, script);
      await client.sql("SET application_name = 'statement_loop'");
      const transactions = script === 'select' ? 3000 : 500;
      for (let i = 0; i < 5; i += 1) await client.block(transactions);
      const tracing = new Tracing(cluster);
      const base = await client.block(transactions);
      figures[`${load}_off_cpu_us`] = base.cpuUs;
      const most = options.quick ? 60 : mostPairs;
      const traced = await compare(client, tracing, transactions, 15, most);
      const tell = (name: string, found: Difference): void =>
        options.progress(
          `${load}, ${name}: TPS × ${found.tpsRatio.toFixed(3)}, CPU + ${found.cpuUs.toFixed(2)} µs ± ${found.intervalUs.toFixed(2)} a statement, ${found.onceUs.toFixed(0)} µs once (${found.pairs} pairs)`,
        );
      tell(tracing.name, traced);
      const executed = traced.transactions * statementsOf[script];
      figures[`${load}_profiler_tps_ratio`] = traced.tpsRatio;
      figures[`${load}_profiler_cpu_us`] = traced.cpuUs;
      figures[`${load}_profiler_cpu_interval_us`] = traced.intervalUs;
      figures[`${load}_profiler_once_us`] = traced.onceUs;
      figures[`${load}_rows_logged`] = tracing.rows;
      figures[`${load}_statements_executed`] = executed;
      let everything: Difference | undefined;
      for (const way of peers(audit)) {
        const found = await compare(
          client,
          way,
          transactions,
          options.quick ? 5 : 15,
          options.quick ? 5 : 15,
        );
        tell(way.name, found);
        figures[`${load}_${way.name.replace(/\W+/g, '_')}_tps_ratio`] = found.tpsRatio;
        figures[`${load}_${way.name.replace(/\W+/g, '_')}_cpu_us`] = found.cpuUs;
        if (way.name === 'log_statement=all') everything = found;
      }
      client.close();
      bars.push({
        what: `${load}: rows logged = statements executed`,
        value: tracing.rows - executed,
        bar: '= 0',
        holds: tracing.rows === executed && tracing.lost === 0,
      });
      if (load !== 'select_prepared' || everything === undefined) continue;
      bars.unshift({
        what: 'CPU added a statement, -S prepared, µs (the whole interval beyond: missed)',
        value: traced.cpuUs,
        bar: '≤ 0.6',
        holds: traced.cpuUs - traced.intervalUs <= 0.6,
      });
      bars.unshift(
        atMost(
          '(1 / TPS ratio − 1) of that of log_statement=all',
          (1 / traced.tpsRatio - 1) / (1 / everything.tpsRatio - 1),
          0.12,
        ),
      );
    }
    return { figures, bars };
  } finally {
    await cluster.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
