/**
 * Rows of JavaScript values -> PGCOPY binary, for collectors whose rows are made in JavaScript.
 *
 * In: columns and rows. Out: one stream, header to trailer; whoever reads it checks it. Throws PemError codec_bad_value
 * that names column and row. The address of an inet is parsed by node:net, its bytes by hand.
 */
import { isIP } from 'node:net';
import { PemError } from '../src/base/errors.js';
import type { CellValue, ColumnSpec } from './codec.js';

const signature = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
const nullField = Buffer.from([0xff, 0xff, 0xff, 0xff]);
/** µs from 1970 to 2000, where PostgreSQL's times begin. */
const epochUs = 946684800000000n;
const int64 = { min: -(1n << 63n), max: (1n << 63n) - 1n };

/** One PGCOPY stream of the rows. */
export function rowsToPgcopy(
  columns: readonly ColumnSpec[],
  rows: readonly (readonly CellValue[])[],
): Buffer {
  const parts: Buffer[] = [signature];
  const count = Buffer.alloc(2);
  count.writeUInt16BE(columns.length);
  rows.forEach((row, i) => {
    if (row.length !== columns.length) {
      throw bad(`row ${i + 1} has ${row.length} values for ${columns.length} columns`);
    }
    parts.push(count);
    columns.forEach((column, k) => {
      const value = row[k] ?? null;
      if (value === null) {
        parts.push(nullField);
        return;
      }
      try {
        const bytes = field(column, value);
        const length = Buffer.alloc(4);
        length.writeUInt32BE(bytes.length);
        parts.push(length, bytes);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw bad(`column "${column.name}" (${column.type}), row ${i + 1}: ${why}`);
      }
    });
  });
  parts.push(Buffer.from([0xff, 0xff]));
  return Buffer.concat(parts);
}

function bad(message: string): PemError {
  return new PemError('codec_bad_value', message, 'refused');
}

function field(column: ColumnSpec, value: CellValue): Buffer {
  switch (column.type) {
    case 'bool':
      if (typeof value !== 'boolean') throw new Error('not a boolean');
      return Buffer.from([value ? 1 : 0]);
    case 'int2':
      return integer(value, 2, -(1n << 15n), (1n << 15n) - 1n);
    case 'int4':
      return integer(value, 4, -(1n << 31n), (1n << 31n) - 1n);
    case 'oid':
    case 'xid':
      return integer(value, 4, 0n, (1n << 32n) - 1n);
    case 'int8':
      return integer(value, 8, int64.min, int64.max);
    case 'pg_lsn':
      return integer(typeof value === 'string' ? lsn(value) : value, 8, 0n, (1n << 64n) - 1n);
    case 'timestamptz':
      return time(value);
    case 'float4':
    case 'float8': {
      const number = typeof value === 'bigint' ? Number(value) : value;
      if (typeof number !== 'number') throw new Error('not a number');
      const bytes = Buffer.alloc(column.type === 'float4' ? 4 : 8);
      if (column.type === 'float4') bytes.writeFloatBE(number);
      else bytes.writeDoubleBE(number);
      return bytes;
    }
    case 'numeric':
      return numeric(typeof value === 'bigint' || typeof value === 'number' ? decimal(value) : text(value));
    case 'inet':
      return inet(text(value));
    case 'text[]':
      return array(value);
    case 'jsonb':
      return Buffer.concat([Buffer.from([1]), Buffer.from(text(value))]);
    case 'text':
    case 'name':
    case 'json':
      return Buffer.from(text(value));
    default:
      throw new Error('cannot be made from a JavaScript value');
  }
}

function text(value: CellValue): string {
  if (typeof value !== 'string') throw new Error('not a string');
  return value;
}

function whole(value: CellValue): bigint {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  throw new Error('not a whole number');
}

function integer(value: CellValue, bytes: number, min: bigint, max: bigint): Buffer {
  const number = whole(value);
  if (number < min || number > max) throw new Error('out of range');
  const all = Buffer.alloc(8);
  all.writeBigInt64BE(BigInt.asIntN(64, number));
  return all.subarray(8 - bytes);
}

function time(value: CellValue): Buffer {
  const us = whole(value);
  if (us < int64.min || us > int64.max) throw new Error('out of range');
  return integer(us === int64.min || us === int64.max ? us : us - epochUs, 8, int64.min, int64.max);
}

function lsn(value: string): bigint {
  const match = /^([0-9a-f]{1,8})\/([0-9a-f]{1,8})$/i.exec(value);
  if (!match) throw new Error('not a log position');
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

/** A number's digits without an exponent. */
function decimal(value: number | bigint): string {
  const shown = String(value);
  const match = /^(-?)(\d+)(?:\.(\d+))?e([+-]\d+)$/.exec(shown);
  if (!match) return shown === 'Infinity' || shown === '-Infinity' ? shown.toLowerCase() : shown;
  const digits = match[2]! + (match[3] ?? '');
  const point = match[2]!.length + Number(match[4]);
  const padded = digits.padEnd(point, '0').padStart(digits.length + Math.max(0, 1 - point), '0');
  const whole = Math.max(point, 1);
  return `${match[1]}${padded.slice(0, whole)}${padded.length > whole ? `.${padded.slice(whole)}` : ''}`;
}

const specialSigns: Readonly<Record<string, number>> = { nan: 0xc000, infinity: 0xd000, '-infinity': 0xf000 };

/** Decimal text -> base 10000 digits, as PostgreSQL sends numeric. */
function numeric(value: string): Buffer {
  const special = specialSigns[value.toLowerCase()];
  if (special !== undefined) return Buffer.from([0, 0, 0, 0, special >> 8, special & 0xff, 0, 0]);
  const match = /^([+-]?)(\d*)(?:\.(\d*))?$/.exec(value);
  if (!match || (match[2] + (match[3] ?? '')).length === 0) throw new Error('not a decimal number');
  const before = match[2]!.replace(/^0+/, '');
  const after = match[3] ?? '';
  if (before.length > 131072 || after.length > 16383) throw new Error('out of range');
  const left = before.padStart(Math.ceil(before.length / 4) * 4, '0');
  const all = left + after.padEnd(Math.ceil(after.length / 4) * 4, '0');
  const digits: number[] = [];
  for (let i = 0; i < all.length; i += 4) digits.push(Number(all.slice(i, i + 4)));
  let weight = left.length / 4 - 1;
  while (digits.length > 0 && digits[0] === 0) {
    digits.shift();
    weight--;
  }
  while (digits.length > 0 && digits.at(-1) === 0) digits.pop();
  const zero = digits.length === 0;
  const bytes = Buffer.alloc(8 + 2 * digits.length);
  bytes.writeUInt16BE(digits.length, 0);
  bytes.writeInt16BE(zero ? 0 : weight, 2);
  bytes.writeUInt16BE(match[1] === '-' && !zero ? 0x4000 : 0, 4);
  bytes.writeUInt16BE(after.length, 6);
  digits.forEach((digit, i) => {
    bytes.writeUInt16BE(digit, 8 + 2 * i);
  });
  return bytes;
}

function inet(value: string): Buffer {
  const slash = value.indexOf('/');
  const address = slash < 0 ? value : value.slice(0, slash);
  const version = isIP(address);
  if (version === 0 || address.includes('%')) throw new Error('not an address');
  const most = version === 4 ? 32 : 128;
  const mask = slash < 0 ? String(most) : value.slice(slash + 1);
  if (!/^\d{1,3}$/.test(mask) || Number(mask) > most) throw new Error('not a netmask');
  const bytes = version === 4 ? address.split('.').map(Number) : ipv6(address);
  return Buffer.from([version === 4 ? 2 : 3, Number(mask), 0, bytes.length, ...bytes]);
}

/** An address that isIP has found sound. */
function ipv6(address: string): number[] {
  const part = (piece: string): number[] =>
    piece === ''
      ? []
      : piece.split(':').flatMap((group) => {
          if (group.includes('.')) return group.split('.').map(Number);
          const number = Number.parseInt(group, 16);
          return [number >> 8, number & 0xff];
        });
  const [head, tail] = address.split('::');
  const left = part(head!);
  if (tail === undefined) return left;
  const right = part(tail);
  return [...left, ...new Array<number>(16 - left.length - right.length).fill(0), ...right];
}

function array(value: CellValue): Buffer {
  if (!Array.isArray(value)) throw new Error('not an array of strings');
  const items: readonly string[] = value;
  const head = Buffer.alloc(items.length === 0 ? 12 : 20);
  head.writeUInt32BE(items.length === 0 ? 0 : 1, 0);
  head.writeUInt32BE(25, 8);
  if (items.length > 0) {
    head.writeUInt32BE(items.length, 12);
    head.writeUInt32BE(1, 16);
  }
  const parts = [head];
  for (const item of items) {
    const bytes = Buffer.from(text(item));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    parts.push(length, bytes);
  }
  return Buffer.concat(parts);
}
