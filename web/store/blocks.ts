/**
 * A block as the UI reads it: columns by name, cells as number or text. The bytes stay as they came; nothing is decoded
 * before it is asked for.
 */
import {
  cellAt,
  isNull,
  numberAt,
  readBlock as readWire,
  textAt,
  type BlockColumn as WireColumn,
} from '../../src/wire/block.js';
import type { ColumnType } from '../../src/wire/config.js';

export interface BlockColumn {
  readonly name: string;
  readonly type: ColumnType;
  isNull(row: number): boolean;
  /** The cell as a number (timestamps: µs since 1970); NaN for NULL and for what is no number. */
  number(row: number): number;
  /** The cell as text; null for NULL. */
  text(row: number): string | null;
}

export interface Block {
  readonly kind: 'full' | 'delta' | 'append';
  readonly scope: string;
  readonly target: number;
  readonly probe: string;
  readonly recordedAtUs: number;
  readonly intervalUs: number;
  /** All rows, the tombstones at the end included. */
  readonly rows: number;
  readonly tombstones: number;
  readonly columnNames: readonly string[];
  column(name: string): BlockColumn | undefined;
}

const plainText = new Set<ColumnType>(['text', 'name', 'json', 'jsonb']);

function columnView(column: WireColumn): BlockColumn {
  // Times stay in µs: an age is taken from recordedAtUs, and a browser's number holds µs exactly until the year 2255.
  const scale = column.type === 'timestamptz' ? 1e6 : 1;
  const asText = plainText.has(column.type);
  return {
    name: column.name,
    type: column.type,
    isNull: (row) => isNull(column, row),
    number: (row) => numberAt(column, row) * scale,
    text: (row) => {
      if (isNull(column, row)) return null;
      return asText ? textAt(column, row) : String(cellAt(column, row));
    },
  };
}

/** @param bytes one block; they stay referenced as long as the result is */
export function readBlock(bytes: Uint8Array): Block {
  const data = readWire(bytes);
  const columns = new Map(data.columns.map((column) => [column.name, columnView(column)]));
  return {
    kind: data.kind,
    scope: data.scope ?? '',
    target: Number(data.target),
    probe: data.probe,
    recordedAtUs: Number(data.recordedAtUs),
    intervalUs: Number(data.intervalUs),
    rows: data.rows,
    tombstones: data.tombstones,
    columnNames: [...columns.keys()],
    column: (name) => columns.get(name),
  };
}
