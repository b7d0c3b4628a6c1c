import { describe, expect, it } from 'vitest';
import { blockRows, readBlock } from '../src/wire/block.js';
import { type BlockMeta, blockInfo, encodeBatch, verifyBatches } from './codec.js';
import {
  CsvError,
  type CsvOptions,
  type CsvPiece,
  type CsvResult,
  CsvTexts,
  csvColumns,
  csvFlags,
  csvHeader,
  csvToBlock,
} from './csv.js';
import { allNames, type CsvRow, file, headerLine, line, randomRows } from './csv_model.js';
import { random } from './model.js';

const meta: BlockMeta = {
  target: 7n,
  probe: 'sql_trace',
  probeVersion: 1,
  kind: 'append',
  recordedAtUs: 1_790_000_000_000_000n,
  intervalUs: 0n,
};

const cells = (bytes: Buffer) => blockRows(readBlock(bytes));

/** A row as blockRows shows it. */
function shown(row: CsvRow): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const { name, type } of csvColumns) {
    const value = row[name] ?? null;
    if (value === null) out[name] = null;
    else if (type === 'text' || type === 'name') out[name] = String(value);
    else if (type === 'timestamptz') out[name] = BigInt(value as bigint);
    else out[name] = Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  }
  return out;
}

/** The same, with times as numbers: their text form has tests of its own. */
function numbered(bytes: Buffer): Record<string, unknown>[] {
  const block = readBlock(bytes);
  const rows: Record<string, unknown>[] = blockRows(block);
  for (const column of block.columns) {
    if (column.type !== 'timestamptz') continue;
    for (const [i, row] of rows.entries())
      if (row[column.name] !== null) row[column.name] = (column.values as BigInt64Array)[i];
  }
  return rows;
}

async function whole(bytes: Buffer, options?: CsvOptions): Promise<CsvResult> {
  return csvToBlock(meta, { bytes }, options);
}

/** The rows of bytes that come in pieces ending anywhere: the caller keeps what was not used. */
async function inPieces(bytes: Buffer, sizes: () => number, options?: CsvOptions) {
  const rows: Record<string, unknown>[] = [];
  let header: Buffer | undefined;
  let at = 0;
  for (let end = 0; at < bytes.length; ) {
    end = Math.min(bytes.length, end + sizes());
    const piece: CsvPiece = {
      bytes: bytes.subarray(at, end),
      fromBytes: at,
      ...(header === undefined ? {} : { header }),
    };
    const result = await csvToBlock(meta, piece, options);
    rows.push(...numbered(result.block));
    at += result.usedBytes;
    expect(at === 0 || bytes[at - 1] === 10).toBe(true);
    header ??= at === 0 ? undefined : csvHeader(bytes);
  }
  return rows;
}

async function failure(work: Promise<unknown>): Promise<CsvError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(CsvError);
  return error as CsvError;
}

describe('CSV to block', () => {
  it('gives every value back, and blocks that verification takes', async () => {
    const next = random(3);
    for (const [count, nulls] of [
      [0, 0],
      [1, 0.5],
      [7, 1],
      [129, 0],
      [700, 0.3],
    ] as const) {
      const rows = randomRows(count, nulls, next);
      const bytes = file(rows);
      const result = await whole(bytes);
      expect(result).toMatchObject({
        rows: count,
        usedBytes: bytes.length,
        badText: 0,
        badRows: 0,
        full: false,
      });
      expect(result.unknownColumns).toEqual([]);
      expect(blockInfo(result.block).columns).toEqual(csvColumns.map(({ name, type }) => ({ name, type })));
      expect(numbered(result.block)).toEqual(rows.map(shown));
      const envelope = { agentId: 1, boot: '00000000-0000-4000-8000-000000000001', seq: 1n, createdAtUs: 0n };
      const [batch] = await verifyBatches([encodeBatch(envelope, [result.block])]);
      expect(batch!.blocks[0]!.error).toBeUndefined();
    }
  });

  it('reads whole rows from pieces that end anywhere', async () => {
    const next = random(5);
    const rows = randomRows(60, 0.2, next);
    const bytes = file(rows);
    for (const longest of [300, 2000, 100_000]) {
      expect(await inPieces(bytes, () => 1 + Math.floor(next() * longest))).toEqual(rows.map(shown));
    }
    const short = file(randomRows(2, 0.3, next));
    const all = numbered((await whole(short)).block);
    for (let cut = headerLine.length; cut <= short.length; cut++) {
      const first = await whole(short.subarray(0, cut));
      const rest = await csvToBlock(meta, {
        bytes: short.subarray(first.usedBytes),
        header: headerLine,
        fromBytes: first.usedBytes,
      });
      expect([...numbered(first.block), ...numbered(rest.block)]).toEqual(all);
    }
  });

  it('gives every value back where columns hold the same for a while', async () => {
    const next = random(11);
    for (const changes of [0, 0.002, 0.02, 0.2]) {
      const rows: CsvRow[] = [];
      let row = randomRows(1, 0.3, next)[0]!;
      for (let i = 0; i < 1200; i++) {
        const other = randomRows(1, 0.3, next)[0]!;
        row = Object.fromEntries(
          csvColumns.map(({ name }) => [name, next() < changes ? other[name]! : row[name]!]),
        );
        rows.push({ ...row, line: i });
      }
      expect(numbered((await whole(file(rows))).block)).toEqual(rows.map(shown));
      const texts = await whole(file(rows), { texts: new CsvTexts(), maxBytes: 300_000 });
      const found = new Map(cells(texts.texts ?? texts.block).map((cell) => [cell.key, cell.text]));
      expect(
        cells(texts.block).map((cell) => (cell.query_key === null ? null : found.get(cell.query_key!))),
      ).toEqual(rows.slice(0, texts.rows).map((row) => row.query));
    }
  });

  it('puts many files into one block', async () => {
    const next = random(8);
    const rows = randomRows(30, 0.2, next);
    const names = ['query', 'line', 'encoding', 'end_time'];
    const pieces: CsvPiece[] = [
      { bytes: file(rows.slice(0, 10)) },
      {
        bytes: Buffer.concat(rows.slice(10, 20).map((row) => line(row, allNames))),
        header: headerLine,
        fromBytes: 99,
      },
      {
        bytes: Buffer.concat([
          Buffer.from('query,line,encoding,end_time\r\n'),
          ...rows.slice(20).map((row) => line(row, names, '\r\n')),
        ]),
      },
      { bytes: Buffer.from('trace,li') },
    ];
    const result = await csvToBlock(meta, pieces, { columns: ['end_time', 'line', 'query', 'vxid'] });
    expect(result.used).toEqual([...pieces.slice(0, 3).map((piece) => piece.bytes.length), 0]);
    expect(numbered(result.block)).toEqual(
      rows
        .map(shown)
        .map(({ end_time, line, query, vxid }, i) => ({ line, end_time, vxid: i < 20 ? vxid : null, query })),
    );
  });

  it('maps columns by name, skips what it does not know, gives NULL for what is missing', async () => {
    const bytes = Buffer.from('future,exec_us,"query",x y\n1,2,"a,b",\n,,,"never read\n"\n3,4,"",5\n');
    const result = await whole(bytes, { columns: ['exec_us', 'query', 'xid', 'tag'] });
    expect(result.unknownColumns).toEqual(['future', 'x y']);
    expect(cells(result.block)).toEqual([
      { exec_us: 2, query: 'a,b', xid: null, tag: null },
      { exec_us: null, query: null, xid: null, tag: null },
      { exec_us: 4, query: '', xid: null, tag: null },
    ]);
  });

  it('refuses headers that are none', async () => {
    for (const [text, offset] of [
      ['line,exec_us,line\n', 13],
      ['1,2,3\n', 0],
      ['li"ne\n', 2],
      ['\n', 0],
      [`line${',x'.repeat(300)}\n`, 515],
    ] as const) {
      const error = await failure(whole(Buffer.from(text)));
      expect([error.code, error.offset, error.piece]).toEqual(['codec_bad_csv', offset, 0]);
      expect(() => csvHeader(Buffer.from(text))).toThrow(CsvError);
    }
    expect((await failure(whole(Buffer.from('exec_us\n1\n'), { keyColumns: ['line'] }))).message).toContain(
      '"line"',
    );
    expect(csvHeader(Buffer.from('line,exec_us'))).toBeUndefined();
    expect(csvHeader(Buffer.from('line,exec_us\r\n1,2\n'))?.toString()).toBe('line,exec_us\r\n');
    const waiting = await whole(Buffer.from('line,exec_us'));
    expect([waiting.rows, waiting.usedBytes]).toEqual([0, 0]);
  });

  it('takes a last row without a line end when told that the file ends', async () => {
    const bytes = Buffer.from('line,query\n1,a\n2,"b\n"');
    expect(await whole(bytes)).toMatchObject({ rows: 1, usedBytes: 15 });
    const result = await csvToBlock(meta, { bytes, end: true }, { columns: ['line', 'query'] });
    expect(result.usedBytes).toBe(bytes.length);
    expect(cells(result.block)).toEqual([
      { line: 1, query: 'a' },
      { line: 2, query: 'b\n' },
    ]);
    const torn = await csvToBlock(meta, { bytes: bytes.subarray(0, -1), end: true });
    expect(torn).toMatchObject({ rows: 1, usedBytes: 15, stopped: { offset: 15 } });
    expect((await csvToBlock(meta, { bytes: Buffer.from('line'), end: true })).usedBytes).toBe(4);
  });
});

describe('bad rows', () => {
  const names = 'line,exec_us,level,xid,end_time,query\n';
  const bad: readonly (readonly [what: string, row: string, offset: number])[] = [
    ['few fields', '1,2,3,4,5\n', 9],
    ['many fields', '1,2,3,4,5,a,b\n', 11],
    ['quote inside', '1,2,3,4,5,a"b\n', 11],
    ['behind a quote', '1,2,3,4,5,"a"b\n', 13],
    ['lone CR', '1,2,3,4,5,a\rb\n', 12],
    ['no number', '1,x,3,4,5,a\n', 2],
    ['too large', '1,9223372036854775808,3,4,5,a\n', 2],
    ['int4', '1,2,2147483648,4,5,a\n', 4],
    ['xid', '1,2,3,-1,5,a\n', 6],
    ['time', '1,2,3,4,-9223372036854775808,a\n', 8],
    ['no key', ',2,3,4,5,a\n', 0],
    ['NUL', '1,2,\0,4,5,a\n', 4],
    ['empty line', '\n', 0],
  ];
  const options = { columns: ['line', 'exec_us', 'level', 'xid', 'end_time', 'query'], keyColumns: ['line'] };
  const good = (n: number) => Array.from({ length: n }, (_, i) => `${i},2,3,4,5,"q""${i}"\n`).join('');

  it.each(bad)('%s: named with its place, and skipped where asked', async (_what, row, offset) => {
    for (const before of [0, 1, 200]) {
      const start = Buffer.from(names + good(before));
      const bytes = Buffer.concat([start, Buffer.from(row), Buffer.from(good(300))]);
      if (before > 0) {
        const result = await whole(bytes, options);
        expect(result).toMatchObject({
          rows: before,
          usedBytes: start.length,
          badRows: 0,
          stopped: { code: 'codec_bad_csv', offset: start.length + offset, piece: 0 },
        });
      }
      const rest = {
        bytes: bytes.subarray(start.length),
        header: Buffer.from(names),
        fromBytes: start.length,
      };
      expect((await failure(csvToBlock(meta, rest, options))).offset).toBe(start.length + offset);
      const skipping = await whole(bytes, { ...options, skipBadRows: true });
      expect(skipping).toMatchObject({
        rows: before + 300,
        usedBytes: bytes.length,
        badRows: 1,
        firstBad: { code: 'codec_bad_csv', offset: start.length + offset },
      });
      expect(cells(skipping.block).map((cell) => cell.line)).toEqual([
        ...Array(before).keys(),
        ...Array(300).keys(),
      ]);
    }
  });

  it('finds its way again behind damage of any kind', async () => {
    const next = random(17);
    const rows = randomRows(400, 0.3, next).map((row, i) => ({ ...row, line: i }));
    const bytes = file(rows);
    for (let round = 0; round < 30; round++) {
      const damaged = Buffer.from(bytes);
      const from = headerLine.length + Math.floor(next() * (bytes.length - headerLine.length - 100));
      for (let i = 0; i < 1 + round; i++) damaged[from + i] = Math.floor(next() * 256);
      const result = await csvToBlock(meta, { bytes: damaged, end: true }, { skipBadRows: true });
      expect(result.usedBytes).toBe(bytes.length);
      const lines = new Set(numbered(result.block).map((row) => row.line));
      expect(rows.filter((row) => !lines.has(row.line)).length).toBeLessThan(20);
    }
  });

  it('a row of more than 64 MiB is bad, the rows around it are not', { timeout: 300_000 }, async () => {
    const long = Buffer.alloc(65 << 20, 'x');
    const start = Buffer.from(`${names}1,2,3,4,5,a\n`);
    const bytes = Buffer.concat([start, Buffer.from('2,2,3,4,5,'), long, Buffer.from('\n3,2,3,4,5,b\n')]);
    expect(await whole(bytes, options)).toMatchObject({ rows: 1, stopped: { offset: start.length } });
    const skipping = await whole(bytes, { ...options, skipBadRows: true });
    expect(skipping).toMatchObject({ rows: 2, usedBytes: bytes.length, badRows: 1 });
    expect(skipping.firstBad?.message).toContain('64 MiB');
    // Not yet known to be too long: the caller is to bring more.
    const begun = bytes.subarray(0, 40 << 20);
    expect(await whole(begun, options)).toMatchObject({ rows: 1, usedBytes: start.length });
  });

  it('is quick with files that are no traces', async () => {
    for (const text of [
      '\n',
      '"\n',
      '","\n',
      'a,b\n',
      '1,2,3,4,5,"a\n',
      '1,2,3,4,x,y\n',
      `${'"a",'.repeat(300)}\n`,
    ]) {
      const bytes = Buffer.from(names + text.repeat(Math.floor(300_000 / text.length)));
      // What this process takes of the processor: others may have it for as long as they like.
      const from = process.cpuUsage();
      const result = await csvToBlock(meta, { bytes, end: true }, { skipBadRows: true });
      expect(result.usedBytes).toBe(bytes.length);
      expect(process.cpuUsage(from).user / 1000).toBeLessThan(1500);
    }
  });
});

describe('texts', () => {
  const names = ['encoding', 'database', 'flags', 'query'];
  const csv = (...rows: CsvRow[]) =>
    Buffer.concat([Buffer.from(`${names.join(',')}\n`), ...rows.map((row) => line(row, names))]);
  const options: CsvOptions = { columns: names };

  it('are converted from the encoding of their row, and never hold NUL or ill-formed UTF-8', async () => {
    const bytes = (text: string) => Buffer.from(text, 'latin1');
    const result = await whole(
      csv(
        { encoding: 'UTF8', flags: 1, query: 'é', database: 'd' },
        { encoding: 'LATIN1', flags: 1, query: bytes('\xe9\xe8,"'), database: bytes('\xe9') },
        { encoding: 'WIN1251', flags: 1, query: bytes('\xcf\xf0\xe8') },
        { encoding: 'SQL_ASCII', flags: 1, query: bytes('a\xff\xc3\xa9') },
        { encoding: 'EUC_JP', flags: null, query: bytes('\xa4\xa2') },
        { encoding: 'MULE_INTERNAL', flags: null, query: bytes('\xa4\xa2') },
        { encoding: null, flags: 1, query: bytes('a\0\xf0\x9f') },
        { encoding: 'LATIN1', flags: 1, query: 'ascii' },
      ),
      options,
    );
    const { escaped } = csvFlags;
    expect(cells(result.block)).toEqual([
      { encoding: 'UTF8', flags: 1, query: 'é', database: 'd' },
      { encoding: 'LATIN1', flags: 1, query: 'éè,"', database: 'é' },
      { encoding: 'WIN1251', flags: 1, query: 'При', database: null },
      { encoding: 'SQL_ASCII', flags: 1 | escaped, query: 'a\\xffé', database: null },
      { encoding: 'EUC_JP', flags: null, query: 'あ', database: null },
      { encoding: 'MULE_INTERNAL', flags: escaped, query: '\\xa4\\xa2', database: null },
      { encoding: null, flags: 1 | escaped, query: 'a\\x00\\xf0\\x9f', database: null },
      { encoding: 'LATIN1', flags: 1, query: 'ascii', database: null },
    ]);
    expect(result.badText).toBe(3);
  });

  it('are converted each by its own row where the bytes are the same', async () => {
    const rows = Array.from({ length: 300 }, (_, i) => ({
      encoding: i === 250 ? 'WIN1251' : i === 251 ? 'EUC_JP' : 'LATIN1',
      flags: 0,
      query: Buffer.from('\xe9', 'latin1'),
      database: 'd',
    }));
    const result = await whole(csv(...rows), options);
    const found = cells(result.block);
    expect(found.map((row) => row.query)).toEqual(
      rows.map((_, i) => (i === 250 ? 'й' : i === 251 ? '\\xe9' : 'é')),
    );
    expect(found.map((row) => row.flags)).toEqual(rows.map((_, i) => (i === 251 ? csvFlags.escaped : 0)));
    const cut = await whole(
      csv(...rows.map((row, i) => ({ ...row, query: i === 7 ? 'long text' : 'short' }))),
      {
        ...options,
        maxTextBytes: 6,
      },
    );
    expect(cells(cut.block).map((row) => row.flags)).toEqual(
      rows.map((_, i) => (i === 7 ? csvFlags.readerCut : 0)),
    );
  });

  it('are cut between characters, and marked', async () => {
    const result = await whole(
      csv(
        { encoding: 'UTF8', flags: 0, query: 'ééé' },
        { encoding: 'UTF8', flags: 0, query: 'abc' },
        { encoding: 'LATIN1', flags: null, query: Buffer.from('ab\xe9\xe9', 'latin1') },
        { encoding: 'UTF8', flags: 0, query: 'ab', database: 'é'.repeat(40) },
      ),
      { ...options, maxTextBytes: 5 },
    );
    expect(cells(result.block).map((row) => row.query)).toEqual(['éé', 'abc', 'abé', 'ab']);
    expect(cells(result.block).map((row) => row.flags)).toEqual([131072, 0, 131072, 131072]);
    expect(result.cutValues).toBe(3);
    const names63 = await whole(
      csv({ encoding: 'UTF8', flags: 0, database: 'é'.repeat(40), query: 'x'.repeat(100) }),
      options,
    );
    expect(cells(names63.block)[0]).toMatchObject({ database: 'é'.repeat(31), query: 'x'.repeat(100) });
  });

  it('may be long: rows larger than any window, up to a megabyte a text', async () => {
    const long = `"${'é,"\n'.repeat(150_000)}`;
    const rows: CsvRow[] = [
      { query: 'a' },
      { query: long, encoding: 'UTF8' },
      { query: 'b' },
      { query: long },
      { query: long },
    ];
    const bytes = csv(...rows);
    expect(cells((await whole(bytes, options)).block).map((row) => row.query)).toEqual(
      rows.map((row) => row.query),
    );
    const cut = await whole(bytes, { ...options, maxTextBytes: 100 });
    expect(cut.cutValues).toBe(3);
    expect((cells(cut.block)[1]!.query as string).length).toBe(80);
  });
});

describe('limits', () => {
  it('a full block says so, and the rest comes next', async () => {
    const next = random(29);
    const rows = randomRows(500, 0.2, next);
    const bytes = file(rows);
    const size = (await whole(bytes)).block.length;
    for (const options of [
      { maxRows: 1 },
      { maxRows: 77 },
      { maxRows: 128 },
      { maxBytes: 20_000 },
      { maxBytes: Math.floor(size / 3) },
      { maxBytes: size - 1 },
    ] satisfies CsvOptions[]) {
      const got: Record<string, unknown>[] = [];
      let at = 0;
      for (;;) {
        const piece = at === 0 ? { bytes } : { bytes: bytes.subarray(at), header: headerLine, fromBytes: at };
        const result = await csvToBlock(meta, piece, options);
        got.push(...numbered(result.block));
        at += result.usedBytes;
        if (options.maxBytes !== undefined && result.rows > 1)
          expect(result.block.length).toBeLessThanOrEqual(options.maxBytes);
        if (options.maxRows !== undefined) expect(result.rows).toBeLessThanOrEqual(options.maxRows);
        if (!result.full) break;
        expect(result.rows).toBeGreaterThan(0);
      }
      expect(at).toBe(bytes.length);
      expect(got).toEqual(rows.map(shown));
    }
  });

  it('counts what is in the block, not what was given back', async () => {
    const names = ['line', 'query', 'encoding'];
    const rows = Array.from({ length: 300 }, (_, i) => ({
      line: i,
      query: Buffer.from([0xff]),
      encoding: 'UTF8',
    }));
    const bytes = Buffer.concat([
      Buffer.from(`${names.join(',')}\n`),
      ...rows.map((row) => line(row, names)),
    ]);
    const result = await whole(bytes, { columns: names, maxBytes: 4000 });
    expect(result.full).toBe(true);
    expect(result.badText).toBe(result.rows);
  });

  it('refuses what makes no sense', async () => {
    const bytes = Buffer.from('line\n');
    for (const options of [
      { maxRows: -1 },
      { maxRows: 2 ** 20 + 1 },
      { columns: ['no_such'] },
      { columns: [] },
      { maxTextBytes: 1.5 },
      { skipBadRows: 1 as unknown as boolean },
    ]) {
      await expect(whole(bytes, options)).rejects.toMatchObject({ code: 'codec_argument', kind: 'refused' });
    }
    await expect(csvToBlock(meta, { bytes, fromBytes: -1 })).rejects.toMatchObject({
      code: 'codec_argument',
    });
    await expect(csvToBlock(meta, { bytes: 'x' as unknown as Buffer })).rejects.toMatchObject({
      code: 'codec_argument',
    });
    await expect(csvToBlock({ ...meta, probe: '' }, { bytes })).rejects.toMatchObject({
      code: 'codec_argument',
    });
  });
});

describe('places and keys', () => {
  it('a row is found again by its place in the file', async () => {
    const next = random(31);
    const bytes = file(randomRows(200, 0.2, next));
    const result = await whole(bytes, { rowPlaces: true });
    const rows = numbered(result.block);
    for (const { row_at, ...row } of rows.filter((_, i) => i % 20 === 3)) {
      const at = row_at as number;
      const piece = { bytes: bytes.subarray(at), header: headerLine, fromBytes: at };
      expect(numbered((await csvToBlock(meta, piece, { maxRows: 1 })).block)).toEqual([row]);
    }
    const late = { bytes: bytes.subarray(headerLine.length), header: headerLine, fromBytes: 2 ** 40 };
    expect(numbered((await csvToBlock(meta, late, { rowPlaces: true, maxRows: 1 })).block)[0]!.row_at).toBe(
      2 ** 40,
    );
  });

  it('texts come once each, by key', async () => {
    const next = random(37);
    const rows = randomRows(400, 0.2, next);
    const bytes = file(rows);
    const texts = new CsvTexts();
    const known = new Map<unknown, unknown>();
    let at = 0;
    const seen: unknown[] = [];
    while (at < bytes.length) {
      const piece = at === 0 ? { bytes } : { bytes: bytes.subarray(at), header: headerLine, fromBytes: at };
      const result = await csvToBlock(meta, piece, { texts, maxRows: 90 });
      at += result.usedBytes;
      if (result.texts !== undefined) {
        expect(blockInfo(result.texts).probe).toBe('sql_trace_text');
        for (const { key, text } of cells(result.texts)) {
          expect(known.has(key)).toBe(false);
          known.set(key, text);
        }
      }
      expect(blockInfo(result.block).columns.slice(-3)).toEqual(
        ['query_key', 'params_key', 'plan_key'].map((name) => ({ name, type: 'int8' })),
      );
      for (const row of cells(result.block))
        seen.push(
          ...['query', 'params', 'plan'].map((name) =>
            row[`${name}_key`] === null ? null : known.get(row[`${name}_key`]),
          ),
        );
    }
    expect(seen).toEqual(rows.flatMap((row) => [row.query, row.params, row.plan]));
    expect(known.size).toBe(new Set(known.values()).size);
    const other = await whole(bytes, { texts: new CsvTexts({ seed: 1n, probe: 'elsewhere' }) });
    expect(blockInfo(other.texts!).probe).toBe('elsewhere');
    expect(cells(other.texts!).some((row) => known.has(row.key))).toBe(false);
  });

  it('a set of texts stays small: what was driven out comes again', async () => {
    const rows = Array.from({ length: 3000 }, (_, i) => ({ line: i, query: `SELECT ${i % 1000}` }));
    const bytes = file(rows);
    const small = new CsvTexts({ capacity: 16 });
    const first = await whole(bytes, { texts: small, columns: ['query'] });
    const found = new Map(cells(first.texts!).map((row) => [row.key, row.text]));
    expect(found.size).toBe(1000);
    expect(cells(first.block).map((row) => found.get(row.query_key!))).toEqual(rows.map((row) => row.query));
    expect(blockInfo(first.texts!).rows).toBe(3000);
  });

  it('a failed call takes no texts with it', async () => {
    const texts = new CsvTexts();
    const bytes = file([{ line: 1, query: 'SELECT 1' }]);
    await expect(csvToBlock(meta, [{ bytes }], { texts, maxTextBytes: 1 << 21 })).rejects.toMatchObject({
      code: 'codec_argument',
    });
    expect(blockInfo((await whole(bytes, { texts })).texts!).rows).toBe(1);
    expect((await whole(bytes, { texts })).texts).toBeUndefined();
  });
});
