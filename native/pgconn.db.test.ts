/** PgConn against a real server: calls, COPY into blocks and back, errors, TLS. Its troubles: pgconn_trouble.db.test.ts. */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { serverUser, startCluster } from '../bench/rig/cluster.js';
import { codeOf, sessions } from '../bench/rig/sessions.js';
import { type BlockMeta, blockInfo, blocksToPgcopy, releaseStream } from './codec.js';
import { connect, type PgConn, PgError } from './pgconn.js';

const rig = sessions();

const meta: BlockMeta = {
  target: 7n,
  probe: 'probe',
  probeVersion: 1,
  kind: 'full',
  recordedAtUs: 1_700_000_000_000_000n,
  intervalUs: 1_000_000n,
};

test('queries: text results, NULL, tags, several statements, unicode', async () => {
  const conn = await rig.open();
  expect(conn.serverVersion).toBeGreaterThanOrEqual(130000);
  expect(conn.backendPid).toBeGreaterThan(1);
  const result = await conn.query(`select 1 as "ä", null as n, 'žluťoučký 🐘' as text, true as b`);
  expect(result.rows).toEqual([{ ä: '1', n: null, text: 'žluťoučký 🐘', b: 't' }]);
  expect(result.fields.map((field) => [field.name, field.typeOid])).toEqual([
    ['ä', 23],
    ['n', 25],
    ['text', 25],
    ['b', 16],
  ]);
  const written = await conn.query('create temp table t (a int); insert into t select generate_series(1, 5)');
  expect([written.command, written.affected, written.rows]).toEqual(['INSERT 0 5', 5, []]);
  expect((await conn.query('')).rows).toEqual([]);
  const many = await conn.query(`select g, repeat('é', 100) as pad from generate_series(1, 20000) g`);
  expect(many.rows).toHaveLength(20000);
  expect(many.rows[19999]).toEqual({ g: '20000', pad: 'é'.repeat(100) });
});

test('parameters: text, NULL, bytea as it is', async () => {
  const conn = await rig.open();
  const bytes = Buffer.from([0, 1, 255, 0, 39, 92]);
  const { rows } = await conn.query(
    `select $1::int + 1 as a, $2::text is null as b, encode($3, 'hex') as c, length($4) as d, $5::text as e`,
    ['41', null, bytes, Buffer.alloc(0), ''],
  );
  expect(rows).toEqual([{ a: '42', b: 't', c: bytes.toString('hex'), d: '0', e: '' }]);
  expect(await codeOf(conn.query('select $1', ['a\0b']))).toBe('wrong_call');
  expect(await codeOf(conn.query('select 1\0; drop table t'))).toBe('wrong_call');
  expect(await codeOf(conn.query('select $1::int; select 2', ['1']))).toBe('42601');
});

test('errors carry what the server says, and the session goes on', async () => {
  const conn = await rig.open();
  const error = await conn
    .query(`do $$ begin raise exception 'ačkoli' using errcode = 'PE001', detail = 'd', hint = 'h'; end $$`)
    .catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(PgError);
  expect(error).toMatchObject({
    code: 'PE001',
    message: 'ačkoli',
    severity: 'ERROR',
    detail: 'd',
    hint: 'h',
  });
  expect(await codeOf(conn.query('select 1; select 1/0; select 2'))).toBe('22012');
  expect((await conn.query('select 3 as a')).rows).toEqual([{ a: '3' }]);
});

test('describe runs nothing, takes one statement, and leaves nothing prepared', async () => {
  const conn = await rig.open();
  await conn.query('create temp sequence s');
  expect(await conn.describe(`select nextval('s') as n, now() as t, array['a'] as list`)).toEqual([
    { name: 'n', typeOid: 20 },
    { name: 't', typeOid: 1184 },
    { name: 'list', typeOid: 1009 },
  ]);
  expect(await conn.describe('set work_mem to default')).toEqual([]);
  expect(await codeOf(conn.describe("select 1) to program 'true'"))).toBe('42601');
  expect(await codeOf(conn.describe('select 1; select 2'))).toBe('42601');
  expect(await codeOf(conn.describe('select nosuch'))).toBe('42703');
  expect((await conn.query(`select is_called as c from s`)).rows).toEqual([{ c: 'f' }]);
  expect((await conn.query(`select count(*) as n from pg_prepared_statements`)).rows).toEqual([{ n: '0' }]);
});

test('calls run in the order in which they were made, each with its own end', async () => {
  const conn = await rig.open();
  const order: string[] = [];
  const calls = [
    conn.query('create temp table q (n int)'),
    conn.copyIn('copy q from stdin', [Buffer.from('1\n2\n')]),
    conn.query('select 1/0'),
    conn.copyOutRaw('copy (select sum(n) from q) to stdout'),
    conn.describe('select n from q'),
    conn.query('drop table q'),
    conn.query('select n from q'),
  ].map((call, index) =>
    call.then(
      () => order.push(`${index} ok`),
      () => order.push(`${index} error`),
    ),
  );
  await Promise.all(calls);
  expect(order).toEqual(['0 ok', '1 ok', '2 error', '3 ok', '4 ok', '5 ok', '6 error']);
});

test('a call may be made from inside the end of another', async () => {
  const conn = await rig.open();
  let depth = 0;
  const again = async (): Promise<void> => {
    if (++depth < 200) {
      await conn.query('select 1');
      await again();
    }
  };
  await again();
  expect(depth).toBe(200);
});

test('a million rows in and out, byte for byte', async () => {
  const conn = await rig.open();
  const source = `select g as a, g * 2.5::float8 as b, 'row ' || g as c from generate_series(1, 1000000) g`;
  const raw = await conn.copyOutRaw(`copy (${source}) to stdout (format binary)`);
  await conn.query('create temp table million (a int, b float8, c text)');
  const pieces: Buffer[] = [];
  for (let offset = 0; offset < raw.length; offset += 3_333_333)
    pieces.push(raw.subarray(offset, offset + 3_333_333));
  expect(await conn.copyIn('copy million from stdin (format binary)', [Buffer.alloc(0), ...pieces])).toBe(
    1_000_000,
  );
  const again = await conn.copyOutRaw('copy million to stdout (format binary)');
  expect(again.equals(raw)).toBe(true);
});

test('a COPY with its rows set apart: the asked byte of each row is aligned, and nothing else is changed', async () => {
  const conn = await rig.open();
  const sql = `copy (select g::int8, repeat('x', g % 13) from generate_series(1, 5000) g) to stdout (format binary)`;
  const plain = await conn.copyOutRaw(sql);
  for (const expectedBytes of [0, 1 << 20]) {
    const { data, starts } = await conn.copyOutAligned(sql, 18, { expectedBytes });
    expect(starts).toHaveLength(5001);
    expect(starts.every((start) => (start + 18) % 8 === 0)).toBe(true);
    const pieces = [data.subarray((starts[0] as number) - 19, starts[0])];
    for (const [row, start] of starts.entries()) {
      pieces.push(data.subarray(start, row < 5000 ? start + 18 + ((row + 1) % 13) : start + 2));
    }
    expect(Buffer.concat(pieces).equals(plain)).toBe(true);
    releaseStream(data);
  }
  const none = await conn.copyOutAligned('copy (select 1 where false) to stdout (format binary)', 4);
  expect([...none.starts]).toHaveLength(1);
  await expect(conn.copyOutAligned(sql, -1)).rejects.toMatchObject({ code: 'wrong_call' });
});

test('COPY goes into a block that gives the same rows back', async () => {
  const conn = await rig.open();
  const columns = [
    { name: 'id', type: 'int8' },
    { name: 'name', type: 'text' },
    { name: 'value', type: 'float8' },
  ] as const;
  const source = `select g::int8 as id, case when g % 3 = 0 then null else 'ž' || g end as name, g / 7.0::float8 as value
                  from generate_series(1, 50000) g`;
  const sql = `copy (${source}) to stdout (format binary)`;
  const result = await conn.copyOutBlock({ sql, columns, meta });
  expect(result.rows).toBe(50000);
  expect(blockInfo(result.block)).toMatchObject({ target: 7n, probe: 'probe', rows: 50000 });
  const stream = await blocksToPgcopy([result.block], { columns, prefix: [] });
  expect(stream.equals(await conn.copyOutRaw(sql))).toBe(true);
  const none = await conn.copyOutBlock({
    sql: `copy (${source} limit 0) to stdout (format binary)`,
    columns,
    meta,
  });
  expect(none.rows).toBe(0);
});

test('what a block cannot hold rejects with the codec’s code, ends the server’s work, and the session goes on', async () => {
  const conn = await rig.open();
  const columns = [{ name: 'id', type: 'int8' }] as const;
  const endless = 'copy (select generate_series(1, 100000000000)) to stdout (format binary)';
  expect(await codeOf(conn.copyOutBlock({ sql: endless, columns, meta, maxRows: 1000 }))).toMatch(/^codec_/);
  expect(
    await codeOf(
      conn.copyOutBlock({ sql: 'copy (select 1::int4) to stdout (format binary)', columns, meta }),
    ),
  ).toMatch(/^codec_/);
  const wrong = [{ name: 'id', type: 'circle' as unknown as 'int8' }];
  expect(
    await codeOf(
      conn.copyOutBlock({ sql: 'copy (select 1::int8) to stdout (format binary)', columns: wrong, meta }),
    ),
  ).toBe('codec_columns');
  expect(
    (await conn.copyOutBlock({ sql: 'copy (select 1::int8) to stdout (format binary)', columns, meta })).rows,
  ).toBe(1);
});

test('errors inside COPY, in both directions', async () => {
  const conn = await rig.open();
  await conn.query('create temp table e (a int)');
  expect(
    await codeOf(conn.copyOutRaw('copy (select 1 / (1000 - g) from generate_series(1, 2000) g) to stdout')),
  ).toBe('22012');
  const rows = Buffer.from('1\n'.repeat(500_000));
  expect(await codeOf(conn.copyIn('copy e from stdin', [Buffer.from('1\nx\n'), rows, rows, rows]))).toBe(
    '22P02',
  );
  expect(await codeOf(conn.copyIn('copy nosuch from stdin', [rows]))).toBe('42P01');
  expect(await codeOf(conn.copyIn('copy e from stdin (format binary)', [Buffer.from('short')]))).toBe(
    '22P04',
  );
  expect((await conn.query('select count(*) as n from e')).rows).toEqual([{ n: '0' }]);
});

test('a COPY of more than asked for is an error, never a stream without its end', async () => {
  const conn = await rig.open();
  for (const count of [3, 100_000]) {
    const sql = `copy (select repeat('x', 99) from generate_series(1, ${count})) to stdout`;
    expect(await codeOf(conn.copyOutRaw(sql, { maxBytes: 100 * count - 1 }))).toBe('wrong_call');
    expect(await conn.copyOutRaw(sql, { maxBytes: 100 * count })).toHaveLength(100 * count);
  }
});

test('a COPY in the wrong call, and no COPY where one is awaited', async () => {
  const conn = await rig.open();
  await conn.query('create temp table w (a int)');
  expect(await codeOf(conn.query('copy (select generate_series(1, 100000)) to stdout'))).toBe('wrong_call');
  expect(await codeOf(conn.query('copy w from stdin'))).toBe('wrong_call');
  expect(await codeOf(conn.copyOutRaw('copy w from stdin'))).toBe('wrong_call');
  expect(await codeOf(conn.copyOutRaw('select 1'))).toBe('wrong_call');
  expect(await codeOf(conn.copyIn('copy w to stdout', [Buffer.from('1\n')]))).toBe('wrong_call');
  expect(await codeOf(conn.copyIn('select 1', [Buffer.from('1\n')]))).toBe('wrong_call');
  expect((await conn.query('select count(*) as n from w')).rows).toEqual([{ n: '0' }]);
});

test('notices are told, notifications do no harm', async () => {
  const conn = await rig.open();
  const notices: string[] = [];
  conn.onNotice((message) => notices.push(message));
  await conn.query(`listen news; notify news, 'x'; do $$ begin raise warning 'písek'; end $$`);
  await conn.query('select 1');
  expect(notices).toEqual([expect.stringContaining('písek')]);
});

/** A CA, a certificate for localhost and one for the role tls_user, with their keys. */
function certificates(folder: string): void {
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
  };
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...key,
    '-days',
    '2',
    '-subj',
    '/CN=test CA',
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
  );
  for (const [file, name] of [
    ['server', 'localhost'],
    ['client', 'tls_user'],
  ] as const) {
    openssl('req', ...key, '-subj', `/CN=${name}`, '-keyout', `${file}.key`, '-out', `${file}.csr`);
    openssl(
      'x509',
      '-req',
      '-in',
      `${file}.csr`,
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-days',
      '2',
      '-out',
      `${file}.crt`,
    );
    chmodSync(join(folder, `${file}.key`), 0o600);
  }
}

test('TLS with a client certificate; without one, with another CA or another name it fails; a refused TLS falls back', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgconn-tls-'));
  certificates(folder);
  const user = serverUser();
  const secure = await startCluster({
    tcp: true,
    hba: `local all all trust
hostssl all tls_user 127.0.0.1/32 cert
hostssl all plain_user 127.0.0.1/32 reject
hostnossl all plain_user 127.0.0.1/32 trust
`,
    settings: { ssl: 'on', ssl_ca_file: "'ca.crt'" },
    prepare: (data) => {
      for (const file of ['ca.crt', 'server.crt', 'server.key']) {
        copyFileSync(join(folder, file), join(data, file));
        chmodSync(join(data, file), 0o600);
        if (user.uid !== undefined && user.gid !== undefined) chownSync(join(data, file), user.uid, user.gid);
      }
    },
  });
  const tls = (more: Record<string, string>): Promise<PgConn> =>
    connect({
      params: {
        host: 'localhost',
        port: String(secure.port),
        dbname: 'postgres',
        user: 'tls_user',
        sslmode: 'verify-full',
        sslrootcert: join(folder, 'ca.crt'),
        sslcert: join(folder, 'client.crt'),
        sslkey: join(folder, 'client.key'),
        ...more,
      },
      timeoutMs: 30_000,
    });
  let conn: PgConn | undefined;
  let plain: PgConn | undefined;
  try {
    await secure.query('create role tls_user login');
    await secure.query('create role plain_user login');
    conn = await tls({});

    expect((await conn.query('select ssl from pg_stat_ssl where pid = pg_backend_pid()')).rows).toEqual([
      { ssl: 't' },
    ]);
    const wide = `select repeat(md5(g::text), 1000) from generate_series(1, 1000) g`;
    const raw = await conn.copyOutRaw(`copy (${wide}) to stdout (format binary)`);
    await conn.query('create temp table wide (a text)');
    expect(await conn.copyIn('copy wide from stdin (format binary)', [raw])).toBe(1000);
    expect(
      (await conn.query(`select count(*) as n from (select a from wide except ${wide}) d`)).rows,
    ).toEqual([{ n: '0' }]);
    const waiting = codeOf(conn.query('select pg_sleep(1000)', [], { timeoutMs: 50 }));
    expect(await waiting).toBe('query_timeout');
    expect(conn.closed).toBe(false);

    expect(await codeOf(tls({ sslcert: join(folder, 'none.crt') }))).toBe('connect_failed');
    expect(await codeOf(tls({ sslrootcert: join(folder, 'client.crt') }))).toBe('connect_failed');
    expect(await codeOf(tls({ host: '127.0.0.1' }))).toBe('connect_failed');
    plain = await tls({ user: 'plain_user', sslmode: 'prefer' });

    expect((await plain.query('select ssl from pg_stat_ssl where pid = pg_backend_pid()')).rows).toEqual([
      { ssl: 'f' },
    ]);
  } finally {
    for (const each of [conn, plain]) each?.close();
    await secure.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});
