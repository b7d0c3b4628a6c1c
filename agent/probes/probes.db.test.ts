import { createServer, type Socket } from 'node:net';
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../bench/rig/clock.js';
import { type Cluster, startCluster } from '../../bench/rig/cluster.js';
import { KeptOutbox, readBlock } from '../../bench/rig/outbox.js';
import { eventually } from '../../bench/rig/processes.js';
import {
  monitorName,
  monitorRole,
  probeNamed,
  serverProbes,
  type WatchedServer,
  watchedTarget,
  watchServer,
} from '../../bench/rig/watched.js';
import type { AgentDefinitions, ProbeRuntime, ServerTarget } from '../../src/wire/config.js';
import { type Scheduler, startScheduler } from '../scheduler/index.js';
import { type AgentStats, newAgentStats } from '../stats.js';

let cluster: Cluster;
const open: (() => void)[] = [];

beforeAll(async () => {
  cluster = await startCluster({
    settings: { autovacuum: 'off', max_connections: '60', shared_buffers: '256MB', max_wal_size: '4GB' },
  });
  await cluster.query(monitorRole);
  await cluster.query(`CREATE TABLE plain (id int PRIMARY KEY, note text);
    INSERT INTO plain SELECT i, 'x' FROM generate_series(1, 1000) i; UPDATE plain SET note = 'y' WHERE id <= 10;
    CREATE SCHEMA "Odd ""schema"; CREATE TABLE "Odd ""schema"."tä ble" (x int)`);
  await cluster.query('VACUUM ANALYZE plain');
});

afterAll(async () => {
  for (const close of open) close();
  await cluster.stop();
});

beforeEach(() => {
  for (const close of open.splice(0)) close();
});

/** A probe of one test, made from its SQL. */
function custom(text: string, columns: ProbeRuntime['columns'] = []): ProbeRuntime {
  return {
    name: 'custom',
    version: 1,
    level: 'server',
    collector: 'sql',
    columns,
    sql: [{ minVersion: 130000, text }],
    mode: 'full',
  };
}

const int4 = (name: string): ProbeRuntime['columns'][number] => ({
  name,
  type: 'int4',
  role: 'metric',
  kind: 'gauge',
  unit: 'count',
  title: name,
});

function runner(from: Cluster): WatchedServer {
  const watched = watchServer(from);
  open.push(() => watched.link.close());
  return watched;
}

describe('with pg_monitor alone, each probe says what the server says', () => {
  test('server_info', async () => {
    const { rows } = runner(cluster);
    const [row] = await rows('server_info');
    const wanted = await cluster.query(
      `SELECT current_setting('server_version') AS version,
      current_setting('server_version_num') AS server_version_num, system_identifier::text,
      pg_postmaster_start_time()::text AS started_at, 'f' AS in_recovery, '1' AS timeline,
      current_setting('max_connections') AS max_connections, pg_current_wal_lsn() >= $1 AS after_it,
      (SELECT count(*)::text FROM pg_database) AS databases FROM pg_control_system()`,
      [row?.wal_lsn],
    );
    const { after_it, ...same } = wanted.rows[0];
    expect(row).toMatchObject(same);
    expect(after_it).toBe(true);
    expect(Number(row?.connections)).toBeGreaterThan(0);
  });

  test('session_info', async () => {
    const { rows } = runner(cluster);
    const other = await cluster.client();
    await other.query("SET application_name = 'the other'");
    await other.query(`BEGIN; SELECT '${'é'.repeat(900)}'`);
    const look = () =>
      cluster.query(`SELECT pid::text, datname AS database_name, usename AS user_name, application_name,
        backend_start::text, xact_start::text, state, wait_event, backend_type, left(query, 1024) AS query
        FROM pg_stat_activity WHERE application_name = 'the other'`);
    await eventually(
      'it waits for its client',
      async () => (await look()).rows[0].wait_event === 'ClientRead',
    );
    const background = await cluster.query(
      "SELECT pid::text FROM pg_stat_activity WHERE backend_type <> 'client backend' ORDER BY pid",
    );
    const found = await rows('session_info');
    const wanted = await look();
    expect(found.find((row) => row.application_name === 'the other')).toMatchObject(wanted.rows[0]);
    expect(wanted.rows[0].state).toBe('idle in transaction');
    expect(background.rows.length).toBeGreaterThan(3);
    for (const { pid } of background.rows) expect(found.map((row) => row.pid)).toContain(pid);
    await other.end();
  });

  test('database_statistics', async () => {
    const { rows } = runner(cluster);
    const sql =
      'SELECT datname, xact_commit, tup_inserted, blks_hit FROM pg_stat_database WHERE datname IS NOT NULL';
    const before = await cluster.query(sql);
    const found = await rows('database_statistics');
    const after = await cluster.query(sql);
    expect(found.map((row) => row.database_name).sort()).toEqual(
      before.rows.map((row) => row.datname).sort(),
    );
    for (const row of found) {
      const low = before.rows.find((each) => each.datname === row.database_name);
      const high = after.rows.find((each) => each.datname === row.database_name);
      for (const name of ['xact_commit', 'tup_inserted', 'blks_hit']) {
        expect(BigInt(row[name] ?? '')).toBeGreaterThanOrEqual(BigInt(low[name]));
        expect(BigInt(row[name] ?? '')).toBeLessThanOrEqual(BigInt(high[name]));
      }
      expect(row.parallel_workers_launched).toBeNull();
    }
  });

  test('background_writer_statistics', async () => {
    const { rows } = runner(cluster);
    await cluster.query('CHECKPOINT');
    const look = async () =>
      (
        await cluster.query(`SELECT checkpoints_req::text AS checkpoints_requested, buffers_checkpoint::text,
          buffers_clean::text, stats_reset::text FROM pg_stat_bgwriter`)
      ).rows;
    // The checkpointer tells its figures after it is done.
    let found: Awaited<ReturnType<typeof rows>> = [];
    let before: Awaited<ReturnType<typeof look>> = [];
    await eventually('figures that stand still', async () => {
      before = await look();
      found = await rows('background_writer_statistics');
      const still = JSON.stringify(before) === JSON.stringify(await look());
      return still && Number(before[0].checkpoints_requested) > 0;
    });
    expect(found).toMatchObject(before);
    expect(Number(found[0]?.checkpoints_requested)).toBeGreaterThan(0);
  });

  test("settings: the server's values, not those of the agent's session; no passwords; then only changes", async () => {
    const { rows, outbox, run } = runner(cluster);
    await cluster.query(
      `ALTER SYSTEM SET primary_conninfo = 'host=h password=''geh\\'' eim'' passfile=x sslpassword=a\\ b user=u'`,
    );
    await cluster.query('SELECT pg_reload_conf()');
    await eventually('the setting', async () =>
      (await cluster.query('SHOW primary_conninfo')).rows[0].primary_conninfo.includes('host=h'),
    );
    const found = await rows('settings');
    const byName = new Map(found.map((row) => [row.name, row.setting]));
    const wanted = await cluster.query(`SELECT name, setting FROM pg_settings WHERE name NOT IN
      ('application_name', 'client_encoding', 'lock_timeout', 'primary_conninfo', 'seed') AND name NOT LIKE 'transaction%'`);
    expect(wanted.rows.length).toBeGreaterThan(300);
    for (const { name, setting } of wanted.rows) expect([name, byName.get(name)]).toEqual([name, setting]);
    expect(byName.get('primary_conninfo')).toBe('host=h password=*** passfile=x sslpassword=*** user=u');
    expect(byName.get('lock_timeout')).toBeNull();
    expect(found.length).toBe(wanted.rows.length + 2);

    await run(probeNamed('settings'));
    expect(outbox.take()).toEqual([]);
    await cluster.query("ALTER SYSTEM SET work_mem = '5MB'");
    await cluster.query('SELECT pg_reload_conf()');
    await eventually('the change', async () => {
      await run(probeNamed('settings'));
      return outbox.blocks.length > 0;
    });
    const [change] = outbox.take();
    expect(change?.info).toMatchObject({ kind: 'delta', rows: 1, tombstones: 0 });
    expect(await readBlock(cluster, change?.block ?? Buffer.alloc(0))).toMatchObject([
      { name: 'work_mem', setting: '5120', source: 'configuration file' },
    ]);
  });

  test('table_statistics', async () => {
    const { rows } = runner(cluster);
    await eventually('statistics of what was written', async () => {
      const written = await cluster.query(`SELECT FROM pg_stat_user_tables WHERE n_tup_upd = 10`);
      return written.rows.length === 1;
    });
    const found = (await rows('table_statistics')).filter((row) => row.database_name === 'postgres');
    const wanted =
      await cluster.query(`SELECT s.schemaname AS schema_name, s.relname AS table_name, s.relid::text,
      n_tup_ins::text, n_tup_upd::text, n_live_tup::text, last_vacuum::text, reltuples::text AS estimated_rows,
      pg_relation_size(relid)::text AS estimated_bytes FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = relid AND relpersistence = 'p'
      ORDER BY s.schemaname DESC`);
    expect(wanted.rows.length).toBe(2);
    expect(found.sort((a, b) => (String(a.schema_name) < String(b.schema_name) ? 1 : -1))).toMatchObject(
      wanted.rows,
    );
    expect(wanted.rows[0]).toMatchObject({ table_name: 'plain', n_tup_ins: '1000', n_tup_upd: '10' });
  });
});

describe('what a probe may not do', () => {
  test.each([
    ["select 1) to program 'id' --", 'probe_sql'],
    ['select 1 as x; select 2', 'probe_sql'],
    ['select 1 as x) q) to stdout; --', 'probe_sql'],
    ['select 1 as x /*', 'probe_sql'],
    ["select 'x", 'probe_sql'],
    ["copy (select 1) to program 'id'", 'probe_column_type'],
    ['select 1::int8 as x', 'probe_column_type'],
    ['select 1 as y', 'probe_column_type'],
    ['select 1 as x from pg_authid', 'probe_not_permitted'],
    ['delete from public.plain returning id as x', 'probe_sql'],
    ["select set_config('default_transaction_read_only', 'off', false)::int as x", '22P02'],
  ])('%s → %s', async (text, code) => {
    const { run, outbox } = runner(cluster);
    await expect(run(custom(text, [int4('x')]))).rejects.toMatchObject({ code });
    expect(outbox.blocks).toEqual([]);
  });

  test('a statement that runs too long is ended by the server, the next probe runs', async () => {
    const { run, rows } = runner(cluster);
    await expect(run(custom('select 1 as x from pg_sleep(20)', [int4('x')]))).rejects.toMatchObject({
      code: '57014',
    });
    expect((await rows('server_info')).length).toBe(1);
  });
});

describe('locks', () => {
  let holder: pg.Client;
  beforeEach(async () => {
    holder = await cluster.client();
    return () => holder.end();
  });

  test('ACCESS EXCLUSIVE on every table delays and fails nothing', async () => {
    await holder.query('BEGIN; LOCK TABLE plain, "Odd ""schema"."tä ble" IN ACCESS EXCLUSIVE MODE');
    const { run, outbox } = runner(cluster);
    for (const probe of serverProbes) expect((await run(probe)).failure).toBeUndefined();
    const tables = outbox.blocks.filter(
      ({ info }) => info.probe === 'table_statistics' && info.scope === 'postgres',
    );
    expect(tables.map(({ info }) => info.rows)).toEqual([2]);
  });

  test('ACCESS EXCLUSIVE on pg_class: counted, backed off, never more than two connections, and it recovers', async () => {
    const stats = newAgentStats('0', 'boot');
    const { log } = silentLog();
    const names = ['server_info', 'session_info', 'database_statistics', 'settings', 'table_statistics'];
    const definitions = schedule([watchedTarget(cluster)], names);
    await holder.query('BEGIN; LOCK TABLE pg_class IN ACCESS EXCLUSIVE MODE');
    const scheduler = startScheduler({ definitions, outbox: new KeptOutbox(), stats, log });
    const errors = (): number => [...stats.costs.values()].reduce((sum, cost) => sum + cost.errors, 0);
    let most = 0;
    await eventually('failures', async () => {
      const found = await holder.query(
        'SELECT count(*)::int AS n FROM pg_stat_get_activity(NULL) a WHERE usesysid = (SELECT oid FROM pg_authid WHERE rolname = $1)',
        [monitorName],
      );
      most = Math.max(most, found.rows[0].n);
      return errors() >= 12;
    });
    await holder.query('ROLLBACK');
    const good = (): number => [...stats.costs.values()].filter((cost) => cost.rows > 0).length;
    await eventually('recovery', () => good() === names.length);
    expect(most).toBeLessThanOrEqual(2);
    await scheduler.stop();
  });
});

function schedule(
  servers: readonly ServerTarget[],
  names: readonly string[],
  intervalMs = 1000,
): AgentDefinitions {
  return {
    agentId: 1,
    configVersion: 1,
    hostTarget: 1,
    probes: Object.fromEntries(names.map((name) => [name, probeNamed(name)])),
    servers,
    schedule: servers.flatMap(({ targetId }) => names.map((probe) => ({ targetId, probe, intervalMs }))),
  };
}

const costOf = (stats: AgentStats, targetId: number, probe: string) =>
  stats.costs.get(`${targetId}/${probe}`);

test('a server that accepts and never answers gets one connect and delays no other server', async () => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => {
    socket.on('error', () => undefined);
    sockets.push(socket);
  });
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const address = silent.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const mute = { ...watchedTarget(cluster, 3), host: '127.0.0.1', port: address.port };
  const stats = newAgentStats('0', 'boot');
  const names = ['server_info', 'session_info', 'table_statistics'];
  const { log, lines } = silentLog();
  const scheduler: Scheduler = startScheduler({
    // Wide enough that no run of a machine with other work takes so long: what is skipped then is skipped for the mute one.
    definitions: schedule([mute, watchedTarget(cluster)], names, 3000),
    outbox: new KeptOutbox(),
    stats,
    log,
  });
  // The mute server's first try is over, and it was asked again by each probe, before this holds.
  await eventually('runs on both', () =>
    names.every(
      (name) => (costOf(stats, 2, name)?.runs ?? 0) >= 4 && (costOf(stats, 3, name)?.errors ?? 0) >= 2,
    ),
  );
  for (const name of names) expect(costOf(stats, 2, name)).toMatchObject({ errors: 0, skipped: 0 });
  expect(sockets.length).toBe(1);
  expect(scheduler.servers().find((server) => server.targetId === 3)?.error).toContain('no session within');
  expect(scheduler.servers().find((server) => server.targetId === 2)).toMatchObject({ error: null });
  expect(lines.filter((line) => line.includes('probe failed')).length).toBe(names.length);
  // Taken away live: nothing of it stays.
  scheduler.apply(schedule([watchedTarget(cluster)], ['server_info']));
  expect([...stats.costs.keys()]).toEqual(['2/server_info']);
  await scheduler.stop();
  for (const socket of sockets) socket.destroy();
  silent.close();
});

describe('many databases', () => {
  const count = 20;
  const tables = 500;

  beforeAll(async () => {
    await cluster.query('CREATE DATABASE shape');
    await cluster.query(
      `DO $$ BEGIN FOR i IN 1..${tables} LOOP EXECUTE format('CREATE TABLE t%s (id int)', i); END LOOP; END $$`,
      undefined,
      'shape',
    );
    for (let index = 1; index <= count; index++)
      await cluster.query(`CREATE DATABASE many${index} TEMPLATE shape`);
    await cluster.query('DROP DATABASE shape');
    await cluster.query('CREATE DATABASE closed ALLOW_CONNECTIONS false');
    await cluster.query('CREATE DATABASE private');
    await cluster.query('REVOKE CONNECT ON DATABASE private FROM PUBLIC');
  });

  test('10,000 tables: full once, then only what changed travels, over two connections', async () => {
    const { run, outbox, link, mostOpen } = runner(cluster);
    const probe = probeNamed('table_statistics');
    const timed = async () => {
      const begun = performance.now();
      const result = await run(probe);
      const taken = outbox.take();
      return { result, taken, ms: performance.now() - begun };
    };
    const first = await timed();
    const scopes = first.taken.map(({ info }) => info.scope);
    expect(scopes).not.toContain('closed');
    expect(scopes).not.toContain('private');
    expect(scopes).not.toContain('template1');
    const many = first.taken.filter(({ info }) => info.scope?.startsWith('many'));
    expect(many.length).toBe(count);
    expect(many.every(({ info }) => info.kind === 'full' && info.rows === tables)).toBe(true);

    const second = await timed();
    expect(second.taken).toEqual([]);

    await cluster.query(
      'INSERT INTO t7 VALUES (1); INSERT INTO t8 VALUES (1); DROP TABLE t9',
      undefined,
      'many3',
    );
    await cluster.query('INSERT INTO t100 VALUES (1)', undefined, 'many17');
    const third = await timed();
    expect(third.taken.map(({ info }) => [info.scope, info.kind, info.rows, info.tombstones]).sort()).toEqual(
      [
        ['many17', 'delta', 1, 0],
        ['many3', 'delta', 3, 1],
      ],
    );

    // Loss: all of it again.
    outbox.lose();
    const fourth = await timed();
    expect(fourth.taken.length).toBe(first.taken.length);

    // A database that went leaves an empty scope; nothing of the agent stood in the way of dropping it.
    await cluster.query('DROP DATABASE many3');
    const fifth = await timed();
    expect(fifth.taken.map(({ info }) => [info.scope, info.kind, info.rows])).toEqual([['many3', 'full', 0]]);
    expect(mostOpen()).toBe(2);
    const show = (name: string, { result, taken, ms }: Awaited<ReturnType<typeof timed>>): string =>
      `${name}: ${result.rows} rows measured, ${taken.reduce((sum, { info }) => sum + info.rows, 0)} sent in ` +
      `${taken.length} blocks of ${taken.reduce((sum, { block }) => sum + block.length, 0)} bytes, ` +
      `${result.ms.toFixed(0)} ms of work, ${ms.toFixed(0)} ms in all`;
    console.log([show('first', first), show('unchanged', second), show('three changed', third)].join('\n'));
    link.close();
  });
});
