/** The reader of trace files against a server: what PostgreSQL makes of the same bytes. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Cluster, startCluster } from '../bench/rig/cluster.js';
import { blockRows, readBlock } from '../src/wire/block.js';
import { type BlockMeta, blockInfo, blocksToPgcopy } from './codec.js';
import { csvColumns, csvToBlock } from './csv.js';
import { type CsvRow, file, line, randomRows } from './csv_model.js';
import { random } from './model.js';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster();
});
afterAll(() => cluster.stop());

const meta: BlockMeta = {
  target: 1n,
  probe: 'sql_trace',
  probeVersion: 1,
  kind: 'append',
  recordedAtUs: 0n,
  intervalUs: 0n,
};

/** In the cluster's folder, which its server can read. */
function put(name: string, bytes: Buffer): string {
  const path = join(cluster.folder, name);
  writeFileSync(path, bytes, { mode: 0o644 });
  return path;
}

const quoted = (name: string) => `"${name}"`;

describe('CSV against COPY', () => {
  it('reads rows as COPY .. (FORMAT csv) does', async () => {
    const rows = randomRows(600, 0.25, random(41));
    const bytes = file(rows);
    const { block } = await csvToBlock(meta, { bytes });
    const { columns } = blockInfo(block);
    const wanted = csvColumns.map(
      ({ name, type }) =>
        `${quoted(name)} ${type === 'timestamptz' ? 'int8' : type === 'xid' ? 'text' : type}`,
    );
    // Times as µs: PostgreSQL reads no such number as a timestamp. Names without the type's silent cut.
    await cluster.query(`create table theirs (${wanted.join(', ').replaceAll(' name', ' text')})`);
    await cluster.query(
      `create table ours (${columns.map(({ name, type }) => `${quoted(name)} ${type}`).join(', ')})`,
    );
    await cluster.query(`copy theirs from '${put('theirs.csv', bytes)}' (format csv, header)`);
    const pgcopy = await blocksToPgcopy([block], { columns, prefix: [] });
    await cluster.query(`copy ours from '${put('ours.bin', pgcopy)}' (format binary)`);
    const shape = csvColumns
      .map(({ name, type }) =>
        type === 'timestamptz'
          ? `(extract(epoch from ${quoted(name)}) * 1000000)::int8`
          : type === 'xid' || type === 'name'
            ? `${quoted(name)}::text`
            : quoted(name),
      )
      .join(', ');
    const { rows: different } = await cluster.query(
      `(select ${shape} from ours except all select * from theirs)
       union all (select * from theirs except all select ${shape} from ours)`,
    );
    expect(different).toEqual([]);
    const { rows: counted } = await cluster.query('select count(*)::int as n from ours');
    expect(counted[0].n).toBe(rows.length);
  });

  it('agrees with COPY on any bytes of a text, and on what a row is', async () => {
    const next = random(43);
    const kinds = ['"', ',', '\n', '\r', '\\', "'", 'é', ' ', '\t', 'a', '\\.', 'NULL', ''];
    const rows: CsvRow[] = Array.from({ length: 2000 }, (_, i) => ({
      line: i,
      query:
        next() < 0.1
          ? null
          : Array.from({ length: next() * 8 }, () => kinds[Math.floor(next() * kinds.length)]).join(''),
      plan: next() < 0.5 ? null : kinds[Math.floor(next() * kinds.length)]!,
    }));
    const names = ['line', 'query', 'plan'];
    const bytes = Buffer.concat([Buffer.from('line,query,plan\n'), ...rows.map((row) => line(row, names))]);
    await cluster.query('create table texts (line int8, query text, plan text)');
    await cluster.query(`copy texts from '${put('texts.csv', bytes)}' (format csv, header)`);
    const { rows: theirs } = await cluster.query('select line::int, query, plan from texts order by line');
    const { block } = await csvToBlock(meta, { bytes }, { columns: names });
    expect(blockRows(readBlock(block))).toEqual(theirs);
    expect(theirs).toEqual(rows);
  });
});

describe('encodings against a server', () => {
  const singleByte = [
    ...Array.from({ length: 10 }, (_, i) => `LATIN${i + 1}`),
    ...['ISO_8859_5', 'ISO_8859_6', 'ISO_8859_7', 'ISO_8859_8', 'KOI8R', 'KOI8U', 'WIN866', 'WIN874'],
    ...['WIN1250', 'WIN1251', 'WIN1252', 'WIN1253', 'WIN1254', 'WIN1255', 'WIN1256', 'WIN1257', 'WIN1258'],
  ];

  it('gives the characters that the server gives', async () => {
    await cluster.query(
      `create function shown(code int, encoding text) returns text language plpgsql as $$
       begin return convert_from(decode(lpad(to_hex(code), 2, '0'), 'hex'), encoding);
       exception when others then return '\\x' || lpad(to_hex(code), 2, '0'); end $$`,
    );
    const { rows: theirs } = await cluster.query(
      `select encoding, code, shown(code, encoding) as query
       from unnest($1::text[]) with ordinality e(encoding, nr), generate_series(128, 255) code order by nr, code`,
      [singleByte],
    );
    const names = ['encoding', 'query'];
    const lines = singleByte.flatMap((encoding) =>
      Array.from({ length: 128 }, (_, i) => line({ encoding, query: Buffer.from([128 + i]) }, names)),
    );
    const bytes = Buffer.concat([Buffer.from('encoding,query\n'), ...lines]);
    const { block } = await csvToBlock(meta, { bytes }, { columns: names });
    expect(blockRows(readBlock(block))).toEqual(theirs.map(({ encoding, query }) => ({ encoding, query })));
  });

  it('gives the characters of several bytes that the server gives, and no bytes but UTF-8 for any', async () => {
    const trail = Array.from({ length: 94 }, (_, i) => 0xa1 + i);
    const pairs = trail.flatMap((a) => trail.map((b) => [a, b]));
    const codes: Readonly<Record<string, number[][]>> = {
      EUC_JP: [...pairs, ...trail.map((b) => [0x8e, b]), ...pairs.map((code) => [0x8f, ...code])],
      EUC_CN: pairs,
      EUC_KR: pairs,
      EUC_TW: [...pairs, ...pairs.map((code) => [0x8e, 0xa2, ...code])],
      EUC_JIS_2004: [...pairs, ...trail.map((b) => [0x8e, b]), ...pairs.map((code) => [0x8f, ...code])],
    };
    await cluster.query(
      `create function shown(code text, encoding text) returns text language plpgsql as $$
       begin return convert_from(decode(code, 'hex'), encoding); exception when others then return null; end $$`,
    );
    const names = ['encoding', 'query'];
    for (const [encoding, list] of Object.entries(codes)) {
      const { rows: theirs } = await cluster.query(
        'select shown(code, $2) as text from unnest($1::text[]) with ordinality c(code, nr) order by nr',
        [list.map((code) => Buffer.from(code).toString('hex')), encoding],
      );
      const lines = list.map((code) => line({ encoding, query: Buffer.from([0x61, ...code, 0x62]) }, names));
      const bytes = Buffer.concat([Buffer.from('encoding,query\n'), ...lines]);
      const { block } = await csvToBlock(meta, { bytes }, { columns: names });
      const ours = blockRows(readBlock(block)).map(({ query }) => String(query));
      const different = theirs.flatMap(({ text }, at) =>
        text === null || ours[at] === `a${text}b` ? [] : [[encoding, text, ours[at]]],
      );
      expect(different).toEqual(
        encoding === 'EUC_JIS_2004'
          ? [
              [encoding, '‾', 'a￣b'],
              [encoding, '¥', 'a￥b'],
            ]
          : [],
      );
      expect(theirs.filter(({ text }) => text !== null).length).toBeGreaterThan(5000);
      const short = list.filter((code) => code.length < 4);
      const half = short.map((code) => line({ encoding, query: Buffer.from(code.slice(0, -1)) }, names));
      const torn = await csvToBlock(
        meta,
        { bytes: Buffer.concat([Buffer.from('encoding,query\n'), ...half]) },
        { columns: names },
      );
      const escapes = blockRows(readBlock(torn.block)).map(({ query }) => query);
      expect(escapes).toEqual(
        short.map((code) =>
          code
            .slice(0, -1)
            .map((byte) => `\\x${byte.toString(16)}`)
            .join(''),
        ),
      );
    }
  });

  it('knows every encoding that a server can have, as itself or as one to escape', async () => {
    const { rows } = await cluster.query(
      'select pg_encoding_to_char(i) as name from generate_series(0, 34) i order by i',
    );
    const servers = rows.map((row) => row.name as string);
    const several = ['EUC_JP', 'EUC_CN', 'EUC_KR', 'EUC_TW', 'EUC_JIS_2004'];
    const known = [...singleByte, ...several, 'UTF8', 'SQL_ASCII'];
    expect(servers.filter((name) => !known.includes(name))).toEqual(['MULE_INTERNAL']);
    expect(singleByte.every((name) => servers.includes(name))).toBe(true);
  });
});
