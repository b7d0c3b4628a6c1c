/**
 * The agent never has more than three connections to a server: a role of CONNECTION LIMIT 3, a trace that runs, every probe
 * each second in three databases, and advice asked for in two of them. Nothing is refused, nothing is left out.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLog } from '../../bench/rig/clock.js';
import type { Cluster } from '../../bench/rig/cluster.js';
import { handTrace } from '../../bench/rig/followed.js';
import { KeptOutbox } from '../../bench/rig/outbox.js';
import { eventually } from '../../bench/rig/processes.js';
import { startProfiled } from '../../bench/rig/traces.js';
import { monitorName, monitorRole, serverProbes, watchedTarget } from '../../bench/rig/watched.js';
import { probes } from '../../src/catalog/probes/index.js';
import type { AdviceAnswer, AdviceRequest } from '../../src/wire/advice.js';
import type { AgentDefinitions } from '../../src/wire/config.js';
import { runCommand } from '../link/commands.js';
import { followLimits } from '../profiler/limits.js';
import { type Scheduler, startScheduler } from '../scheduler/index.js';
import { newAgentStats } from '../stats.js';
import { adviseCommand } from './advise.js';

let cluster: Cluster;
let folder: string;
let scheduler: Scheduler | undefined;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pem-three-'));
  cluster = await startProfiled();
  await cluster.query(monitorRole);
  for (const name of ['shop', 'billing']) {
    await cluster.query(`CREATE DATABASE ${name}`);
    await cluster.query(
      `CREATE TABLE orders (id int, customer_id int, note text);
       INSERT INTO orders SELECT i, i % 5000, repeat('x', 50) FROM generate_series(1, 50000) i; ANALYZE orders;
       GRANT SELECT ON orders TO ${monitorName}`,
      [],
      name,
    );
  }
});
afterAll(async () => {
  await scheduler?.stop();
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const statement = (database: string) => ({
  id: database,
  text: 'select * from orders where customer_id = ?',
  cut: false,
  database,
  user: null,
  calls: 5,
  execUs: 1000,
});

test('a trace, probes and advice at once stay within a CONNECTION LIMIT of three', async ({ skip }) => {
  const available = await cluster.query(`SELECT FROM pg_available_extensions WHERE name = 'hypopg'`);
  if (available.rows.length === 0) skip('hypopg is not installed: apt-get install postgresql-<major>-hypopg');
  for (const name of ['shop', 'billing']) await cluster.query('CREATE EXTENSION hypopg', [], name);
  const target = watchedTarget(cluster);
  const outbox = new KeptOutbox();
  const stats = newAgentStats('0.1.0', outbox.boot);
  const { log } = silentLog();
  const definitions: AgentDefinitions = {
    agentId: 1,
    configVersion: 1,
    hostTarget: 1,
    probes: Object.fromEntries(probes.map((probe) => [probe.name, probe])),
    servers: [target],
    schedule: probes
      .filter((probe) => probe.collector === 'trace' || serverProbes.includes(probe))
      .map(({ name }) => ({ targetId: target.targetId, probe: name, intervalMs: 1000 })),
    traces: [{ ...handTrace, request: 'start', requestSeq: 1 }],
  };
  scheduler = startScheduler({
    ...{ definitions, outbox, stats, log, stateDirectory: folder },
    gateLimits: { connectsPerMinute: 6000, authenticationTimeoutMs: 1000 },
    traceLimits: { ...followLimits, idlePollMs: 50, busyPollMs: 20, listMs: 100, unreachableRetryMs: 50 },
  });
  const running = scheduler;
  const state = () => running.traces.pending().find(({ id }) => id === 1)?.state;
  await eventually('the trace runs', () => {
    running.traces.again();
    return state() === 'running';
  });
  const visits = () => [...stats.costs.values()].find(({ probe }) => probe === 'table_statistics')?.runs ?? 0;
  await eventually('databases are visited', () => visits() > 0);

  const counts: number[] = [];
  let watching = true;
  const watcher = await cluster.client();
  const watch = (async () => {
    const sql = `SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = '${monitorName}'`;
    while (watching) {
      counts.push((await watcher.query(sql)).rows[0].n);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  const kind = adviseCommand({
    servers: () => definitions.servers,
    borrow: (targetId, database, waitMs, task) => running.borrow(targetId, database, waitMs, task),
  });
  const doors = { syncNow: () => undefined, renewCertificate: () => undefined };
  const ask = (token: string) => {
    const payload: AdviceRequest = {
      ...{ token, targetId: target.targetId, traceId: 1, run: 'm1', totalUs: 2000, mostIndexes: 3 },
      ...{ timeMs: 20_000, statements: [statement('shop'), statement('billing')] },
    };
    return runCommand({ id: 1, kind: 'advise_indexes', payload }, doors, { advise_indexes: kind });
  };
  for (let round = 1; round <= 3; round++) {
    const { ok, result } = await ask(`round ${round}`);
    expect(ok).toBe(true);
    const { databases, failures } = result as AdviceAnswer;
    expect(failures).toEqual([]);
    expect(databases.map(({ database, indexes }) => [database, indexes[0]?.columns])).toEqual([
      ['shop', ['customer_id']],
      ['billing', ['customer_id']],
    ]);
  }
  const visited = visits();
  await eventually('databases are visited again', () => visits() > visited);

  // A task that keeps its connection: probes go on where they need no second one, another task gets a plain answer.
  let finish: () => void = () => undefined;
  let begun = false;
  const held = running.borrow(
    target.targetId,
    'shop',
    10_000,
    () =>
      new Promise<void>((resolve) => {
        finish = resolve;
        begun = true;
      }),
  );
  await eventually('the task has its connection', () => begun);
  await eventually('all three are in use', () => counts.at(-1) === 3);
  await expect(running.borrow(target.targetId, 'billing', 300, async () => 1)).rejects.toMatchObject({
    code: 'connections_busy',
  });
  finish();
  await held;

  await cluster.query(`SELECT 'seen by the trace'`, [], 'shop');
  const seen = () =>
    outbox.blocks.some(
      ({ info, block }) => info.probe === 'sql_trace_events' && block.includes('seen by the trace'),
    );
  await eventually('the trace is still followed', seen);
  watching = false;
  await watch;
  await watcher.end();
  expect(Math.max(...counts)).toBe(3);
  const failed = [...stats.costs.values()].filter(({ errors }) => errors > 0);
  expect(failed.map(({ probe, lastError }) => [probe, lastError])).toEqual([]);
  expect(running.servers()[0]?.error).toBeNull();
  console.log(`${counts.length} looks at the connections`);
});
