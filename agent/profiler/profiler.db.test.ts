/**
 * The agent's side of the profiler against real servers with the extension: what runs when, what travels, and that each row
 * travels once, whatever is stopped or killed in between.
 */
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Cluster } from '../../bench/rig/cluster.js';
import { Followed, handTrace, type Row } from '../../bench/rig/followed.js';
import { eventually } from '../../bench/rig/processes.js';
import { startProfiled } from '../../bench/rig/traces.js';
import { monitorRole } from '../../bench/rig/watched.js';

let cluster: Cluster;
let client: pg.Client;
let agent: Followed;

beforeAll(async () => {
  cluster = await startProfiled();
  await cluster.query(monitorRole);
});
afterAll(() => cluster?.stop());
beforeEach(async () => {
  client = await cluster.client();
  agent = new Followed(cluster);
});
afterEach(async () => {
  await agent.remove();
  await client.end();
  for (const { id } of (await cluster.query('SELECT id FROM sql_profiler.traces')).rows) {
    await cluster.query('SELECT sql_profiler.stop($1)', [id]);
    await cluster.query('SELECT sql_profiler.drop($1)', [id]);
  }
});

/** Only what the test's own client does. */
const own = { ...handTrace, options: { users: ['postgres'] }, request: 'start', requestSeq: 1 } as const;

async function run(count: number, from = 0): Promise<void> {
  for (let n = from; n < from + count; n++) await client.query(`SELECT ${n} AS number, 'mark'`);
}
const numbers = (): number[] =>
  agent
    .rows('sql_trace_events')
    .map((row) => /SELECT (\d+) AS number/.exec(String(row.query))?.[1])
    .filter((found) => found !== undefined)
    .map(Number);
const callsOf = (rows: readonly Row[]): number => rows.reduce((sum, row) => sum + Number(row.calls), 0);
const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

test('a trace runs when it is asked for, brings events, aggregates and texts, and is gone when it was read', async () => {
  agent.start();
  agent.define(own);
  await agent.until('running', (report) => report?.state === 'running');
  const listed = await cluster.query('SELECT name, state, options FROM sql_profiler.traces');
  expect(listed.rows).toEqual([
    { name: 'pem_1_m1_0123abcd', state: 'running', options: { users: ['postgres'] } },
  ]);
  await run(50);
  await agent.until('all rows', () => numbers().length === 50);
  agent.define({ ...own, request: 'stop', requestSeq: 2 });
  const done = await agent.until('idle', (report) => report?.state === 'idle');
  expect(done).toMatchObject({ handledSeq: 2, code: null, run: 'm1' });
  expect(done.runs).toMatchObject([
    { run: 'm1', state: 'ended', stopReason: 'requested', eventsDropped: 0, rowsSkipped: 0, repeatedRows: 0 },
  ]);
  const [ended] = done.runs;
  expect(ended?.rowsRead).toBe(ended?.serverRows);
  expect(ended?.eventsSent).toBe(ended?.serverRows);
  expect(numbers()).toEqual(range(50));
  const text = agent.rows('sql_trace_texts').find((row) => /select \? as number/i.test(String(row.text)));
  const statements = agent.rows('sql_trace_statements');
  const ours = statements.filter((row) => row.fingerprint === text?.fingerprint);
  expect(ours[0]).toMatchObject({
    trace: ended?.serverId,
    database: 'postgres',
    username: 'postgres',
    errors: 0,
  });
  // The first one ran before its session knew that query ids were wanted.
  expect(callsOf(ours)).toBe(50);
  expect(callsOf(statements)).toBe(ended?.serverRows);
  expect((await cluster.query('SELECT count(*)::int FROM sql_profiler.traces')).rows).toEqual([{ count: 0 }]);
  agent.tell();
  expect(agent.report()?.runs).toEqual([]);
});

const sessions = async (): Promise<number> => {
  const { rows } = await cluster.query(
    `SELECT count(*)::int FROM pg_stat_activity WHERE usename = 'pem_monitor' AND backend_type = 'client backend'`,
  );
  return rows[0].count;
};
async function noSession(): Promise<void> {
  await eventually('no session', async () => (await sessions()) === 0);
}
const serverTraces = async (): Promise<{ id: number; name: string; state: string }[]> =>
  (await cluster.query('SELECT id, name, state FROM sql_profiler.traces ORDER BY id')).rows;

test('one connection while something runs, whatever the number of traces, and none otherwise', async () => {
  agent.start();
  agent.define(own, { ...own, id: 2 });
  await agent.until(
    'both run',
    () => agent.report(1)?.state === 'running' && agent.report(2)?.state === 'running',
  );
  // That of the test before may be on its way out.
  await eventually('one session', async () => (await sessions()) === 1);
  expect((await serverTraces()).map((trace) => trace.name)).toEqual([
    'pem_1_m1_0123abcd',
    'pem_2_m1_0123abcd',
  ]);
  await run(10);
  await agent.until('rows of both', () => numbers().length === 20);
  agent.define({ ...own, request: 'stop', requestSeq: 2 }, own);
  agent.define({ ...own, request: 'stop', requestSeq: 2 }, { ...own, id: 2, request: 'stop', requestSeq: 2 });
  await agent.until('idle', () => agent.report(1)?.state === 'idle' && agent.report(2)?.state === 'idle');
  await noSession();
  expect(agent.connects).toBe(1);
});

test('a schedule begins a run, which ends when its time is over', async () => {
  const atUs = Date.now() * 1000 + 3_000_000;
  agent.start();
  agent.define({ ...own, request: 'none', requestSeq: 0, schedule: { kind: 'once', atUs }, durationS: 8 });
  const before = await agent.until('told', (report) => report?.nextAtUs !== null && report !== undefined);
  expect(before).toMatchObject({ state: 'idle', nextAtUs: atUs, runs: [] });
  await agent.until('running', (report) => report?.state === 'running');
  await run(5);
  const done = await agent.until('over', (report) => report?.state === 'idle');
  expect(done.runs).toMatchObject([{ run: `s${atUs}`, state: 'ended', stopReason: 'duration_s' }]);
  expect(numbers()).toEqual(range(5));
  expect(await serverTraces()).toEqual([]);
});

test('a run of a schedule that was stopped early does not begin again when the agent does', async () => {
  const atUs = Date.now() * 1000 + 300_000;
  const scheduled = {
    ...own,
    request: 'none',
    requestSeq: 0,
    schedule: { kind: 'once', atUs },
    durationS: 600,
  } as const;
  agent.start();
  agent.define(scheduled);
  await agent.until('running', (report) => report?.state === 'running');
  agent.define({ ...scheduled, request: 'stop', requestSeq: 1 });
  await agent.until('stopped', (report) => report?.state === 'idle' && report.runs[0]?.state === 'ended');
  agent.tell();
  await agent.stop();
  agent.start();
  const again = await agent.until('told', (report) => report !== undefined);
  expect(again).toMatchObject({ handledSeq: 1, state: 'idle', runs: [] });
  await new Promise((go) => setTimeout(go, 300));
  expect(await serverTraces()).toEqual([]);
  expect(agent.report()).toMatchObject({ state: 'idle', runs: [] });
});

test('a trace that ends itself at the server: its limit of bytes, or somebody there', async () => {
  agent.start();
  agent.define({
    ...own,
    options: { users: ['postgres'], max_total_bytes: 262_144, max_file_bytes: 65_536 },
  });
  await agent.until('running', (report) => report?.state === 'running');
  for (let n = 0; n < 20; n++) await run(100, n * 100);
  const full = await agent.until('idle', (report) => report?.state === 'idle');
  expect(full.runs).toMatchObject([{ state: 'ended', stopReason: 'max_total_bytes', repeatedRows: 0 }]);
  expect(full.runs[0]?.rowsRead).toBe(full.runs[0]?.serverRows);
  expect(numbers()).toEqual(range(numbers().length));

  agent.define({ ...own, requestSeq: 2 });
  await agent.until('running', (report) => report?.state === 'running');
  await run(7, 5000);
  const id = (await serverTraces())[0]?.id;
  await cluster.query('SELECT sql_profiler.stop($1)', [id]);
  const stopped = await agent.until('idle', (report) => report?.state === 'idle');
  expect(stopped.runs.at(-1)).toMatchObject({ run: 'm2', stopReason: 'stopped on the server' });
  expect(numbers().slice(-7)).toEqual(range(7).map((n) => n + 5000));
});

test('a trace that somebody drops at the server, and one that PEM deletes', async () => {
  agent.start();
  agent.define(own);
  await agent.until('running', (report) => report?.state === 'running');
  await run(3);
  await agent.until('rows', () => numbers().length === 3);
  const id = (await serverTraces())[0]?.id;
  await cluster.query(`SELECT sql_profiler.stop(${id}); SELECT sql_profiler.drop(${id})`);
  const dropped = await agent.until('idle', (report) => report?.state === 'idle');
  expect(dropped.runs[0]?.stopReason).toMatch(/on the server/);
  agent.tell();
  agent.define({ ...own, requestSeq: 2 });
  await agent.until('running', (report) => report?.state === 'running');
  agent.define();
  await eventually('gone from the server', async () => (await serverTraces()).length === 0);
  await agent.until('ended', (report) => report?.runs[0]?.state === 'ended');
  expect(agent.report()?.runs).toMatchObject([{ run: 'm2', state: 'ended', stopReason: 'deleted' }]);
  agent.tell();
  await agent.until('forgotten', (report) => report === undefined);
});

test('continuous: the next run follows when the limit is reached, and files do not pile up', async () => {
  agent.start();
  const options = { users: ['postgres'], max_total_bytes: 262_144, max_file_bytes: 65_536 };
  agent.define({ ...own, options, continuous: true });
  await agent.until('running', (report) => report?.state === 'running');
  let most = 0;
  let ran = 0;
  // How many statements a run's bytes hold while the agent looks is the machine's affair.
  for (; (agent.report()?.runs.length ?? 0) < 4; ran += 100) {
    await run(100, ran);
    most = Math.max(most, (await serverTraces()).length);
  }
  agent.define({ ...own, options, continuous: true, request: 'stop', requestSeq: 2 });
  const done = await agent.until('idle', (report) => report?.state === 'idle');
  const ids = done.runs.map((each) => each.run);
  expect(ids.slice(0, 3)).toEqual(['m1', 'm1.2', 'm1.3']);
  for (const each of done.runs) {
    expect(each.rowsRead).toBe(each.serverRows);
    expect(each.repeatedRows).toBe(0);
  }
  expect(most).toBeLessThanOrEqual(2);
  const seen = numbers();
  expect(new Set(seen).size).toBe(seen.length);
  // What ran between the end of one and the start of the next is missing, and nothing else: how much
  // that is, is the machine's speed; in how many pieces, is not.
  const gaps = seen.filter((n, at) => at > 0 && n !== (seen[at - 1] ?? 0) + 1);
  expect(seen[0]).toBe(0);
  expect(gaps.length).toBeLessThan(done.runs.length);
  expect(await serverTraces()).toEqual([]);
});

test('files stay where the trace says so', async () => {
  agent.start();
  agent.define({ ...own, keepFiles: true });
  await agent.until('running', (report) => report?.state === 'running');
  await run(3);
  agent.define({ ...own, keepFiles: true, request: 'stop', requestSeq: 2 });
  await agent.until('idle', (report) => report?.state === 'idle');
  expect(await serverTraces()).toMatchObject([{ name: 'pem_1_m1_0123abcd', state: 'stopped' }]);
  await agent.stop();
  agent.start();
  agent.define({ ...own, keepFiles: true, requestSeq: 2, request: 'stop' });
  await agent.until('idle', (report) => report?.state === 'idle');
  expect(await serverTraces()).toHaveLength(1);
});

test('options that the server does not take end the run, with its words', async () => {
  agent.start();
  agent.define({ ...own, options: { speed: 'high' } });
  const refused = await agent.until('refused', (report) => report?.code === 'trace_refused');
  expect(refused).toMatchObject({ state: 'idle', handledSeq: 1 });
  expect(refused.error).toContain('unknown option "speed"');
  expect(refused.runs).toMatchObject([{ state: 'ended', stopReason: 'refused' }]);
  agent.tell();
  agent.define({ ...own, requestSeq: 2 });
  await agent.until('running', (report) => report?.state === 'running' && report.code === null);
});

test('no room for a ninth trace: it says so and waits', async () => {
  for (let n = 0; n < 8; n++) await cluster.query(`SELECT sql_profiler.start('other ${n}')`);
  agent.start();
  agent.define(own);
  const waiting = await agent.until('blocked', (report) => report?.state === 'blocked');
  expect(waiting).toMatchObject({ code: 'trace_no_room' });
  await cluster.query('SELECT sql_profiler.stop(min(id)) FROM sql_profiler.traces');
  await agent.until('running', (report) => report?.state === 'running');
});

test('extension missing, and removed while a trace runs: said with what to do, then it goes on', async () => {
  await cluster.query('CREATE DATABASE bare');
  await agent.remove();
  agent = new Followed(cluster, { database: 'bare' });
  agent.start();
  agent.define({ ...own, request: 'none', requestSeq: 0 });
  // Said as soon as the trace is made.
  const early = await agent.until('looked', (report) => report?.code !== null && report !== undefined);
  expect(early).toMatchObject({ state: 'idle', code: 'trace_extension_missing' });
  agent.define(own);
  const missing = await agent.until('missing', (report) => report?.state === 'blocked');
  expect(missing).toMatchObject({ state: 'blocked', code: 'trace_extension_missing' });
  expect(missing.error).toContain('in database "bare" run CREATE EXTENSION sql_profiler');
  await cluster.query('CREATE EXTENSION sql_profiler', [], 'bare');
  await agent.until('running', (report) => report?.state === 'running' && report.code === null);
  await run(4);
  await agent.until('rows', () => numbers().length === 4);
  await cluster.query('DROP EXTENSION sql_profiler', [], 'bare');
  await agent.until('missing again', (report) => report?.code === 'trace_extension_missing');
  await noSession();
  await run(4, 4);
  await cluster.query('CREATE EXTENSION sql_profiler', [], 'bare');
  await agent.until('rows', () => numbers().length === 8);
  expect(numbers()).toEqual(range(8));
  await agent.stop();
  await cluster.query('DROP DATABASE bare');
});

test('not permitted: the grant to give is in the words', async () => {
  await cluster.query('CREATE ROLE plain LOGIN');
  await agent.remove();
  agent = new Followed(cluster, { user: 'plain' });
  agent.start();
  agent.define(own);
  const refused = await agent.until('refused', (report) => report?.state === 'blocked');
  expect(refused).toMatchObject({ code: 'trace_not_permitted' });
  expect(refused.error).toContain('GRANT pg_read_all_stats TO "plain"');
  await cluster.query('GRANT pg_read_all_stats TO plain');
  await agent.until('running', (report) => report?.state === 'running');
  await agent.stop();
});

test('a library that is not preloaded is said to be so', async () => {
  const plain = await startProfiled({ settings: { shared_preload_libraries: "''" } });
  const other = new Followed(plain);
  try {
    await plain.query(monitorRole);
    other.start();
    other.define(own);
    const refused = await other.until('refused', (report) => report?.state === 'blocked');
    expect(refused).toMatchObject({ code: 'trace_not_loaded' });
    expect(refused.error).toContain('shared_preload_libraries');
  } finally {
    await other.remove();
    await plain.stop();
  }
});
