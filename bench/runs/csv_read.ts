/**
 * csv-read: how fast a trace file becomes blocks, all columns, on one core, beside memcpy of the same bytes and beside the
 * fastest CSV parser of npm, in one run.
 *
 * The rows are real: a throw-away cluster with sql_profiler runs pgbench's TPC-B-like script for a few seconds (two clients,
 * simple protocol, so that most texts are distinct), and what the trace holds is repeated up to the number of rows. A
 * pair measures each way once, one after the other; figures are medians of the pairs, for each second of processor time of
 * the whole process (one core's worth); the clock's stand beside them.
 *
 * Everything reads the same bytes in the same pieces of about 1 MiB, what sql_profiler.read() gives at once.
 * - block: CSV -> block; the caller goes on at usedBytes and has one buffer for all blocks.
 * - numbers: the same without texts. By key: query, params and plan apart, each text once.
 * - npm: udsv 0.7, the fastest of six parsers tried on such rows (docs/dependencies.md): bytes to a string, the string to
 *   rows of typed values or to typed columns, whichever is faster: what a block holds. Beside it rows of strings, which are
 *   places in the input: no number is read.
 */
import { inferSchema, initParser } from 'udsv';
import {
  type BlockMeta,
  type CsvOptions,
  CsvTexts,
  csvColumns,
  csvHeader,
  csvToBlock,
} from '../../native/index.js';
import { atLeast, type BenchOptions, type BenchResult, median } from '../report.js';
import { pgbench } from '../rig/pgbench.js';
import { readTraceFile, startProfiled, startTrace, stopTrace } from '../rig/traces.js';

const pieceBytes = 1 << 20;

const meta: BlockMeta = {
  target: 7n,
  probe: 'bench_csv_read',
  probeVersion: 1,
  kind: 'append',
  recordedAtUs: 1_790_000_000_000_000n,
  intervalUs: 0n,
};

interface TraceFile {
  readonly header: Buffer;
  /** Whole rows. */
  readonly body: Buffer;
  readonly rows: number;
}

/** At least `rows` rows as the profiler writes them. */
async function profiledRows(rows: number, seconds: number): Promise<TraceFile> {
  const cluster = await startProfiled({ settings: { autovacuum: 'off', track_io_timing: 'on' } });
  try {
    await pgbench(cluster, ['-i', '-q', '-s', '1']);
    const id = await startTrace(cluster, 'csv-read');
    await pgbench(cluster, ['-n', '-c', '2', '-T', String(seconds), '-M', 'simple']);
    await stopTrace(cluster, id);
    const client = await cluster.client();
    const files: Buffer[] = [];
    const { rows: slots } = await client.query('SELECT slot, file FROM sql_profiler.progress($1)', [id]);
    for (const { slot, file } of slots)
      for (let n = 1; n <= file; n++) files.push(await readTraceFile(client, id, slot, n, 1 << 20));
    await client.end();
    const header = csvHeader(files[0]!)!;
    const once = Buffer.concat(files.map((file) => file.subarray(header.length)));
    const { rows: inOnce } = await csvToBlock(meta, { bytes: once, header }, { columns: ['line'] });
    if (inOnce < 2000) throw new Error(`pgbench left ${inOnce} rows`);
    const times = Math.ceil(rows / inOnce);
    return { header, body: Buffer.concat(Array(times).fill(once)), rows: inOnce * times };
  } finally {
    await cluster.stop();
  }
}

/** Reads a whole file in pieces, as a follower does; answers its rows. */
async function read({ header, body }: TraceFile, into: Buffer, options: CsvOptions): Promise<number> {
  let rows = 0;
  for (let at = 0; at < body.length; ) {
    const bytes = body.subarray(at, at + pieceBytes);
    const result = await csvToBlock(meta, { bytes, header, fromBytes: at }, { into, ...options });
    if (result.usedBytes === 0 || result.stopped !== undefined) throw new Error(`nothing read at byte ${at}`);
    rows += result.rows;
    at += result.usedBytes;
  }
  return rows;
}

/** The first `count` pieces of about that size that end with a row: a line whose first fields are those of a row. */
function wholePieces({ body }: TraceFile, count: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < body.length && pieces.length < count; ) {
    let end = Math.min(body.length, at + pieceBytes);
    // pgbench's texts hold no line feed: each of them ends a row.
    while (body[end - 1] !== 10) end--;
    pieces.push(body.subarray(at, end));
    at = end;
  }
  return pieces;
}

interface Taken {
  cpu: number;
  wall: number;
}

/** Seconds of the processor in all threads of this process, and of the clock. */
async function timed(work: () => unknown): Promise<Taken> {
  const wall = process.hrtime.bigint();
  const cpu = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(cpu);
  return { cpu: (user + system) / 1e6, wall: Number(process.hrtime.bigint() - wall) / 1e9 };
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 50));

/** Runs the benchmark; see the head of this file. */
export async function run(options: BenchOptions): Promise<BenchResult> {
  const pairs = options.quick ? 7 : 15;
  const rounds = options.quick ? 2 : 5;
  options.progress('a cluster with the profiler, pgbench for a few seconds');
  const file = await profiledRows(100_000, options.quick ? 3 : 6);
  const { rows, body, header } = file;
  const rowBytes = body.length / rows;
  options.progress(`${rows} rows of ${rowBytes.toFixed(0)} bytes`);

  const into = Buffer.alloc(4 * pieceBytes);
  const copy = Buffer.alloc(body.length);
  const pieces = wholePieces(file, 6);
  const schema = inferSchema(
    header.toString() + pieces[0]!.toString('utf8', 0, 65_536).replace(/[^\n]*$/, ''),
  );
  // Pieces come without the header line.
  const parser = initParser(Object.assign({}, schema, { skip: 0 }));
  const parse = (work: (text: string) => unknown[]): number => {
    let found = 0;
    for (const piece of pieces) found += work(piece.toString('utf8')).length;
    return found;
  };
  const npmRows = parse(parser.stringArrs);
  const inPieces = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (Math.abs(npmRows - inPieces / rowBytes) > 0.02 * npmRows) throw new Error(`udsv found ${npmRows} rows`);
  if ((await read(file, into, {})) !== rows) throw new Error('csvToBlock found another number of rows');

  const numbers = csvColumns.filter(({ type }) => type !== 'text' && type !== 'name').map(({ name }) => name);
  const ways = {
    block: { rows: rows * rounds, work: () => repeat(rounds, () => read(file, into, {})) },
    numbers: {
      rows: rows * rounds,
      work: () => repeat(rounds, () => read(file, into, { columns: numbers })),
    },
    keyed: {
      rows: rows * rounds,
      work: () => repeat(rounds, () => read(file, into, { texts: new CsvTexts() })),
    },
    memcpy: { rows: rows * rounds, work: () => repeat(rounds, () => body.copy(copy)) },
    npmTyped: { rows: npmRows, work: () => parse(parser.typedArrs) },
    npmColumns: { rows: npmRows, work: () => parse(parser.typedCols) },
    npmStrings: { rows: npmRows, work: () => parse(parser.stringArrs) },
  } satisfies Record<string, { rows: number; work: () => unknown }>;
  type Way = keyof typeof ways;
  const names = Object.keys(ways) as Way[];
  const perCpu = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Way, number[]>;
  const perWall: number[] = [];
  const ratios: number[] = [];
  for (let pair = -1; pair < pairs; pair++) {
    const now = {} as Record<Way, number>;
    for (const name of names) {
      await settle();
      const taken = await timed(ways[name].work);
      now[name] = ways[name].rows / taken.cpu;
      if (pair < 0) continue; // warm-up
      perCpu[name].push(now[name]);
      if (name === 'block') perWall.push(ways[name].rows / taken.wall);
    }
    const npm = Math.max(now.npmTyped, now.npmColumns);
    if (pair >= 0) ratios.push(now.block / npm);
    options.progress(
      `pair ${pair + 1} of ${pairs}: block ${(now.block / 1e6).toFixed(2)} M rows/s, npm ${(npm / 1e6).toFixed(3)}`,
    );
  }
  const of = (name: Way) => median(perCpu[name]);
  const gigabytes = (of('block') * rowBytes) / 1e9;
  return {
    figures: {
      blockRowsPerSecond: of('block'),
      blockGigabytesPerSecond: gigabytes,
      blockRowsPerWallSecond: median(perWall),
      numbersAloneRowsPerSecond: of('numbers'),
      textsByKeyRowsPerSecond: of('keyed'),
      memcpyTimesBlock: of('memcpy') / of('block'),
      npmTypedRowsPerSecond: of('npmTyped'),
      npmColumnsRowsPerSecond: of('npmColumns'),
      npmStringsRowsPerSecond: of('npmStrings'),
      rowBytes,
      rows,
      pairs,
    },
    bars: [
      {
        what: 'CSV -> block, GB/s (or 4 M rows/s)',
        value: gigabytes,
        bar: '≥ 1',
        holds: gigabytes >= 1 || of('block') >= 4e6,
      },
      atLeast('CSV -> block, times the npm parser', median(ratios), 15),
    ],
  };
}

async function repeat(times: number, work: () => unknown): Promise<void> {
  for (let i = 0; i < times; i++) await work();
}
