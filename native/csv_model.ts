/**
 * Trace files for tests and benchmarks. In: values of rows. Out: the bytes that the profiler would write for them. Random
 * rows come from a seeded generator, so that a failure can be repeated.
 */
import { type CsvColumn, csvColumns } from './csv.js';

/** null: unknown, an empty field. */
export type CsvValue = null | number | bigint | string | Buffer;
export type CsvRow = Readonly<Record<string, CsvValue>>;

export function field(value: CsvValue): Buffer {
  if (value === null) return Buffer.alloc(0);
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(String(value));
  if (bytes.length !== 0 && !/[",\r\n]/.test(bytes.toString('latin1'))) return bytes;
  return Buffer.from(`"${bytes.toString('latin1').replaceAll('"', '""')}"`, 'latin1');
}

/** One line of a file with these columns. */
export function line(row: CsvRow, names: readonly string[], end = '\n'): Buffer {
  const parts: Buffer[] = [];
  for (const [i, name] of names.entries()) {
    if (i > 0) parts.push(Buffer.from(','));
    parts.push(field(row[name] ?? null));
  }
  return Buffer.concat([...parts, Buffer.from(end)]);
}

export const allNames: readonly string[] = csvColumns.map((column) => column.name);
export const headerLine: Buffer = Buffer.from(`${allNames.join(',')}\n`);

/** A whole file with all columns. */
export function file(rows: readonly CsvRow[]): Buffer {
  return Buffer.concat([headerLine, ...rows.map((row) => line(row, allNames))]);
}

const texts = [
  '',
  'a',
  'SELECT 1',
  'naïve café, "quoted"',
  '日本語',
  '🐘',
  'line\nbreak\r\nand\rmore',
  '"',
  '""',
  ',',
  '\\x41',
  'x'.repeat(31),
  'y'.repeat(32),
  'z'.repeat(33),
  `SELECT '${'long '.repeat(100)}'`,
];

const ranges: Readonly<Record<string, readonly [bigint, bigint]>> = {
  int4: [-(2n ** 31n), 2n ** 31n - 1n],
  xid: [0n, 2n ** 32n - 1n],
  int8: [-(2n ** 63n), 2n ** 63n - 1n],
  timestamptz: [0n, 2n ** 62n],
};

/** A value of the column's type, small and large ones alike. */
export function randomValue(column: CsvColumn, nulls: number, next: () => number): CsvValue {
  if (next() < nulls) return null;
  const range = ranges[column.type];
  if (range === undefined) {
    const text = texts[Math.floor(next() * texts.length)]!;
    return column.type === 'name' ? text.slice(0, 20) : text;
  }
  const [least, most] = range;
  const kind = next();
  if (kind < 0.05) return least;
  if (kind < 0.1) return most;
  const digits = Math.floor(next() * 19);
  const value =
    BigInt(Math.floor(next() * 10 ** Math.min(digits, 15))) * 10n ** BigInt(Math.max(0, digits - 15));
  const signed = least < 0n && next() < 0.2 ? -value : value;
  return signed < least || signed > most ? signed % 1000n : signed;
}

/** Rows of UTF8 databases, without bytes that would have to be escaped. */
export function randomRows(count: number, nulls: number, next: () => number): CsvRow[] {
  return Array.from({ length: count }, () => {
    const row: Record<string, CsvValue> = {};
    for (const column of csvColumns) row[column.name] = randomValue(column, nulls, next);
    row.encoding = 'UTF8';
    return row;
  });
}

const statements = [
  ['BEGIN', 'BEGIN;'],
  ['UPDATE', 'UPDATE pgbench_accounts SET abalance = abalance + $delta WHERE aid = $aid;'],
  ['SELECT', 'SELECT abalance FROM pgbench_accounts WHERE aid = $aid;'],
  ['UPDATE', 'UPDATE pgbench_tellers SET tbalance = tbalance + $delta WHERE tid = 7;'],
  ['UPDATE', 'UPDATE pgbench_branches SET bbalance = bbalance + $delta WHERE bid = 1;'],
  [
    'INSERT',
    'INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (7, 1, $aid, $delta, CURRENT_TIMESTAMP);',
  ],
  ['COMMIT', 'END;'],
] as const;

const counters = [
  ...['shared_hit', 'shared_read', 'shared_dirtied', 'shared_written', 'local_hit', 'local_read'],
  ...['local_dirtied', 'local_written', 'temp_read', 'temp_written', 'wal_records', 'wal_fpi', 'wal_bytes'],
  ...['jit_us', 'workers_planned', 'workers_launched', 'shared_read_us', 'shared_write_us', 'temp_read_us'],
  'temp_write_us',
];

/** A backend's file of pgbench's TPC-B-like script, simple protocol, default columns, track_io_timing on: 290 bytes a row. */
export function pgbenchFile(count: number, next: () => number): Buffer {
  const parts: Buffer[] = [headerLine];
  const whole = (least: number, most: number) => least + Math.floor(next() * (most - least + 1));
  let time = 1_790_000_000_000_000;
  for (let i = 0; i < count; i++) {
    time += whole(40, 900);
    const [tag, text] = statements[i % statements.length]!;
    const works = tag !== 'BEGIN' && tag !== 'COMMIT';
    const writes = tag === 'UPDATE' || tag === 'INSERT';
    const row: Record<string, CsvValue> = {
      ...{ trace: 1, line: i + 1, end_time: time, exec_us: whole(8, 400), elapsed_us: whole(20, 900) },
      ...{ serial: i + 1, parent: 0, level: 0, vxid: `3/${Math.floor(i / 7) + 2}` },
      ...{ xid: writes || tag === 'COMMIT' ? 700 + Math.floor(i / 7) : null, pid: 123_456 },
      ...{ backend_start: 1_789_999_995_000_000, slot: 3, database: 'pgbench_1000', username: 'application' },
      ...{ application: 'pgbench', client: '192.168.117.24', encoding: 'UTF8', tag },
      query_id: BigInt(whole(-(2 ** 31), 2 ** 31)) * 2n ** 32n + BigInt(whole(0, 2 ** 32 - 1)),
      ...{ plan_us: works ? whole(10, 90) : null, rows: works ? 1 : 0, flags: 0 },
      query: text.replace('$aid', String(whole(1, 100_000))).replace('$delta', String(whole(-5000, 5000))),
    };
    for (const name of counters) row[name] = 0;
    if (works) row.shared_hit = whole(3, 12);
    if (writes) {
      row.shared_dirtied = whole(0, 2);
      row.wal_records = whole(1, 3);
      row.wal_bytes = whole(70, 300);
    }
    parts.push(line(row, allNames));
  }
  return Buffer.concat(parts);
}
