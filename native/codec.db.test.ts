import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Cluster, serverUser, startCluster } from '../bench/rig/cluster.js';
import { blockRows, readBlock } from '../src/wire/index.js';
import { blocksToPgcopy, type ColumnSpec, encodeBatch, pgcopyToBlock, verifyBatches } from './codec.js';
import { allColumns, meta, stream } from './model.js';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster({});
});
afterAll(async () => {
  await cluster.stop();
});

/** psql with a statement; standard input and output are bytes. */
async function psql(sql: string, input?: Buffer): Promise<{ out: Buffer; status: number; error: string }> {
  const { uid, gid } = serverUser();
  const child = spawn(
    join(cluster.bin, 'psql'),
    [
      '-qAtX',
      '-v',
      'ON_ERROR_STOP=1',
      '-h',
      cluster.socketDirectory,
      '-p',
      String(cluster.port),
      '-U',
      cluster.superuser,
      '-d',
      'postgres',
      '-c',
      sql,
    ],
    { uid, gid, stdio: ['pipe', 'pipe', 'pipe'], cwd: '/' },
  );
  const out: Buffer[] = [];
  const error: Buffer[] = [];
  child.stdout.on('data', (piece: Buffer) => out.push(piece));
  child.stderr.on('data', (piece: Buffer) => error.push(piece));
  child.stdin.on('error', () => {}); // the server may refuse before it has read all
  child.stdin.end(input);
  const [status] = (await once(child, 'close')) as [number];
  return { out: Buffer.concat(out), status, error: Buffer.concat(error).toString() };
}

const envelope = {
  agentId: 1,
  boot: '00000000-0000-4000-8000-000000000001',
  seq: 1n,
  createdAtUs: 0n,
};

describe('against a server', () => {
  it('every type goes through a block and back into a table unchanged', async () => {
    const definition = allColumns.map(({ name, type }) => `"${name}" ${type}`).join(', ');
    await cluster.query(
      `create table source (row_number int8, ${definition}); create table copy (like source)`,
    );
    await cluster.query(`insert into source
      select i, i % 2 = 0, i - 300, i * 1000003, i::int8 << 33, i / 7.0, i / 3.0, (i - 300) * 1.00010 ^ (i % 40),
        repeat('é' || i, i % 50), left('n' || i, 63), i::oid, i::text::xid, ('0/' || i)::pg_lsn,
        ('10.' || i % 256 || '.0.0/' || i % 33)::inet, '2020-01-01 00:00+00'::timestamptz + i * interval '1 day 1 us',
        i * interval '1 month 2 days 3.000004 seconds', json_build_object('k', i), jsonb_build_object('k', array[i, null]),
        array['a' || i, null, '']
      from generate_series(1, 600) i`);
    const nulls = allColumns.map(() => 'null').join(', ');
    await cluster.query(`insert into source values (1001, ${nulls})`);
    await cluster.query(`insert into source values
      (1002, true, -32768, -2147483648, -9223372036854775808, 'NaN', '-Infinity', 'NaN', '', '', 4294967295, '4294967295',
        'FFFFFFFF/FFFFFFFF', '::ffff:1.2.3.4/96', 'infinity', '-178000000 years', '[]', '{}', '{}'),
      (1003, false, 32767, 2147483647, 9223372036854775807, '-Infinity', 'NaN', 'Infinity', 'x', repeat('ü', 31), 0, '0',
        '0/0', 'fe80::1', '-infinity', '178000000 years', '"\\ud83d\\ude00"', '1e400', '[0:1][2:3]={{a,b},{c,NULL}}'),
      (1004, null, null, null, null, null, null, '-Infinity', null, null, null, null, null, '1.2.3.4',
        '4713-01-01 00:00+00 BC', null, null, null, null)`);
    const columns: ColumnSpec[] = [{ name: 'row_number', type: 'int8' }, ...allColumns];
    const sent = (await psql('copy (select * from source order by row_number) to stdout (format binary)'))
      .out;
    const { block, rows, cutValues, badText } = await pgcopyToBlock(meta, columns, sent);
    expect([rows, cutValues, badText]).toEqual([604, 0, 0]);
    const [info] = await verifyBatches([encodeBatch(envelope, [block])]);
    expect(info!.blocks[0]!.error).toBeUndefined();
    const bytes = await blocksToPgcopy([block], { columns, prefix: [] });
    const back = await psql('copy copy from stdin (format binary)', bytes);
    expect(back.error).toBe('');
    const list = [
      'row_number',
      ...allColumns.map(({ name, type }) =>
        type === 'json' || type === 'xid' ? `"${name}"::text` : `"${name}"`,
      ),
    ].join(', ');
    for (const [a, b] of [
      ['source', 'copy'],
      ['copy', 'source'],
    ]) {
      const difference = await cluster.query(`select ${list} from ${a} except all select ${list} from ${b}`);
      expect(difference.rows).toEqual([]);
    }
    // What a reader shows is what the server prints.
    const shown = ['numeric', 'inet', 'pg_lsn', 'interval', 'name', 'text', 'json', 'jsonb'];
    const picked = allColumns.filter(({ type }) => shown.includes(type));
    const printed = await psql(
      `set intervalstyle = iso_8601; select json_agg(json_build_array(${picked
        .map(({ name }) => `case when "${name}" is not null then format('%s', "${name}") end`)
        .join(', ')}) order by row_number) from source`,
    );
    const mine = blockRows(readBlock(block)).map((row) => picked.map(({ name }) => row[name]));
    expect(mine).toEqual(JSON.parse(printed.out.toString()));
  });

  it('what verification lets through the server takes, and what it refuses the server refuses: JSON', async () => {
    const deep = (n: number) => '['.repeat(n) + ']'.repeat(n);
    const corpus = [
      ...[
        '',
        ' ',
        'nul',
        'null',
        'nullx',
        'true',
        'True',
        'false ',
        '\n[]\r\t',
        '[',
        ']',
        '[1,]',
        '[,1]',
        '[1 2]',
        '[1][2]',
        '{}',
        '{,}',
      ],
      ...[
        '{"a"}',
        '{"a":}',
        '{"a":1,}',
        '{a:1}',
        '{"a":1 "b":2}',
        '{"a":1,"a":2}',
        '{1:2}',
        '{"a":[{"b":[]}]}',
        '"',
        '"a',
        '"a"b',
        "'a'",
      ],
      ...[
        '0',
        '-0',
        '00',
        '01',
        '-',
        '+1',
        '.5',
        '5.',
        '1.5e',
        '1e+',
        '1e5',
        '1E-5',
        '0x1',
        '1_000',
        '1a',
        '-a',
        '1é',
        'NaN',
        'Infinity',
        '--1',
      ],
      ...[
        '1e131071',
        '1e131072',
        '-1e131072',
        '1e-16383',
        '1e-16384',
        '1.5e-16382',
        '1.5e-16383',
        '0e131072',
        '0e999999999',
        '0e-16384',
      ],
      ...[
        '10e131070',
        '10e131071',
        '0.01e131073',
        '0.01e131074',
        '1e1073741822',
        '1e1073741823',
        '0e1073741823',
        '1e99999999999',
        '0e-99999999999',
      ],
      ...[
        '"\\u0000"',
        '"\\u0041"',
        '"\\u00"',
        '"\\u00zz"',
        '"\\ud83d\\ude00"',
        '"\\ud83d"',
        '"\\ude00"',
        '"\\ud83d\\ud83d"',
        '"\\ud83dx"',
        '"\\ud83d\\n"',
      ],
      ...[
        '"\\x"',
        '"\\/\\b\\f\\n\\r\\t\\"\\\\"',
        '"\\é"',
        '"\u0001"',
        '"\u007f"',
        '"tab\there"',
        '"é🐘"',
        '\ufeff1',
        '[1,2,"\\u0000"]',
        '{"\\u0000":1}',
        '{"\\ud83d":1}',
      ],
      ...[
        deep(1),
        deep(100),
        deep(1023),
        deep(1024),
        `${'{"a":'.repeat(1024)}1${'}'.repeat(1024)}`,
        `${deep(3)}]`,
        '[[[]]',
        '1 1',
        'null null',
        '"a" :',
        '{"a" : 1 , "b" : [ ] }',
      ],
    ];
    await cluster.query(`create function takes(value text, kind text) returns bool language plpgsql as $$
      begin execute format('select %L::%s', value, kind); return true; exception when others then return false; end $$`);
    for (const type of ['json', 'jsonb'] as const) {
      const asked = await cluster.query(
        'select takes(value, $2) as ok from unnest($1::text[]) with ordinality u(value, place) order by place',
        [corpus, type],
      );
      for (const [i, value] of corpus.entries()) {
        const field = Buffer.concat([Buffer.from(type === 'jsonb' ? [1] : []), Buffer.from(value)]);
        const { badText } = await pgcopyToBlock(meta, [{ name: 'v', type }], stream([[field]]));
        expect({ type, value: value.slice(0, 40), ok: badText === 0 }).toEqual({
          type,
          value: value.slice(0, 40),
          ok: asked.rows[i].ok,
        });
      }
    }
  });
});
