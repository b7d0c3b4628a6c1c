/**
 * A block's columns as typed arrays, for server and browser.
 *
 * In: the bytes of one verified block. Out: views into those bytes, no copy (where they lie at a multiple of 8; else the
 * block is copied once). Whoever owns the bytes must leave them unchanged as long as the views are used. Nothing is
 * verified here: bytes from an agent go through native verification first.
 */
import { ByteBuffer } from 'flatbuffers';
import type { ColumnType } from './config.js';
import { columnTypes } from './config.js';
import { Block as Table } from './gen/pem/wire/block.js';
import { inetText, intervalText, lsnText, numericText, textArray, textOf, timeText } from './values.js';

export type FixedValues =
  | Uint8Array
  | Int16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

export interface BlockColumn {
  readonly name: string;
  readonly type: ColumnType;
  /** Bit (i & 7) of byte (i >> 3): row i is NULL. Null: no NULLs. */
  readonly nulls: Uint8Array | null;
  /**
   * Fixed-width columns, one number for each row (interval: two, [µs, days and months]): bool Uint8, int2 Int16,
   * int4 Int32, oid and xid Uint32, float4/8, int8 and timestamptz BigInt64, pg_lsn BigUint64. Null: variable width.
   */
  readonly values: FixedValues | null;
  /** Variable columns: rows + 1 places in `bytes`. */
  readonly offsets: Uint32Array | null;
  readonly bytes: Uint8Array | null;
}

export interface BlockData {
  readonly target: bigint;
  readonly probe: string;
  readonly probeVersion: number;
  readonly kind: 'full' | 'delta' | 'append';
  readonly scope: string | undefined;
  readonly recordedAtUs: bigint;
  readonly intervalUs: bigint;
  readonly rows: number;
  /** The last rows, keys alone: they are gone. */
  readonly tombstones: number;
  readonly columns: readonly BlockColumn[];
}

/** A value that JSON can hold. */
export type Cell = null | boolean | number | string | readonly (string | null)[];

const kinds = { 1: 'full', 2: 'delta', 3: 'append' } as const;

/** The columns of a block. */
export function readBlock(bytes: Uint8Array): BlockData {
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : new Uint8Array(bytes);
  const table = Table.getRootAsBlock(new ByteBuffer(aligned));
  const rows = table.rows();
  const columns: BlockColumn[] = [];
  for (let i = 0; i < table.columnsLength(); i++) {
    const column = table.columns(i)!;
    const type = columnTypes[column.type() - 1]!;
    const fixed = column.fixedArray();
    columns.push({
      name: column.name()!,
      type,
      nulls: column.nullsArray(),
      values: fixed === null ? null : fixedValues(type, fixed),
      offsets: column.offsetsArray(),
      bytes: column.bytesArray(),
    });
  }
  return {
    target: table.target(),
    probe: table.probe()!,
    probeVersion: table.probeVersion(),
    kind: kinds[table.kind()],
    scope: table.scope() ?? undefined,
    recordedAtUs: table.recordedAtUs(),
    intervalUs: table.intervalUs(),
    rows,
    tombstones: table.tombstones(),
    columns,
  };
}

function fixedValues(type: ColumnType, fixed: Uint8Array): FixedValues | null {
  const n = fixed.byteLength;
  // A typed array must not begin between its elements; an empty column may lie anywhere.
  const at = n === 0 ? ([new ArrayBuffer(0), 0] as const) : ([fixed.buffer, fixed.byteOffset] as const);
  switch (type) {
    case 'bool':
      return fixed;
    case 'int2':
      return new Int16Array(...at, n / 2);
    case 'int4':
      return new Int32Array(...at, n / 4);
    case 'oid':
    case 'xid':
      return new Uint32Array(...at, n / 4);
    case 'float4':
      return new Float32Array(...at, n / 4);
    case 'float8':
      return new Float64Array(...at, n / 8);
    case 'pg_lsn':
      return new BigUint64Array(...at, n / 8);
    case 'int8':
    case 'timestamptz':
    case 'interval':
      return new BigInt64Array(...at, n / 8);
    default:
      return null;
  }
}

/** The column of that name. */
export function columnOf(block: BlockData, name: string): BlockColumn | undefined {
  return block.columns.find((column) => column.name === name);
}

export function isNull(column: BlockColumn, row: number): boolean {
  return column.nulls !== null && ((column.nulls[row >> 3]! >> (row & 7)) & 1) === 1;
}

/** The bytes of a variable column's value. */
export function bytesAt(column: BlockColumn, row: number): Uint8Array {
  return column.bytes!.subarray(column.offsets![row]!, column.offsets![row + 1]!);
}

/** text, name, json, jsonb: the text; '' where NULL. */
export function textAt(column: BlockColumn, row: number): string {
  return textOf(bytesAt(column, row));
}

/** A number for charts: any numeric type, timestamptz in seconds since 1970; NaN where NULL or no number. */
export function numberAt(column: BlockColumn, row: number): number {
  if (isNull(column, row)) return Number.NaN;
  if (column.type === 'numeric') return Number(numericText(bytesAt(column, row)));
  if (column.values === null || column.type === 'interval') return Number.NaN;
  const value = Number(column.values[row]);
  return column.type === 'timestamptz' ? value / 1e6 : value;
}

/** A whole column by numberAt, the way charts take it. */
export function numbersOf(column: BlockColumn, rows: number): Float64Array {
  const out = new Float64Array(rows);
  for (let row = 0; row < rows; row++) out[row] = numberAt(column, row);
  return out;
}

const noNumber = (value: number): Cell => (Number.isFinite(value) ? value : String(value));

/** int8 is a number while a number holds it exactly, else its decimal text. */
function wholeCell(value: bigint): Cell {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value.toString();
}

/** A value as JSON shows it: numbers, texts as PostgreSQL prints them, times as ISO 8601 in UTC. */
export function cellAt(column: BlockColumn, row: number): Cell {
  if (isNull(column, row)) return null;
  const { values, type } = column;
  switch (type) {
    case 'bool':
      return values![row] !== 0;
    case 'int8':
      return wholeCell((values as BigInt64Array)[row]!);
    case 'timestamptz':
      return timeText((values as BigInt64Array)[row]!);
    case 'pg_lsn':
      return lsnText((values as BigUint64Array)[row]!);
    case 'interval': {
      const pair = values as BigInt64Array;
      const parts = pair[2 * row + 1]!;
      const days = Number(BigInt.asIntN(32, parts));
      return intervalText(pair[2 * row]!, days, Number(BigInt.asIntN(32, parts >> 32n)));
    }
    case 'numeric':
      return numericText(bytesAt(column, row));
    case 'inet':
      return inetText(bytesAt(column, row));
    case 'text[]':
      return textArray(bytesAt(column, row));
    case 'text':
    case 'name':
    case 'json':
    case 'jsonb':
      return textAt(column, row);
    default:
      return noNumber(values![row] as number);
  }
}

/** All rows, tombstones too, as objects: for REST and tests. */
export function blockRows(block: BlockData): Record<string, Cell>[] {
  const rows: Record<string, Cell>[] = [];
  for (let row = 0; row < block.rows; row++) {
    const object: Record<string, Cell> = {};
    for (const column of block.columns) object[column.name] = cellAt(column, row);
    rows.push(object);
  }
  return rows;
}
