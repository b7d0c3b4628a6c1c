/**
 * ingest: how fast batches go from the inbox into history, and what latest costs beside it, against psql's `\copy` of the
 * same rows into the same history table in the same run.
 *
 * 200 agents, one block of 100 rows each a second (session_info of a server with 100 connections); a history row has 12 columns (recorded_at, target_id, int4 key, text of
 * 20 characters, 4 int8, 4 float8), the table its index and its partition as shipped. fsync and synchronous_commit are
 * on. One ingester, in a process of its own. Each pair measures `\copy` and the ingester one after the other, in turn first.
 *
 * - inbox to history (probe without latest): the inbox holds all batches, second by second, when the clock starts; it
 *   stops when the last is committed. Everything is in the time: reading, verifying, received set, commits.
 * - history and latest: the same with a probe that has both; a cycle holds a few batches of each agent, of which latest
 *   takes the newest. CPU of the server: all backends of the ingester, house-keeping included, against the one of `\copy`.
 * - second by second: the 200 batches of a second become visible together and are one cycle, so that every single row is
 *   also a new version of a row in latest: what latest costs at most. Waiting is included.
 */
import { type ChildProcess, execFile, fork } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { blockFromRows, blocksToPgcopy, type CellValue, connect } from '../../native/index.js';
import { parseConninfo } from '../../src/base/conninfo.js';
import { counter, gauge, key, label } from '../../src/catalog/columns.js';
import { probes } from '../../src/catalog/probes/index.js';
import type { ProbeDefinition } from '../../src/catalog/types.js';
import { makePartition, partitionBounds } from '../../src/history/partitions.js';
import { addProbes, Fleet, type FleetAgent, specs } from '../load/fleet.js';
import type { Answer, Order } from '../load/ingest_child.js';
import { atLeast, atMost, type BenchOptions, type BenchResult, median } from '../report.js';
import { type Pem, startPem } from '../rig/pem.js';

const run_ = promisify(execFile);
const agents = 200;
const rowsPerBlock = 100;

const events: ProbeDefinition = {
  name: 'bench_events',
  title: 'Benchmark rows',
  description: 'Rows with history only.',
  version: 1,
  level: 'host',
  collector: 'os',
  columns: [
    key('pid', 'int4', 'Key'),
    label('application_name', 'text', '20 characters'),
    ...[1, 2, 3, 4].map((n) => counter(`calls${n}`, 'int8', 'count', 'Counter')),
    ...[1, 2, 3, 4].map((n) => gauge(`time${n}`, 'float8', 'ms', 'Gauge')),
  ],
  mode: 'append',
  history: true,
  intervalMs: 1000,
  retentionDays: 60,
  partition: 'month',
};
const sessions: ProbeDefinition = {
  ...events,
  name: 'bench_sessions',
  description: 'The same with latest.',
  mode: 'full',
};

/** CPU of a process of one thread so far, µs. */
function cpuUs(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1000;
}

/** CPU of a process with all its threads, µs (counted in ticks of 10 ms). */
function processCpuUs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

interface Measured {
  readonly rows: number;
  readonly seconds: number;
  readonly cpuUs: number;
  /** CPU of the ingester's own process. */
  readonly ownCpuUs: number;
}

class Bench {
  private second = 0;
  private readonly baseUs: bigint;

  constructor(
    private readonly pem: Pem,
    private readonly fleet: Fleet,
    private readonly all: readonly FleetAgent[],
    private readonly child: ChildProcess,
  ) {
    // All rows in one partition.
    this.baseUs = partitionBounds('month', BigInt(Date.now()) * 1000n).fromUs;
  }

  /** Blocks of some seconds, second by second; every value of a row changes each second. */
  blocks(probe: ProbeDefinition, seconds: number): Buffer[][] {
    const made: Buffer[][] = [];
    for (let i = 0; i < seconds; i += 1) {
      this.second += 1;
      const at = this.second;
      made.push(
        this.all.map((agent) => {
          const rows: CellValue[][] = [];
          for (let r = 0; r < rowsPerBlock; r += 1) {
            const seed = r * 7919 + at * 104_729 + agent.agentId;
            rows.push([
              1000 + r * 37,
              `app_${String(r).padStart(16, '0')}`,
              seed,
              seed * 3,
              seed * 5,
              seed * 7,
              seed / 3,
              seed / 7,
              seed / 11,
              seed / 13,
            ]);
          }
          return blockFromRows(
            {
              target: agent.target,
              probe: probe.name,
              probeVersion: 1,
              kind: probe.mode === 'append' ? 'append' : 'full',
              recordedAtUs: this.baseUs + BigInt(at) * 1_000_000n + BigInt(agent.agentId) * 1000n,
              intervalUs: 1_000_000n,
            },
            specs(probe),
            rows,
          );
        }),
      );
    }
    return made;
  }

  /** psql's \copy of the blocks, in the order in which they would arrive. */
  async copy(probe: ProbeDefinition, blocks: readonly Buffer[][]): Promise<Measured> {
    const file = join(this.pem.cluster.folder, 'bench.pgcopy');
    const flat = blocks.flat();
    writeFileSync(
      file,
      await blocksToPgcopy(flat, {
        columns: specs(probe),
        prefix: [{ kind: 'recorded_at' }, { kind: 'target' }],
      }),
    );
    const script = join(this.pem.cluster.folder, 'bench.sql');
    writeFileSync(
      script,
      [
        'SELECT pg_backend_pid() AS pid \\gset',
        '\\setenv BACKEND :pid',
        '\\! cat /proc/$BACKEND/schedstat',
        '\\timing on',
        `\\copy pemhistory.${probe.name} from '${file}' binary`,
        '\\timing off',
        '\\! cat /proc/$BACKEND/schedstat',
      ].join('\n'),
    );
    const { stdout } = await run_(join(this.pem.cluster.bin, 'psql'), [
      '-X',
      '-q',
      '-h',
      this.pem.cluster.socketDirectory,
      '-p',
      String(this.pem.port),
      '-U',
      'pem_ingest',
      '-d',
      'pem',
      '-f',
      script,
    ]);
    const cpu = [...stdout.matchAll(/^(\d+) \d+ \d+$/gm)].map((match) => Number(match[1]) / 1000);
    const time = /Time: ([\d.]+) ms/.exec(stdout)?.[1];
    if (cpu.length !== 2 || time === undefined) throw new Error(`psql said: ${stdout}`);
    return {
      rows: flat.length * rowsPerBlock,
      seconds: Number(time) / 1000,
      cpuUs: (cpu[1] as number) - (cpu[0] as number),
      ownCpuUs: 0,
    };
  }

  private async sendSecond(blocks: readonly Buffer[]): Promise<void> {
    const batches = this.all.map((agent, i) => ({
      agentId: agent.agentId,
      batch: agent.batch([blocks[i] as Buffer]),
    }));
    await this.fleet.sendTogether(batches);
  }

  /** An order to the ingester's process and its answer. */
  private order(order: Order): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const ended = (): void => reject(new Error('the ingester ended'));
      this.child.once('exit', ended);
      this.child.once('message', (answer: Answer) => {
        this.child.off('exit', ended);
        resolve(answer);
      });
      this.child.send(order);
    });
  }

  private async measured(
    rows: number,
    work: (until: (rows: number) => Promise<Extract<Answer, { kind: 'reached' }>>) => Promise<number>,
  ): Promise<Measured> {
    const opened = await this.order({ kind: 'open', conninfo: this.pem.conninfo('pem_ingest') });
    if (opened.kind !== 'opened') throw new Error(`unexpected answer ${opened.kind}`);
    const cpu = (): number => opened.backendPids.reduce((sum, pid) => sum + cpuUs(pid), 0);
    const ownPid = this.child.pid as number;
    const [before, ownBefore] = [cpu(), processCpuUs(ownPid)];
    const seconds = await work(async (target) => {
      const answer = await this.order({ kind: 'until', rows: target });
      if (answer.kind !== 'reached') throw new Error(`unexpected answer ${answer.kind}`);
      return answer;
    });
    const result = { rows, seconds, cpuUs: cpu() - before, ownCpuUs: processCpuUs(ownPid) - ownBefore };
    await this.order({ kind: 'close' });
    return result;
  }

  /** The inbox is full when the clock starts. */
  async fromFull(blocks: readonly Buffer[][]): Promise<Measured> {
    for (const second of blocks) await this.sendSecond(second);
    const rows = blocks.length * agents * rowsPerBlock;
    return this.measured(rows, async (until) => (await until(rows)).seconds);
  }

  /** Second by second, each as one cycle. */
  async bySecond(blocks: readonly Buffer[][]): Promise<Measured> {
    const perSecond = agents * rowsPerBlock;
    return this.measured(blocks.length * perSecond, async (until) => {
      let seconds = 0;
      for (const [index, second] of blocks.entries()) {
        await this.sendSecond(second);
        const reached = await until((index + 1) * perSecond);
        seconds += reached.seconds;
        if (reached.cycles !== index + 1) {
          throw new Error(`${reached.cycles} cycles for ${index + 1} seconds`);
        }
      }
      return seconds;
    });
  }

  /** Makes the partition and brings caches, tables and the ingester's compiled code into their usual state. */
  async prepare(): Promise<void> {
    const connection = await connect({
      params: parseConninfo(this.pem.conninfo('pem_ingest')),
      timeoutMs: 10_000,
    });
    for (const probe of [events, sessions]) await makePartition(connection, probe.name, 'month', this.baseUs);
    connection.close();
    for (let i = 0; i < 2; i += 1) await this.fromFull(this.blocks(events, 25));
    await this.bySecond(this.blocks(sessions, 3));
    await this.pem.query('VACUUM ANALYZE pemdata.bench_sessions');
  }
}

interface Pair {
  readonly copy: Measured;
  readonly ingest: Measured;
}

const rate = (measured: Measured): number => measured.rows / measured.seconds;
const perRow = (measured: Measured): number => measured.cpuUs / measured.rows;

export async function run(options: BenchOptions): Promise<BenchResult> {
  const pairs = options.quick ? 3 : 7;
  const seconds = options.quick ? 25 : 50;
  const pem = await startPem({
    settings: {
      fsync: 'on',
      shared_buffers: '1GB',
      max_wal_size: '8GB',
      checkpoint_timeout: '1h',
      autovacuum: 'on',
    },
  });
  const fleet = await Fleet.open(pem);
  const child = fork(fileURLToPath(new URL('../load/ingest_child.js', import.meta.url)));
  try {
    await addProbes(pem, probes, [events, sessions]);
    const bench = new Bench(pem, fleet, await fleet.add(agents, 'bench'), child);
    await bench.prepare();
    const measure = async (
      what: string,
      probe: ProbeDefinition,
      seconds: number,
      ingest: (blocks: readonly Buffer[][]) => Promise<Measured>,
    ): Promise<Pair[]> => {
      const made: Pair[] = [];
      for (let i = 0; i < pairs; i += 1) {
        await pem.query('CHECKPOINT');
        const [forCopy, forIngest] = [bench.blocks(probe, seconds), bench.blocks(probe, seconds)];
        let copy: Measured;
        let ingested: Measured;
        if (i % 2 === 0) {
          copy = await bench.copy(probe, forCopy);
          ingested = await ingest(forIngest);
        } else {
          ingested = await ingest(forIngest);
          copy = await bench.copy(probe, forCopy);
        }
        made.push({ copy, ingest: ingested });
        options.progress(
          `${what} ${i + 1}/${pairs}: \\copy ${(rate(copy) / 1e6).toFixed(3)} M rows/s, ${perRow(copy).toFixed(2)} µs a row; ` +
            `ingester ${(rate(ingested) / 1e6).toFixed(3)} M rows/s, ${perRow(ingested).toFixed(2)} µs a row ` +
            `(itself ${(ingested.ownCpuUs / ingested.rows).toFixed(2)})`,
        );
      }
      return made;
    };
    const history = await measure('inbox to history', events, seconds, (blocks) => bench.fromFull(blocks));
    const latest = await measure('history and latest', sessions, seconds, (blocks) => bench.fromFull(blocks));
    const steady = await measure('the same, second by second', sessions, options.quick ? 5 : 20, (blocks) =>
      bench.bySecond(blocks),
    );
    const of = (list: readonly Pair[], figure: (pair: Pair) => number): number => median(list.map(figure));
    const historyRatio = of(history, ({ copy, ingest }) => rate(ingest) / rate(copy));
    const latestRatio = of(latest, ({ copy, ingest }) => perRow(ingest) / perRow(copy));
    return {
      figures: {
        copy_rows_per_s: of(history, ({ copy }) => rate(copy)),
        inbox_to_history_rows_per_s: of(history, ({ ingest }) => rate(ingest)),
        inbox_to_history_ratio: historyRatio,
        copy_server_cpu_us_per_row: of(history, ({ copy }) => perRow(copy)),
        inbox_to_history_server_cpu_us_per_row: of(history, ({ ingest }) => perRow(ingest)),
        ingester_cpu_us_per_row: of(history, ({ ingest }) => ingest.ownCpuUs / ingest.rows),
        latest_server_cpu_us_per_row: of(latest, ({ ingest }) => perRow(ingest)),
        latest_server_cpu_ratio: latestRatio,
        latest_rows_per_s: of(latest, ({ ingest }) => rate(ingest)),
        by_second_server_cpu_us_per_row: of(steady, ({ ingest }) => perRow(ingest)),
        by_second_server_cpu_ratio: of(steady, ({ copy, ingest }) => perRow(ingest) / perRow(copy)),
      },
      bars: [
        atLeast('inbox to history, rows/s against \\copy', historyRatio, 0.85),
        atMost('history and latest, server CPU a row against \\copy', latestRatio, 2.5),
      ],
    };
  } finally {
    child.disconnect();
    fleet.close();
    await pem.stop();
  }
}
