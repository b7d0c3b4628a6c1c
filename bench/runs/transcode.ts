/**
 * transcode: how fast PGCOPY becomes blocks and blocks become PGCOPY, verification included, one thread at a time,
 * beside the road through JSON and beside the flatbuffers npm builder, in one run.
 *
 * Rows have 12 columns: timestamptz, int4, int8, a text of 20 characters, 8 metrics (4 int8, 4 float8). They are cut
 * into blocks of 1,000. A pair measures native and JSON one after the other; figures are medians of the pairs,
 * in rows for each second of processor time of the whole process (one core's worth); the clock's stand beside them.
 *
 * - to block: PGCOPY streams of 25,000 rows, one at a time (parsing, UTF-8, ranges); beside it streams of 1,000
 *   rows, which measures the way to another thread and back as well.
 * - to PGCOPY: five batches of five blocks are verified down to each value (checksum too), then their blocks are made
 *   one stream of 25,000 rows in a buffer used again and again; then the next five.
 * - JSON road: row objects as `pg` gives them -> JSON -> parse -> COPY text. It starts with parsed rows: in its favour.
 * - npm builder: the same columns through the generated element-wise code.
 */

import { Builder } from 'flatbuffers';
import {
  type BlockMeta,
  blocksToPgcopy,
  type ColumnSpec,
  encodeBatch,
  pgcopyToBlock,
  verifyBatches,
} from '../../native/index.js';
import { Block } from '../../src/wire/gen/pem/wire/block.js';
import { BlockKind } from '../../src/wire/gen/pem/wire/block-kind.js';
import { Column } from '../../src/wire/gen/pem/wire/column.js';
import { ColumnType } from '../../src/wire/gen/pem/wire/column-type.js';
import { median } from '../report.js';

export interface Bar {
  what: string;
  value: number;
  bar: number;
  holds: boolean;
}

export interface BenchOptions {
  quick: boolean;
  progress: (line: string) => void;
}

const rowsPerBlock = 1000;
const blocksPerBatch = 5;
/** What an ingester merges into one COPY here: 25,000 rows. */
const batchesPerStream = 5;
/** The native side is run this often in each pair: one round takes milliseconds, the JSON road a tenth of a second. */
const rounds = 10;
/** Until memory goes round: blocks are Buffers, and their memory is used again once the collector has run. */
const warmUpRounds = 40;
const epochUs = 946684800000000n;
const startUs = 1_790_000_000_000_000n;

const columns: readonly ColumnSpec[] = [
  { name: 'at', type: 'timestamptz' },
  { name: 'id', type: 'int4' },
  { name: 'oid8', type: 'int8' },
  { name: 'label', type: 'text' },
  ...Array.from({ length: 4 }, (_, i): ColumnSpec => ({ name: `count${i}`, type: 'int8' })),
  ...Array.from({ length: 4 }, (_, i): ColumnSpec => ({ name: `gauge${i}`, type: 'float8' })),
];

const meta: BlockMeta = {
  target: 7n,
  probe: 'bench_transcode',
  probeVersion: 1,
  kind: 'full',
  recordedAtUs: startUs,
  intervalUs: 1_000_000n,
};

const label = (row: number) => `pg_stat_table_${String(row).padStart(6, '0')}`;
const counter = (row: number, i: number) => row * 7919 + i * 1_000_003;
const gauge = (row: number, i: number) => (row % 1000) / 7 + i;

/** Of a row in PGCOPY. */
const rowBytes = 2 + 12 * 4 + 8 + 4 + 8 + 20 + 8 * 8;

/** One stream of rows first .. first + count - 1. */
function makeStream(first: number, count: number): Buffer {
  const out = Buffer.alloc(19 + count * rowBytes + 2);
  out.write('PGCOPY\n\xff\r\n\0', 'latin1');
  let at = 19;
  const field = (bytes: number) => {
    out.writeInt32BE(bytes, at);
    at += 4 + bytes;
    return at - bytes;
  };
  for (let row = first; row < first + count; row++) {
    out.writeInt16BE(12, at);
    at += 2;
    out.writeBigInt64BE(startUs - epochUs + BigInt(row), field(8));
    out.writeInt32BE(row, field(4));
    out.writeBigInt64BE(BigInt(row) << 16n, field(8));
    out.write(label(row), field(20), 'latin1');
    for (let i = 0; i < 4; i++) out.writeBigInt64BE(BigInt(counter(row, i)), field(8));
    for (let i = 0; i < 4; i++) out.writeDoubleBE(gauge(row, i), field(8));
  }
  out.writeInt16BE(-1, at);
  return out;
}

/** The same rows as `pg` hands them over: int8 as text, timestamptz as Date. */
function makeObjects(count: number): Record<string, unknown>[] {
  return Array.from({ length: count }, (_, row) => ({
    at: new Date(Number(startUs / 1000n) + row / 1000),
    id: row,
    oid8: String(BigInt(row) << 16n),
    label: label(row),
    ...Object.fromEntries(Array.from({ length: 4 }, (_, i) => [`count${i}`, String(counter(row, i))])),
    ...Object.fromEntries(Array.from({ length: 4 }, (_, i) => [`gauge${i}`, gauge(row, i)])),
  }));
}

const special = /[\\\t\n\r]/g;
const escapes: Readonly<Record<string, string>> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };

/** A batch of row objects by the JSON road; answers the bytes made, so that nothing is left out. */
function jsonRoad(objects: readonly Record<string, unknown>[]): number {
  const rows = JSON.parse(JSON.stringify(objects)) as Record<string, unknown>[];
  let text = '';
  for (const row of rows) {
    let line = '';
    for (const { name } of columns) {
      const value = row[name];
      const shown = value === null || value === undefined ? '\\N' : String(value);
      line +=
        (line === '' ? '' : '\t') +
        (special.test(shown) ? shown.replace(special, (c) => escapes[c]!) : shown);
      special.lastIndex = 0;
    }
    text += `${line}\n`;
  }
  return Buffer.from(text).length;
}

/** A block through the npm builder's generated, element-wise functions. */
function npmBuilder(objects: readonly Record<string, unknown>[]): number {
  const builder = new Builder(1024);
  const encoder = new TextEncoder();
  const made = columns.map(({ name, type }) => {
    const nameAt = builder.createString(name);
    if (type === 'text') {
      const texts = objects.map((row) => encoder.encode(String(row[name])));
      const offsets = [0];
      for (const text of texts) offsets.push(offsets.at(-1)! + text.length);
      const bytesAt = Column.createBytesVector(builder, Buffer.concat(texts));
      const offsetsAt = Column.createOffsetsVector(builder, new Uint32Array(offsets));
      Column.startColumn(builder);
      Column.addName(builder, nameAt);
      Column.addType(builder, ColumnType.Text);
      Column.addOffsets(builder, offsetsAt);
      Column.addBytes(builder, bytesAt);
      return Column.endColumn(builder);
    }
    const width = type === 'int4' ? 4 : 8;
    builder.startVector(1, objects.length * width, 8);
    for (let i = objects.length - 1; i >= 0; i--) {
      const value = objects[i]![name];
      if (type === 'int4') builder.addInt32(value as number);
      else if (type === 'float8') builder.addFloat64(value as number);
      else
        builder.addInt64(value instanceof Date ? BigInt(value.getTime()) * 1000n : BigInt(value as string));
    }
    const fixedAt = builder.endVector();
    Column.startColumn(builder);
    Column.addName(builder, nameAt);
    Column.addType(builder, type === 'int4' ? ColumnType.Int4 : ColumnType.Int8);
    Column.addFixed(builder, fixedAt);
    return Column.endColumn(builder);
  });
  const list = Block.createColumnsVector(builder, made);
  const probe = builder.createString(meta.probe);
  Block.startBlock(builder);
  Block.addProbe(builder, probe);
  Block.addKind(builder, BlockKind.Full);
  Block.addRows(builder, objects.length);
  Block.addColumns(builder, list);
  builder.finish(Block.endBlock(builder), 'PEMK');
  return builder.asUint8Array().length;
}

/** The stream's rows are those that the whole stream has from `firstRow` on. */
function proveSame(stream: Buffer, whole: Buffer, firstRow: number): void {
  const from = 19 + firstRow * rowBytes;
  const body = stream.subarray(19, stream.length - 2);
  if (!body.equals(whole.subarray(from, from + body.length))) throw new Error('the round trip changed rows');
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 50));

interface Moment {
  wall: bigint;
  cpu: NodeJS.CpuUsage;
}

function now(): Moment {
  return { wall: process.hrtime.bigint(), cpu: process.cpuUsage() };
}

/** Seconds of the clock, and of the processor in all threads of this process: neither waits nor neighbours count. */
function since(from: Moment): { wall: number; cpu: number } {
  const { user, system } = process.cpuUsage(from.cpu);
  return { wall: Number(process.hrtime.bigint() - from.wall) / 1e9, cpu: (user + system) / 1e6 };
}

/** Runs the benchmark; see the head of this file. */
export async function run(options: BenchOptions): Promise<{ figures: Record<string, number>; bars: Bar[] }> {
  const blockCount = options.quick ? 100 : 200;
  const rows = blockCount * rowsPerBlock;
  const pairs = options.quick ? 7 : 15;
  const jsonRows = options.quick ? 10_000 : 20_000;
  options.progress(`${rows} rows in ${blockCount} blocks, ${pairs} pairs`);
  const streams = Array.from({ length: blockCount }, (_, i) => makeStream(i * rowsPerBlock, rowsPerBlock));
  const wholeStream = makeStream(0, rows);
  const largeRows = batchesPerStream * blocksPerBatch * rowsPerBlock;
  const largeStreams = Array.from({ length: rows / largeRows }, (_, i) =>
    makeStream(i * largeRows, largeRows),
  );
  const objects = makeObjects(jsonRows);
  const blocks: Buffer[] = [];
  for (const stream of streams) blocks.push((await pgcopyToBlock(meta, columns, stream)).block);
  const batches: Buffer[] = [];
  for (let i = 0; i < blockCount; i += blocksPerBatch) {
    const envelope = {
      agentId: 1,
      boot: '00000000-0000-4000-8000-000000000001',
      seq: BigInt(i + 1),
      createdAtUs: startUs,
    };
    batches.push(encodeBatch(envelope, blocks.slice(i, i + blocksPerBatch)));
  }

  // As an ingester does: one buffer serves all its streams.
  const into = Buffer.alloc(wholeStream.length + 64);

  const toBlock: number[] = [];
  const toBlockSingle: number[] = [];
  const toPgcopy: number[] = [];
  const verify: number[] = [];
  const json: number[] = [];
  const builder: number[] = [];
  const ratios: number[] = [];
  const wall = { toBlock: [] as number[], toPgcopy: [] as number[] };
  for (let pair = -1; pair < pairs; pair++) {
    let from = now();
    for (const stream of streams) await pgcopyToBlock(meta, columns, stream);
    const singleSeconds = since(from).cpu;

    from = now();
    const builds = pair < 0 ? warmUpRounds : rounds;
    for (let round = 0; round < builds; round++)
      for (const stream of largeStreams) await pgcopyToBlock(meta, columns, stream);
    const inOf = since(from);
    const inSeconds = inOf.cpu / builds;

    from = now();
    jsonRoad(objects);
    const jsonSeconds = since(from).cpu;

    from = now();
    for (let i = 0; i < jsonRows; i += rowsPerBlock) npmBuilder(objects.slice(i, i + rowsPerBlock));
    const builderSeconds = since(from).cpu;

    // Buffers of the parts before are collected now, not on the account of the next.
    await settle();
    from = now();
    await verifyBatches(batches);
    const verifySeconds = since(from).cpu;

    from = now();
    for (let i = 0; i < rounds * batches.length; i += batchesPerStream) {
      const at = i % batches.length;
      const checked = await verifyBatches(batches.slice(at, at + batchesPerStream));
      const good = checked.flatMap((batch) =>
        batch.blocks.filter((block) => !block.error).map((block) => block.bytes),
      );
      const out = await blocksToPgcopy(good, { columns, prefix: [], into });
      if (pair < 0) proveSame(out, wholeStream, at * blocksPerBatch * rowsPerBlock);
    }
    const outOf = since(from);
    const outSeconds = outOf.cpu / rounds;

    if (pair < 0) continue; // warm-up
    toBlockSingle.push(rows / singleSeconds);
    toBlock.push(rows / inSeconds);
    toPgcopy.push(rows / outSeconds);
    wall.toBlock.push((rows * rounds) / inOf.wall);
    wall.toPgcopy.push((rows * rounds) / outOf.wall);
    verify.push(rows / verifySeconds);
    json.push(jsonRows / jsonSeconds);
    builder.push(jsonRows / builderSeconds);
    ratios.push(rows / (inSeconds + outSeconds) / (jsonRows / jsonSeconds));
    options.progress(
      `pair ${pair + 1} of ${pairs}: to block ${(toBlock.at(-1)! / 1e6).toFixed(1)} M rows/s, ` +
        `to PGCOPY ${(toPgcopy.at(-1)! / 1e6).toFixed(1)}, JSON ${(json.at(-1)! / 1e6).toFixed(3)}`,
    );
  }
  const figures = {
    toBlockByCallsOf1000RowsPerSecond: median(toBlockSingle),
    toBlockRowsPerSecond: median(toBlock),
    toPgcopyVerifiedRowsPerSecond: median(toPgcopy),
    verifyRowsPerSecond: median(verify),
    jsonRoadRowsPerSecond: median(json),
    npmBuilderRowsPerSecond: median(builder),
    roundTripTimesJson: median(ratios),
    toBlockRowsPerWallSecond: median(wall.toBlock),
    toPgcopyRowsPerWallSecond: median(wall.toPgcopy),
    rows,
    pairs,
  };
  const bar = (what: string, value: number, least: number): Bar => ({
    what,
    value,
    bar: least,
    holds: value >= least,
  });
  return {
    figures,
    bars: [
      bar('block -> PGCOPY, verified, rows/s', figures.toPgcopyVerifiedRowsPerSecond, 40e6),
      bar('PGCOPY -> block, rows/s', figures.toBlockRowsPerSecond, 15e6),
      bar('round trip, times the JSON road', figures.roundTripTimesJson, 30),
    ],
  };
}
