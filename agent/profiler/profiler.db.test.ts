/**
 * The agent's side of the profiler against real servers with the extension: what runs when, what travels, and that each row
 * travels once, whatever is stopped or killed in between.
 */
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Cluster } from '../../bench/rig/cluster.js';
import { Followed, handTrace, type Row } from '../../bench/rig/followed.js';
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
