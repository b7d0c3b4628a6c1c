/**
 * Servers without an agent, with the real programs: what a user is told, who may act, what is forgotten and when; and that
 * every row is in history once though the web server is killed in between.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Cluster } from '../../bench/rig/cluster.js';
import { buildPrograms } from '../../bench/rig/conservation.js';
import { type Pem, startPem } from '../../bench/rig/pem.js';
import { eventually } from '../../bench/rig/processes.js';
import { startUnmanaged, tracingPassword, tracingRole, WebProcess } from '../../bench/rig/unmanaged.js';
import { signInAt, startWeb, type Visitor } from '../../bench/rig/web.js';
import { parseConninfo } from '../base/conninfo.js';
import { openLog } from '../base/log.js';
import { type Ingester, runIngester } from '../ingest/main.js';

const base = '/pem/api/v1';
let pem: Pem;
let traced: Cluster;
let web: WebProcess;
let ingester: Ingester;
let ada: Visitor;
let bob: Visitor;
let eve: Visitor;
const passwords: Record<string, string> = {};
let number = 0;

beforeAll(async () => {
  await buildPrograms();
  pem = await startPem();
  traced = await startUnmanaged();
  await pem.addTeam('crew');
  for (const [name, level] of [
    ['ada', 'pem_admin'],
    ['bob', 'pem_admin'],
    ['guest', 'pem_user'],
  ] as const)
    passwords[name] = await pem.addUser(name, { level, teams: ['crew'] });
  passwords.eve = await pem.addUser('eve', { level: 'pem_admin' });
  const log = openLog('ingest');
  log.level = 'silent';
  ingester = runIngester({ db: parseConninfo(pem.conninfo('pem_ingest')), name: 'one', log });
  web = await WebProcess.start(pem, { PGSSLROOTCERT: join(traced.dataDirectory, 'root.crt') });
  ada = await signIn('ada');
  bob = await signIn('bob');
  eve = await signIn('eve');
});
afterAll(async () => {
  await web?.remove();
  await ingester?.stop();
  await traced?.stop();
  await pem?.stop();
});

const signIn = (name: string): Promise<Visitor> => signInAt(() => web.port, name, passwords[name] ?? '');

interface Server {
  readonly targetId: number;
  readonly connected: boolean;
  readonly connections: readonly { readonly user: string }[];
}

async function know(changes: object = {}, visitor = ada): Promise<number> {
  number += 1;
  const answer = await visitor.send('POST', `${base}/unmanaged`, {
    name: `lonely ${number}`,
    host: '127.0.0.1',
    port: traced.port,
    user: tracingRole,
    sslmode: 'disable',
    team: 'crew',
    ...changes,
  });
  expect(answer.status, answer.body.toString()).toBe(201);
  return answer.json<{ targetId: number }>().targetId;
}
const connect = (target: number, visitor = ada, password = tracingPassword) =>
  visitor.send('POST', `${base}/unmanaged/${target}/connect`, { password });
const listed = async (target: number, visitor = ada): Promise<Server | undefined> =>
  (await visitor.get(`${base}/unmanaged`))
    .json<{ servers: Server[] }>()
    .servers.find((server) => server.targetId === target);
const refusal = async (
  asked: Promise<{ status: number; json<T>(): T }>,
): Promise<[number, string, string]> => {
  const answer = await asked;
  const { error } = answer.json<{ error: { code: string; message: string } }>();
  return [answer.status, error.code, error.message];
};
const newTrace = (target: number, more: object = {}): object => ({
  targetId: target,
  name: `trace of ${target}`,
  options: { users: ['postgres'], max_file_bytes: 65_536 },
  eventsPerS: 1_000_000,
  start: true,
  ...more,
});

interface Run {
  readonly serverId: number;
  readonly state: string;
  readonly stopReason: string | null;
  readonly serverRows: number;
  readonly rowsRead: number;
  readonly rowsSkipped: number;
  readonly repeatedRows: number;
}
interface Trace {
  readonly state: string;
  readonly code: string | null;
  readonly error: string | null;
  readonly durationS: number | null;
  readonly options: Readonly<Record<string, unknown>>;
  readonly runs: readonly Run[];
}
async function until(
  what: string,
  id: number,
  visitor: () => Visitor,
  holds: (trace: Trace) => boolean,
): Promise<Trace> {
  let last: Trace | undefined;
  return eventually(what, async () => {
    last = (await visitor().get(`${base}/traces/${id}`)).json<Trace>();
    return holds(last) ? last : false;
  }).catch((error: unknown) => {
    throw new Error(`${error}\n${JSON.stringify(last)}\n${web.log.slice(-3000)}`);
  });
}
const tracesThere = async (): Promise<{ name: string; state: string; options: object }[]> =>
  (await traced.query('SELECT name, state, options FROM sql_profiler.traces ORDER BY id')).rows;
const sessionsThere = async (): Promise<number> =>
  (await traced.query(`SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = '${tracingRole}'`))
    .rows[0].n;

test('what is refused when a server is made known', async () => {
  const make = (changes: object, visitor = ada) =>
    refusal(visitor.send('POST', `${base}/unmanaged`, { name: 'x', host: 'db', user: 'u', ...changes }));
  for (const host of [
    '/var/run/postgresql',
    '@abstract',
    'a,/tmp',
    'db port=1',
    'postgresql://db',
    '',
    '-c',
    "a'b",
  ])
    expect(await make({ host }), host).toMatchObject([400, 'input_invalid', expect.stringContaining('host')]);
  expect(await make({ sslmode: 'prefer' })).toMatchObject([
    400,
    'input_invalid',
    expect.stringContaining('sslmode'),
  ]);
  expect(await make({ port: 0 })).toMatchObject([400, 'input_invalid', expect.stringContaining('port')]);
  expect(await make({ password: 'x' })).toMatchObject([
    400,
    'input_invalid',
    expect.stringContaining('password'),
  ]);
  expect(await make({ team: 'strangers' })).toMatchObject([400, 'input_invalid', expect.anything()]);
  const guest = await signIn('guest');
  expect((await make({}, guest)).slice(0, 2)).toEqual([403, 'not_permitted']);
  // Nor by the database's own door.
  const sql = `SELECT pem.add_unmanaged_server('x', '/tmp', 5432, 'd', 'u', 'require', NULL, NULL)`;
  await expect(pem.query(sql)).rejects.toMatchObject({ code: 'PE022' });
  const target = await know({ sslmode: undefined });
  expect(await listed(target)).toMatchObject({ sslmode: 'verify-full', connected: false, connections: [] });
  expect(await listed(target, bob)).toBeDefined();
  expect(await listed(target, eve)).toBeUndefined();
  expect((await refusal(connect(target, eve))).slice(0, 2)).toEqual([404, 'target_unknown']);
  expect((await refusal(connect(target, guest))).slice(0, 2)).toEqual([403, 'not_permitted']);
});

test('why a connection is refused is said with what to do, and no password is in it', async () => {
  const wrong = await refusal(connect(await know(), ada, 'not the one'));
  expect(wrong).toMatchObject([
    422,
    'server_refused',
    expect.stringContaining('password authentication failed'),
  ]);
  const bare = await refusal(connect(await know({ database: 'bare' })));
  expect(bare).toMatchObject([
    422,
    'trace_extension_missing',
    expect.stringContaining('CREATE EXTENSION sql_profiler'),
  ]);
  const plain = await refusal(connect(await know({ user: 'plain' })));
  expect(plain).toMatchObject([
    422,
    'trace_not_permitted',
    expect.stringContaining('GRANT pg_read_all_stats TO "plain"'),
  ]);
  const open = await refusal(connect(await know({ user: 'open' })));
  expect(open).toMatchObject([422, 'server_password_unused', expect.stringContaining('pg_hba.conf')]);
  const none = await refusal(connect(await know({ database: 'nowhere' })));
  expect(none).toMatchObject([422, 'server_refused', expect.stringContaining('nowhere')]);
  const silent = await refusal(connect(await know({ port: 1 })));
  expect(silent).toMatchObject([422, 'server_refused', expect.anything()]);
  const tls = await refusal(connect(await know({ host: '127.0.0.2', sslmode: 'verify-full' })));
  expect(tls).toMatchObject([422, 'server_refused', expect.stringContaining('does not match host name')]);
  expect((await refusal(connect(await know(), ada, ''))).slice(0, 2)).toEqual([400, 'input_invalid']);
  for (const text of [wrong, bare, plain, open, none, silent, tls].map((it) => it[2]))
    expect(text).not.toMatch(/not the one|a quiet pass word/);
});

test('tries are counted by role and address: guessing ends soon, whatever name the server has', async () => {
  const target = await know({ user: 'nobody' });
  const other = await know({ user: 'nobody' });
  const from = performance.now();
  // One more each twelve seconds.
  const allowed = (): number => 5 + Math.floor((performance.now() - from) / 12_000);
  const guess = async (at: number, n: number): Promise<string> =>
    (await refusal(connect(at, bob, `guess ${n}`)))[1];
  let tried = 0;
  while ((await guess(target, tried)) === 'server_refused') tried += 1;
  expect(tried).toBeGreaterThanOrEqual(5);
  expect(tried).toBeLessThanOrEqual(allowed());
  const codes = [
    await guess(target, 8),
    await guess(other, 9),
    await guess(other, 10),
    await guess(other, 11),
  ];
  expect(codes).toContain('too_many_attempts');
  expect(tried + codes.filter((code) => code === 'server_refused').length).toBeLessThanOrEqual(allowed());
});

test('limits are forced, schedules are not taken, and nobody acts who is not connected', async () => {
  const target = await know();
  const create = (more: object, visitor = ada) =>
    refusal(visitor.send('POST', `${base}/traces`, newTrace(target, more)));
  expect(await create({})).toMatchObject([409, 'server_not_connected', expect.stringContaining('connect')]);
  expect((await connect(target)).status).toBe(204);
  expect(await listed(target)).toMatchObject({ connected: true, connections: [{ user: 'ada' }] });
  expect(await listed(target, bob)).toMatchObject({ connected: false, connections: [{ user: 'ada' }] });
  expect(await create({ schedule: { kind: 'daily', time: '03:00' }, durationS: 60 })).toMatchObject([
    400,
    'input_invalid',
    expect.anything(),
  ]);
  expect((await create({ continuous: true })).slice(0, 2)).toEqual([400, 'input_invalid']);
  expect((await create({ durationS: 86_401 })).slice(0, 2)).toEqual([400, 'input_invalid']);
  expect((await create({ options: { max_total_bytes: 2 ** 40 } })).slice(0, 2)).toEqual([
    400,
    'input_invalid',
  ]);
  // Another of the team sees the server, and has no connection to act over.
  expect((await create({}, bob)).slice(0, 2)).toEqual([409, 'server_not_connected']);
  const made = await ada.send('POST', `${base}/traces`, newTrace(target));
  const { id } = made.json<{ id: number }>();
  const running = await until(
    'running',
    id,
    () => bob,
    (trace) => trace.state === 'running',
  );
  expect(running).toMatchObject({ durationS: 3600, options: { max_total_bytes: 1_073_741_824 } });
  expect(await tracesThere()).toMatchObject([
    { state: 'running', options: { max_total_bytes: 1_073_741_824, duration_s: expect.any(Number) } },
  ]);
  for (const [method, path] of [
    ['POST', 'stop'],
    ['POST', 'start'],
  ])
    expect((await refusal(bob.send(method ?? '', `${base}/traces/${id}/${path}`))).slice(0, 2)).toEqual([
      409,
      'server_not_connected',
    ]);
  expect((await refusal(bob.send('DELETE', `${base}/traces/${id}`))).slice(0, 2)).toEqual([
    409,
    'server_not_connected',
  ]);
  await expect(
    pem.query(`SET SESSION AUTHORIZATION bob; SELECT pem.hold_server(${target}, 2000000000)`),
  ).rejects.toMatchObject({ code: '42501' });
  // By a password of his own he may.
  expect((await connect(target, bob)).status).toBe(204);
  expect((await bob.send('DELETE', `${base}/traces/${id}`)).status).toBe(204);
  await eventually('gone from the server', async () => (await tracesThere()).length === 0);
  for (const visitor of [ada, bob])
    expect((await visitor.send('POST', `${base}/unmanaged/${target}/disconnect`)).status).toBe(204);
  expect(await listed(target)).toMatchObject({ connected: false, connections: [] });
});

const run = async (count: number): Promise<void> => {
  const client = await traced.client();
  for (let n = 0; n < count; n++) await client.query(`SELECT ${n}, 'mark'`);
  await client.end();
};
const count = async (sql: string, target: number, trace: number): Promise<number> =>
  (await pem.query(sql, [target, trace])).rows[0].n;
const events = (target: number, trace: number): Promise<number> =>
  count(
    'SELECT count(*)::int AS n FROM pemhistory.sql_trace_events WHERE target_id = $1 AND trace = $2',
    target,
    trace,
  );

test('the web server is killed time and again: every row is in history once, and the trace is over at the server', async () => {
  const target = await know();
  expect((await connect(target)).status).toBe(204);
  const made = await ada.send('POST', `${base}/traces`, newTrace(target));
  const { id } = made.json<{ id: number }>();
  await until(
    'running',
    id,
    () => ada,
    (trace) => trace.state === 'running',
  );
  let ending = false;
  let ran = 0;
  const load = (async () => {
    const client = await traced.client();
    for (let n = 0; !ending; n++) {
      await client.query(n % 50 === 49 ? 'SELECT 1 / 0' : `SELECT ${n}, 'load'`).catch(() => undefined);
      ran += 1;
      if (n % 20 === 0) await new Promise((go) => setTimeout(go, 3));
    }
    await client.end();
  })();
  for (let strike = 0; strike < 4; strike++) {
    await new Promise((go) => setTimeout(go, 500 + ((strike * 331) % 700)));
    await web.end('SIGKILL');
    await web.begin();
    // Nobody is connected: the password died with the process; the trace goes on there.
    expect(await listed(target)).toMatchObject({ connected: false, connections: [] });
    await until(
      'said',
      id,
      () => ada,
      (trace) => trace.code === 'server_not_connected',
    );
    expect(await tracesThere()).toMatchObject([{ state: 'running' }]);
    expect((await connect(target)).status).toBe(204);
  }
  ending = true;
  await load;
  expect((await ada.send('POST', `${base}/traces/${id}/stop`)).status).toBe(204);
  const done = await until(
    'over',
    id,
    () => ada,
    (trace) => trace.runs[0]?.state === 'ended',
  );
  const [one] = done.runs as [Run];
  expect(one).toMatchObject({ stopReason: 'requested', rowsSkipped: 0, repeatedRows: 0 });
  expect(one.serverRows).toBeGreaterThanOrEqual(ran);
  expect(one.rowsRead).toBe(one.serverRows);
  await eventually('all events', async () => (await events(target, one.serverId)) === one.serverRows);
  const lines =
    'SELECT count(DISTINCT (slot, line))::int AS n FROM pemhistory.sql_trace_events WHERE target_id = $1 AND trace = $2';
  expect(await count(lines, target, one.serverId)).toBe(one.serverRows);
  const calls =
    'SELECT sum(calls)::int AS n FROM pemhistory.sql_trace_statements WHERE target_id = $1 AND trace = $2';
  await eventually('all calls', async () => (await count(calls, target, one.serverId)) === one.serverRows);
  expect(await tracesThere()).toEqual([]);
  expect((await pem.query('SELECT code, reason FROM pem.quarantine')).rows).toEqual([]);
  await ada.send('POST', `${base}/unmanaged/${target}/disconnect`);
});

test('sign-out forgets the connection at once; the trace ends by its own limit and is read by who comes next', async () => {
  const target = await know();
  const short = await signIn('ada');
  expect((await connect(target, short)).status).toBe(204);
  const made = await short.send('POST', `${base}/traces`, newTrace(target, { durationS: 20 }));
  const { id } = made.json<{ id: number }>();
  await until(
    'running',
    id,
    () => ada,
    (trace) => trace.state === 'running',
  );
  await eventually('a session there', async () => (await sessionsThere()) === 1);
  expect((await short.send('DELETE', `${base}/session`)).status).toBe(204);
  expect(await listed(target)).toMatchObject({ connected: false, connections: [] });
  await eventually('no session there', async () => (await sessionsThere()) === 0);
  await run(40);
  // Another session of the same user has no connection; the database knows of none either.
  expect((await refusal(ada.send('POST', `${base}/traces/${id}/stop`))).slice(0, 2)).toEqual([
    409,
    'server_not_connected',
  ]);
  await eventually('it ended there', async () => (await tracesThere())[0]?.state === 'stopped');
  expect((await connect(target, bob)).status).toBe(204);
  const done = await until(
    'read',
    id,
    () => bob,
    (trace) => trace.runs[0]?.state === 'ended',
  );
  const [one] = done.runs as [Run];
  expect(one).toMatchObject({ stopReason: 'duration_s', rowsSkipped: 0, repeatedRows: 0 });
  expect(one.serverRows).toBeGreaterThanOrEqual(40);
  await eventually('all events', async () => (await events(target, one.serverId)) === one.serverRows);
  expect((await bob.send('DELETE', `${base}/unmanaged/${target}`)).status).toBe(204);
  expect(await listed(target)).toBeUndefined();
});

test('over TLS: any certificate, or the one that proves the name', async () => {
  for (const changes of [{ sslmode: 'require' }, { sslmode: 'verify-full', host: 'localhost' }]) {
    const target = await know(changes);
    const answer = await connect(target);
    expect(answer.status, answer.body.toString()).toBe(204);
    await ada.send('POST', `${base}/unmanaged/${target}/disconnect`);
  }
});

test('two are connected: when one leaves, reading goes on over the connection of the other, and not over a changed password', async () => {
  const target = await know();
  expect((await connect(target, ada)).status).toBe(204);
  expect((await connect(target, bob)).status).toBe(204);
  expect(await listed(target)).toMatchObject({ connections: [{ user: 'ada' }, { user: 'bob' }] });
  const made = await ada.send('POST', `${base}/traces`, newTrace(target));
  const { id } = made.json<{ id: number }>();
  await until(
    'running',
    id,
    () => ada,
    (trace) => trace.state === 'running',
  );
  await run(30);
  await ada.send('POST', `${base}/unmanaged/${target}/disconnect`);
  await run(30);
  await eventually('a session there', async () => (await sessionsThere()) === 1);
  expect((await bob.send('POST', `${base}/traces/${id}/stop`)).status).toBe(204);
  const done = await until(
    'over',
    id,
    () => bob,
    (trace) => trace.runs[0]?.state === 'ended',
  );
  const [one] = done.runs as [Run];
  expect(one).toMatchObject({ serverRows: one.rowsRead, rowsSkipped: 0, repeatedRows: 0 });
  expect(one.serverRows).toBeGreaterThanOrEqual(60);
  await eventually('all events', async () => (await events(target, one.serverId)) === one.serverRows);
  await traced.query(`ALTER ROLE ${tracingRole} PASSWORD 'another one'`);
  try {
    expect((await bob.send('POST', `${base}/traces/${id}/start`)).status).toBe(204);
    await eventually('forgotten', async () => (await listed(target))?.connections.length === 0);
    expect((await refusal(connect(target, bob)))[1]).toBe('server_refused');
  } finally {
    await traced.query(`ALTER ROLE ${tracingRole} PASSWORD '${tracingPassword}'`);
  }
});

test('an expired session, a lost right and a removed server end the connection', async () => {
  const target = await know();
  const short = await signIn('bob');
  const gone = async (visitor = ada): Promise<boolean> =>
    (await listed(target, visitor))?.connections.length === 0;
  expect((await connect(target, short)).status).toBe(204);
  await pem.query(`UPDATE pem.web_session SET expires_at = now() - interval '1 s'
    WHERE created_at = (SELECT max(created_at) FROM pem.web_session)`);
  await eventually('expired', () => gone());
  bob = await signIn('bob');
  expect((await connect(target, bob)).status).toBe(204);
  await pem.query('SELECT pem.set_team($1, $2, false)', ['bob', 'crew']);
  await eventually('not his any more', () => gone());
  await pem.query('SELECT pem.set_team($1, $2, true)', ['bob', 'crew']);
  expect((await connect(target)).status).toBe(204);
  // By the command line: the web server hears of it from PEM.
  await pem.query('SELECT pem.remove_server($1)', [target]);
  await eventually('told', () => web.log.includes('it is no longer traced from here'));
});

test('a connection without a trace is forgotten after a while, one with a trace stays; one web server at a time', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pemidle-'));
  const other = await startWeb(pem, { stateDirectory: folder, tracer: { idleMs: 6000 } });
  try {
    const visitor = await other.signIn('ada', passwords.ada ?? '');
    const target = await know();
    expect((await connect(target, visitor)).status).toBe(204);
    expect((await refusal(connect(target, ada))).slice(0, 2)).toEqual([409, 'server_connected_elsewhere']);
    const made = await visitor.send('POST', `${base}/traces`, newTrace(target));
    const { id } = made.json<{ id: number }>();
    await until(
      'running',
      id,
      () => visitor,
      (trace) => trace.state === 'running',
    );
    await new Promise((go) => setTimeout(go, 8000));
    expect(await listed(target, visitor)).toMatchObject({ connected: true });
    expect((await visitor.send('POST', `${base}/traces/${id}/stop`)).status).toBe(204);
    await until(
      'over',
      id,
      () => visitor,
      (trace) => trace.runs[0]?.state === 'ended',
    );
    await eventually('forgotten', async () => (await listed(target, visitor))?.connections.length === 0);
    // Now the other one may.
    expect((await connect(target, ada)).status).toBe(204);
    expect((await ada.send('DELETE', `${base}/unmanaged/${target}`)).status).toBe(204);
  } finally {
    await other.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});

test('nothing of a password is in the log, in files or in the database', async () => {
  const words = ['not the one', tracingPassword, 'guess 1'];
  for (const word of words) expect(web.log).not.toContain(word);
  expect(web.log).toContain('connected to a server without an agent');
  const files = (folder: string): string[] =>
    readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const path = join(folder, entry.name);
      expect(statSync(path).mode & 0o077, path).toBe(0);
      return entry.isDirectory() ? files(path) : [path];
    });
  const kept = files(web.stateDirectory);
  expect(kept.length).toBeGreaterThan(2);
  for (const path of kept)
    for (const word of words) expect(readFileSync(path).includes(word), path).toBe(false);
  const { rows } = await pem.query('SELECT count(*)::int AS n FROM pem.server s WHERE s::text LIKE $1', [
    `%${tracingPassword}%`,
  ]);
  expect(rows).toEqual([{ n: 0 }]);
});

test('an agent can take the server over; no web server is given one', async () => {
  const target = await know();
  expect((await connect(target)).status).toBe(204);
  const agent = await pem.addAgent({ name: 'late' });
  await pem.query('SELECT pem.move_server($1, $2)', [target, agent.agentId]);
  expect(await listed(target)).toBeUndefined();
  await eventually('left', async () => (await sessionsThere()) === 0);
  const tracer = (await pem.query('SELECT id FROM pem.agent WHERE instance IS NOT NULL')).rows[0].id;
  await expect(pem.query('SELECT pem.move_server($1, $2)', [target, tracer])).rejects.toMatchObject({
    code: 'PE022',
  });
  await expect(pem.query(`SELECT pem.send_command($1, 'sync_now', '{}')`, [tracer])).rejects.toMatchObject({
    code: 'PE022',
  });
});
