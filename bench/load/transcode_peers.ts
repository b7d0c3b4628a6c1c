/**
 * The peers of bench/runs/transcode.ts in a process of their own: the road through JSON and the flatbuffers npm builder.
 * Their objects would otherwise be in the heap that the native side's collector marks, on its account. In: a message
 * that names the peer; out: what a round took. Ends with its parent.
 */
import { Builder } from 'flatbuffers';
import { Block } from '../../src/wire/gen/pem/wire/block.js';
import { BlockKind } from '../../src/wire/gen/pem/wire/block-kind.js';
import { Column } from '../../src/wire/gen/pem/wire/column.js';
import { ColumnType } from '../../src/wire/gen/pem/wire/column-type.js';
import { columns, counter, gauge, label, meta, now, rowsPerBlock, since, startUs } from './transcode_rows.js';

/** Rows of one round. */
export interface PeerOrder {
  readonly peer: 'json' | 'builder';
  readonly rows: number;
}

export interface PeerAnswer {
  readonly cpuSeconds: number;
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

let objects: Record<string, unknown>[] = [];

process.on('message', ({ peer, rows }: PeerOrder) => {
  if (objects.length !== rows) objects = makeObjects(rows);
  const from = now();
  if (peer === 'json') jsonRoad(objects);
  else for (let i = 0; i < rows; i += rowsPerBlock) npmBuilder(objects.slice(i, i + rowsPerBlock));
  process.send?.({ cpuSeconds: since(from).cpu } satisfies PeerAnswer);
});
process.on('disconnect', () => process.exit(0));
