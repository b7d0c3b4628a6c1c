/** The log of positions: what a start makes of what the process before it left, whenever that ended. */
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentLog } from '../../bench/rig/clock.js';
import { keptCounts, noCounts, PositionLog, type RunCounts } from './positions.js';

let folder: string;
let file: string;
/** Batches in the spool. */
let spool: Set<string>;
const { log, lines } = silentLog();

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pem-positions-'));
  file = join(folder, 'traces', '1_m1.positions');
  spool = new Set();
  lines.length = 0;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = (): PositionLog => new PositionLog(file, (boot, seq) => spool.has(`${boot}/${seq}`), log);
const counts = (rowsRead: number): RunCounts => ({ ...noCounts, rowsRead });
const read = (positions: PositionLog): unknown => Object.fromEntries(positions.read);
const counted = (positions: PositionLog): unknown => Object.fromEntries(positions.counted);

test('what was written is there again, counts too; a new log is empty and in the folder of nobody else', () => {
  const first = open();
  expect([first.found, read(first), first.counts]).toEqual([false, {}, noCounts]);
  first.writing('a', 1, [[3, 1, 500]], false, counts(5));
  first.written();
  first.writing('a', 2, [[3, 1, 900], [4, 2, 70]], true, counts(9)); // biome-ignore format: pairs
  first.written();
  first.passed([[4, 2, 80]], counts(10));
  first.close();
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(keptCounts(file)).toEqual(counts(10));
  const second = open();
  expect(second.found).toBe(true);
  expect(read(second)).toEqual({ 3: { file: 1, at: 900 }, 4: { file: 2, at: 80 } });
  expect(counted(second)).toEqual({ 3: { file: 1, at: 900 }, 4: { file: 2, at: 70 } });
  expect(second.counts).toEqual(counts(10));
});

test('the last line counts when its batch is in the spool, and only then', () => {
  for (const isThere of [false, true]) {
    rmSync(file, { force: true });
    const first = open();
    first.writing('a', 1, [[0, 1, 100]], true, counts(1));
    first.written();
    first.writing('a', 2, [[0, 1, 200]], true, counts(2));
    // Here the process is killed: before the write of the batch, or behind it.
    first.close();
    spool = new Set(isThere ? ['a/1', 'a/2'] : ['a/1']);
    for (let starts = 0; starts < 2; starts++) {
      const next = open();
      const at = isThere ? 200 : 100;
      expect(read(next)).toEqual({ 0: { file: 1, at } });
      expect(counted(next)).toEqual({ 0: { file: 1, at } });
      expect(next.counts).toEqual(counts(isThere ? 2 : 1));
      next.close();
      // What was decided once stays: batches leave the spool.
      spool = new Set();
    }
  }
});

test('a batch that left the spool long ago counts: its line is confirmed', () => {
  const first = open();
  first.writing('a', 1, [[0, 1, 100]], false, counts(1));
  first.written();
  first.close();
  expect(read(open())).toEqual({ 0: { file: 1, at: 100 } });
});

test('a line that is torn, or nonsense, ends what is believed', () => {
  for (const torn of ['{"b":"a","s":2,"p":[[0,1,2', 'null', '[', '\u0000\u0000']) {
    rmSync(file, { force: true });
    const first = open();
    first.writing('a', 1, [[0, 1, 100]], false, counts(1));
    first.written();
    first.close();
    appendFileSync(file, `${torn}\n{"p":[[0,1,300]],"n":[3]}\n`);
    expect(read(open())).toEqual({ 0: { file: 1, at: 100 } });
  }
  writeFileSync(file, 'not a log');
  expect(read(open())).toEqual({});
});

test('it stays small, however long a run is', () => {
  const first = open();
  for (let n = 1; n <= 40_000; n++) {
    first.writing('00000000-0000-4000-8000-000000000001', n, [[n % 7, 1, n]], n % 10 === 0, counts(n));
    first.written();
  }
  first.close();
  expect(statSync(file).size).toBeLessThan(1_200_000);
  const next = open();
  expect(next.counts.rowsRead).toBe(40_000);
  expect(next.read.get(40_000 % 7)).toEqual({ file: 1, at: 40_000 });
  expect(next.counted).toEqual(next.read);
});

test('rows that were left out, or travel in aggregates alone', () => {
  const first = open();
  first.passed([[0, 1, 100]], counts(1));
  expect([read(first), counted(first)]).toEqual([{ 0: { file: 1, at: 100 } }, {}]);
  first.settled([[1, 4, 9]], { ...counts(1), rowsSkipped: 7 });
  expect(counted(first)).toEqual({ 0: { file: 1, at: 100 }, 1: { file: 4, at: 9 } });
  first.close();
  expect(open().counts).toMatchObject({ rowsRead: 1, rowsSkipped: 7 });
});

test('a folder that cannot be written is said once, and the run goes on', () => {
  writeFileSync(join(folder, 'traces'), 'in the way');
  const first = open();
  for (let n = 1; n < 5; n++) {
    first.writing('a', n, [[0, 1, n]], false, counts(n));
    first.written();
  }
  expect(read(first)).toEqual({ 0: { file: 1, at: 4 } });
  expect(lines.filter((line) => line.includes('trace_positions'))).toHaveLength(1);
  expect(existsSync(file)).toBe(false);
  expect(readFileSync(join(folder, 'traces'), 'utf8')).toBe('in the way');
});
