import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { csvFile, sampleRow, sampleStartUs, writeCsv, writeRing } from '../../../bench/rig/trace_sample.js';
import type { TraceFilter } from '../../../native/index.js';
import { FolderStore } from './folder.js';
import { Follower } from './follow.js';
import { columnsOf } from './format.js';
import { Printer } from './tail_print.js';

let folder: string;
let store: FolderStore;
const signal = new AbortController().signal;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pem-tail-'));
  store = new FolderStore(folder, { allowEmpty: true });
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true, force: true });
});

function printer(
  columns: number | undefined,
  filter: TraceFilter = {},
): { printed: () => string; made: Printer; notes: string[] } {
  let text = '';
  const notes: string[] = [];
  const made = new Printer({
    filter,
    json: false,
    wide: false,
    write: (more) => {
      text += more.toString();
      return true;
    },
    drained: () => Promise.resolve(),
    columns: () => columns,
    colours: false,
    note: (note) => notes.push(note),
  });
  const printed = (): string => {
    const now = text;
    text = '';
    return now;
  };
  return { printed, made, notes };
}

const marked = (line: number, values = {}): string => sampleRow(line, { query: `SELECT ${line}`, ...values });

test('rows come once each, in the order of time, from rings, flushed files and the next file', async () => {
  const { printed, made } = printer(undefined);
  const follower = new Follower(store, { all: false });
  const look = async (): Promise<string[]> => {
    await follower.look();
    expect(await made.print(follower, signal, 1000)).toBe(true);
    return [...printed().matchAll(/SELECT (\d+)/g)].map((match) => match[1] as string);
  };
  let base = writeCsv(folder, 3, [marked(1)]);
  writeRing(folder, { slot: 3, file: 1, base, rows: marked(2) });
  // What is there at the first look is the past.
  expect(await look()).toEqual([]);
  writeRing(folder, { slot: 3, file: 1, base, rows: marked(2) + marked(3), torn: 'half a r' });
  expect(await look()).toEqual(['3']);
  // Flushed, and the ring begun anew.
  appendFileSync(join(folder, csvFile(3)), marked(2) + marked(3));
  base += Buffer.byteLength(marked(2) + marked(3));
  writeRing(folder, { slot: 3, file: 1, base, rows: marked(4) });
  expect(await look()).toEqual(['4']);
  expect(await look()).toEqual([]);
  // Rotation, and a new slot whose rows ended earlier.
  appendFileSync(join(folder, csvFile(3)), marked(4) + marked(6));
  base = writeCsv(folder, 3, [], 2);
  writeRing(folder, { slot: 3, file: 2, base, rows: marked(8) });
  const other = writeCsv(folder, 9, [marked(5, { slot: 9 })]);
  writeRing(folder, { slot: 9, file: 1, base: other, rows: marked(7, { slot: 9 }) });
  const seen: string[] = [];
  for (let i = 0; i < 3 && seen.length < 4; i++) seen.push(...(await look()));
  expect([...seen].sort()).toEqual(['5', '6', '7', '8']);
});

test('a line fits the terminal, and a hostile text does not speak to it', async () => {
  const follower = new Follower(store, { all: true });
  const rows = [
    marked(1, { query: `SELECT '\u001b[2J\u0007' ${'x'.repeat(300)}`, exec_us: 2_500_000 }),
    marked(2, {
      sqlstate: '42P01',
      error: 'relation "nope" does not exist',
      query: 'SELECT * FROM nope',
      username: '日本',
    }),
    marked(3, { level: 2, exec_us: null, query: 'line one\nline two' }),
  ];
  const base = writeCsv(folder, 3, rows);
  writeRing(folder, { slot: 3, file: 1, base, rows: '' });
  const { printed, made } = printer(100);
  await follower.look();
  await made.print(follower, signal, 1000);
  const lines = printed().trimEnd().split('\n');
  expect(lines).toHaveLength(3);
  expect(lines.every((line) => columnsOf(line) <= 100 && !/\p{C}/u.test(line))).toBe(true);
  expect(lines[0]).toMatch(/^08:00:00\.001000 {4}2\.5 s {5}4242 {2}app@shop {2}SELECT/);
  expect(lines[1]).toContain('[42P01 relation "nope" does not exist]  SELECT');
  expect(lines[2]).toContain('↳ line one line two');
});

test('filters hold, and a damaged row is told of while the rest goes on', async () => {
  const follower = new Follower(store, { all: true });
  const base = writeCsv(folder, 3, [
    marked(1),
    '1,2,oops"x\n',
    marked(3, { end_time: sampleStartUs, exec_us: 90_000 }),
    marked(4),
  ]);
  writeRing(folder, { slot: 3, file: 1, base, rows: '' });
  const { printed, made, notes } = printer(undefined, { minUs: 1000 });
  await follower.look();
  await made.print(follower, signal, 1000);
  expect(printed().match(/SELECT \d/g)).toEqual(['SELECT 3']);
  expect(notes).toEqual([expect.stringMatching(/^slot 3: byte \d+: .*; left out$/)]);
});
