import { Worker } from 'node:worker_threads';
import { Builder } from 'flatbuffers';
import { describe, expect, it } from 'vitest';
import { PemError } from '../src/base/errors.js';
import { Block } from '../src/wire/gen/pem/wire/block.js';
import { BlockKind } from '../src/wire/gen/pem/wire/block-kind.js';
import { Column } from '../src/wire/gen/pem/wire/column.js';
import { ColumnType } from '../src/wire/gen/pem/wire/column-type.js';
import { blockRows, readBlock } from '../src/wire/index.js';
import {
  type BlockMeta,
  blockFromRows,
  blockInfo,
  blocksToPgcopy,
  type ColumnSpec,
  crc32c,
  encodeBatch,
  pgcopyToBlock,
  releaseStream,
  verifyBatches,
} from './codec.js';
import { allColumns, type Field, int, meta, random, randomRows, rowsOf, stream } from './model.js';

const envelope = {
  agentId: 9,
  boot: '0f0e0d0c-0b0a-4908-8706-050403020100',
  seq: 77n,
  createdAtUs: 1_790_000_000_000_000n,
};
const text = (name: string): ColumnSpec => ({ name, type: 'text' });
const codeOf = async (work: () => unknown): Promise<string> => {
  try {
    await work();
  } catch (error) {
    if (error instanceof PemError) return error.code;
    throw error;
  }
  return 'none';
};
const toBlock = async (columns: readonly ColumnSpec[], rows: readonly (readonly Field[])[]) =>
  (await pgcopyToBlock(meta, columns, stream(rows))).block;

describe('PGCOPY and blocks', () => {
  it('gives back every stream byte for byte: 18 types, NULLs, empty results, window edges', async () => {
    const next = random(1);
    for (const count of [0, 1, 2, 7, 8, 63, 64, 65, 127, 128, 129, 1000, 2500]) {
      for (const nulls of [0, 0.01, 0.3, 1]) {
        const bytes = stream(randomRows(allColumns, count, nulls, next));
        const { block, rows, cutValues, badText } = await pgcopyToBlock(meta, allColumns, bytes);
        expect([rows, cutValues, badText]).toEqual([count, 0, 0]);
        expect((await blocksToPgcopy([block], { columns: allColumns, prefix: [] })).equals(bytes)).toBe(true);
      }
    }
  });

  it('takes a stream in any pieces', async () => {
    const next = random(2);
    const bytes = stream(randomRows(allColumns, 40, 0.1, next));
    const whole = (await pgcopyToBlock(meta, allColumns, bytes)).block;
    for (let round = 0; round < 20; round++) {
      const pieces: Buffer[] = [];
      for (let at = 0; at < bytes.length; ) {
        const size = 1 + Math.floor(next() * (round === 0 ? 1 : 400));
        pieces.push(bytes.subarray(at, at + size));
        at += size;
      }
      expect((await pgcopyToBlock(meta, allColumns, pieces)).block.equals(whole)).toBe(true);
    }
  });

  it('merges blocks behind columns of their own', async () => {
    const columns = [text('k')];
    const first = blockFromRows({ ...meta, target: 1n, recordedAtUs: 946684800000001n }, columns, [
      ['a'],
      [null],
    ]);
    const second = blockFromRows({ ...meta, target: 2n, recordedAtUs: 946684800000002n }, columns, [['b']]);
    const bytes = await blocksToPgcopy([first, second], {
      columns,
      prefix: [{ kind: 'recorded_at' }, { kind: 'target' }, { kind: 'gone' }],
      suffix: [{ kind: 'int8', values: new BigInt64Array([7n, -8n]) }],
    });
    const no = int(0, 1);
    expect(rowsOf(bytes)).toEqual([
      [int(1, 8), int(1, 8), no, Buffer.from('a'), int(7, 8)],
      [int(1, 8), int(1, 8), no, null, int(7, 8)],
      [int(2, 8), int(2, 8), no, Buffer.from('b'), int(-8, 8)],
    ]);
    const bare = await blocksToPgcopy([second], { columns, prefix: [], header: false, trailer: false });
    expect(bare).toEqual(Buffer.from([0, 1, 0, 0, 0, 1, 98]));
  });

  it('gives the memory of a stream back, and of nothing else', async () => {
    const block = await toBlock(allColumns, randomRows(allColumns, 3000, 0.1, random(3)));
    const made = await blocksToPgcopy([block], { columns: allColumns, prefix: [] });
    const plain = Buffer.from(made);
    const view = made.subarray(19);
    expect(await codeOf(() => releaseStream(view))).toBe('codec_argument');
    expect(await codeOf(() => releaseStream(block))).toBe('codec_argument');
    expect(await codeOf(() => releaseStream(Buffer.from('shared with others')))).toBe('codec_argument');
    releaseStream(made);
    expect([made.length, view.length]).toEqual([0, 0]);
    // The memory goes round: no stream is in the way of another one.
    const streams = [];
    for (let i = 0; i < 3; i++) {
      streams.push(await blocksToPgcopy([block], { columns: allColumns, prefix: [] }));
      releaseStream(await blocksToPgcopy([block], { columns: allColumns, prefix: [] }));
    }
    expect(streams.every((stream) => stream.equals(plain))).toBe(true);
  });

  it('repairs text, cuts it between characters, and counts both', async () => {
    const columns: ColumnSpec[] = [text('t'), { name: 'j', type: 'json' }, { name: 'a', type: 'text[]' }];
    const array = Buffer.concat([
      int(1, 4),
      int(0, 4),
      int(25, 4),
      int(1, 4),
      int(1, 4),
      int(2, 4),
      Buffer.from([0xc3, 0x28]),
    ]);
    const rows = [
      [Buffer.from([0x61, 0xff, 0x62, 0x00]), Buffer.from('{"a":1}'), array],
      [Buffer.from('ééééééé'), Buffer.from(`"${'x'.repeat(20)}"`), null],
      [Buffer.from([0xf0, 0x9f, 0x90]), Buffer.from('{'), null],
    ];
    const result = await pgcopyToBlock(meta, columns, stream(rows), { maxValueBytes: 13 });
    expect([result.cutValues, result.badText]).toEqual([3, 4]);
    expect(blockRows(readBlock(result.block))).toEqual([
      { t: 'a\ufffdb\ufffd', j: '{"a":1}', a: null },
      { t: 'éééééé', j: null, a: null },
      { t: '\ufffd', j: null, a: null },
    ]);
    const roomy = await pgcopyToBlock(meta, columns, stream(rows));
    expect(blockRows(readBlock(roomy.block))[0]!.a).toEqual(['\ufffd(']);
    expect([roomy.cutValues, roomy.badText]).toEqual([0, 4]);
    expect(
      (await verifyBatches([encodeBatch(envelope, [roomy.block])]))[0]!.blocks[0]!.error,
    ).toBeUndefined();
  });

  it('refuses a row of more than 64 MiB, in one piece or in many', async () => {
    const bytes = stream([[Buffer.alloc((64 << 20) + 1, 0x61)]]);
    const pieces = Array.from({ length: 65 }, (_, i) => bytes.subarray(i << 20, (i + 1) << 20));
    for (const form of [bytes, [...pieces, bytes.subarray(65 << 20)]])
      expect(await codeOf(() => pgcopyToBlock(meta, [text('a')], form))).toBe('codec_limit');
  });

  it('refuses streams that are no PGCOPY, cut short, too long or of other types', async () => {
    const columns: ColumnSpec[] = [{ name: 'n', type: 'int4' }];
    const good = stream([[int(1, 4)], [int(2, 4)]]);
    for (let end = 0; end < good.length; end++) {
      expect(await codeOf(() => pgcopyToBlock(meta, columns, good.subarray(0, end)))).toBe(
        'codec_bad_pgcopy',
      );
    }
    expect(await codeOf(() => pgcopyToBlock(meta, columns, Buffer.concat([good, int(0, 1)])))).toBe(
      'codec_bad_pgcopy',
    );
    expect(await codeOf(() => pgcopyToBlock(meta, columns, stream([[int(1, 8)]])))).toBe('codec_bad_value');
    expect(await codeOf(() => pgcopyToBlock(meta, columns, stream([[int(1, 4), null]])))).toBe(
      'codec_bad_pgcopy',
    );
    expect(await codeOf(() => pgcopyToBlock(meta, columns, good, { maxRows: 1 }))).toBe('codec_limit');
    expect(await codeOf(() => pgcopyToBlock(meta, [], good))).toBe('codec_columns');
    expect(await codeOf(() => pgcopyToBlock({ ...meta, probe: '' }, columns, good))).toBe('codec_argument');
    const bytea = [{ name: 'b', type: 'bytea' }] as unknown as ColumnSpec[];
    expect(await codeOf(() => pgcopyToBlock(meta, bytea, good))).toBe('codec_columns');
    expect(
      await codeOf(() =>
        blocksToPgcopy([blockFromRows(meta, columns, [])], { columns: [text('n')], prefix: [] }),
      ),
    ).toBe('codec_columns');
  });
});

describe('rows of JavaScript', () => {
  it('become the values that a reader sees', () => {
    const values: [ColumnSpec['type'], Parameters<typeof blockFromRows>[2][0][0], unknown][] = [
      ['bool', true, true],
      ['int2', -32768, -32768],
      ['int4', 2147483647, 2147483647],
      ['int8', 9223372036854775807n, '9223372036854775807'],
      ['int8', 12, 12],
      ['float4', 1.5, 1.5],
      ['float8', Number.NaN, 'NaN'],
      ['numeric', '-00123456.7800', '-123456.7800'],
      ['numeric', '0.000012', '0.000012'],
      ['numeric', 1e21, '1000000000000000000000'],
      ['numeric', 1.5e-7, '0.00000015'],
      ['numeric', 'NaN', 'NaN'],
      ['text', 'a\0\ud800', 'a\ufffd\ufffd'],
      ['name', 'pg_class', 'pg_class'],
      ['oid', 4294967295, 4294967295],
      ['xid', 7, 7],
      ['pg_lsn', '16/B374D848', '16/B374D848'],
      ['inet', '192.168.0.0/24', '192.168.0.0/24'],
      ['inet', '2001:db8::1', '2001:db8::1'],
      ['inet', '::ffff:10.1.2.3', '::ffff:10.1.2.3'],
      ['timestamptz', 1_790_000_000_123_456n, '2026-09-21T14:13:20.123456Z'],
      ['timestamptz', (1n << 63n) - 1n, 'infinity'],
      ['timestamptz', -1n, '1969-12-31T23:59:59.999999Z'],
      ['json', '{"a": 1}', '{"a": 1}'],
      ['jsonb', '[1]', '[1]'],
      ['text[]', ['a', '', 'ü'], ['a', '', 'ü']],
      ['text[]', [], []],
      ['int4', null, null],
    ];
    const columns = values.map(([type], i): ColumnSpec => ({ name: `v${i}`, type }));
    const block = blockFromRows(meta, columns, [values.map(([, value]) => value)]);
    expect(Object.values(blockRows(readBlock(block))[0]!)).toEqual(values.map(([, , seen]) => seen));
    expect(blockInfo(block)).toMatchObject({
      ...meta,
      rows: 1,
      tombstones: 0,
      columns,
      nullColumns: [values.length - 1],
    });
  });

  it('name column and row of a value that does not fit', () => {
    const columns: ColumnSpec[] = [text('ok'), { name: 'small', type: 'int2' }];
    expect(() =>
      blockFromRows(meta, columns, [
        ['a', 1],
        ['b', 40000],
      ]),
    ).toThrow(/"small".*row 2.*out of range/);
    expect(() => blockFromRows(meta, columns, [['a']])).toThrow(/row 1 has 1 values/);
    expect(() => blockFromRows(meta, [{ name: 'i', type: 'interval' }], [['1 day']])).toThrow(PemError);
    expect(() => blockFromRows(meta, [{ name: 'i', type: 'inet' }], [['fe80::1%eth0']])).toThrow(PemError);
  });
});

describe('batches', () => {
  const block = () =>
    blockFromRows(
      meta,
      [text('t'), { name: 'n', type: 'int8' }],
      [
        ['é', 1n],
        [null, 2n],
      ],
    );

  it('have the envelope that FORMAT.md draws', async () => {
    const batch = encodeBatch(envelope, [block(), block()]);
    expect(batch.toString('latin1', 0, 4)).toBe('PEMB');
    expect([batch.readUInt16LE(4), batch.readUInt16LE(6), batch.readUInt32LE(8)]).toEqual([1, 2, 9]);
    expect(batch.readUInt32LE(16)).toBe(batch.length);
    expect(batch.readUInt32LE(12)).toBe(crc32c(batch.subarray(16), crc32c(batch.subarray(0, 12))));
    expect(batch.toString('hex', 24, 40)).toBe(envelope.boot.replaceAll('-', ''));
    expect([batch.readBigUInt64LE(40), batch.readBigInt64LE(48)]).toEqual([77n, envelope.createdAtUs]);
    const [info] = await verifyBatches([batch]);
    expect(info!.envelope).toEqual(envelope);
    expect(info!.crc).toBe(batch.readUInt32LE(12));
    expect(info!.blocks.map((b) => b.bytes.equals(block()))).toEqual([true, true]);
    expect(info!.blocks[0]!.bytes.buffer).toBe(batch.buffer);
    expect(info!.blocks[1]!.info).toMatchObject({ ...meta, rows: 2, nullColumns: [0] });
  });

  it('are read wherever they lie in memory', async () => {
    const batch = encodeBatch(envelope, [block()]);
    for (let shift = 0; shift < 8; shift++) {
      const moved = Buffer.alloc(batch.length + shift).subarray(shift);
      batch.copy(moved);
      const [info] = await verifyBatches([moved]);
      expect(info!.error).toBeUndefined();
      const columns = info!.blocks[0]!.info!.columns;
      const bytes = await blocksToPgcopy([info!.blocks[0]!.bytes], { columns, prefix: [] });
      expect(rowsOf(bytes)[0]).toEqual([Buffer.from('é'), int(1, 8)]);
      expect(blockRows(readBlock(info!.blocks[0]!.bytes))[1]).toEqual({ t: null, n: 2 });
    }
  });

  it('are refused for each flipped byte and each cut', async () => {
    const batch = encodeBatch(envelope, [block()]);
    const broken: Buffer[] = [];
    for (let at = 0; at < batch.length; at++) {
      const flipped = Buffer.from(batch);
      flipped[at]! ^= 1 << (at & 7);
      broken.push(flipped, batch.subarray(0, at));
    }
    for (const info of await verifyBatches(broken)) {
      expect(info.error?.code).toMatch(/^codec_/);
      expect(info.blocks).toEqual([]);
    }
  });

  it('whose blocks are broken under a right checksum are errors or sound blocks, and the others stay usable', async () => {
    const next = random(5);
    const columns = allColumns;
    const good = await toBlock(columns, randomRows(columns, 5, 0.2, next));
    const batches: Buffer[] = [];
    for (let at = 0; at < good.length; at++) {
      const bad = Buffer.from(good);
      bad[at]! ^= 1 + Math.floor(next() * 255);
      batches.push(encodeBatch(envelope, [bad, good]));
    }
    let refused = 0;
    for (const { error, blocks } of await verifyBatches(batches)) {
      expect(error).toBeUndefined();
      expect(blocks[1]!.error).toBeUndefined();
      if (blocks[0]!.error) {
        refused++;
        expect(blocks[0]!.error.code).toMatch(/^codec_bad_(block|value)$/);
        continue;
      }
      // What passes must do all that is done with blocks.
      const info = blocks[0]!.info!;
      const bytes = await blocksToPgcopy([blocks[0]!.bytes], { columns: info.columns, prefix: [] });
      expect(rowsOf(bytes)).toHaveLength(info.rows);
      expect(blockRows(readBlock(blocks[0]!.bytes))).toHaveLength(info.rows);
    }
    expect(refused).toBeGreaterThan(good.length / 10);
  });

  it('are told apart: a column named like another one with its type behind it is not that one', async () => {
    const victim = await toBlock([text('x'), text('y')], [[null, Buffer.from('a')]]);
    const other = blockFromRows(meta, [{ name: 'x\u0008', type: 'bool' }, text('y')], [[true, 'b']]);
    const scoped = blockFromRows({ ...meta, probe: 'p', scope: '\u0001s' }, [text('x')], []);
    const unscoped = blockFromRows({ ...meta, probe: 'p\u0001', scope: 's' }, [text('x')], []);
    const found = await verifyBatches(
      [other, victim, scoped, unscoped].map((block) => encodeBatch(envelope, [block])),
    );
    const infos = found.map((batch) => batch.blocks[0]!.info!);
    expect(infos[1]!.columns).toEqual([text('x'), text('y')]);
    expect(infos[1]!.nullColumns).toEqual([0]);
    expect(infos[0]!.columns[0]).toEqual({ name: 'x\u0008', type: 'bool' });
    expect(infos[0]!.nullColumns).toEqual([]);
    expect(infos.slice(2).map((info) => [info.probe, info.scope])).toEqual([
      ['p', '\u0001s'],
      ['p\u0001', 's'],
    ]);
  });

  it('hold what they say once: columns that share their bytes are refused', async () => {
    const bytes = (shared: boolean): Buffer => {
      const builder = new Builder(64);
      const vector = () => {
        builder.startVector(1, 800, 8);
        for (let i = 0; i < 100; i++) builder.addInt64(BigInt(i));
        return builder.endVector();
      };
      const one = vector();
      const columns = ['a', 'b', 'c'].map((name) => {
        const at = shared ? one : vector();
        return Column.createColumn(builder, builder.createString(name), ColumnType.Int8, 0, at, 0, 0);
      });
      const list = Block.createColumnsVector(builder, columns);
      const probe = builder.createString('p');
      builder.finish(
        Block.createBlock(builder, 1n, probe, 1, BlockKind.Full, 0, 0n, 100, 0, list, 0n),
        'PEMK',
      );
      return Buffer.from(builder.asUint8Array());
    };
    const found = await verifyBatches([false, true].map((shared) => encodeBatch(envelope, [bytes(shared)])));
    expect(found.map((batch) => batch.blocks[0]!.error?.message)).toEqual([
      undefined,
      'columns that share their bytes',
    ]);
  });

  it('keep their limits', async () => {
    expect(await codeOf(() => encodeBatch(envelope, []))).toBe('codec_argument');
    expect(await codeOf(() => encodeBatch({ ...envelope, boot: 'x' }, [block()]))).toBe('codec_argument');
    expect(await codeOf(() => encodeBatch({ ...envelope, seq: 0n }, [block()]))).toBe('codec_argument');
    const large = blockFromRows(meta, [text('t')], [['x'.repeat(1 << 20)]]);
    expect(await codeOf(() => encodeBatch(envelope, [large, large, large, large]))).toBe('codec_limit');
    const [info] = await verifyBatches([Buffer.alloc((4 << 20) + 1)]);
    expect(info!.error!.code).toBe('codec_limit');
    const newer = Buffer.from(encodeBatch(envelope, [block()]));
    newer.writeUInt16LE(2, 4);
    expect((await verifyBatches([newer]))[0]!.error!.code).toBe('codec_version');
  });
});

describe('crc32c', () => {
  it('gives the published check values and can be continued', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
    const data = Buffer.from(Array.from({ length: 20000 }, (_, i) => (i * 31) & 0xff));
    const whole = crc32c(data);
    for (const cut of [0, 1, 3071, 3072, 3073, 19999]) {
      expect(crc32c(data.subarray(cut), crc32c(data.subarray(0, cut)))).toBe(whole);
    }
  });
});

describe('arguments', () => {
  it('of another form are refused with a code', async () => {
    const wrong = {} as unknown as Buffer;
    expect(await codeOf(() => verifyBatches([wrong]))).toBe('codec_argument');
    expect(await codeOf(() => blockInfo(wrong))).toBe('codec_argument');
    expect(await codeOf(() => blockInfo(Buffer.alloc(0)))).toBe('codec_bad_block');
    expect(await codeOf(() => crc32c(wrong))).toBe('codec_argument');
    expect(
      await codeOf(() =>
        pgcopyToBlock({ ...meta, target: 1 } as unknown as BlockMeta, [text('a')], stream([])),
      ),
    ).toBe('codec_argument');
    const short = { kind: 'int8', values: new BigInt64Array(0) } as const;
    const block = blockFromRows(meta, [text('a')], []);
    expect(await codeOf(() => blocksToPgcopy([block], { columns: [text('a')], prefix: [short] }))).toBe(
      'codec_argument',
    );
  });
});

describe('a thread', () => {
  it('may end while its jobs run', { timeout: 300_000 }, async () => {
    const script = `
      const { parentPort, workerData } = require('node:worker_threads');
      const addon = require(workerData.addon);
      const { meta, columns } = workerData;
      const bytes = Buffer.from(workerData.bytes), batch = Buffer.from(workerData.batch);
      const { block } = addon.pgcopyToBlockSync(meta, columns, [bytes]);
      for (let i = 0; i < 30; i++) {
        addon.pgcopyToBlock(meta, columns, [bytes]);
        addon.blocksToPgcopy([block], { columns, prefix: [] });
        addon.verifyBatches([batch]);
        addon.pgcopyToBlock(meta, columns, [bytes.subarray(0, 100)]).catch(() => undefined);
      }
      parentPort.on('message', () => undefined); // does not end by itself
      parentPort.postMessage('busy');`;
    const bytes = stream(randomRows(allColumns, 3000, 0.1, random(6)));
    const { block } = await pgcopyToBlock(meta, allColumns, bytes);
    const workerData = {
      addon: new URL('./addon/build/Release/pem.node', import.meta.url).pathname,
      ...{ meta, columns: allColumns, bytes, batch: encodeBatch(envelope, [block]) },
    };
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(script, { eval: true, workerData });
      await new Promise((resolve) => worker.once('message', resolve));
      expect(await worker.terminate()).toBe(1);
    }
  });
});
