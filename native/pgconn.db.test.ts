/** PgConn against a real server: calls, COPY, errors, cancelling, ends of connections, what it leaves behind. */

import { execFileSync } from 'node:child_process';
import { lookup } from 'node:dns/promises';
import { chmodSync, chownSync, copyFileSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Cluster, serverUser, startCluster } from '../bench/rig/cluster.js';
import { TestProxy } from '../bench/rig/proxy.js';
import { type BlockMeta, blockInfo, blocksToPgcopy } from './codec.js';
import { connect, type PgConn, PgError } from './pgconn.js';

let cluster: Cluster;
const open: PgConn[] = [];

const meta: BlockMeta = {
  target: 7n,
  probe: 'probe',
  probeVersion: 1,
  kind: 'full',
  recordedAtUs: 1_700_000_000_000_000n,
  intervalUs: 1_000_000n,
};

function params(more: Record<string, string> = {}): Record<string, string> {
  return {
    host: cluster.socketDirectory,
    port: String(cluster.port),
    user: 'postgres',
    dbname: 'postgres',
    ...more,
  };
}

async function session(more: Record<string, string> = {}): Promise<PgConn> {
  const conn = await connect({ params: params(more), timeoutMs: 30_000 });
  open.push(conn);
  return conn;
}

/** The PgError's code, or what else came. */
async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'no error';
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}

function sockets(): number {
  return readdirSync('/proc/self/fd').length;
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** A server that accepts and never answers. */
async function silentServer(): Promise<{ port: number; accepted: () => number; stop: () => Promise<void> }> {
  const clients = new Set<Socket>();
  const server = createServer((client) => {
    clients.add(client);
    client.on('error', () => undefined);
    client.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    port: address.port,
    accepted: () => clients.size,
    stop: async () => {
      for (const client of clients) client.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

beforeAll(async () => {
  cluster = await startCluster({
    tcp: true,
    hba: 'local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n',
  });
  await cluster.query(`create role scram_user login password 'correct horse'`);
});

afterAll(async () => {
  await cluster?.stop();
});

afterEach(() => {
  for (const conn of open.splice(0)) conn.close();
});

test('queries: text results, NULL, tags, several statements, unicode', async () => {
  const conn = await session();
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
  const conn = await session();
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
  const conn = await session();
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
  const conn = await session();
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
  const conn = await session();
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
  const conn = await session();
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
  const conn = await session();
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

test('COPY goes into a block that gives the same rows back', async () => {
  const conn = await session();
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
  const conn = await session();
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
  const conn = await session();
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

test('a COPY in the wrong call, and no COPY where one is awaited', async () => {
  const conn = await session();
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
  const conn = await session();
  const notices: string[] = [];
  conn.onNotice((message) => notices.push(message));
  await conn.query(`listen news; notify news, 'x'; do $$ begin raise warning 'písek'; end $$`);
  await conn.query('select 1');
  expect(notices).toEqual([expect.stringContaining('písek')]);
});

test('cancel ends a statement that waits for a lock; the next ones are not hit', async () => {
  await cluster.query('create table locked (a int)');
  const holder = await session();
  await holder.query('begin; lock table locked');
  const conn = await session();
  for (let round = 0; round < 20; round++) {
    const waiting = codeOf(conn.query('select * from locked'));
    const next = conn.query('select 1 as a');
    await until(async () => {
      const { rows } = await holder.query('select count(*) as n from pg_locks where not granted');
      return rows[0]?.n === '1';
    });
    await conn.cancel();
    expect(await waiting).toBe('57014');
    expect((await next).rows).toEqual([{ a: '1' }]);
  }
});

test('a call over its time is cancelled and the session goes on', async () => {
  const conn = await session();
  const late = codeOf(conn.query('select pg_sleep(1000)', [], { timeoutMs: 50 }));
  const next = conn.query('select 2 as a');
  expect(await late).toBe('query_timeout');
  expect((await next).rows).toEqual([{ a: '2' }]);
  expect(await codeOf(conn.copyOutRaw('copy (select pg_sleep(1000)) to stdout', { timeoutMs: 50 }))).toBe(
    'query_timeout',
  );
  expect(conn.closed).toBe(false);
});

test('a server that went silent: the call ends with query_timeout, the rest with connection_lost', async () => {
  const proxy = await TestProxy.start({ path: join(cluster.socketDirectory, `.s.PGSQL.${cluster.port}`) });
  for (const mode of ['half-open', 'black-hole'] as const) {
    proxy.set('pass');
    const conn = await session({ host: '127.0.0.1', port: String(proxy.port) });
    const ends: (PgError | null)[] = [];
    conn.onClose((error) => ends.push(error));
    proxy.set(mode);
    const running = codeOf(conn.query('select 1', [], { timeoutMs: 50 }));
    const queued = codeOf(conn.query('select 2'));
    expect(await running).toBe('query_timeout');
    expect(await queued).toBe('connection_lost');
    expect(conn.closed).toBe(true);
    expect(ends.map((error) => error?.code)).toEqual(['connection_lost']);
    expect(await codeOf(conn.query('select 3'))).toBe('connection_lost');
  }
  await proxy.stop();
});

test('unanswered cancel requests hold a bounded number of threads, and every call ends all the same', async () => {
  const threads = (): number => readdirSync('/proc/self/task').length;
  const proxy = await TestProxy.start({ path: join(cluster.socketDirectory, `.s.PGSQL.${cluster.port}`) });
  const conns = await Promise.all(
    Array.from({ length: 24 }, () => session({ host: '127.0.0.1', port: String(proxy.port) })),
  );
  const before = threads();
  proxy.set('half-open');
  const calls = conns.map((conn) => codeOf(conn.query('select 1', [], { timeoutMs: 50 })));
  expect(await Promise.all(calls)).toEqual(Array(24).fill('query_timeout'));
  expect(threads() - before).toBeGreaterThan(0);
  expect(threads() - before).toBeLessThanOrEqual(16);
  await proxy.stop();
  await until(() => threads() <= before);
});

test('COPY FROM STDIN into a silent server stops at its time, and keeps no more than the sockets hold', async () => {
  const proxy = await TestProxy.start({ path: join(cluster.socketDirectory, `.s.PGSQL.${cluster.port}`) });
  const conn = await session({ host: '127.0.0.1', port: String(proxy.port) });
  await conn.query('create temp table c (a text)');
  const before = process.memoryUsage().rss;
  const piece = Buffer.from(`${'x'.repeat(1023)}\n`.repeat(64 * 1024));
  proxy.set('half-open');
  const copying = conn.copyIn('copy c from stdin', [piece, piece, piece], { timeoutMs: 300 });
  expect(await codeOf(copying)).toBe('query_timeout');
  expect(process.memoryUsage().rss - before).toBeLessThan(piece.length * 2.5);
  await proxy.stop();
});

test('four silent servers hamper neither a good connect, nor a name, nor a file', async () => {
  const silent = await Promise.all([1, 2, 3, 4].map(() => silentServer()));
  const order: string[] = [];
  const stuck = silent.map((server) =>
    codeOf(
      connect({ params: params({ host: '127.0.0.1', port: String(server.port) }), timeoutMs: 3000 }),
    ).then((code) => order.push(code)),
  );
  await until(() => silent.every((server) => server.accepted() === 1));
  await Promise.all([
    session().then(async (conn) => {
      await conn.query('select 1');
      order.push('good');
    }),
    lookup('localhost').then(() => order.push('name')),
    writeFile(join(cluster.folder, 'written'), 'x').then(() => order.push('file')),
  ]);
  order.sort();
  await Promise.all(stuck);
  expect(order).toEqual(['file', 'good', 'name', ...Array(4).fill('connect_timeout')]);
  await Promise.all(silent.map((server) => server.stop()));
});

test('the second host is tried when the first refuses, also through a name', async () => {
  const refused = await silentServer();
  await refused.stop();
  const conn = await session({
    host: `127.0.0.1,localhost,${cluster.socketDirectory}`,
    port: `${refused.port},${refused.port},${cluster.port}`,
  });
  expect((await conn.query('select 1 as a')).rows).toEqual([{ a: '1' }]);
});

test('connects that fail say why and never show a password', async () => {
  const failures = [
    params({ host: '127.0.0.1', user: 'scram_user', password: 'wrong-secret' }),
    params({ dbname: 'nosuch' }),
    params({ host: 'no-such-host.invalid' }),
    params({ host: '/nonexistent' }),
    params({ nosuchkeyword: 'x' }),
    params({ sslmode: 'nonsense', password: 'wrong-secret' }),
    params({ service: 'x' }),
  ];
  for (const failing of failures) {
    const error = await connect({ params: failing, timeoutMs: 30_000 }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: 'PgError', code: 'connect_failed' });
    expect(String(error)).not.toContain('wrong-secret');
    expect((error as PgError).message.length).toBeGreaterThan(10);
  }
  const conn = await session({ host: 'localhost', user: 'scram_user', password: 'correct horse' });
  expect((await conn.query('select current_user as u')).rows).toEqual([{ u: 'scram_user' }]);
});

test('a killed backend rejects the running and the queued calls, also in the middle of a COPY', async () => {
  const conn = await session();
  const ends: (PgError | null)[] = [];
  conn.onClose((error) => ends.push(error));
  const other = await session();
  const calls = [
    conn.copyOutRaw(`copy (select repeat('x', 1000), generate_series(1, 100000000)) to stdout`),
    conn.query('select 1'),
    conn.copyIn('copy x from stdin', []),
    conn.describe('select 1'),
  ].map((call) => codeOf(call));
  await until(async () => {
    const { rows } = await other.query('select 1 from pg_stat_progress_copy where tuples_processed > 0');
    return rows.length === 1;
  });
  await other.query('select pg_terminate_backend($1)', [String(conn.backendPid)]);
  expect(await Promise.all(calls)).toEqual(Array(4).fill('connection_lost'));
  expect(ends.map((error) => error?.code)).toEqual(['connection_lost']);
});

test('an idle connection notices its end', async () => {
  const conn = await session();
  const other = await session();
  const ended = new Promise<PgError | null>((resolve) => conn.onClose(resolve));
  await other.query('select pg_terminate_backend($1)', [String(conn.backendPid)]);
  const error = await ended;
  expect(error?.code).toBe('connection_lost');
  expect(error?.message).toContain('terminating connection due to administrator command');
  expect(conn.closed).toBe(true);
});

test('a connection that is cut rejects what runs', async () => {
  const proxy = await TestProxy.start({ path: join(cluster.socketDirectory, `.s.PGSQL.${cluster.port}`) });
  const conn = await session({ host: '127.0.0.1', port: String(proxy.port) });
  const running = codeOf(conn.query('select pg_sleep(1000)'));
  proxy.set('cut');
  expect(await running).toBe('connection_lost');
  expect(
    await codeOf(
      connect({ params: params({ host: '127.0.0.1', port: String(proxy.port) }), timeoutMs: 30_000 }),
    ),
  ).toBe('connect_failed');
  await proxy.stop();
});

test('close ends the running call, and onClose says that it was us', async () => {
  const conn = await session();
  const running = codeOf(conn.query('select pg_sleep(1000)'));
  const ends: (PgError | null)[] = [];
  conn.onClose((error) => ends.push(error));
  conn.close();
  conn.close();
  expect(await running).toBe('connection_lost');
  expect(await codeOf(conn.query('select 1'))).toBe('connection_lost');
  await conn.cancel();
  conn.onClose((error) => ends.push(error));
  expect(ends).toEqual([null, null]);
});

test('no descriptor stays behind, whatever happened to the connection', async () => {
  const silent = await silentServer();
  await connect({ params: params(), timeoutMs: 30_000 }).then((conn) => conn.close());
  const before = sockets();
  for (let round = 0; round < 20; round++) {
    const conn = await connect({ params: params(), timeoutMs: 30_000 });
    const running = codeOf(conn.query('select pg_sleep(1000)'));
    if (round % 2 === 0) await conn.cancel();
    conn.close();
    await running;
    await codeOf(connect({ params: params({ dbname: 'nosuch' }), timeoutMs: 30_000 }));
    await codeOf(
      connect({ params: params({ host: '127.0.0.1', port: String(silent.port) }), timeoutMs: 20 }),
    );
  }
  await silent.stop();
  await until(() => sockets() <= before);
});

test('a forgotten idle connection is closed by the collector', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const pids = await (async () => {
    const forgotten: number[] = [];
    for (let i = 0; i < 10; i++) {
      const conn = await connect({ params: params(), timeoutMs: 30_000 });
      conn.onClose(() => undefined);
      conn.onNotice(() => undefined);
      await conn.query('select 1');
      forgotten.push(conn.backendPid);
    }
    return forgotten;
  })();
  const other = await session();
  await until(async () => {
    collect();
    const { rows } = await other.query(
      'select count(*) as n from pg_stat_activity where pid = any ($1::int[])',
      [`{${pids.join(',')}}`],
    );
    // One may still stand on somebody's stack.
    return Number(rows[0]?.n) <= 1;
  });
});

test('a thread may end with connections open, connecting and cancelling', async () => {
  const silent = await silentServer();
  const script = `
    const { workerData } = require('node:worker_threads');
    const { NativeConnection } = require(workerData.addon);
    const keys = Object.keys(workerData.params);
    const start = (port) => {
      const conn = new NativeConnection();
      const params = { ...workerData.params, ...port };
      conn.connect(Object.keys(params), Object.values(params));
      return conn;
    };
    globalThis.kept = [start({}), start({}), start({ host: '127.0.0.1', port: workerData.silent })];
    let connected = 0;
    for (const conn of kept) conn.on = (kind) => {
      if (kind !== 'connected' || ++connected !== 2) return;
      kept[0].query('select pg_sleep(1000)', []);
      kept[0].cancel();
      process.exit(5);
    };`;
  const addon = new URL('./addon/build/Release/pem.node', import.meta.url).pathname;
  for (let round = 0; round < 3; round++) {
    const worker = new Worker(script, {
      eval: true,
      workerData: { addon, params: params(), silent: String(silent.port) },
    });
    expect(await new Promise((resolve) => worker.once('exit', resolve))).toBe(5);
  }
  await silent.stop();
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
  try {
    await secure.query('create role tls_user login');
    await secure.query('create role plain_user login');
    const conn = await tls({});
    open.push(conn);
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
    const plain = await tls({ user: 'plain_user', sslmode: 'prefer' });
    open.push(plain);
    expect((await plain.query('select ssl from pg_stat_ssl where pid = pg_backend_pid()')).rows).toEqual([
      { ssl: 'f' },
    ]);
  } finally {
    await secure.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a backend killed with SIGKILL in the middle of a COPY is a lost connection', async () => {
  const conn = await session();
  await cluster.query('create table crash (a int)');
  const copying = codeOf(conn.copyOutRaw(`copy (select generate_series(1, 100000000)) to stdout`));
  await until(
    async () =>
      (await cluster.query('select 1 from pg_stat_progress_copy where tuples_processed > 0')).rowCount === 1,
  );
  process.kill(conn.backendPid, 'SIGKILL');
  expect(await copying).toBe('connection_lost');
  await until(async () => (await codeOf(session().then((again) => again.query('select 1')))) === 'no error');
});

test('an immediate shutdown is a lost connection, and the next connect works after the restart', async () => {
  const conn = await session();
  const running = codeOf(conn.query('select pg_sleep(1000)'));
  await cluster.halt('immediate');
  expect(await running).toBe('connection_lost');
  expect(await codeOf(connect({ params: params(), timeoutMs: 30_000 }))).toBe('connect_failed');
  await cluster.start();
  expect((await (await session()).query('select 1 as a')).rows).toEqual([{ a: '1' }]);
});
