import { describe, expect, it } from 'vitest';
import { sqlTraceStatements } from '../src/catalog/probes/sql_trace_statements.js';
import { sqlTraceTexts } from '../src/catalog/probes/sql_trace_texts.js';
import { blockRows, readBlock } from '../src/wire/index.js';
import { type CsvRow, type CsvValue, file, headerLine } from './csv_model.js';
import {
  type AggregateStatement,
  type AggregateSum,
  aggregateSums,
  type BlockMeta,
  encodeBatch,
  histogramBuckets,
  normaliseSql,
  statementColumns,
  TraceAggregate,
  textColumns,
  verifyBatches,
} from './index.js';
import { random } from './model.js';

const meta: BlockMeta = {
  target: 42n,
  probe: 'sql_trace_statements',
  probeVersion: 1,
  kind: 'append',
  recordedAtUs: 1_790_000_010_000_000n,
  intervalUs: 10_000_000n,
};

const startUs = 1_790_000_000_000_000;

/** A time as blockRows gives it. */
function timeText(us: number | null): string | null {
  if (us === null) return null;
  const seconds = new Date(Math.floor(us / 1000)).toISOString().slice(0, 19);
  return `${seconds}.${String(us % 1e6).padStart(6, '0')}Z`;
}

/** A row as a server without track_io_timing and getrusage writes it. */
function row(values: Readonly<Record<string, CsvValue>>): CsvRow {
  const counters = [
    ...['rows', 'shared_hit', 'shared_read', 'shared_dirtied', 'shared_written', 'local_hit', 'local_read'],
    ...['local_dirtied', 'local_written', 'temp_read', 'temp_written', 'wal_records', 'wal_fpi', 'wal_bytes'],
  ];
  return {
    ...{ trace: 1, line: 1, end_time: startUs, exec_us: 10, elapsed_us: 12, serial: 1, parent: 0, level: 0 },
    ...{ pid: 77, slot: 0, database: 'shop', username: 'alice', encoding: 'UTF8', query_id: null },
    ...{ tag: 'SELECT', flags: 0, query: 'select 1' },
    ...Object.fromEntries(counters.map((name) => [name, 0])),
    ...values,
  };
}

const templates = [
  'select * from t where id = $',
  'insert into t values ($, $)',
  'update t set a = $ where b in ($, $, $)',
  "delete from u where c < '$'",
  'select count(*) from v',
];

function randomRow(next: () => number, statements: number): CsvRow {
  const n = Math.floor(next() * statements);
  const text = templates[n % templates.length]!.replaceAll('$', () => String(Math.floor(next() * 1e6)));
  const isFailed = next() < 0.1;
  return row({
    end_time: startUs + Math.floor(next() * 60e6),
    exec_us: next() < 0.05 ? null : Math.floor(10 ** (next() * 6)),
    plan_us: next() < 0.5 ? null : Math.floor(next() * 100),
    level: n % 4 === 3 ? 1 : 0,
    database: `db${n % 3}`,
    username: n % 7 === 0 ? null : `user${n % 2}`,
    query: `${text} /* ${next()} */ limit ${n % 2}${'+ a'.repeat(Math.floor(n / templates.length))}`,
    rows: Math.floor(next() * 5),
    shared_hit: Math.floor(next() * 100),
    wal_bytes: Math.floor(next() * 1e4),
    ...(isFailed && { sqlstate: next() < 0.5 ? '57014' : '23505', error: 'it failed', flags: 32 }),
  });
}

const keyOf = (statement: {
  database: string;
  username: string;
  nested: boolean;
  fingerprint: string;
}): string =>
  JSON.stringify([statement.database, statement.username, statement.nested, statement.fingerprint]);

interface Sum {
  calls: number;
  timed: number;
  errors: number;
  execUs: number;
  maxUs: number;
  planUs: number | null;
  hit: number;
  times: number[];
}

/** Every statement, without any bound. */
function oracle(rows: readonly CsvRow[]): Map<string, Sum> {
  const all = new Map<string, Sum>();
  for (const one of rows) {
    const key = keyOf({
      database: String(one.database),
      username: String(one.username ?? ''),
      nested: one.level === 1,
      fingerprint: String(normaliseSql(String(one.query)).fingerprint),
    });
    const sum = all.get(key) ?? {
      ...{ calls: 0, timed: 0, errors: 0, execUs: 0, maxUs: 0, planUs: null, hit: 0 },
      times: [],
    };
    sum.calls++;
    if (one.exec_us !== null) {
      sum.timed++;
      sum.execUs += Number(one.exec_us);
      sum.maxUs = Math.max(sum.maxUs, Number(one.exec_us));
      sum.times.push(Number(one.exec_us));
    }
    if (one.sqlstate != null) sum.errors++;
    if (one.plan_us !== null) sum.planUs = (sum.planUs ?? 0) + Number(one.plan_us);
    sum.hit += Number(one.shared_hit);
    all.set(key, sum);
  }
  return all;
}

function expectExact(statements: readonly AggregateStatement[], rows: readonly CsvRow[]): void {
  const truth = oracle(rows);
  expect(statements.map(keyOf).sort()).toEqual([...truth.keys()].sort());
  for (const statement of statements) {
    const sum = truth.get(keyOf(statement))!;
    expect({
      calls: statement.calls,
      timed: statement.timed,
      errors: statement.errors,
      execUs: statement.execUs ?? 0,
      maxUs: statement.maxUs ?? 0,
      planUs: statement.sums.plan_us,
      hit: statement.sums.shared_hit,
    }).toEqual({ ...sum, times: undefined });
    expect([statement.missedCalls, statement.missedUs]).toEqual([0, 0]);
    expect(statement.sums.shared_read_us).toBeNull();
    const buckets = histogramBuckets(statement.histogram)!;
    expect(buckets.reduce((total, bucket) => total + bucket.count, 0)).toBe(sum.timed);
    sum.times.sort((a, b) => a - b);
    for (const [share, said] of [
      [0.5, statement.p50Us],
      [0.9, statement.p90Us],
      [0.99, statement.p99Us],
    ] as const) {
      if (sum.timed === 0) expect(said).toBeNull();
      else {
        const exact = sum.times[Math.max(0, Math.ceil(sum.timed * share - 1e-9) - 1)]!;
        expect(Math.abs(said! - exact)).toBeLessThanOrEqual(Math.max(exact * 0.05, 0));
      }
    }
    expect(statement.samples.map((sample) => sample.execUs)).toEqual(sum.times.slice(-3).reverse());
  }
}

describe('TraceAggregate', () => {
  it('counts as a plain list of all statements does', async () => {
    const next = random(1);
    const rows = Array.from({ length: 2500 }, () => randomRow(next, 60));
    const aggregate = new TraceAggregate();
    const added = await aggregate.add({ bytes: file(rows) });
    expect(added).toMatchObject({ rows: 2500, workers: 0, before: 0, behind: 0, badRows: 0 });
    expectExact(await aggregate.statements(), rows);
    expect(await aggregate.counts()).toMatchObject({ rows: 2500, replaced: 0, missedCalls: 0, badValues: 0 });
  });

  it('says the same when it is fed in pieces, in parts that are merged, and after it was reset', async () => {
    const next = random(2);
    const rows = Array.from({ length: 1500 }, () => randomRow(next, 40));
    const bytes = file(rows);
    const pieces = new TraceAggregate();
    for (let at = 0; at < bytes.length; ) {
      const header = at === 0 ? {} : { header: headerLine };
      const end = Math.min(bytes.length, at + 3000 + Math.floor(next() * 30_000));
      const { usedBytes } = await pieces.add({ bytes: bytes.subarray(at, end), fromBytes: at, ...header });
      at += usedBytes;
    }
    const whole = await pieces.statements();
    expectExact(whole, rows);
    // Places of samples are those in the file.
    for (const { samples } of whole)
      for (const { offset } of samples) expect(bytes.subarray(offset - 1, offset).toString()).toBe('\n');

    const parts = [0, 1, 2, 3].map(() => new TraceAggregate());
    await Promise.all(
      parts.map((part, i) => part.add({ bytes: file(rows.filter((_, k) => k % 4 === i)), file: i })),
    );
    // Not waited for: an aggregate does one thing after the other.
    void parts[0]!.merge(parts[1]!);
    void parts[2]!.merge(parts[3]!);
    void parts[0]!.merge(parts[2]!);
    expectExact(await parts[0]!.statements(), rows);

    await pieces.reset();
    expect(await pieces.statements()).toEqual([]);
    expect(await pieces.statementBlocks(meta, 1)).toEqual([]);
    await pieces.add({ bytes });
    expectExact(await pieces.statements(), rows);
  });

  it('is bounded: the truth lies within the bounds, and sums stay exact', async () => {
    const next = random(3);
    const rows = Array.from({ length: 4000 }, (_, i) => randomRow(next, i % 3 === 0 ? 8 : 400));
    const truth = oracle(rows);
    for (const entries of [1, 7, 50]) {
      const halves = [new TraceAggregate({ entries }), new TraceAggregate({ entries: entries + 3 })];
      await halves[0]!.add({ bytes: file(rows.slice(0, 2500)) });
      await halves[1]!.add({ bytes: file(rows.slice(2500)) });
      await halves[0]!.merge(halves[1]!);
      const statements = await halves[0]!.statements({ by: 'calls' });
      const counts = await halves[0]!.counts();
      expect(statements.reduce((sum, statement) => sum + statement.calls, 0)).toBe(rows.length);
      const named = statements.filter(({ others }) => !others);
      expect(named.length).toBe(entries);
      expect(named.map(({ calls }) => calls)).toEqual(named.map(({ calls }) => calls).sort((a, b) => b - a));
      for (const statement of named) {
        const sum = truth.get(keyOf(statement))!;
        expect(statement.calls).toBeLessThanOrEqual(sum.calls);
        expect(sum.calls).toBeLessThanOrEqual(statement.calls + statement.missedCalls);
        expect(sum.execUs).toBeLessThanOrEqual((statement.execUs ?? 0) + statement.missedUs);
      }
      const there = new Set(named.map(keyOf));
      for (const [key, sum] of truth) {
        if (there.has(key)) continue;
        expect(sum.calls).toBeLessThanOrEqual(counts.missedCalls);
        expect(sum.execUs).toBeLessThanOrEqual(counts.missedUs);
      }
    }
  });

  it('takes the rows of one interval', async () => {
    const rows = Array.from({ length: 100 }, (_, i) => row({ end_time: startUs + i * 1e6 }));
    rows.push(row({ end_time: null }));
    const aggregate = new TraceAggregate();
    const added = await aggregate.add(
      { bytes: file(rows) },
      { fromUs: startUs + 10e6, toUs: startUs + 20e6 },
    );
    expect(added).toMatchObject({
      rows: 10,
      before: 11,
      behind: 80,
      firstUs: startUs,
      lastUs: startUs + 99e6,
    });
    const { widthUs, spans } = await aggregate.timeLine();
    expect([widthUs, spans.length, spans[0]!.fromUs]).toEqual([1e6, 10, startUs + 10e6]);
    expect(spans.map(({ calls }) => calls)).toEqual(Array.from({ length: 10 }, () => 1));
  });

  it('knows statements by query id where there is one, or by fingerprint alone', async () => {
    const rows = [
      row({ query_id: -5n, query: 'select 1' }),
      row({ query_id: -5n, query: 'select 2' }),
      row({ query_id: 6n, query: 'select 3' }),
      row({ query: 'select x' }),
      row({ query: null, tag: 'COMMIT', flags: 64 }),
      row({ query: 'select 1', flags: 16 }),
    ];
    const byId = new TraceAggregate();
    expect(await byId.add({ bytes: file(rows) })).toMatchObject({ rows: 5, workers: 1 });
    const short = (statement: AggregateStatement) => [statement.queryId, statement.query, statement.calls];
    expect((await byId.statements({ by: 'calls' })).map(short).sort()).toEqual([
      [null, 'commit', 1],
      [null, 'select x', 1],
      ['-5', 'select ?', 2],
      ['6', 'select ?', 1],
    ]);
    const byText = new TraceAggregate({ key: 'fingerprint' });
    await byText.add({ bytes: file(rows) });
    expect((await byText.statements({ by: 'calls' })).map(short).sort()).toEqual([
      [null, 'commit', 1],
      [null, 'select ?', 3],
      [null, 'select x', 1],
    ]);
  });

  it('gives calls without a query id to the statement of their text that has one, and takes no id of a command', async () => {
    const counted = async (aggregate: TraceAggregate): Promise<unknown[]> =>
      (await aggregate.statements({ by: 'calls' }))
        .map(({ queryId, query, calls, nested, username }) => [queryId, query, calls, nested, username])
        .sort();
    const aggregate = new TraceAggregate();
    const rows = [
      row({ query: 'select 1 from early' }),
      row({ query_id: 7n, query: 'select 1 from t' }),
      row({ query: 'select 2 from t' }),
      row({ query: 'SELECT $1 FROM t' }),
      row({ query: 'select 3 from t', level: 1, parent: 4n }),
      row({ query: 'select 3 from t', username: 'other' }),
      // Before PostgreSQL 16 each literal of a command is another query id.
      ...[1n, 2n, 3n].map((id) => row({ query_id: id, query: `call f(${id})`, tag: 'CALL' })),
      row({ query_id: 9n, query: 'select 1 into u from t', tag: 'SELECT INTO' }),
    ];
    await aggregate.add({ bytes: file(rows) });
    const own = String(row({}).username);
    expect(await counted(aggregate)).toEqual([
      [null, 'call f(?)', 3, false, own],
      [null, 'select ? from early', 1, false, own],
      [null, 'select ? from t', 1, false, 'other'],
      [null, 'select ? from t', 1, true, own],
      [null, 'select ? into u from t', 1, false, own],
      ['7', 'select ? from t', 3, false, own],
    ]);
    // What was learned outlives an interval.
    aggregate.reset();
    await aggregate.add({ bytes: file([row({ query: 'select 5 from t' })]) });
    expect(await counted(aggregate)).toEqual([['7', 'select ? from t', 1, false, own]]);
  });

  it('tells errors by SQLSTATE, and the slowest calls of each statement', async () => {
    const aggregate = new TraceAggregate({ samples: 2, states: 2 });
    await aggregate.add({
      file: 9,
      bytes: file([
        row({ exec_us: 5, pid: 1 }),
        row({ exec_us: 50, pid: 2, sqlstate: '23505', error: 'duplicate key' }),
        row({ exec_us: 20, pid: 3, sqlstate: '57014', error: 'canceled', flags: 32 }),
        row({ exec_us: 30, pid: 4, sqlstate: '23505', error: 'another', flags: 8 }),
        row({ exec_us: null, pid: 5, sqlstate: '42P01', error: 'no such table' }),
      ]),
    });
    expect(await aggregate.errors()).toMatchObject([
      { sqlstate: '23505', errors: 1, cancelled: 0, message: 'duplicate key', file: 9, pid: 2 },
      { sqlstate: '57014', errors: 1, cancelled: 1, message: 'canceled' },
      { sqlstate: '', errors: 1, message: 'no such table', firstUs: startUs },
    ]);
    const [statement] = await aggregate.statements();
    expect(statement).toMatchObject({
      ...{
        calls: 5,
        timed: 4,
        errors: 4,
        cancelled: 1,
        lastState: '42P01',
        minUs: 5,
        maxUs: 50,
        execUs: 105,
      },
      samples: [
        { execUs: 50, file: 9, pid: 2, failed: true, endUs: startUs },
        { execUs: 30, pid: 4 },
      ],
    });
  });

  it('makes blocks of its probes, which pass verification', async () => {
    const spec = ({ name, type }: { name: string; type: string }) => ({ name, type });
    expect(statementColumns).toEqual(sqlTraceStatements.columns.map(spec));
    expect(textColumns).toEqual(sqlTraceTexts.columns.map(spec));

    const next = random(5);
    const rows = Array.from({ length: 3000 }, () => randomRow(next, 300));
    rows.push(
      row({ query: `select '${'é'.repeat(50)}', naïve_${'ü'.repeat(5000)}`, database: 'x'.repeat(63) }),
    );
    rows.push(
      row({
        exec_us: -5,
        shared_hit: -1,
        query: 'select -- nothing known',
        end_time: null,
        tag: '☃'.repeat(40),
      }),
    );
    rows.push(row({ sqlstate: 'é"日本', query: 'select bad' }));
    const aggregate = new TraceAggregate({ entries: 200, textBytesEach: 1000 });
    await aggregate.add({ bytes: file(rows) });
    const statements = await aggregate.statements();
    const blocks = await aggregate.statementBlocks(meta, 3, 20_000);
    expect(blocks.length).toBeGreaterThan(3);
    const textMeta: BlockMeta = { ...meta, probe: 'sql_trace_texts', kind: 'delta' };
    const fingerprints = await aggregate.fingerprints();
    expect(fingerprints.length).toBe(200);
    const wanted = [...fingerprints.subarray(0, 50), 1n, fingerprints[0]!];
    const texts = await aggregate.textBlocks(textMeta, wanted);

    const envelope = { agentId: 1, boot: '00000000-0000-4000-8000-000000000001', seq: 1n, createdAtUs: 0n };
    const [batch] = await verifyBatches([encodeBatch(envelope, [...blocks, ...texts])]);
    expect(batch!.blocks.map(({ error }) => error)).toEqual(batch!.blocks.map(() => undefined));
    for (const block of blocks) {
      // Keys are never NULL.
      const keys = sqlTraceStatements.columns.filter(({ role }) => role === 'key').length;
      const { info } = batch!.blocks[blocks.indexOf(block)]!;
      expect(info!.nullColumns.filter((column) => column < keys)).toEqual([]);
    }

    const found = blocks.flatMap((block) => blockRows(readBlock(block)));
    expect(found.length).toBe(statements.length);
    expect(found.reduce((sum, one) => sum + Number(one.calls), 0)).toBe(rows.length);
    const byKey = new Map(
      found.map((one) => [
        `${one.database}|${one.username}|${one.nested}|${one.fingerprint}`,
        one as Record<string, unknown>,
      ]),
    );
    for (const statement of statements) {
      const one = byKey.get(
        `${statement.database}|${statement.username}|${statement.nested}|${statement.fingerprint}`,
      )!;
      const isTimed = statement.timed > 0;
      expect(one).toMatchObject({
        ...{ trace: 3, query_id: 0, tag: statement.tag === '' ? null : statement.tag },
        ...{
          calls: statement.calls,
          errors: statement.errors,
          exec_us: statement.execUs,
        },
        ...{ min_us: statement.minUs, max_us: statement.maxUs },
        ...{ histogram: isTimed ? statement.histogram : null, missed_calls: statement.missedCalls },
        ...{ first_at: timeText(statement.firstUs), last_at: timeText(statement.lastUs) },
        last_sqlstate: statement.lastState === '' ? null : statement.lastState,
        ...Object.fromEntries(aggregateSums.map((name: AggregateSum) => [name, statement.sums[name]])),
      });
    }
    const sent = texts.flatMap((block) => blockRows(readBlock(block)));
    expect(new Set(sent.map(({ fingerprint }) => String(fingerprint)))).toEqual(
      new Set(Array.from(fingerprints.subarray(0, 50), String)),
    );
    for (const { fingerprint, text } of sent)
      expect(statements.find((one) => one.fingerprint === String(fingerprint))!.query).toBe(text);
  });

  it('leaves out what is damaged, and says where', async () => {
    const aggregate = new TraceAggregate();
    const lines = file([row({}), row({}), row({})])
      .toString()
      .split('\n');
    const second = lines[2]!.replace(/^1,1,\d+/, '1,1,soon');
    const bytes = Buffer.from([lines[0], lines[1], second, lines[3], ''].join('\n'));
    const added = await aggregate.add([{ bytes }, { bytes: Buffer.from('no header\n') }, { bytes }]);
    expect(added).toMatchObject({ rows: 2, badRows: 1, firstBad: { code: 'codec_bad_csv', piece: 0 } });
    expect(added.stopped).toMatchObject({ code: 'codec_bad_csv', piece: 1 });
    expect(added.used[0]).toBe(bytes.length);
    expect(await aggregate.counts()).toMatchObject({ rows: 2, statements: 1 });
  });

  it('refuses what it is asked wrongly, and goes on', async () => {
    for (const options of [{ entries: 0 }, { spans: 3 }, { samples: 17 }, { textBytesEach: 9000 }])
      expect(() => new TraceAggregate(options)).toThrow(expect.objectContaining({ code: 'codec_argument' }));
    const aggregate = new TraceAggregate({ spans: 0 });
    const other = new TraceAggregate();
    const refused = { code: 'codec_argument' };
    await expect(aggregate.merge(other)).rejects.toMatchObject(refused);
    await expect(aggregate.merge(aggregate)).rejects.toMatchObject(refused);
    await expect(aggregate.add({ bytes: file([]), file: -1 })).rejects.toMatchObject(refused);
    await expect(aggregate.add({ bytes: file([]) }, { fromUs: 0.5 })).rejects.toMatchObject(refused);
    await expect(aggregate.statementBlocks(meta, 2 ** 31)).rejects.toMatchObject(refused);
    await aggregate.add({ bytes: file([row({})]) });
    expect((await aggregate.statements()).length).toBe(1);
    expect(await aggregate.timeLine()).toEqual({ widthUs: 1e6, spans: [] });
  });

  it('has the lists that the addon has', () => {
    expect(statementColumns.map(({ name }) => name)).toEqual(expect.arrayContaining([...aggregateSums]));
    expect(histogramBuckets('1 0:2 31 1:3 607')).toEqual([
      { lowUs: 0, widthUs: 1, count: 2 },
      { lowUs: 31, widthUs: 1, count: 1 },
      { lowUs: 32, widthUs: 2, count: 3 },
      { lowUs: 31 * 2 ** 38, widthUs: 2 ** 38, count: 1 },
    ]);
    expect(['2 1', '1 640', '1 x', '', '1 ', '1 3:'].map(histogramBuckets)).toEqual(
      Array.from({ length: 6 }, () => undefined),
    );
  });
});

describe('normaliseSql', () => {
  it('gives form and fingerprint', () => {
    expect(normaliseSql("SELECT 'x'::text, É FROM t WHERE a IN (1, 2)")).toEqual({
      form: 'select ?::text, É from t where a in (?)',
      fingerprint: normaliseSql("select '' ::text,É from T where a in ($1)").fingerprint,
      whole: true,
    });
    const long = `select ${'column_name, '.repeat(1000)}1`;
    expect(normaliseSql(long)).toMatchObject({ form: long.slice(0, 8192), whole: false });
    expect(normaliseSql(long.slice(0, 5000), true).fingerprint).toBe(
      normaliseSql(long.slice(0, 6001), true).fingerprint,
    );
  });
});
