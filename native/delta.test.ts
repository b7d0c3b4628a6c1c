import { describe, expect, it } from 'vitest';
import { blockRows, type Cell, readBlock } from '../src/wire/index.js';
import {
  blockFromRows,
  blocksToPgcopy,
  type ColumnSpec,
  DeltaState,
  encodeBatch,
  verifyBatches,
} from './codec.js';
import { meta, random, rowsOf } from './model.js';

const columns: readonly ColumnSpec[] = [
  { name: 'schema', type: 'text' },
  { name: 'id', type: 'int4' },
  { name: 'size', type: 'int8' },
  { name: 'note', type: 'text' },
];
type Row = [string | null, number, number | null, string | null];
const full = (rows: readonly Row[]) => blockFromRows(meta, columns, rows);
const key = (row: Record<string, Cell>) => JSON.stringify([row.schema, row.id]);

/** What a receiver holds after a block. */
function apply(held: Map<string, Record<string, Cell>>, block: Buffer): void {
  const data = readBlock(block);
  const rows = blockRows(data);
  if (data.kind === 'full') held.clear();
  rows.forEach((row, i) => {
    if (i < data.rows - data.tombstones) held.set(key(row), row);
    else {
      expect([row.size, row.note]).toEqual([null, null]);
      expect(held.delete(key(row))).toBe(true);
    }
  });
}

describe('DeltaState', () => {
  it('full and deltas add up to the newest rows, and a delta has only what changed', async () => {
    const next = random(11);
    const state = new DeltaState(columns, [0, 1]);
    const held = new Map<string, Record<string, Cell>>();
    let rows: Row[] = [];
    for (let round = 0; round < 60; round++) {
      const before = new Map(rows.map((row) => [JSON.stringify(row.slice(0, 2)), JSON.stringify(row)]));
      rows = rows
        .filter(() => next() > 0.1)
        .map((row): Row => (next() < 0.2 ? [row[0], row[1], Math.floor(next() * 9), row[3]] : row));
      for (let i = 0; i < 20; i++) {
        const id = Math.floor(next() * 300);
        const schema = [null, '', 'public', 'naïve'][Math.floor(next() * 4)]!;
        if (!rows.some((row) => row[0] === schema && row[1] === id))
          rows.push([
            schema,
            id,
            next() < 0.1 ? null : Math.floor(next() * 1e6),
            next() < 0.3 ? null : `n${id}`,
          ]);
      }
      rows.sort(() => next() - 0.5);
      const block = full(rows);
      const forceFull = round % 17 === 16;
      const sent = state.diff(block, { forceFull });
      expect(state.keys).toBe(rows.length);
      expect(sent).not.toBeNull();
      if (round === 0 || forceFull) expect(sent).toBe(block);
      else {
        const now = new Map(rows.map((row) => [JSON.stringify(row.slice(0, 2)), JSON.stringify(row)]));
        const data = readBlock(sent!);
        expect(data.kind).toBe('delta');
        expect(data.tombstones).toBe([...before.keys()].filter((k) => !now.has(k)).length);
        expect(data.rows - data.tombstones).toBe([...now].filter(([k, row]) => before.get(k) !== row).length);
      }
      const [info] = await verifyBatches([
        encodeBatch({ agentId: 1, boot: '00000000-0000-4000-8000-000000000001', seq: 1n, createdAtUs: 0n }, [
          sent!,
        ]),
      ]);
      expect(info!.blocks[0]!.error).toBeUndefined();
      apply(held, sent!);
      expect(new Set([...held.values()].map((row) => JSON.stringify(row)))).toEqual(
        new Set(blockRows(readBlock(block)).map((row) => JSON.stringify(row))),
      );
    }
  });

  it('says nothing when nothing changed, and begins anew after a reset', () => {
    const state = new DeltaState(columns, [0, 1]);
    const rows: Row[] = [['a', 1, 2, null]];
    expect(state.diff(full(rows))).not.toBeNull();
    expect(state.diff(full(rows))).toBeNull();
    state.reset();
    expect(state.keys).toBe(0);
    const again = full(rows);
    expect(state.diff(again)).toBe(again);
    expect(readBlock(state.diff(full([]))!).tombstones).toBe(1);
    expect(state.diff(full([]))).toBeNull();
  });

  it('refuses rows with the same key and keeps its state', () => {
    const state = new DeltaState(columns, [0, 1]);
    state.diff(full([['a', 1, 2, null]]));
    expect(() =>
      state.diff(
        full([
          ['a', 1, 2, null],
          ['a', 1, 3, null],
        ]),
      ),
    ).toThrow(/rows 1 and 2.*same key/);
    expect(state.diff(full([['a', 1, 2, null]]))).toBeNull();
    expect(() => state.diff(blockFromRows({ ...meta, kind: 'append' }, columns, []))).toThrow(/full/);
    expect(() => state.diff(blockFromRows(meta, columns.slice(1), []))).toThrow(/columns/);
    expect(() => new DeltaState(columns, [4])).toThrow(/keyColumns/);
  });

  it('tombstones can be left out of a stream, and carry the gone mark in it', async () => {
    const state = new DeltaState(columns, [0, 1]);
    state.diff(
      full([
        ['a', 1, 2, 'x'],
        ['b', 2, 3, 'y'],
      ]),
    );
    const delta = state.diff(full([['b', 2, 4, 'y']]))!;
    const all = await blocksToPgcopy([delta], { columns, prefix: [{ kind: 'gone' }] });
    expect(rowsOf(all).map((row) => row.map((field) => field?.toString('hex') ?? null))).toEqual([
      ['00', '62', '00000002', '0000000000000004', '79'],
      ['01', '61', '00000001', null, null],
    ]);
    const live = await blocksToPgcopy([delta], { columns, prefix: [], tombstones: 'skip' });
    expect(rowsOf(live)).toHaveLength(1);
  });
});
