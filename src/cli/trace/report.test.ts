import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  csvFile,
  type SampleRow,
  sampleRow,
  sampleStartUs,
  traceHeader,
  writeCsv,
  writeRing,
} from '../../../bench/rig/trace_sample.js';
import type { TraceFilter } from '../../../native/index.js';
import { FolderStore } from './folder.js';
import { columnsOf } from './format.js';
import { exportRows } from './merge.js';
import { reportHtml } from './report_html.js';
import { buildReport, type Report } from './report_model.js';
import { reportText } from './report_text.js';
import { scanTrace } from './scan.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pem-report-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function report(filter: TraceFilter = {}, path = folder): Promise<Report> {
  const store = new FolderStore(path);
  try {
    const scanned = await scanTrace(store, { filter, top: 10, quiet: true });
    return buildReport(scanned, { kind: store.kind, name: store.name, filter: {}, madeAt: new Date(0) });
  } finally {
    await store.close();
  }
}

/** `count` rows from line `first` on. */
const rows = (first: number, count: number, values: SampleRow = {}): string[] =>
  Array.from({ length: count }, (_, i) =>
    sampleRow(first + i, { query: 'SELECT $1', query_id: 7, ...values }),
  );

test('figures of statements, totals and names are what the rows say', async () => {
  writeCsv(folder, 3, [
    ...rows(1, 4, { exec_us: 100, rows: 2, shared_hit: 5, shared_read: 1 }),
    sampleRow(5, {
      query: 'UPDATE t SET a = 1 WHERE b = 2',
      tag: 'UPDATE',
      exec_us: 5000,
      wal_records: 2,
      wal_bytes: 300,
      plan_us: 50,
      sqlstate: '40001',
      error: 'could not serialize',
      username: 'batch',
    }),
    sampleRow(6, { query: 'INSERT INTO log VALUES (1)', tag: 'INSERT', level: 1, parent: 5, exec_us: 30 }),
    // A worker's row is contained in its leader's.
    sampleRow(7, { query: 'SELECT $1', query_id: 7, flags: 16, exec_us: 9999 }),
  ]);
  const made = await report();
  expect(made.totals).toMatchObject({
    calls: 5,
    nested_calls: 1,
    nested_exec_us: 30,
    errors: 1,
    exec_us: 5400,
    max_us: 5000,
    min_us: 100,
    rows: 9,
    blocks_read: 4,
    wal_bytes: 300,
    planned: 1,
    plan_us: 50,
    io_read_us: null,
    cpu_us: null,
  });
  expect(made.statements.map(({ text, calls, exec_us, nested }) => [text, calls, exec_us, nested])).toEqual([
    ['update t set a = ? where b = ?', 1, 5000, false],
    ['select ?', 4, 400, false],
    [expect.stringMatching(/^insert into log values ?\(\?\)$/), 1, 30, true],
  ]);
  expect(made.statements[1]).toMatchObject({ key: '7', key_kind: 'query_id', mean_us: 100, blocks_hit: 20 });
  expect(made.statements[0]?.samples[0]).toMatchObject({
    text: 'UPDATE t SET a = 1 WHERE b = 2',
    sqlstate: '40001',
    user: 'batch',
    file: csvFile(3),
  });
  expect(made.statements[0]?.ranks).toMatchObject({ total: 1, errors: 1, wal: 1, plan: 1 });
  expect(made.errors).toMatchObject([
    { sqlstate: '40001', condition: 'serialization failure', errors: 1, message: 'could not serialize' },
  ]);
  expect(made.groups.user.groups.map(({ name, calls, errors }) => [name, calls, errors])).toEqual([
    ['batch', 1, 1],
    ['app', 4, 0],
  ]);
  expect(
    made.groups.command.groups.map(({ name, calls, nested_calls }) => [name, calls, nested_calls]),
  ).toEqual([
    ['UPDATE', 1, 0],
    ['SELECT', 4, 0],
    ['INSERT', 0, 1],
  ]);
  expect(made.trace).toMatchObject({ rows: 7, worker_rows: 1, lost_rows: 0, damaged_rows: 0, torn_bytes: 0 });
  expect(made.time).toEqual({
    first: '2026-11-23T08:00:00.001000Z',
    last: '2026-11-23T08:00:00.006000Z',
    seconds: 0.005,
  });
  expect(made.latency.reduce((sum, { calls }) => sum + calls, 0)).toBe(5);
  expect(made.timeline.spans.reduce((sum, { calls }) => sum + calls, 0)).toBe(5);
});

test('rows in a ring are read as well, those behind its committed length are not', async () => {
  const base = writeCsv(folder, 3, rows(1, 3));
  writeRing(folder, {
    slot: 3,
    file: 1,
    base,
    rows: rows(4, 2).join(''),
    torn: rows(6, 1).join(''),
    line: 5,
  });
  const made = await report();
  expect(made.totals.calls).toBe(5);
  expect(made.trace.lost_rows).toBe(0);
  expect(made.problems).toEqual([]);
  // The slowest are found again, also where they stand in the ring.
  expect(made.slowest.filter(({ text }) => text === 'SELECT $1')).toHaveLength(5);
});

test('a ring that was flushed, in part or in whole, gives no row twice', async () => {
  const base = writeCsv(folder, 3, rows(1, 3));
  const ring = rows(4, 2).join('');
  writeRing(folder, { slot: 3, file: 1, base, rows: ring });
  appendFileSync(join(folder, csvFile(3)), ring.slice(0, 100));
  expect((await report()).totals.calls).toBe(5);
  appendFileSync(join(folder, csvFile(3)), ring.slice(100));
  expect((await report()).totals.calls).toBe(5);
  // A copy whose file is younger than its ring.
  appendFileSync(join(folder, csvFile(3)), rows(6, 1).join(''));
  expect((await report()).totals.calls).toBe(6);
});

test('files of a slot go on from each other; gaps in the line numbers are lost rows, with what the ring counted', async () => {
  writeCsv(folder, 3, rows(1, 3), 1);
  writeCsv(folder, 3, rows(7, 3), 2);
  writeCsv(folder, 4, rows(3, 1, { slot: 4 }), 1);
  const base = writeCsv(folder, 5, rows(1, 1, { slot: 5 }), 1);
  writeRing(folder, { slot: 5, file: 1, base, rows: '', line: 9, lost: 8 });
  const made = await report();
  expect(made.trace.lost_by_slot).toEqual([
    { slot: 5, lost_rows: 8 },
    { slot: 3, lost_rows: 3 },
    { slot: 4, lost_rows: 2 },
  ]);
  expect(made.trace.lost_rows).toBe(13);
});

test('what is damaged, torn or foreign is named with file and place, and the rest is read', async () => {
  const good = rows(1, 2).join('');
  const at = Buffer.byteLength(traceHeader + good);
  writeFileSync(
    join(folder, csvFile(3)),
    `${traceHeader}${good}1,3,oops"x\n${rows(4, 1)}${rows(5, 1)[0]?.slice(0, 40)}`,
  );
  writeFileSync(join(folder, 'slot_000004.000001.v2.csv'), traceHeader);
  writeFileSync(join(folder, 'other.csv'), 'a,b\n1,2\n');
  writeFileSync(join(folder, 'notes.txt'), 'x');
  writeFileSync(join(folder, 'slot_000005.ring'), 'no ring');
  const made = await report();
  expect(made.totals.calls).toBe(3);
  expect(made.trace).toMatchObject({ damaged_rows: 1, torn_bytes: 40 });
  const of = (file: string): unknown => made.problems.filter((problem) => problem.file === file);
  expect(of(csvFile(3))).toMatchObject([
    { offset: at + '1,3,oops'.length, problem: expect.stringContaining('quote') },
    { problem: '40 bytes of a last row that is not whole' },
  ]);
  expect(of('slot_000004.000001.v2.csv')).toMatchObject([{ problem: expect.stringContaining('format 2') }]);
  expect(of('other.csv')).toMatchObject([{ problem: expect.stringContaining('no trace file') }]);
  expect(of('notes.txt')).toMatchObject([{ problem: 'no file of a trace' }]);
  expect(of('slot_000005.ring')).toMatchObject([{ problem: expect.stringContaining('no ring') }]);
});

test('a ring whose file is gone or shorter than its base is told of', async () => {
  const base = writeCsv(folder, 3, rows(1, 3));
  writeRing(folder, { slot: 3, file: 2, base: 700, rows: rows(4, 2).join('') });
  expect((await report()).problems).toMatchObject([
    { problem: expect.stringContaining('file 2, which is not there') },
  ]);
  writeRing(folder, { slot: 3, file: 1, base, rows: rows(4, 2).join('') });
  truncateSync(join(folder, csvFile(3)), base - 20);
  const made = await report();
  expect(made.totals.calls).toBe(2);
  expect(made.problems).toMatchObject([{ problem: expect.stringContaining('shorter than its ring says') }]);
});

test('folders without traces are refused with where the traces are', async () => {
  expect(() => new FolderStore(join(folder, 'none'))).toThrow(
    expect.objectContaining({ code: 'trace_folder_missing' }),
  );
  expect(() => new FolderStore(folder)).toThrow(expect.objectContaining({ code: 'trace_folder_empty' }));
  writeCsv(join(folder, 'sql_profiler/pgsql_tmp_7'), 1, rows(1, 1));
  expect(() => new FolderStore(folder)).toThrow(/pgsql_tmp_7: name one of them/);
});

test('filters leave in what they name', async () => {
  writeCsv(folder, 3, [
    ...rows(1, 2),
    sampleRow(3, { query: 'DELETE FROM t', tag: 'DELETE', exec_us: 9000, database: 'other' }),
    sampleRow(4, { query: 'BEGIN', tag: 'BEGIN', exec_us: 1 }),
    sampleRow(5, {
      query: 'SELECT nope',
      sqlstate: '42703',
      error: 'column "nope" does not exist',
      exec_us: null,
    }),
    sampleRow(6, {
      query: 'CREATE TABLE x ()',
      tag: 'CREATE TABLE',
      level: 1,
      application: 'psql',
      client: '10.0.0.1',
    }),
  ]);
  const calls = async (filter: TraceFilter): Promise<number> => {
    const { totals, trace } = await report(filter);
    expect(trace.rows).toBe(6);
    expect(trace.lost_rows).toBe(0);
    return totals.calls + totals.nested_calls;
  };
  expect(await calls({})).toBe(6);
  expect(await calls({ databases: ['other'] })).toBe(1);
  expect(await calls({ databases: ['other', 'shop'] })).toBe(6);
  expect(await calls({ users: ['nobody'] })).toBe(0);
  expect(await calls({ applications: ['psql'] })).toBe(1);
  expect(await calls({ clients: ['10.0.0.1'] })).toBe(1);
  expect(await calls({ minUs: 1000 })).toBe(1);
  expect(await calls({ kinds: ['select'] })).toBe(3);
  expect(await calls({ kinds: ['txn', 'ddl'] })).toBe(2);
  expect(await calls({ errors: true })).toBe(1);
  expect(await calls({ top: true })).toBe(5);
  expect(await calls({ pattern: 'NOPE|from t$' })).toBe(2);
  expect(await calls({ fromUs: sampleStartUs + 2000, toUs: sampleStartUs + 4000 })).toBe(2);
  await expect(report({ pattern: '(' })).rejects.toThrow(/pattern: /);
});

test('one damaged encoding, one secret, one cut text are counted', async () => {
  const latin = Buffer.from(sampleRow(1, { query: 'SELECT caf\u00e9', encoding: 'LATIN1' }), 'latin1');
  const bad = Buffer.from(sampleRow(2, { query: 'SELECT caf\u00e9', encoding: 'UTF8' }), 'latin1');
  const more = Buffer.from(
    sampleRow(3, { query: 'ALTER ROLE x', flags: 128 }) + sampleRow(4, { query: 'x', flags: 1 }),
  );
  writeFileSync(join(folder, csvFile(3)), Buffer.concat([Buffer.from(traceHeader), latin, bad, more]));
  const made = await report();
  expect(made.trace).toMatchObject({ masked_rows: 1, cut_rows: 1, escaped_texts: 1 });
  expect(made.slowest.map(({ text }) => text).sort()).toEqual(
    ['ALTER ROLE x', 'SELECT café', 'SELECT caf\\xe9', 'x'].sort(),
  );
});

/** Texts that would speak to a terminal or a browser. */
const hostile = `SELECT '</script><script>alert(1)</script>' AS "<b>", '\u001b]52;c;eA==\u0007', '${'日本語'.repeat(40)}'`;

async function hostileReport(): Promise<Report> {
  writeCsv(folder, 3, [
    sampleRow(1, {
      query: hostile,
      application: '"><img src=x onerror=alert(1)>',
      username: 'a\u001b[2Jb',
      sqlstate: 'P0001',
      error: '<i>\u0007</i>',
      params: "$1 = '<u>'",
      plan: 'Seq Scan on "<table>"',
      exec_us: 3_000_000,
    }),
    ...rows(2, 30),
  ]);
  return report();
}

test('text fits its width, is aligned, and does not speak to the terminal', async () => {
  const made = await hostileReport();
  for (const columns of [80, 100, 139, 200]) {
    const lines = reportText(made, { columns, top: 10 }).split('\n');
    expect(lines.filter((line) => columnsOf(line) > columns)).toEqual([]);
    expect(lines.filter((line) => /\p{C}/u.test(line))).toEqual([]);
    for (const title of ['Totals', 'Time line', 'Top statements by total time', 'Errors', 'Problems'])
      expect(lines).toContain(title);
  }
  expect(
    reportText(made, { columns: 10, top: 10 })
      .split('\n')
      .every((line) => columnsOf(line) <= 80),
  ).toBe(true);
});

test('HTML holds no markup of the trace, loads nothing, and empty sections say why', async () => {
  const made = await hostileReport();
  const html = reportHtml(made);
  expect(html).not.toMatch(/<script>alert|<img|<b>|<i>|<u>|<table>"/);
  expect(html).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
  expect(html).not.toMatch(/(?:src|href)="(?!#)/);
  expect(html).not.toMatch(/ style="| on[a-z]+="/);
  expect(html).toContain('No statement wrote WAL.');
  const none = reportHtml(await report({ users: ['nobody'] }));
  expect(none.match(/No statement passed the filter\./g)?.length).toBeGreaterThan(3);
});

test('an export merges slots by time, in a form that is read again', async () => {
  const at = (ms: number): number => sampleStartUs + ms * 1000;
  writeCsv(
    folder,
    1,
    [1, 4, 5].map((ms, i) => sampleRow(i + 1, { slot: 1, end_time: at(ms), query: `a "${ms}",\nb` })),
  );
  const base = writeCsv(
    folder,
    2,
    [2].map((ms) => sampleRow(1, { slot: 2, end_time: at(ms), query: 'x' })),
  );
  writeRing(folder, { slot: 2, file: 1, base, rows: sampleRow(2, { slot: 2, end_time: at(3), query: 'y' }) });
  const take = async (
    json: boolean,
    limit = Number.POSITIVE_INFINITY,
    columns: string[] = [],
  ): Promise<string> => {
    const parts: Buffer[] = [];
    const store = new FolderStore(folder);
    await exportRows(store, {
      filter: {},
      json,
      columns,
      limit,
      done: { bytes: 0, rows: 0 },
      write: async (text) => {
        parts.push(Buffer.from(text));
      },
    });
    await store.close();
    return Buffer.concat(parts).toString();
  };
  const lines = (await take(true))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines.map(({ query }) => query)).toEqual(['a "1",\nb', 'x', 'y', 'a "4",\nb', 'a "5",\nb']);
  expect(lines[0]).toMatchObject({ end_time: '2026-11-23T08:00:00.001000Z', encoding: 'UTF8', exec_us: 100 });
  expect(await take(false, 2, ['slot', 'query'])).toBe('slot,query\n1,"a ""1"",\nb"\n2,x\n');
  const again = join(folder, 'again');
  writeFileSync(again, await take(false));
  expect((await report({}, again)).totals.calls).toBe(5);
});
