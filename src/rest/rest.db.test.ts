import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Cluster } from '../../bench/rig/cluster.js';
import { type Pem, type RigAgent, startPem } from '../../bench/rig/pem.js';
import { startUnmanaged, tracingPassword, tracingRole } from '../../bench/rig/unmanaged.js';
import { type Answer, startWeb, type Visitor, type WebRig } from '../../bench/rig/web.js';
import { blockRows, readBlock } from '../wire/index.js';

let pem: Pem;
let web: WebRig;
let agent: RigAgent;
let server: number;
let trace: number;
let ada: Visitor;
let root: Visitor;
let traced: Cluster;
let lonely: number;
const stateDirectory = mkdtempSync(join(tmpdir(), 'pemrest-'));
const base = '/pem/api/v1';
/** 2026-01-01 00:00 UTC */
const startUs = 1_767_225_600_000_000;

beforeAll(async () => {
  pem = await startPem();
  await pem.addTeam('crew');
  const password = await pem.addUser('ada', { level: 'pem_admin', teams: ['crew'] });
  const rootPassword = await pem.addUser('root', { level: 'pem_super_admin' });
  agent = await pem.addAgent({
    name: 'alpha',
    team: 'crew',
    servers: [{ name: 'main', host: pem.cluster.socketDirectory, port: pem.port }],
  });
  server = agent.serverTargets[0] ?? 0;
  await pem.query(`CREATE TABLE pempart.load_average_test PARTITION OF pemhistory.load_average
    FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-01-02 00:00+00')`);
  const columns = await pem.query(`SELECT attname FROM pg_attribute
    WHERE attrelid = 'pemhistory.load_average'::regclass AND attnum > 2 AND attname LIKE 'load%' ORDER BY attnum LIMIT 1`);
  load = columns.rows[0].attname;
  await pem.query(
    `INSERT INTO pemhistory.load_average (recorded_at, target_id, ${load})
     SELECT timestamptz '2026-01-01 00:00+00' + i * interval '1 s', $1, i FROM generate_series(0, 3599) i`,
    [agent.hostTarget],
  );
  trace = await addTrace('a trace');
  await pem.query(`CREATE TABLE pempart.sql_trace_statements_test PARTITION OF pemhistory.sql_trace_statements
    FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-01-02 00:00+00')`);
  await pem.query(
    `INSERT INTO pemhistory.sql_trace_statements (target_id, recorded_at, trace, database, username, nested, query_id, fingerprint,
       calls, exec_us) VALUES ($1, '2026-01-01 01:00+00', 1, 'shop', 'app', false, 5, 6, 7, 8)`,
    [server],
  );
  await pem.query(
    `INSERT INTO pemdata.sql_trace_texts (target_id, fingerprint, recorded_at, text, _arrival, _seq)
       VALUES ($1, 6, now(), 'select ?', 1, 1)`,
    [server],
  );
  traced = await startUnmanaged();
  lonely = await addLonely('lonely');
  web = await startWeb(pem, { stateDirectory });
  ada = await web.signIn('ada', password);
  root = await web.signIn('root', rootPassword);
});
afterAll(async () => {
  await web?.stop();
  rmSync(stateDirectory, { recursive: true, force: true });
  await traced?.stop();
  await pem?.stop();
});
let load: string;

async function addLonely(name: string): Promise<number> {
  const { rows } = await pem.query(
    `SELECT pem.add_unmanaged_server($1, '127.0.0.1', $2, 'postgres', $3, 'disable', 'ada', 'crew')::int AS id`,
    [name, traced.port, tracingRole],
  );
  return rows[0].id;
}

async function addTrace(name: string): Promise<number> {
  const { rows } = await pem.query(
    `SELECT pem.create_trace($1, $2, '{}', NULL, NULL, true, 100, false, false)::int AS id`,
    [server, name],
  );
  await pem.query(
    `INSERT INTO pem.trace_run (trace_id, run, target_id, server_id, server_name, state, started_at, rows_read, bytes_read,
       events_sent, events_dropped, rows_skipped, bad_rows, repeated_rows, lag_bytes)
     VALUES ($1, 'm1', $2, 1, 'x', 'ended', '2026-01-01 00:00+00', 0, 0, 0, 0, 0, 0, 0, 0)`,
    [rows[0].id, server],
  );
  return rows[0].id;
}

// --- the document and the server ------------------------------------------------------------------------------------

interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Record<string, Schema>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Schema;
}
interface Operation {
  readonly parameters: { name: string; in: string; required: boolean; schema: Schema }[];
  readonly requestBody?: unknown;
  readonly responses: Record<string, { content?: Record<string, { schema: Schema }> }>;
  readonly security: readonly unknown[];
}
interface Document {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { schemas: Record<string, Schema> };
}

/** What of a value is not as the schema says. */
function mismatches(document: Document, schema: Schema, value: unknown, at = '$'): string[] {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.replace('#/components/schemas/', '');
    return mismatches(document, document.components.schemas[name] as Schema, value, at);
  }
  if (schema.anyOf !== undefined) {
    const all = schema.anyOf.map((option) => mismatches(document, option, value, at));
    return all.some((list) => list.length === 0) ? [] : (all[0] ?? []);
  }
  const kind = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
  if (schema.type !== undefined && schema.type !== kind) return [`${at} is ${kind}, not ${schema.type}`];
  if (schema.enum !== undefined && !schema.enum.includes(value)) return [`${at} is ${String(value)}`];
  if (kind === 'array' && schema.items !== undefined) {
    return (value as unknown[]).flatMap((item, i) =>
      mismatches(document, schema.items as Schema, item, `${at}[${i}]`),
    );
  }
  if (kind !== 'object' || schema.type !== 'object') return [];
  const object = value as Record<string, unknown>;
  const missing = (schema.required ?? [])
    .filter((name) => !(name in object))
    .map((name) => `${at}.${name} is missing`);
  return Object.entries(object).reduce((list, [name, item]) => {
    const known = schema.properties?.[name];
    if (known !== undefined) list.push(...mismatches(document, known, item, `${at}.${name}`));
    else if (schema.additionalProperties === false) list.push(`${at}.${name} is not in the document`);
    else if (typeof schema.additionalProperties === 'object') {
      list.push(...mismatches(document, schema.additionalProperties, item, `${at}.${name}`));
    }
    return list;
  }, missing);
}

async function readDocument(): Promise<Document> {
  return (await web.ask(`${base}/openapi.json`)).json<Document>();
}

/** Holds one answer against the document. */
function hold(document: Document, path: string, method: string, answer: Answer): void {
  const operation = document.paths[path]?.[method];
  const where = `${method} ${path} ${answer.status}`;
  const reply = operation?.responses[String(answer.status)];
  expect(reply, `${where} is in the document: ${answer.body.toString().slice(0, 200)}`).toBeDefined();
  if (reply?.content === undefined) {
    expect(answer.body.length, where).toBe(0);
    return;
  }
  const type = String(answer.headers['content-type']).split(';')[0] ?? '';
  const content = reply.content[type];
  expect(content, `${where} with ${type} is in the document`).toBeDefined();
  if (type === 'application/json' && content !== undefined) {
    expect(mismatches(document, content.schema, answer.json()), where).toEqual([]);
  }
}

function values(): Record<string, string> {
  return {
    id: String(agent.agentId),
    targetId: String(server),
    target: String(agent.hostTarget),
    probe: 'load_average',
    name: 'load_average',
    fromUs: String(startUs),
    toUs: String(startUs + 60_000_000),
    stepMs: '10000',
    columns: load,
    aggregate: 'max',
  };
}

function fill(path: string, operation: Operation, chosen: Record<string, string>): string {
  const query = operation.parameters
    .filter((parameter) => parameter.in === 'query' && chosen[parameter.name] !== undefined)
    .map((parameter) => `${parameter.name}=${encodeURIComponent(chosen[parameter.name] as string)}`);
  // Traces and servers without an agent have ids of their own.
  const ids =
    path.startsWith('/traces/') && chosen.id === String(agent.agentId)
      ? { ...chosen, id: String(trace) }
      : path.startsWith('/unmanaged/') && chosen.targetId === String(server)
        ? { ...chosen, targetId: String(lonely) }
        : chosen;
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(ids[name] ?? ''));
  return `${base}${filled}${query.length === 0 ? '' : `?${query.join('&')}`}`;
}

test('every path, method and reply of the document is what the server does', async () => {
  const document = await readDocument();
  expect(document.openapi).toBe('3.1.0');
  const bodies: Record<string, unknown> = {
    'post /session': { username: 'ada', password: 'secret of ada' },
    'post /session/link': { token: 'unknown' },
    'post /token': { username: 'ada', password: 'secret of ada' },
    'put /probe/config/{target}/{probe}': { intervalMs: 5000, enabled: true },
    'post /traces/{id}/advice': { statements: 10 },
    'post /traces/{id}/chosen': { calls: [[startUs, 1, 1]] },
    'post /traces/{id}/find': { text: 'x', afterUs: startUs, endUs: startUs + 1 },
    'post /unmanaged': { name: 'another', host: 'db.example', user: 'me' },
    'post /unmanaged/{targetId}/connect': { password: tracingPassword },
    'post /traces': {
      targetId: server,
      name: 'from the document',
      options: { min_duration_us: 5 },
      start: true,
    },
  };
  let held = 0;
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      if (path === '/session' && method === 'delete') continue;
      const kept = { trace, lonely };
      if (path === '/traces/{id}' && method === 'delete') trace = await addTrace('to be deleted');
      if (path === '/unmanaged/{targetId}') lonely = await addLonely('to be removed');
      const url = fill(path, operation, values());
      ({ trace, lonely } = kept);
      const body = bodies[`${method} ${path}`];
      const headers = { cookie: ada.cookie, 'x-csrf-token': ada.csrf, accept: 'application/json' };
      const answer = await web.ask(url, { method: method.toUpperCase(), body, headers });
      hold(document, path, method, answer);
      if (path !== '/session/link') expect(answer.status, `${method} ${path}`).toBeLessThan(300);
      // Without a session, with nonsense in the path, with a parameter that nobody knows.
      if (operation.security.length > 0) {
        const stranger = await web.ask(url, { method: method.toUpperCase(), body });
        expect(stranger.status).toBe(401);
        hold(document, path, method, stranger);
      }
      const wrong = Object.fromEntries(Object.keys(values()).map((name) => [name, '0;x']));
      if (operation.parameters.length > 0) {
        const refused = await web.ask(fill(path, operation, wrong), {
          method: method.toUpperCase(),
          body,
          headers,
        });
        expect(refused.status).toBe(400);
        hold(document, path, method, refused);
      }
      const unknown = await web.ask(`${url}${url.includes('?') ? '&' : '?'}nobody=1`, {
        method: method.toUpperCase(),
        body,
        headers,
      });
      expect([400, 401]).toContain(unknown.status);
      held++;
    }
  }
  expect(held).toBeGreaterThan(12);
});

test('what is not there, or not to be seen, is 404 in the same words', async () => {
  const document = await readDocument();
  const absent = { ...values(), id: '4000', targetId: '4000', target: '4000', name: 'nothing' };
  for (const [path, operations] of Object.entries(document.paths)) {
    const operation = operations.get;
    if (operation === undefined || !path.includes('{')) continue;
    const answer = await ada.get(fill(path, operation, absent));
    expect(answer.status, path).toBe(404);
    hold(document, path, 'get', answer);
  }
});

// --- history --------------------------------------------------------------------------------------------------------

interface History {
  columns: { name: string; type: string }[];
  rows: unknown[][];
}
const history = async (query: string, accept = 'application/json'): Promise<Answer> =>
  ada.get(`${base}/history/${agent.hostTarget}/load_average?${query}`, { accept });

test('raw history: a half-open span, oldest first, block and JSON alike', async () => {
  const span = `fromUs=${startUs + 10_000_000}&toUs=${startUs + 20_000_000}&stepMs=0&columns=${load}`;
  const answer = await history(span);
  const { columns, rows } = answer.json<History>();
  expect(columns.map((column) => column.name)).toEqual(['recorded_at', load]);
  expect(rows.map((row) => row[1])).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
  expect([answer.headers['x-pem-step-ms'], answer.headers['x-pem-truncated']]).toEqual(['0', '0']);
  const block = readBlock((await history(span, 'application/x-pem-block')).body);
  expect(blockRows(block).map((row) => Object.values(row))).toEqual(rows);
});

test.each([
  ['avg', [29.5, 89.5]],
  ['min', [0, 60]],
  ['max', [59, 119]],
  ['last', [59, 119]],
])('history in steps, %s', async (aggregate, expected) => {
  const answer = await history(
    `fromUs=${startUs}&toUs=${startUs + 120_000_000}&stepMs=60000&columns=${load}&aggregate=${aggregate}`,
  );
  expect(answer.json<History>().rows.map((row) => row[1])).toEqual(expected);
  expect(answer.headers['x-pem-step-ms']).toBe('60000');
});

test('without a step the server chooses one that a chart can show', async () => {
  const wide = await history(`fromUs=${startUs}&toUs=${startUs + 86_400_000_000}&columns=${load}`);
  expect(Number(wide.headers['x-pem-step-ms'])).toBe(57_600);
  expect(wide.json<History>().rows.length).toBeLessThan(1500);
});

test('many keys get fewer steps, and the newest rows are there; one key has all its steps', async () => {
  const cpus = 200;
  const seconds = 600;
  await pem.query(`CREATE TABLE pempart.cpu_usage_test PARTITION OF pemhistory.cpu_usage
    FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-01-02 00:00+00')`);
  await pem.query(
    `INSERT INTO pemhistory.cpu_usage (recorded_at, target_id, cpu, busy_percent)
     SELECT timestamptz '2026-01-01 00:00+00' + s * interval '1 s', $1, 'cpu''' || c, s
       FROM generate_series(0, $2::int - 1) s, generate_series(1, $3::int) c`,
    [agent.hostTarget, seconds, cpus],
  );
  await pem.query(
    `INSERT INTO pemdata.cpu_usage (target_id, cpu, recorded_at, _arrival, _seq)
     SELECT $1, 'cpu''' || c, now(), 1, 1 FROM generate_series(1, $2::int) c`,
    [agent.hostTarget, cpus],
  );
  const ask = (more: string) =>
    ada.get(
      `${base}/history/${agent.hostTarget}/cpu_usage?fromUs=${startUs}&toUs=${startUs + seconds * 1e6}&columns=busy_percent${more}`,
    );
  const all = await ask('&steps=600');
  expect([all.headers['x-pem-truncated'], all.headers['x-pem-interval-ms']]).toEqual(['0', '1000']);
  const stepMs = Number(all.headers['x-pem-step-ms']);
  expect(stepMs).toBeGreaterThan(1000);
  const newest = Math.max(...all.json<History>().rows.map((row) => Date.parse(String(row[0])) * 1000));
  expect(newest).toBeGreaterThanOrEqual(startUs + (seconds - 1) * 1e6 - stepMs * 1000);
  const one = await ask(`&steps=600&key=${encodeURIComponent("cpu:cpu'7")}`);
  expect(one.headers['x-pem-step-ms']).toBe('0');
  expect(one.json<History>().rows).toHaveLength(seconds);
  expect((await ask('&steps=600&key=cpu:nobody')).json<History>().rows).toEqual([]);
  for (const [key, code] of [
    ['busy_percent:1', 'key_unknown'],
    ['cpu', 'key_unknown'],
    [':', 'key_unknown'],
    ['cpu:%00', 'input_invalid'],
  ] as const) {
    const answer = await ask(`&key=${key}`);
    expect([answer.status, answer.json<{ error: { code: string } }>().error.code]).toEqual([400, code]);
  }
});

test('the interval in force on a target decides when rows are as recorded', async () => {
  const path = `${base}/probe/config/${agent.hostTarget}/load_average`;
  const span = `fromUs=${startUs}&toUs=${startUs + 3_600_000_000}&columns=${load}&steps=600`;
  expect((await history(span)).headers['x-pem-step-ms']).toBe('6000');
  await ada.send('PUT', path, { intervalMs: 20_000 });
  try {
    const answer = await history(span);
    expect([answer.headers['x-pem-step-ms'], answer.headers['x-pem-interval-ms']]).toEqual(['0', '20000']);
  } finally {
    await ada.send('PUT', path, {});
  }
});

test('counters of long steps come from the ends of the steps, the same as if all rows were read', async () => {
  const seconds = 7200;
  await pem.query(`CREATE TABLE pempart.database_statistics_test PARTITION OF pemhistory.database_statistics
    FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-01-02 00:00+00')`);
  await pem.query(
    `INSERT INTO pemhistory.database_statistics (recorded_at, target_id, database_name, xact_commit, xact_rollback)
     SELECT timestamptz '2026-01-01 00:00+00' + s * interval '1 s', $1, 'db' || d, 1000 * d + s, d
       FROM generate_series(0, $2::int - 1) s, generate_series(1, 3) d
      -- An outage of half an hour, and a database that was dropped.
      WHERE s NOT BETWEEN 3000 AND 4800 AND (d < 3 OR s < 2000)`,
    [server, seconds],
  );
  const ask = async (more: string, toS = seconds): Promise<unknown[][]> => {
    const answer = await ada.get(
      `${base}/history/${server}/database_statistics?fromUs=${startUs + 5_000_000}&toUs=${startUs + toS * 1e6}&stepMs=120000&columns=xact_commit,xact_rollback${more}`,
    );
    expect(answer.status).toBe(200);
    return answer.json<History>().rows;
  };
  for (const toS of [seconds, seconds - 30, 2900]) {
    // What stands at no step's end (the outage's begin) is the one difference; nothing else is.
    const whole = await ask('&aggregate=last', toS);
    const quick = await ask('', toS);
    const text = whole.map((row) => JSON.stringify(row));
    expect(quick.filter((row) => !text.includes(JSON.stringify(row)))).toEqual([]);
    expect(whole.length - quick.length).toBeLessThanOrEqual(3);
    expect(quick.at(-1)).toEqual(whole.at(-1));
  }
  expect((await ask('')).length).toBeGreaterThan(80);
  expect((await ask('&key=database_name:db2')).every((row) => row[1] === 'db2')).toBe(true);
});

test('who names no type gets JSON, as the description says', async () => {
  const span = `fromUs=${startUs}&toUs=${startUs + 1_000_000}`;
  for (const accept of ['*/*', 'text/html']) {
    expect((await history(span, accept)).headers['content-type']).toContain('application/json');
  }
});

test('a refusal says in words which field is missing, or not known', async () => {
  const messageOf = async (query: string) =>
    (await history(query)).json<{ error: { message: string } }>().error.message;
  expect(await messageOf('toUs=1')).toBe('query fromUs: it is missing');
  expect(await messageOf('fromUs=0&toUs=1&x=1')).toBe('query x: there is no such field here');
  expect(await messageOf('fromUs=0&toUs=9007199254740992')).toContain('to 9007199254740991');
});

test('columns come from the catalogue alone', async () => {
  for (const columns of ['nothing', 'load;drop', '"', '_seq', 'target_id', '*', '1']) {
    const answer = await history(`fromUs=0&toUs=1&columns=${encodeURIComponent(columns)}`);
    expect(answer.status).toBe(400);
  }
});

// --- settings, system -----------------------------------------------------------------------------------------------

test('an administrator sets a probe on a target it sees; others do not', async () => {
  const path = `${base}/probe/config/${server}`;
  expect((await ada.send('PUT', `${path}/session_info`, { intervalMs: 2000 })).status).toBe(204);
  const set = async () =>
    (await ada.get(path)).json<{ probes: { probe: string; intervalMs: number; overridden: object }[] }>()
      .probes;
  expect((await set()).find((entry) => entry.probe === 'session_info')).toMatchObject({
    intervalMs: 2000,
    overridden: { enabled: null, intervalMs: 2000, retentionDays: null },
  });
  expect((await ada.send('PUT', `${path}/session_info`, {})).status).toBe(204);
  expect((await set()).find((entry) => entry.probe === 'session_info')?.intervalMs).toBe(1000);
  for (const body of [
    { intervalMs: 1 },
    { intervalMs: '2000' },
    { enabled: 1 },
    { retentionDays: 0.5 },
    { x: 1 },
    [],
    7,
  ]) {
    expect((await ada.send('PUT', `${path}/session_info`, body)).status).toBe(400);
  }
  expect((await ada.send('PUT', `${path}/nothing`, {})).status).toBe(404);
  expect((await ada.send('PUT', `${base}/probe/config/4000/session_info`, {})).status).toBe(404);
  const guest = await web.signIn('guest', await pem.addUser('guest', { teams: ['crew'] }));
  expect((await guest.send('PUT', `${path}/session_info`, {})).status).toBe(403);
});

test('ingesters and the inbox are for super admins', async () => {
  await pem.query(`INSERT INTO pem.ingester VALUES ('i1', 1, now(), now(), '{"lagMs": 3}')`);
  await pem.query(
    `INSERT INTO pem.quarantine (agent_id, code, reason) VALUES ($1, 'crc_mismatch', 'a test'), ($1, 'crc_mismatch', 'again')`,
    [agent.agentId],
  );
  const seen = (await ada.get(`${base}/system`)).json();
  expect(seen).toMatchObject({
    ingesters: [],
    inbox: null,
    quarantine: [{ code: 'crc_mismatch', count: 2 }],
  });
  const all = (await root.get(`${base}/system`)).json();
  expect(all).toMatchObject({ ingesters: [{ name: 'i1', info: { lagMs: 3 } }], inbox: { batches: 0 } });
  expect(all).toMatchObject({ web: { sessions: expect.any(Number), sockets: 0 } });
  await pem.query('DELETE FROM pem.ingester');
});

// --- hostile input --------------------------------------------------------------------------------------------------

/** The same numbers at each run. */
function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

test('whatever is in path, query or body: refused or answered, never a failure of ours', async () => {
  const document = await readDocument();
  const roll = dice(7);
  const scraps = [
    ...[
      '',
      '0',
      '-1',
      '1e3',
      '9'.repeat(400),
      '9223372036854775808',
      '%00',
      '%ff',
      "'",
      '"; --',
      '../..',
      'é',
      '🦆',
    ],
    ...[
      'null',
      'NaN',
      '{}',
      '[]',
      'true',
      'pg_authid',
      'a'.repeat(3000),
      '1 OR 1=1',
      '%',
      '%zz',
      '\u0001',
      '1;2',
    ],
  ];
  const scrap = (): string => scraps[roll(scraps.length)] as string;
  const targets = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({ path, method, operation })),
  );
  for (let round = 0; round < 1500; round++) {
    const { path, method, operation } = targets[roll(targets.length)] as (typeof targets)[number];
    if (path === '/session' && method === 'delete') continue;
    const good = values();
    const piece = (name: string): string => (roll(3) === 0 ? scrap() : encodeURIComponent(good[name] ?? ''));
    const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => piece(name));
    const query = operation.parameters
      .filter((parameter) => parameter.in === 'query' && roll(4) > 0)
      .map((parameter) => `${parameter.name}=${piece(parameter.name)}`);
    const url = `${base}${filled}?${query.join('&')}${roll(8) === 0 ? `&${scrap()}` : ''}`.replaceAll(
      /[^\x21-\x7e]/gu,
      encodeURIComponent,
    );
    const raw = method === 'get' ? undefined : roll(2) === 0 ? scrap() : `{"${scrap()}": "${scrap()}"}`;
    const answer = await web.ask(url, {
      method: method.toUpperCase(),
      ...(raw === undefined ? {} : { raw }),
      headers: {
        cookie: ada.cookie,
        'x-csrf-token': ada.csrf,
        accept: roll(2) === 0 ? 'application/json' : '*/*',
      },
    });
    expect(answer.status, `${method} ${url} ${raw ?? ''}`).toBeLessThan(500);
  }
});
