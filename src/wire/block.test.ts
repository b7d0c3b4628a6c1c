import { Builder } from 'flatbuffers';
import { describe, expect, it } from 'vitest';
import { Block } from './gen/pem/wire/block.js';
import { BlockKind } from './gen/pem/wire/block-kind.js';
import { Column } from './gen/pem/wire/column.js';
import { ColumnType } from './gen/pem/wire/column-type.js';
import { blockRows, cellAt, columnOf, numberAt, numbersOf, readBlock } from './index.js';

/** A block by the npm builder: the reader must not depend on how the addon lays out its own. */
function made(): Uint8Array {
  const builder = new Builder(64);
  const column = (name: string, type: ColumnType, nulls: number, put: () => () => void) => {
    const nameAt = builder.createString(name);
    const nullsAt = Column.createNullsVector(builder, [nulls]);
    const add = put();
    Column.startColumn(builder);
    Column.addName(builder, nameAt);
    Column.addType(builder, type);
    Column.addNulls(builder, nullsAt);
    add();
    return Column.endColumn(builder);
  };
  const fixed = (values: readonly bigint[]) => () => {
    builder.startVector(1, values.length * 8, 8);
    for (const value of [...values].reverse()) builder.addInt64(value);
    const at = builder.endVector();
    return () => Column.addFixed(builder, at);
  };
  const columns = [
    column('at', ColumnType.Timestamptz, 0b000, fixed([1_500_000n, (1n << 63n) - 1n, 0n])),
    column('n', ColumnType.Int8, 0b010, fixed([7n, 0n, 1n << 60n])),
    column('t', ColumnType.Text, 0b100, () => {
      const bytesAt = Column.createBytesVector(builder, Buffer.from('éb'));
      const offsetsAt = Column.createOffsetsVector(builder, new Uint32Array([0, 2, 3, 3]));
      return () => {
        Column.addOffsets(builder, offsetsAt);
        Column.addBytes(builder, bytesAt);
      };
    }),
  ];
  const list = Block.createColumnsVector(builder, columns);
  const probe = builder.createString('p');
  Block.startBlock(builder);
  Block.addTarget(builder, -5n);
  Block.addProbe(builder, probe);
  Block.addKind(builder, BlockKind.Delta);
  Block.addRows(builder, 3);
  Block.addTombstones(builder, 1);
  Block.addColumns(builder, list);
  builder.finish(Block.endBlock(builder), 'PEMK');
  return builder.asUint8Array().slice();
}

describe('readBlock', () => {
  it('shows header, cells and numbers', () => {
    const block = readBlock(made());
    expect(block).toMatchObject({
      target: -5n,
      probe: 'p',
      kind: 'delta',
      rows: 3,
      tombstones: 1,
      scope: undefined,
    });
    expect(blockRows(block)).toEqual([
      { at: '1970-01-01T00:00:01.500000Z', n: 7, t: 'é' },
      { at: 'infinity', n: null, t: 'b' },
      { at: '1970-01-01T00:00:00.000000Z', n: '1152921504606846976', t: null },
    ]);
    expect(numbersOf(columnOf(block, 'n')!, 3)).toEqual(new Float64Array([7, Number.NaN, 2 ** 60]));
    expect(numberAt(columnOf(block, 'at')!, 0)).toBe(1.5);
    expect(numberAt(columnOf(block, 't')!, 0)).toBeNaN();
    expect(columnOf(block, 'none')).toBeUndefined();
  });

  it('views aligned bytes in place and copies others once', () => {
    const bytes = made();
    const view = readBlock(bytes);
    expect(columnOf(view, 'n')!.values!.buffer).toBe(bytes.buffer);
    const moved = Buffer.alloc(bytes.length + 3).subarray(3);
    moved.set(bytes);
    const copy = readBlock(moved);
    expect(blockRows(copy)).toEqual(blockRows(view));
    expect(cellAt(copy.columns[1]!, 0)).toBe(7);
  });
});
