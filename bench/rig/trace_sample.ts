/**
 * Small trace files for tests, written by hand's rules: rows from what a test cares about, rings as the profiler leaves them. In:
 * values by column. Out: CSV text, files in a folder of the caller's.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { csvColumns } from '../../native/index.js';

export type SampleRow = Readonly<Record<string, string | number | bigint | null>>;

export const traceHeader = `${csvColumns.map(({ name }) => name).join(',')}\n`;

/** 2026-11-23 08:00:00 UTC */
export const sampleStartUs = 1_795_420_800_000_000;

const usual: SampleRow = {
  trace: 1,
  exec_us: 100,
  elapsed_us: 120,
  parent: 0,
  level: 0,
  vxid: '3/7',
  pid: 4242,
  backend_start: sampleStartUs - 1_000_000,
  slot: 3,
  database: 'shop',
  username: 'app',
  application: 'checkout',
  client: '[local]',
  encoding: 'UTF8',
  tag: 'SELECT',
  rows: 1,
  shared_hit: 4,
  shared_read: 0,
  wal_records: 0,
  wal_bytes: 0,
  flags: 0,
};

function field(value: string | number | bigint | null | undefined): string {
  if (value === null || value === undefined) return '';
  const text = String(value);
  return text === '' || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** One row; `line` counts from 1, and the end time goes on by a millisecond each line. */
export function sampleRow(line: number, values: SampleRow = {}): string {
  const row: SampleRow = { ...usual, line, serial: line, end_time: sampleStartUs + line * 1000, ...values };
  return `${csvColumns.map(({ name }) => field(row[name])).join(',')}\n`;
}

export const csvFile = (slot: number, number = 1): string =>
  `slot_${String(slot).padStart(6, '0')}.${String(number).padStart(6, '0')}.v1.csv`;
export const ringFile = (slot: number): string => `slot_${String(slot).padStart(6, '0')}.ring`;

/** A CSV file of these rows; answers its bytes. */
export function writeCsv(folder: string, slot: number, rows: readonly string[], number = 1): number {
  mkdirSync(folder, { recursive: true });
  const text = Buffer.from(traceHeader + rows.join(''));
  writeFileSync(join(folder, csvFile(slot, number)), text);
  return text.length;
}

export interface SampleRing {
  readonly trace?: number;
  readonly slot: number;
  readonly file: number;
  /** Bytes of that file that are flushed. */
  readonly base: number;
  readonly rows: string;
  /** Bytes behind the committed ones, which nobody may see. */
  readonly torn?: string;
  readonly line?: number;
  readonly lost?: number;
}

/** A ring file as prof_ring.h describes it. */
export function ringBytes(ring: SampleRing): Buffer {
  const rows = Buffer.from(ring.rows);
  const bytes = Buffer.alloc(4096 + 65_536);
  const position = (offset: number): bigint => (BigInt(ring.file) << 40n) | BigInt(offset);
  bytes.write('PEMRING1', 'latin1');
  bytes.writeInt32LE(ring.trace ?? 1, 8);
  bytes.writeInt32LE(ring.slot, 12);
  bytes.writeBigUInt64LE(position(ring.base), 16);
  bytes.writeBigUInt64LE(position(ring.base + rows.length), 24);
  bytes.writeBigUInt64LE(BigInt(ring.line ?? 0), 32);
  bytes.writeBigUInt64LE(BigInt(ring.lost ?? 0), 40);
  bytes.writeUInt32LE(1, 48);
  rows.copy(bytes, 4096);
  Buffer.from(ring.torn ?? '').copy(bytes, 4096 + rows.length);
  return bytes;
}

export function writeRing(folder: string, ring: SampleRing): void {
  writeFileSync(join(folder, ringFile(ring.slot)), ringBytes(ring));
}
