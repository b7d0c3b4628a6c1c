/**
 * A plain model of PGCOPY for tests: rows are lists of fields as PostgreSQL sends them. In: fields. Out: streams, and
 * fields of a stream again. Random values come from a seeded generator, so that a failure can be repeated.
 */
import { type ColumnType, columnTypes } from '../src/wire/config.js';
import type { BlockMeta, ColumnSpec } from './codec.js';

export type Field = Buffer | null;

export const meta: BlockMeta = {
  target: 42n,
  probe: 'model_probe',
  probeVersion: 3,
  kind: 'full',
  scope: 'postgres',
  recordedAtUs: 1_790_000_000_123_456n,
  intervalUs: 1_000_000n,
};

/** One column of each type. */
export const allColumns: readonly ColumnSpec[] = columnTypes.map((type, i) => ({
  name: `c${i}_${type}`,
  type,
}));

const head = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');

export function stream(rows: readonly (readonly Field[])[]): Buffer {
  const parts: Buffer[] = [head];
  for (const row of rows) {
    parts.push(int(row.length, 2));
    for (const field of row) parts.push(int(field === null ? -1 : field.length, 4), field ?? Buffer.alloc(0));
  }
  return Buffer.concat([...parts, int(-1, 2)]);
}

export function rowsOf(bytes: Buffer): Field[][] {
  const rows: Field[][] = [];
  for (let at = 19; bytes.readInt16BE(at) !== -1; ) {
    const row: Field[] = [];
    const fields = bytes.readInt16BE(at);
    at += 2;
    for (let i = 0; i < fields; i++) {
      const length = bytes.readInt32BE(at);
      at += 4;
      row.push(length < 0 ? null : bytes.subarray(at, at + length));
      at += Math.max(0, length);
    }
    rows.push(row);
  }
  return rows;
}

export function int(value: number | bigint, bytes: number): Buffer {
  const all = Buffer.alloc(8);
  all.writeBigInt64BE(BigInt.asIntN(64, BigInt(value)));
  return all.subarray(8 - bytes);
}

/** mulberry32 */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const texts = [
  '',
  'a',
  'pg_stat_activity',
  'naïve café',
  '日本語テキスト',
  '🐘🐘',
  'x'.repeat(33),
  'tab\tand\nline',
  '\u{10ffff}',
];
const jsons = [
  '{}',
  '[]',
  'null',
  '"é"',
  '{"a":[1,2.5e3,{"b":null}],"c":"\\ud83d\\ude00"}',
  '-0.0',
  'true',
  '[[[[]]]]',
];

function pick<T>(list: readonly T[], next: () => number): T {
  return list[Math.floor(next() * list.length)]!;
}

/** A value of that type as PostgreSQL sends it. */
export function randomField(type: ColumnType, next: () => number): Buffer {
  const bits = (bytes: number) => Buffer.from(Array.from({ length: bytes }, () => Math.floor(next() * 256)));
  switch (type) {
    case 'bool':
      return int(next() < 0.5 ? 0 : 1, 1);
    case 'int2':
      return bits(2);
    case 'int4':
    case 'oid':
    case 'xid':
      return bits(4);
    case 'int8':
    case 'pg_lsn':
      return bits(8);
    case 'float4': {
      const bytes = Buffer.alloc(4);
      bytes.writeFloatBE(pick([0, -1.5, 3e30, Number.NaN, Number.POSITIVE_INFINITY, next()], next));
      return bytes;
    }
    case 'float8': {
      const bytes = Buffer.alloc(8);
      bytes.writeDoubleBE(pick([0, -1.5, 3e300, Number.NaN, Number.NEGATIVE_INFINITY, next()], next));
      return bytes;
    }
    case 'timestamptz':
      return int(pick([0n, -1n, (1n << 63n) - 1n, -(1n << 63n), BigInt(Math.floor(next() * 1e15))], next), 8);
    case 'interval':
      return Buffer.concat([
        int(BigInt(Math.floor((next() - 0.5) * 1e13)), 8),
        int(Math.floor(next() * 40), 4),
        int(Math.floor(next() * 30), 4),
      ]);
    case 'numeric': {
      const special = pick([0, 0, 0, 0, 0xc000, 0xd000, 0xf000], next);
      if (special !== 0) return Buffer.concat([int(0, 2), int(0, 2), int(special, 2), int(0, 2)]);
      const count = Math.floor(next() * 4);
      const digits = Array.from({ length: count }, () => int(1 + Math.floor(next() * 9999), 2));
      // Digits below the scale would not survive PostgreSQL; a scale of 16 covers all that four groups can have here.
      return Buffer.concat([
        int(count, 2),
        int(0, 2),
        int(count > 0 && next() < 0.5 ? 0x4000 : 0, 2),
        int(16, 2),
        ...digits,
      ]);
    }
    case 'inet':
      return next() < 0.5
        ? Buffer.concat([Buffer.from([2, Math.floor(next() * 33), 0, 4]), bits(4)])
        : Buffer.concat([Buffer.from([3, Math.floor(next() * 129), 0, 16]), bits(16)]);
    case 'json':
      return Buffer.from(pick(jsons, next));
    case 'jsonb':
      return Buffer.concat([Buffer.from([1]), Buffer.from(pick(jsons, next))]);
    case 'name':
      return Buffer.from(pick(texts, next));
    case 'text':
      return Buffer.from(pick(texts, next).repeat(next() < 0.02 ? 500 : 1));
    case 'text[]': {
      const items = Array.from({ length: Math.floor(next() * 4) }, () =>
        next() < 0.2 ? null : pick(texts, next),
      );
      if (items.length === 0) return Buffer.concat([int(0, 4), int(0, 4), int(25, 4)]);
      const fields = items.flatMap((item) =>
        item === null ? [int(-1, 4)] : [int(Buffer.byteLength(item), 4), Buffer.from(item)],
      );
      const nulls = items.includes(null) ? 1 : 0;
      return Buffer.concat([
        int(1, 4),
        int(nulls, 4),
        int(25, 4),
        int(items.length, 4),
        int(1, 4),
        ...fields,
      ]);
    }
  }
}

export function randomRows(
  columns: readonly ColumnSpec[],
  count: number,
  nulls: number,
  next: () => number,
): Field[][] {
  return Array.from({ length: count }, () =>
    columns.map(({ type }) => (next() < nulls ? null : randomField(type, next))),
  );
}
