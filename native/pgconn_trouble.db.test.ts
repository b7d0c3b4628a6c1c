/** PgConn in trouble: cancelling, silence, ends of connections and of threads, what stays behind. */
import { lookup } from 'node:dns/promises';
import { readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { killBackend } from '../bench/rig/crash.js';
import { codeOf, sessions, silentServer, until } from '../bench/rig/sessions.js';
import { connect, type PgError } from './pgconn.js';

const rig = sessions();

function sockets(): number {
  return readdirSync('/proc/self/fd').length;
}

test('cancel ends a statement that waits for a lock; the next ones are not hit', async () => {
  await rig.cluster().query('create table locked (a int)');
  const holder = await rig.open();
  await holder.query('begin; lock table locked');
  const conn = await rig.open();
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
  const conn = await rig.open();
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
  const proxy = await rig.proxy();
  for (const mode of ['half-open', 'black-hole'] as const) {
    proxy.set('pass');
    const conn = await rig.open({ host: '127.0.0.1', port: String(proxy.port) });
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
  const proxy = await rig.proxy();
  const conns = await Promise.all(
    Array.from({ length: 24 }, () => rig.open({ host: '127.0.0.1', port: String(proxy.port) })),
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
  const proxy = await rig.proxy();
  const conn = await rig.open({ host: '127.0.0.1', port: String(proxy.port) });
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
      connect({ params: rig.params({ host: '127.0.0.1', port: String(server.port) }), timeoutMs: 10_000 }),
    ).then((code) => order.push(code)),
  );
  await until(() => silent.every((server) => server.accepted() === 1));
  await Promise.all([
    rig.open().then(async (conn) => {
      await conn.query('select 1');
      order.push('good');
    }),
    lookup('localhost').then(() => order.push('name')),
    writeFile(join(rig.cluster().folder, 'written'), 'x').then(() => order.push('file')),
  ]);
  order.sort();
  await Promise.all(stuck);
  expect(order).toEqual(['file', 'good', 'name', ...Array(4).fill('connect_timeout')]);
  await Promise.all(silent.map((server) => server.stop()));
});

test('the second host is tried when the first refuses, also through a name', async () => {
  // Nobody listens on port 1; one that was free a moment ago may be somebody's by now.
  const conn = await rig.open({
    host: `127.0.0.1,localhost,${rig.cluster().socketDirectory}`,
    port: `1,1,${rig.cluster().port}`,
  });
  expect((await conn.query('select 1 as a')).rows).toEqual([{ a: '1' }]);
});

test('connects that fail say why and never show a password', async () => {
  const failures = [
    rig.params({ host: '127.0.0.1', user: 'scram_user', password: 'wrong-secret' }),
    rig.params({ dbname: 'nosuch' }),
    rig.params({ host: 'no-such-host.invalid' }),
    rig.params({ host: '/nonexistent' }),
    rig.params({ nosuchkeyword: 'x' }),
    rig.params({ sslmode: 'nonsense', password: 'wrong-secret' }),
    rig.params({ service: 'x' }),
  ];
  for (const failing of failures) {
    const error = await connect({ params: failing, timeoutMs: 30_000 }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: 'PgError', code: 'connect_failed' });
    expect(String(error)).not.toContain('wrong-secret');
    expect((error as PgError).message.length).toBeGreaterThan(10);
  }
  const conn = await rig.open({ host: 'localhost', user: 'scram_user', password: 'correct horse' });
  expect((await conn.query('select current_user as u')).rows).toEqual([{ u: 'scram_user' }]);
});

test('a killed backend rejects the running and the queued calls, also in the middle of a COPY', async () => {
  const conn = await rig.open();
  const ends: (PgError | null)[] = [];
  conn.onClose((error) => ends.push(error));
  const other = await rig.open();
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
  const conn = await rig.open();
  const other = await rig.open();
  const ended = new Promise<PgError | null>((resolve) => conn.onClose(resolve));
  await other.query('select pg_terminate_backend($1)', [String(conn.backendPid)]);
  const error = await ended;
  expect(error?.code).toBe('connection_lost');
  expect(error?.message).toContain('terminating connection due to administrator command');
  expect(conn.closed).toBe(true);
});

test('a connection that is cut rejects what runs', async () => {
  const proxy = await rig.proxy();
  const conn = await rig.open({ host: '127.0.0.1', port: String(proxy.port) });
  const running = codeOf(conn.query('select pg_sleep(1000)'));
  proxy.set('cut');
  expect(await running).toBe('connection_lost');
  expect(
    await codeOf(
      connect({ params: rig.params({ host: '127.0.0.1', port: String(proxy.port) }), timeoutMs: 30_000 }),
    ),
  ).toBe('connect_failed');
  await proxy.stop();
});

test('close ends the running call, and onClose says that it was us', async () => {
  const conn = await rig.open();
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
  await connect({ params: rig.params(), timeoutMs: 30_000 }).then((conn) => conn.close());
  const before = sockets();
  for (let round = 0; round < 20; round++) {
    const conn = await connect({ params: rig.params(), timeoutMs: 30_000 });
    const running = codeOf(conn.query('select pg_sleep(1000)'));
    if (round % 2 === 0) await conn.cancel();
    conn.close();
    await running;
    await codeOf(connect({ params: rig.params({ dbname: 'nosuch' }), timeoutMs: 30_000 }));
    await codeOf(
      connect({ params: rig.params({ host: '127.0.0.1', port: String(silent.port) }), timeoutMs: 20 }),
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
      const conn = await connect({ params: rig.params(), timeoutMs: 30_000 });
      conn.onClose(() => undefined);
      conn.onNotice(() => undefined);
      await conn.query('select 1');
      forgotten.push(conn.backendPid);
    }
    return forgotten;
  })();
  const other = await rig.open();
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
      workerData: { addon, params: rig.params(), silent: String(silent.port) },
    });
    expect(await new Promise((resolve) => worker.once('exit', resolve))).toBe(5);
  }
  await silent.stop();
});

test('a backend killed with SIGKILL in the middle of a COPY is a lost connection', async () => {
  const conn = await rig.open();
  await rig.cluster().query('create table crash (a int)');
  const copying = codeOf(conn.copyOutRaw(`copy (select generate_series(1, 100000000)) to stdout`));
  await until(
    async () =>
      (await rig.cluster().query('select 1 from pg_stat_progress_copy where tuples_processed > 0'))
        .rowCount === 1,
  );
  await killBackend(rig.cluster(), conn.backendPid);
  expect(await copying).toBe('connection_lost');
  expect(await codeOf(rig.open().then((again) => again.query('select 1')))).toBe('no error');
});

test('an immediate shutdown is a lost connection, and the next connect works after the restart', async () => {
  const conn = await rig.open();
  const running = codeOf(conn.query('select pg_sleep(1000)'));
  await rig.cluster().halt('immediate');
  expect(await running).toBe('connection_lost');
  expect(await codeOf(connect({ params: rig.params(), timeoutMs: 30_000 }))).toBe('connect_failed');
  await rig.cluster().start();
  expect((await (await rig.open()).query('select 1 as a')).rows).toEqual([{ a: '1' }]);
});
