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
 *   one stream of 25,000 rows, whose memory is given back at once as the ingester does; then the next five.
 * The peers run in a process of their own: their objects would be marked by the native side's collector, on its account.
 *
 * - JSON road: row objects as `pg` gives them -> JSON -> parse -> COPY text. It starts with parsed rows: in its favour.
 * - npm builder: the same columns through the generated element-wise code.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import {
  blocksToPgcopy,
  encodeBatch,
  pgcopyToBlock,
  releaseStream,
  verifyBatches,
} from '../../native/index.js';
import type { PeerAnswer, PeerOrder } from '../load/transcode_peers.js';
import {
  columns,
  counter,
  gauge,
  label,
  meta,
  now,
  rowsPerBlock,
  since,
  startUs,
} from '../load/transcode_rows.js';
import { type Bar, type BenchOptions, median } from '../report.js';

const blocksPerBatch = 5;
/** What an ingester merges into one COPY here: 25,000 rows. */
const batchesPerStream = 5;
/** The native side is run this often in each pair: one round takes milliseconds, the JSON road a tenth of a second. */
const rounds = 10;
/** Until memory goes round: blocks are Buffers, and their memory is used again once the collector has run. */
const warmUpRounds = 40;
const epochUs = 946684800000000n;

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

/** The stream's rows are those that the whole stream has from `firstRow` on. */
function proveSame(stream: Buffer, whole: Buffer, firstRow: number): void {
  const from = 19 + firstRow * rowBytes;
  const body = stream.subarray(19, stream.length - 2);
  if (!body.equals(whole.subarray(from, from + body.length))) throw new Error('the round trip changed rows');
}

/** The batches one behind another in a stream's memory, each at a multiple of 8: as a read of the inbox gives them. */
async function asRead(batches: readonly Buffer[], blocks: readonly Buffer[]): Promise<Buffer[]> {
  const memory = await blocksToPgcopy(blocks, { columns, prefix: [] });
  let at = 0;
  return batches.map((batch) => {
    const place = memory.subarray(at, at + batch.length);
    if (batch.copy(place) !== batch.length) throw new Error('the batches are longer than their stream');
    at += Math.ceil((batch.length + 38) / 8) * 8;
    return place;
  });
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 50));

/** A round of a peer, in its own process. */
async function ask(child: ChildProcess, order: PeerOrder): Promise<number> {
  const answer = await new Promise<PeerAnswer>((resolve, reject) => {
    const ended = (): void => reject(new Error('the peers ended'));
    child.once('exit', ended);
    child.once('message', (message: PeerAnswer) => {
      child.off('exit', ended);
      resolve(message);
    });
    child.send(order);
  });
  return answer.cpuSeconds;
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
  const blocks: Buffer[] = [];
  for (const stream of streams) blocks.push((await pgcopyToBlock(meta, columns, stream)).block);
  const made: Buffer[] = [];
  for (let i = 0; i < blockCount; i += blocksPerBatch) {
    const envelope = {
      agentId: 1,
      boot: '00000000-0000-4000-8000-000000000001',
      seq: BigInt(i + 1),
      createdAtUs: startUs,
    };
    made.push(encodeBatch(envelope, blocks.slice(i, i + blocksPerBatch)));
  }
  const batches = await asRead(made, blocks);

  const toBlock: number[] = [];
  const toBlockSingle: number[] = [];
  const toPgcopy: number[] = [];
  const verify: number[] = [];
  const json: number[] = [];
  const builder: number[] = [];
  const ratios: number[] = [];
  const child = fork(fileURLToPath(new URL('../load/transcode_peers.js', import.meta.url)));
  const peer = (name: PeerOrder['peer']): Promise<number> => ask(child, { peer: name, rows: jsonRows });
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

    const jsonSeconds = await peer('json');
    const builderSeconds = await peer('builder');

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
      const out = await blocksToPgcopy(good, { columns, prefix: [] });
      if (pair < 0) proveSame(out, wholeStream, at * blocksPerBatch * rowsPerBlock);
      releaseStream(out);
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
  child.disconnect();
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
