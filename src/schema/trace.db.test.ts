/** Traces in PEM's database: what people may ask for, what agents learn of it, what they may say. */
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Pem, type RigAgent, startPem } from '../../bench/rig/pem.js';

const boot = '00000000-0000-4000-8000-00000000000a';
let pem: Pem;
let agent: RigAgent;
let other: RigAgent;
let client: pg.Client;
let number = 0;

beforeAll(async () => {
  pem = await startPem();
});
beforeEach(async () => {
  await client?.end();
  number += 1;
  agent = await pem.addAgent({
    name: `agent ${number}`,
    servers: [
      { name: 'main', host: 'db', port: 5432 },
      { name: 'second', host: 'db', port: 5433 },
    ],
  });
  other = await pem.addAgent({ name: `other ${number}`, servers: [{ name: 'third', host: 'x', port: 1 }] });
  client = await agent.client();
});
afterAll(async () => {
  await client?.end();
  await pem?.stop();
});

interface Made {
  readonly target?: number;
  readonly name?: string;
  readonly options?: unknown;
  readonly schedule?: unknown;
  readonly durationS?: number | null;
  readonly eventsPerS?: number;
  readonly continuous?: boolean;
  readonly keepFiles?: boolean;
}

async function create(made: Made = {}): Promise<number> {
  const { rows } = await pem.query(
    'SELECT pem.create_trace($1, $2, $3, $4, $5, true, $6, $7, $8)::int AS id',
    [
      made.target ?? agent.serverTargets[0],
      made.name ?? 'slow statements',
      JSON.stringify(made.options ?? { min_duration_us: 1000 }),
      made.schedule === undefined ? null : JSON.stringify(made.schedule),
      made.durationS ?? null,
      made.eventsPerS ?? 500,
      made.continuous ?? false,
      made.keepFiles ?? false,
    ],
  );
  return rows[0].id;
}

type Definition = Record<string, unknown>;

async function sync(traces?: unknown): Promise<Definition[]> {
  const request = { boots: [boot], configVersion: 0, ...(traces === undefined ? {} : { traces }) };
  const { rows } = await client.query('SELECT pem.sync($1) AS reply', [request]);
  return rows[0].reply.config.traces;
}

const one = async (sql: string, parameters: unknown[]): Promise<Record<string, unknown>> =>
  (await pem.query(sql, parameters)).rows[0];

test('a trace reaches the agent of its server with all that was asked, and nobody else', async () => {
  expect(await sync()).toEqual([]);
  const before = await one('SELECT config_version AS v FROM pem.agent WHERE id = $1', [agent.agentId]);
  const schedule = { kind: 'daily', time: '03:00', timezone: 'UTC' };
  const id = await create({ schedule, durationS: 600 });
  await create({ target: other.serverTargets[0]! });
  expect(await sync()).toEqual([
    {
      id,
      targetId: agent.serverTargets[0],
      token: expect.stringMatching(/^[0-9a-f]{8}$/),
      options: { min_duration_us: 1000 },
      schedule,
      durationS: 600,
      events: true,
      eventsPerS: 500,
      continuous: false,
      keepFiles: false,
      request: 'none',
      requestSeq: 0,
      handledSeq: 0,
    },
  ]);
  const after = await one('SELECT config_version AS v FROM pem.agent WHERE id = $1', [agent.agentId]);
  expect(Number(after.v)).toBeGreaterThan(Number(before.v));
});

test('requests are numbered, the last one counts; a deleted trace is not told any more', async () => {
  const id = await create();
  for (const request of ['start', 'stop', 'start']) {
    await pem.query('SELECT pem.request_trace($1, $2)', [id, request]);
  }
  expect(await sync()).toMatchObject([{ id, request: 'start', requestSeq: 3 }]);
  expect(
    await one('SELECT requested_by, requested_at IS NOT NULL AS at FROM pem.trace WHERE id = $1', [id]),
  ).toEqual({ requested_by: 'postgres', at: true });
  await pem.query('SELECT pem.delete_trace($1)', [id]);
  expect(await sync()).toEqual([]);
  await expect(pem.query(`SELECT pem.request_trace($1, 'start')`, [id])).rejects.toMatchObject({
    code: 'PE021',
  });
  expect(await one('SELECT deleted_by FROM pem.trace WHERE id = $1', [id])).toEqual({
    deleted_by: 'postgres',
  });
  // Its name is free again.
  await create();
});

test('after a restore of PEM a request has a number that the agent has not dealt with', async () => {
  const id = await create();
  await pem.query(`SELECT pem.request_trace($1, 'start')`, [id]);
  // The agent knows of requests that this database has lost.
  await sync([{ id, state: 'running', handledSeq: 7 }]);
  await pem.query(`SELECT pem.request_trace($1, 'stop')`, [id]);
  expect(await sync()).toMatchObject([{ request: 'stop', requestSeq: 8, handledSeq: 7 }]);
});

test.each<[string, Made]>([
  ['a name that is taken', { name: 'taken' }],
  ['no name', { name: '' }],
  ['options that are no object', { options: [] }],
  ['options that are too long', { options: { users: ['x'.repeat(9000)] } }],
  ['a length among the options', { options: { duration_s: 5 } }],
  ['a schedule of no kind', { schedule: { kind: 'weekly' }, durationS: 5 }],
  ['a schedule without length', { schedule: { kind: 'once', atUs: 1 } }],
  ['a run of a year', { durationS: 31_536_000 }],
  ['no events a second', { eventsPerS: 0 }],
  ['a continuous trace that keeps its files', { continuous: true, keepFiles: true }],
])('refused: %s', async (_what, made) => {
  await create({ name: 'taken' });
  await expect(create(made)).rejects.toMatchObject({ code: 'PE022' });
});

test('refused: a host, a server that is not there, a hundred and first trace, an unknown request', async () => {
  await expect(create({ target: agent.hostTarget })).rejects.toMatchObject({ code: 'PE022' });
  await expect(create({ target: 999_999 })).rejects.toMatchObject({ code: 'PE021' });
  const id = await create();
  await expect(pem.query(`SELECT pem.request_trace($1, 'pause')`, [id])).rejects.toMatchObject({
    code: 'PE022',
  });
  for (let n = 1; n < 100; n++) await create({ name: `trace ${n}` });
  await expect(create({ name: 'one more' })).rejects.toMatchObject({ code: 'PE022' });
  await create({ target: agent.serverTargets[1]!, name: 'one more' });
});

const run = {
  run: 'm1',
  serverId: 7,
  serverName: 'pem_1_m1_abcd',
  state: 'running',
  startedUs: 1_790_000_000_000_000,
  rowsRead: 10,
  bytesRead: 3000,
  eventsSent: 8,
  eventsDropped: 2,
  lagBytes: 55,
  serverRows: 11,
};

test("an agent's word reaches trace and run, again and again", async () => {
  const id = await create();
  await sync([
    { id, handledSeq: 1, state: 'blocked', code: 'trace_extension_missing', error: 'CREATE EXTENSION …' },
  ]);
  const read = () => one('SELECT state, code, error, run, handled_seq FROM pem.trace WHERE id = $1', [id]);
  expect(await read()).toEqual({
    state: 'blocked',
    code: 'trace_extension_missing',
    error: 'CREATE EXTENSION …',
    run: null,
    handled_seq: 1,
  });
  const report = { id, handledSeq: 1, state: 'running', code: null, error: null, run: 'm1' };
  await sync([{ ...report, runs: [run] }]);
  await sync([
    { ...report, runs: [{ ...run, rowsRead: 20, state: 'stopped', stoppedUs: 1_790_000_005_000_000 }] },
  ]);
  expect(await read()).toMatchObject({ state: 'running', code: null, run: 'm1' });
  // An agent that began anew knows no runs that it told of before.
  await sync([{ ...report, run: null }]);
  expect(await read()).toMatchObject({ run: 'm1' });
  expect(
    await one(
      `SELECT target_id::int, server_id, state, rows_read::int, events_dropped::int, lag_bytes::int, server_rows::int,
              rows_skipped::int, extract(epoch FROM stopped_at - started_at)::int AS seconds
         FROM pem.trace_run WHERE trace_id = $1`,
      [id],
    ),
  ).toEqual({
    target_id: agent.serverTargets[0],
    server_id: 7,
    state: 'stopped',
    rows_read: 20,
    events_dropped: 2,
    lag_bytes: 55,
    server_rows: 11,
    rows_skipped: 0,
    seconds: 5,
  });
  // An agent that lost its memory says less than it knew: the number of the request stays.
  await sync([{ id, handledSeq: 0, state: 'idle' }]);
  expect(await read()).toMatchObject({ handled_seq: 1, state: 'idle' });
});

test("an agent cannot speak for other agents' traces, nor break or flood the tables", async () => {
  const theirs = await create({ target: other.serverTargets[0]!, name: 'theirs' });
  const mine = await create();
  await sync([{ id: theirs, state: 'running', runs: [run] }]);
  expect(await one('SELECT state FROM pem.trace WHERE id = $1', [theirs])).toEqual({ state: 'new' });
  expect(await one('SELECT count(*)::int FROM pem.trace_run WHERE trace_id = $1', [theirs])).toEqual({
    count: 0,
  });
  await expect(sync(Array.from({ length: 300 }, () => ({ id: mine })))).rejects.toMatchObject({
    code: 'PE004',
  });
  await expect(
    sync([
      { id: mine, state: 'idle', runs: Array.from({ length: 40 }, (_, n) => ({ ...run, run: `m${n}` })) },
    ]),
  ).rejects.toMatchObject({ code: 'PE004' });
  await expect(sync([{ id: mine, runs: 7 }])).rejects.toMatchObject({ code: 'PE004' });
  await expect(sync([{ id: mine, state: 'idle', error: 'x'.repeat(300_000) }])).rejects.toMatchObject({
    code: 'PE004',
  });
  await sync([{ id: mine, state: 'idle', error: 'x'.repeat(5_000) }]);
  const { error } = await one('SELECT length(error) AS error FROM pem.trace WHERE id = $1', [mine]);
  expect(error).toBe(1000);
  await sync([{ id: mine, state: 'x'.repeat(100), nextAtUs: 1e300, runs: [{ ...run, startedUs: -1 }, run] }]);
  await expect(sync([{ id: mine, state: 'idle', handledSeq: 1e20 }])).rejects.toMatchObject({
    code: '22003',
  });
});

test('the agent that has the server now is heard, the one before is not', async () => {
  const id = await create();
  await sync([{ id, state: 'running' }]);
  await pem.query('SELECT pem.move_server($1, $2)', [agent.serverTargets[0], other.agentId]);
  await sync([{ id, state: 'blocked' }]);
  expect(await one('SELECT state FROM pem.trace WHERE id = $1', [id])).toEqual({ state: 'running' });
  expect(await sync()).toEqual([]);
});

test('what is long over is removed: runs, deleted traces, texts that did not come again', async () => {
  const id = await create();
  await sync([{ id, state: 'idle', run: 'm2', runs: [run, { ...run, run: 'm2' }] }]);
  await pem.query(`UPDATE pem.trace_run SET stopped_at = now() - interval '91 days' WHERE trace_id = $1`, [
    id,
  ]);
  const target = agent.serverTargets[0];
  await pem.query(
    `INSERT INTO pemdata.sql_trace_texts (target_id, fingerprint, recorded_at, text, _arrival, _seq)
     VALUES ($1, 1, now() - interval '33 days', 'old', 1, 1), ($1, 2, now() - interval '31 days', 'young', 1, 1)`,
    [target],
  );
  expect((await one('SELECT pem.collect_garbage() AS done', [])).done).toMatchObject({
    trace_runs: 1,
    traces: 0,
    trace_texts: 1,
  });
  expect(await one('SELECT run FROM pem.trace_run WHERE trace_id = $1', [id])).toEqual({ run: 'm2' });
  await pem.query(`UPDATE pem.trace SET deleted_at = now() - interval '91 days' WHERE id = $1`, [id]);
  expect((await one('SELECT pem.collect_garbage() AS done', [])).done).toMatchObject({
    trace_runs: 1,
    traces: 1,
  });
});
