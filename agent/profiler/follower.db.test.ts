/**
 * Rows of traces, each once: over restarts of the agent and of the server, rotated files, portions that are too much, and an
 * agent that has forgotten.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Cluster } from '../../bench/rig/cluster.js';
import { Followed, handTrace, type Row } from '../../bench/rig/followed.js';
import { pgbench } from '../../bench/rig/pgbench.js';
import { startProfiled } from '../../bench/rig/traces.js';
import { monitorRole } from '../../bench/rig/watched.js';
import type { RunReport } from '../link/sync.js';

let cluster: Cluster;
let client: pg.Client;
let agent: Followed;

beforeEach(async () => {
  cluster = await startProfiled();
  await cluster.query(monitorRole);
  client = await cluster.client();
  agent = new Followed(cluster);
});
afterEach(async () => {
  await agent?.remove();
  await client?.end().catch(() => undefined);
  await cluster?.stop();
});

const own = {
  ...handTrace,
  options: { users: ['postgres'], max_file_bytes: 65_536 },
  request: 'start',
  requestSeq: 1,
} as const;
const stopped = { ...own, request: 'stop', requestSeq: 2 } as const;

let ran = 0;
async function run(count: number): Promise<void> {
  for (let n = 0; n < count; n++, ran++) await client.query(`SELECT ${ran} AS number, 'mark'`);
}
const numbers = (): number[] =>
  agent
    .rows('sql_trace_events')
    .map((row) => /SELECT (\d+) AS number/.exec(String(row.query))?.[1])
    .filter((found) => found !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n);
const callsOf = (rows: readonly Row[]): number => rows.reduce((sum, row) => sum + Number(row.calls), 0);

beforeEach(() => {
  ran = 0;
});

async function finish(): Promise<RunReport> {
  agent.define(stopped);
  const done = await agent.until('idle', (report) => report?.state === 'idle');
  return done.runs.at(-1) as RunReport;
}

/** Every row is in events once and in the aggregates once. */
function expectAll(ended: RunReport): void {
  expect(numbers()).toEqual(range(ran));
  expect(ended).toMatchObject({ state: 'ended', rowsSkipped: 0, badRows: 0, repeatedRows: 0 });
  expect(ended.rowsRead).toBe(ended.serverRows);
  expect(ended.eventsSent).toBe(ended.serverRows);
  expect(agent.rows('sql_trace_events')).toHaveLength(ended.serverRows ?? 0);
  expect(callsOf(agent.rows('sql_trace_statements'))).toBe(ended.serverRows);
}

test('the agent is stopped and started again and again: no row is missing, none comes twice', async () => {
  agent.intervalMs = 300;
  agent.start();
  agent.define(own);
  await agent.until('running', (report) => report?.state === 'running');
  for (let round = 0; round < 6; round++) {
    await run(150);
    await agent.stop();
    await run(150);
    agent.start();
  }
  expectAll(await finish());
  expect(readdirSync(join(agent.folder, 'traces'))).toEqual([]);
  expect(JSON.parse(readFileSync(join(agent.folder, 'traces.json'), 'utf8')).traces['1'].current).toBeNull();
});

test('the server is restarted, fast and at once: rows before and after, under one run', async () => {
  agent.start();
  agent.define(own);
  await agent.until('running', (report) => report?.state === 'running');
  for (const mode of ['fast', 'immediate'] as const) {
    await run(200);
    await client.end();
    await cluster.halt(mode);
    const away = await agent.until('away', (report) => report?.state === 'blocked');
    expect(away.code).toBe('server_unreachable');
    await cluster.start();
    client = await cluster.client();
    await run(200);
    await agent.until('running', (report) => report?.state === 'running' && report.code === null);
  }
  const ended = await finish();
  expect(numbers()).toEqual(range(ran));
  expect(ended).toMatchObject({ run: 'm1', rowsSkipped: 0, repeatedRows: 0 });
  expect(ended.rowsRead).toBe(ended.serverRows);
});

test('a server that ends traces when it restarts: another run goes on', async () => {
  await cluster.query(`ALTER SYSTEM SET sql_profiler.after_restart = 'stop'`);
  await cluster.query('SELECT pg_reload_conf()');
  agent.start();
  agent.define(own);
  await agent.until('running', (report) => report?.state === 'running');
  await run(50);
  await client.end();
  await cluster.halt('fast');
  await cluster.start();
  client = await cluster.client();
  const second = await agent.until('the second run', (report) =>
    Boolean(report?.runs.some(({ run: name, state }) => name === 'm1.2' && state === 'running')),
  );
  expect(second.state).toBe('running');
  await run(50);
  const ended = await finish();
  expect(ended.run).toBe('m1.2');
  expect(numbers()).toEqual(range(ran));
});

test('an agent that has lost its state finds its trace, goes on at its end, and says what it left out', async () => {
  agent.start();
  agent.define(own);
  await agent.until('running', (report) => report?.state === 'running');
  await run(60);
  await agent.until('rows', () => numbers().length === 60);
  await agent.stop();
  rmSync(join(agent.folder, 'traces.json'));
  rmSync(join(agent.folder, 'traces'), { recursive: true });
  await run(40);
  // PEM had been told of the request.
  agent.traces = [{ ...own, handledSeq: 1 }];
  agent.start();
  const found = await agent.until('found', (report) => report?.state === 'running');
  expect(found.runs).toMatchObject([{ run: 'm1', state: 'running' }]);
  await agent.until('counted', (report) => (report?.runs[0]?.rowsSkipped ?? 0) >= 100);
  await run(30);
  const ended = await finish();
  expect(numbers()).toEqual([...range(60), ...range(30).map((n) => n + 100)]);
  expect(ended.rowsSkipped + ended.rowsRead).toBe(ended.serverRows);
  expect(ended.repeatedRows).toBe(0);
});

test('the server goes to another agent: its trace goes on there, at its end', async () => {
  agent.start();
  agent.define(own);
  await agent.until('running', (report) => report?.state === 'running');
  await run(30);
  await agent.until('rows', () => numbers().length === 30);
  agent.leave();
  await agent.until('left', (report) => report === undefined);
  const next = new Followed(cluster);
  try {
    next.traces = [{ ...own, handledSeq: 1 }];
    next.start();
    await next.until('found', (report) => (report?.runs[0]?.rowsSkipped ?? 0) >= 30);
    await run(20);
    next.define(stopped);
    const done = await next.until('idle', (report) => report?.state === 'idle');
    const [ended] = done.runs as [RunReport];
    expect(next.rows('sql_trace_events').filter((row) => String(row.query).includes("'mark'"))).toHaveLength(
      20,
    );
    expect(ended.rowsRead + ended.rowsSkipped).toBe(ended.serverRows);
  } finally {
    await next.remove();
  }
});

test('a portion that fails is read again, and counted once', async () => {
  agent.intervalMs = 200;
  agent.start();
  agent.define(own);
  await agent.until('running', (report) => report?.state === 'running');
  for (let round = 0; round < 5; round++) {
    agent.outbox.failures = 2;
    await run(100);
    await agent.until('it went on', () => agent.outbox.failures === 0);
  }
  expectAll(await finish());
});

test('what was not read for a while has its own times, interval by interval', async () => {
  const intervalUs = 500_000;
  agent.intervalMs = intervalUs / 1000;
  agent.start();
  agent.define(own);
  await agent.until('running', (report) => report?.state === 'running');
  await agent.stop();
  const other = await cluster.client();
  for (let round = 0; round < 12; round++) {
    await run(40);
    if (round % 4 === 0) await other.query(`SELECT 'seldom'`);
    await new Promise((go) => setTimeout(go, 250));
  }
  await other.end();
  agent.start();
  expectAll(await finish());
  const text = agent.rows('sql_trace_texts').find((row) => /as number/i.test(String(row.text)));
  const rows = agent
    .rows('sql_trace_statements')
    .filter((row) => row.fingerprint === text?.fingerprint && Number(row.query_id) !== 0)
    .map((row) => ({ first: Date.parse(String(row.first_at)), last: Date.parse(String(row.last_at)) }));
  expect(rows.length).toBeGreaterThanOrEqual(5);
  for (const { first, last } of rows) expect(last - first).toBeLessThanOrEqual(2 * (intervalUs / 1000));
});

test('too far behind: what is left out is counted to the row', async () => {
  agent.limits = { ...agent.limits, mostLagBytes: 200_000 };
  agent.start();
  agent.define(own);
  await agent.until('running', (report) => report?.state === 'running');
  await run(50);
  await agent.until('rows', () => numbers().length === 50);
  await agent.stop();
  await run(1500);
  agent.start();
  const behind = await agent.until('skipped', (report) => (report?.runs[0]?.rowsSkipped ?? 0) > 0);
  expect(behind.runs[0]?.rowsSkipped).toBeGreaterThan(1400);
  const seen = numbers().length;
  await run(20);
  const ended = await finish();
  expect(numbers().length).toBe(seen + 20);
  expect(ended.rowsSkipped + ended.rowsRead).toBe(ended.serverRows);
  expect(callsOf(agent.rows('sql_trace_statements'))).toBe(ended.rowsRead);
  expect(agent.stats.traces.rowsSkipped).toBe(ended.rowsSkipped);
});

test('events beyond their rate, or with a spool that fills up, stay behind; aggregates have all', async () => {
  agent.start();
  agent.define({ ...own, eventsPerS: 20 });
  await agent.until('running', (report) => report?.state === 'running');
  // Each statement beyond the rate stays behind: how many that is in a second, is the machine's affair.
  while ((agent.report()?.runs[0]?.eventsDropped ?? 0) <= 500) await run(100);
  agent.define({ ...stopped, eventsPerS: 20 });
  const slow = (await agent.until('idle', (report) => report?.state === 'idle')).runs[0] as RunReport;
  expect(slow.eventsDropped).toBeGreaterThan(500);
  expect(slow.eventsSent + slow.eventsDropped).toBe(slow.serverRows);
  expect(agent.rows('sql_trace_events')).toHaveLength(slow.eventsSent);
  expect(callsOf(agent.rows('sql_trace_statements'))).toBe(slow.serverRows);
  agent.tell();

  agent.outbox.take();
  agent.outbox.share = 0.3;
  agent.define({ ...own, requestSeq: 3 });
  await agent.until('running', (report) => report?.state === 'running');
  await run(100);
  agent.define({ ...stopped, requestSeq: 4 });
  const full = (await agent.until('idle', (report) => report?.state === 'idle')).runs.at(-1) as RunReport;
  expect(full).toMatchObject({ eventsSent: 0, eventsDropped: full.serverRows });
  expect(callsOf(agent.rows('sql_trace_statements'))).toBe(full.serverRows);
});

test('without events aggregates alone travel, over restarts too', async () => {
  agent.intervalMs = 200;
  agent.start();
  agent.define({ ...own, events: false });
  await agent.until('running', (report) => report?.state === 'running');
  for (let round = 0; round < 3; round++) {
    await run(200);
    await agent.stop();
    agent.start();
  }
  agent.define({ ...stopped, events: false });
  const ended = (await agent.until('idle', (report) => report?.state === 'idle')).runs[0] as RunReport;
  expect(agent.rows('sql_trace_events')).toEqual([]);
  expect(ended).toMatchObject({ eventsSent: 0, eventsDropped: 0, rowsRead: ended.serverRows });
  expect(callsOf(agent.rows('sql_trace_statements'))).toBe(ended.serverRows);
});

test('a server that hangs is left alone, and its rows come when it answers again', async () => {
  agent.start();
  agent.define(own);
  await agent.until('running', (report) => report?.state === 'running');
  await run(10);
  await agent.until('rows', () => numbers().length === 10);
  const { rows } = await cluster.query(
    `SELECT pid FROM pg_stat_activity WHERE usename = 'pem_monitor' AND backend_type = 'client backend'`,
  );
  const pids = rows.map((row) => row.pid as number);
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  await run(10);
  const hung = await agent.until('noticed', (report) => report?.state === 'blocked');
  expect(hung).toMatchObject({ code: 'server_unreachable' });
  for (const pid of pids) process.kill(pid, 'SIGCONT');
  await agent.until('back', (report) => report?.state === 'running' && report.code === null);
  expectAll(await finish());
});

test('many sessions, rotated files, errors and odd bytes: the client counts the same', async () => {
  const database = 'odd';
  await cluster.query(`CREATE DATABASE ${database} ENCODING 'SQL_ASCII' TEMPLATE template0`);
  agent.intervalMs = 500;
  agent.start();
  agent.define({ ...own, options: { ...own.options, databases: [database] } });
  await agent.until('running', (report) => report?.state === 'running');
  const script = join(agent.folder, 'load.sql');
  writeFileSync(
    script,
    Buffer.from(`SELECT ${'1+'.repeat(200)}1, '\xe9\xff "quoted, twice""" \n second line';\n`, 'latin1'),
  );
  const bench = pgbench(cluster, ['-n', '-f', script, '-c', '4', '-C', '-t', '60'], {
    database,
    env: { PGCLIENTENCODING: 'SQL_ASCII' },
  });
  await agent.until('some rows', () => agent.rows('sql_trace_events').length > 0);
  await agent.stop();
  agent.start();
  await bench;
  const ended = await finish();
  const events = agent.rows('sql_trace_events').filter((row) => String(row.query).includes('second line'));
  expect(events).toHaveLength(240);
  expect(String(events[0]?.query)).toContain(`'\\xe9\\xff "quoted, twice""" \n second line'`);
  expect(new Set(events.map((row) => row.pid)).size).toBe(240);
  expect(ended).toMatchObject({ badRows: 0, repeatedRows: 0, rowsRead: ended.serverRows });
  expect(callsOf(agent.rows('sql_trace_statements'))).toBe(ended.serverRows);
});
