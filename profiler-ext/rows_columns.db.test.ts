/** Each column against a source that is not ours: EXPLAIN (ANALYZE, BUFFERS, WAL), pg_stat_activity, pg_locks, the clock. */
import { readFileSync } from 'node:fs';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Cluster } from '../bench/rig/cluster.js';
import { endTrace, startProfiled, startTrace, stopTrace, type TraceRow } from '../bench/rig/traces.js';

let cluster: Cluster;
let client: pg.Client;
let id: number;
let major: number;

beforeAll(async () => {
  cluster = await startProfiled({ tcp: true, settings: { autovacuum: 'off', max_parallel_workers: '4' } });
  await cluster.query(`CREATE TABLE big AS SELECT g AS a, repeat('x', 200) AS b FROM generate_series(1, 20000) g;
    CREATE TABLE t (a int PRIMARY KEY, b text)`);
  await cluster.query('VACUUM ANALYZE');
  major = Math.floor(
    Number((await cluster.query('SHOW server_version_num')).rows[0].server_version_num) / 10000,
  );
});
afterAll(() => cluster.stop());

const begin = async (options: object = {}): Promise<void> => {
  id = await startTrace(cluster, 'columns', { applications: ['columns'], ...options });
};
beforeEach(async () => {
  client = await cluster.client();
  await client.query("SET application_name = 'columns'");
});

afterEach(async () => {
  await client.end();
  await cluster.query("SELECT sql_profiler.stop(id) FROM sql_profiler.traces WHERE state = 'running'");
});

/** Rows in the order of their starts. */
async function rows(): Promise<TraceRow[]> {
  await client.end();
  return endTrace(cluster, id, 'serial');
}

/**
 * What EXPLAIN says of a statement, and the row of that very execution. The row also counts what its start reads of the
 * catalog, so the statement runs before, where that matters.
 */
async function explained(sql: string, ...before: string[]): Promise<[plan: Explained, row: TraceRow]> {
  for (const each of before) await client.query(each);
  await begin();
  const result = await client.query(`EXPLAIN (ANALYZE, BUFFERS, WAL, FORMAT JSON) ${sql}`);
  const all = await rows();
  const nested = all.filter((row) => row.level === '1' && Number(row.flags) === 0);
  expect(nested.length).toBe(1);
  return [result.rows[0]['QUERY PLAN'][0], nested[0] as TraceRow];
}

interface Explained {
  readonly Plan: Readonly<Record<string, number>> & { readonly Plans?: Explained['Plan'][] };
  readonly 'Planning Time': number;
  readonly 'Execution Time': number;
  readonly JIT?: { readonly Timing: Readonly<Record<string, number>> };
}

const blockNames: Readonly<Record<string, string>> = {
  shared_hit: 'Shared Hit Blocks',
  shared_read: 'Shared Read Blocks',
  shared_dirtied: 'Shared Dirtied Blocks',
  shared_written: 'Shared Written Blocks',
  local_hit: 'Local Hit Blocks',
  local_read: 'Local Read Blocks',
  local_dirtied: 'Local Dirtied Blocks',
  local_written: 'Local Written Blocks',
  temp_read: 'Temp Read Blocks',
  temp_written: 'Temp Written Blocks',
};

function expectBlocks(plan: Explained, row: TraceRow, notZero: readonly string[]): void {
  for (const [column, name] of Object.entries(blockNames))
    expect([column, row[column]]).toEqual([column, String(plan.Plan[name])]);
  for (const column of notZero) expect(Number(row[column]), column).toBeGreaterThan(0);
}

describe('blocks, WAL, rows', () => {
  test('a scan reads shared blocks, then hits them', async () => {
    const [plan, row] = await explained('SELECT * FROM big', 'SELECT * FROM big');
    expectBlocks(plan, row, ['shared_hit']);
    expect(row.rows).toBe('20000');
  });

  test('blocks that are not in memory are read, with their time', async () => {
    await cluster.query('DROP TABLE IF EXISTS cold');
    await cluster.query("CREATE TABLE cold AS SELECT g, repeat('y', 500) FROM generate_series(1, 5000) g");
    await cluster.halt('fast');
    await cluster.start();
    client = await cluster.client();
    await client.query("SET application_name = 'columns'");
    const [plan, row] = await explained('SELECT count(*) FROM cold', 'SET track_io_timing = on');
    expectBlocks(plan, row, ['shared_read']);
    // EXPLAIN shows milliseconds with three places.
    const shown = plan.Plan['Shared I/O Read Time'] ?? plan.Plan['I/O Read Time'] ?? 0;
    expect(Math.abs(Number(row.shared_read_us) - 1000 * shown)).toBeLessThanOrEqual(2);
    expect(row.shared_read_us).not.toBe('');
    expect(row.local_read_us === '').toBe(major < 17);
    expect(row.temp_read_us === '').toBe(major < 15);
  });

  test('a sort on disk writes and reads temporary blocks', async () => {
    const [plan, row] = await explained(
      'SELECT * FROM big ORDER BY b, a DESC',
      "SET work_mem = '64kB'",
      'SELECT 1 FROM big',
    );
    expectBlocks(plan, row, ['temp_read', 'temp_written']);
  });

  test('a temporary table has local blocks', async () => {
    const [plan, row] = await explained(
      'UPDATE own SET b = b',
      "SET temp_buffers = '800kB'",
      'CREATE TEMP TABLE own AS SELECT * FROM big',
      'UPDATE own SET b = b',
    );
    expectBlocks(plan, row, ['local_hit', 'local_read', 'local_dirtied', 'local_written']);
    expect(row.rows).toBe('20000');
  });

  test('an INSERT writes WAL', async () => {
    await client.query('CHECKPOINT');
    const [plan, row] = await explained(
      'INSERT INTO t SELECT g FROM generate_series(1, 500) g',
      'TRUNCATE t',
    );
    // Before 15, its start looks into the catalog each time.
    const start = major < 15 ? Number(row.shared_hit) - Number(plan.Plan['Shared Hit Blocks']) : 0;
    expect(start).toBeGreaterThanOrEqual(0);
    expect(start).toBeLessThan(20);
    expectBlocks(plan, { ...row, shared_hit: String(Number(row.shared_hit) - start) }, [
      'shared_hit',
      'shared_dirtied',
    ]);
    expect(row.wal_records).toBe(String(plan.Plan['WAL Records']));
    expect(row.wal_fpi).toBe(String(plan.Plan['WAL FPI']));
    expect(row.wal_bytes).toBe(String(plan.Plan['WAL Bytes']));
    expect(Number(row.wal_bytes)).toBeGreaterThan(10_000);
    expect(row.rows).toBe('500');
  });

  test("a statement's WAL and its commit's are what the server wrote", async () => {
    const position = async (): Promise<bigint> =>
      BigInt(
        (await client.query("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') AS n")).rows[0].n,
      );
    await client.query('TRUNCATE t');
    await client.query('CHECKPOINT');
    await begin();
    const before = await position();
    await client.query('INSERT INTO t SELECT g FROM generate_series(1, 2000) g');
    const after = await position();
    const all = await rows();
    const written = all.filter((row) => ['INSERT', 'COMMIT'].includes(row.tag as string));
    const bytes = written.reduce((sum, row) => sum + Number(row.wal_bytes), 0);
    // Positions count page headers and padding too.
    expect(Number(after - before) / bytes).toBeGreaterThan(0.99);
    expect(Number(after - before) / bytes).toBeLessThan(1.15);
  });
});

describe('time', () => {
  test('execution and planning take what EXPLAIN says', async () => {
    await begin();
    const sql = 'SELECT count(*), pg_sleep(0.05) FROM big a JOIN big b USING (a)';
    const plans: Explained[] = [];
    for (let n = 0; n < 9; n++) {
      const result = await client.query(`EXPLAIN (ANALYZE, FORMAT JSON) ${sql}`);
      plans.push(result.rows[0]['QUERY PLAN'][0]);
    }
    const own = (await rows()).filter((row) => row.level === '1' && Number(row.flags) === 0);
    expect(own.length).toBe(plans.length);
    // Of nine the middle one: in some, another process had the processor between our look at the clock and EXPLAIN's.
    const middle = (ratio: (plan: Explained, row: TraceRow) => number): number =>
      plans.map((plan, n) => ratio(plan, own[n] as TraceRow)).sort((a, b) => a - b)[4] as number;
    const executed = middle((plan, row) => Number(row.exec_us) / 1000 / plan['Execution Time']);
    expect(executed).toBeGreaterThan(0.9);
    expect(executed).toBeLessThan(1.1);
    for (const row of own) expect(Number(row.exec_us)).toBeGreaterThan(50_000);
    const overMs = (plan: Explained, row: TraceRow): number =>
      Number(row.plan_us) / 1000 / plan['Planning Time'];
    expect(middle(overMs)).toBeGreaterThan(0.7);
    expect(middle((plan, row) => (Number(row.plan_us) / 1000 - 0.05) / plan['Planning Time'])).toBeLessThan(
      1.1,
    );
  });

  test('the end is wall time, elapsed time begins with the message', async () => {
    await begin();
    const clock = async (): Promise<number> =>
      Number((await cluster.query('SELECT extract(epoch FROM clock_timestamp()) * 1e6 AS us')).rows[0].us);
    const before = await clock();
    await client.query('SELECT pg_sleep(0.05)');
    const after = await clock();
    const [row] = await rows();
    const end = Number(row?.end_time);
    expect(end).toBeGreaterThan(before + 50_000);
    expect(end).toBeLessThan(after);
    expect(Number(row?.elapsed_us)).toBeGreaterThanOrEqual(Number(row?.exec_us));
    expect(end - Number(row?.elapsed_us)).toBeGreaterThan(before);
  });

  test('I/O times are empty where they are not taken', async () => {
    await begin();
    await client.query('SET track_io_timing = off');
    await client.query('SELECT count(*) FROM big');
    const all = await rows();
    expect([all[1]?.shared_read_us, all[1]?.shared_write_us, all[1]?.temp_read_us]).toEqual(['', '', '']);
  });
});

describe('session', () => {
  test('who and where', async () => {
    await begin();
    const { rows: seen } = await client.query(`SELECT pid, datname, usename, application_name, client_addr,
        (extract(epoch FROM backend_start) * 1e6)::int8 AS started,
        (SELECT virtualtransaction FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'virtualxid') AS vxid,
        getdatabaseencoding() AS encoding
      FROM pg_stat_activity WHERE pid = pg_backend_pid()`);
    const [row] = await rows();
    expect(row).toMatchObject({
      pid: String(seen[0].pid),
      database: seen[0].datname,
      username: seen[0].usename,
      application: 'columns',
      client: '[local]',
      backend_start: seen[0].started,
      vxid: seen[0].vxid,
      encoding: seen[0].encoding,
      xid: '',
      parent: '0',
      level: '0',
      trace: String(id),
    });
  });

  test('an address, an application that changes', async () => {
    await client.end();
    const config = { ...cluster.config(), host: '127.0.0.1' };
    const { default: library } = await import('pg');
    await cluster.halt('fast');
    const { appendFileSync } = await import('node:fs');
    appendFileSync(`${cluster.dataDirectory}/pg_hba.conf`, 'host all all 127.0.0.1/32 trust\n');
    await cluster.start();
    client = new library.Client(config);
    await client.connect();
    id = await startTrace(cluster, 'columns', { clients: ['127.0.0.1'] });
    await client.query('SET application_name = \'one, "two"\'');
    await client.query('SELECT 1');
    await client.query("SET application_name = ''");
    await client.query("SELECT set_config('application_name', 'three', false)");
    const all = await rows();
    expect(all.map((row) => row.client)).toEqual(Array(4).fill('127.0.0.1'));
    expect(all.map((row) => row.application)).toEqual(['one, "two"', 'one, "two"', '', 'three']);
  });

  test('the transaction id is there once there is one, and none is assigned for us', async () => {
    await begin();
    await client.query('BEGIN');
    await client.query('SELECT count(*) FROM t');
    const none = await client.query('SELECT pg_current_xact_id_if_assigned() AS xid');
    await client.query('DELETE FROM t');
    const some = await client.query('SELECT pg_current_xact_id_if_assigned()::text AS xid');
    await client.query('COMMIT');
    const all = await rows();
    expect(none.rows[0].xid).toBe(null);
    expect(all.map((row) => row.xid)).toEqual(['', '', '', ...Array(3).fill(some.rows[0].xid)]);
  });
});

describe('query id', () => {
  test('is what core computes, and asked for only while a trace runs', async (context) => {
    // 13 has it from pg_stat_statements alone.
    if (major < 14) return context.skip();
    const seen = async (): Promise<string | null> =>
      (await client.query('SELECT query_id::text AS id FROM pg_stat_activity WHERE pid = pg_backend_pid()'))
        .rows[0].id;
    expect(await seen()).toBe(null);
    await begin();
    await client.query('SELECT 1');
    const during = await seen();
    await client.query('SET compute_query_id = off');
    await client.query('SELECT 2');
    await client.query('RESET compute_query_id');
    await stopTrace(cluster, id);
    await client.query('SELECT 3');
    expect(await seen()).toBe(null);
    const all = await rows();
    expect(during).not.toBe(null);
    expect(all.find((row) => row.query?.includes('pg_stat_activity'))?.query_id).toBe(during);
    expect(all.find((row) => row.query === 'SELECT 2')?.query_id).toBe('');
  });
});

describe('query id of a first statement', () => {
  test('of a session that was there and of a new one: what later statements of the same text have', async (context) => {
    if (major < 14) return context.skip();
    await begin();
    await client.query('SELECT a FROM big WHERE a = 1');
    await client.query('SELECT a FROM big WHERE a = 2');
    // The planner computes the division: it never comes to the executor.
    for (const first of ['SELECT 1 / 0', 'SET work_mem = 4096', 'SELECT a FROM big WHERE a = 3']) {
      const session = new pg.Client({ ...cluster.config(), application_name: 'columns' });
      await session.connect();
      await session.query(first).catch(() => undefined);
      await session.end();
    }
    const all = await rows();
    const scans = all.filter((row) => row.query?.startsWith('SELECT a FROM big'));
    expect(scans).toHaveLength(3);
    expect(new Set(scans.map((row) => row.query_id)).size).toBe(1);
    const nameless = all.filter((row) => row.query !== '' && row.query_id === '');
    expect(nameless.map((row) => row.query)).toEqual([]);
    expect(all.map((row) => row.query)).toContain('SELECT 1 / 0');
  });
});

describe('what is asked for', () => {
  test('CPU time, faults and switches', async () => {
    await begin({ rusage: true });
    const pid = (await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid;
    // What the kernel's scheduler counts, nanoseconds.
    const onProcessor = (): number =>
      Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1000;
    const before = onProcessor();
    await client.query("SELECT count(*) FROM big a JOIN big b USING (a) WHERE md5(a.b || b.b) <> ''");
    const used = onProcessor() - before;
    await client.query('SELECT pg_sleep(0.05)');
    const [, busy, idle] = await rows();
    const cpu = (row: TraceRow | undefined): number => Number(row?.cpu_user_us) + Number(row?.cpu_system_us);
    // Planning and the answer are not in it.
    expect(cpu(busy)).toBeGreaterThan(0.8 * used - 5000);
    expect(cpu(busy)).toBeLessThan(used + 5000);
    expect(cpu(busy)).toBeGreaterThan(10_000);
    expect(cpu(idle)).toBeLessThan(20_000);
    expect(Number(idle?.voluntary_switches)).toBeGreaterThanOrEqual(1);
    expect(Number(busy?.minor_faults)).toBeGreaterThan(0);
    expect([busy?.major_faults, busy?.involuntary_switches].map(Number).every((n) => n >= 0)).toBe(true);
  });

  test('they are empty where they are not', async () => {
    await begin();
    await client.query('SELECT 1');
    const [row] = await rows();
    expect([row?.cpu_user_us, row?.minor_faults, row?.params, row?.plan]).toEqual(['', '', '', '']);
  });

  test('plans, as EXPLAIN shows them, where a statement takes long enough', async () => {
    await begin({ plan: 'text', plan_min_us: 400_000 });
    const sql = 'SELECT a, pg_sleep(0.41) FROM big WHERE a = 7 ORDER BY b';
    const { rows: lines } = await client.query(`EXPLAIN ${sql}`);
    await client.query(sql);
    await client.query('SELECT 1');
    await client.query('INSERT INTO t SELECT 1000001 FROM pg_sleep(0.41)');
    await client.query('CREATE TEMP TABLE z AS SELECT 1 FROM pg_sleep(0.41)');
    const all = await rows();
    expect(all[0]?.plan).toBe(lines.map((line) => line['QUERY PLAN']).join('\n'));
    expect(all[1]?.plan).toBe('');
    expect(all[2]?.plan).toMatch(/^Insert on t /);
    expect(all.find((row) => row.level === '1')?.plan).toMatch(/^Function Scan on pg_sleep /);
  });

  test('plans as JSON', async () => {
    await begin({ plan: 'json' });
    const sql = 'SELECT a FROM big WHERE a = 7 ORDER BY b';
    const { rows: lines } = await client.query(`EXPLAIN (FORMAT JSON) ${sql}`);
    await client.query(sql);
    const all = await rows();
    expect(JSON.parse(all[0]?.plan as string)).toEqual(lines[0]['QUERY PLAN']);
  });

  test('parameters', async () => {
    await begin({ params: true });
    await client.query({
      text: 'SELECT $1::int, $2::text, $3::bool, $4::numeric, $5::int[]',
      values: [1, "it's", true, '1.50', [1, 2]],
    });
    await client.query({ text: 'SELECT $1::text', values: [null] });
    await client.query('SELECT 1');
    await client.query('PREPARE p(int) AS SELECT $1; EXECUTE p(5)');
    const all = await rows();
    expect(all.map((row) => [row.tag, row.params])).toEqual([
      ['SELECT', "$1 = '1', $2 = 'it''s', $3 = 't', $4 = '1.50', $5 = '{1,2}'"],
      ['SELECT', '$1 = NULL'],
      ['SELECT', ''],
      ...[
        ['PREPARE', ''],
        ['EXECUTE', ''],
        ['SELECT', "$1 = '5'"],
      ],
    ]);
  });
});

describe('parallel', () => {
  const parallel = [
    ...['SET parallel_setup_cost = 0', 'SET parallel_tuple_cost = 0', 'SET min_parallel_table_scan_size = 0'],
    'SET max_parallel_workers_per_gather = 2',
  ];

  test('workers planned and launched; the leader has the blocks of all', async () => {
    const [plan, row] = await explained('SELECT count(*) FROM big', ...parallel, 'SELECT count(*) FROM big');
    const gather = (node: Explained['Plan']): Explained['Plan'] | undefined =>
      'Workers Planned' in node ? node : (node.Plans ?? []).map(gather).find((found) => found !== undefined);
    const found = gather(plan.Plan);
    expect([row.workers_planned, row.workers_launched]).toEqual([
      String(found?.['Workers Planned']),
      String(found?.['Workers Launched']),
    ]);
    expect(Number(row.workers_launched)).toBeGreaterThan(0);
    expectBlocks(plan, row, ['shared_hit']);
  });

  test("workers' own rows, where asked for: flagged, below their leader's, already counted there", async () => {
    for (const sql of parallel) await client.query(sql);
    await begin({ workers: true });
    await client.query('SELECT count(*) FROM big');
    const all = await rows();
    const leader = all.find((row) => row.flags === '0') as TraceRow;
    const workers = all.filter((row) => (Number(row.flags) & 16) !== 0);
    expect(workers.length).toBe(Number(leader.workers_launched));
    for (const worker of workers) {
      expect([worker.parent, worker.level, worker.vxid, worker.query_id]).toEqual([
        ...[leader.serial, '1', leader.vxid, leader.query_id],
      ]);
      expect([worker.database, worker.username, worker.application]).toEqual([
        'postgres',
        'postgres',
        'columns',
      ]);
      expect(worker.pid).not.toBe(leader.pid);
    }
    const blocks = (row: TraceRow): number => Number(row.shared_hit) + Number(row.shared_read);
    expect(blocks(leader)).toBeGreaterThanOrEqual(workers.reduce((sum, row) => sum + blocks(row), 0));
  });
});

test('JIT time is what EXPLAIN says', async (context) => {
  const there = (await cluster.query('SELECT pg_jit_available() AS there')).rows[0].there;
  if (!there) context.skip();
  const [plan, row] = await explained(
    'SELECT sum(a + 1) FROM big',
    'SET jit_above_cost = 0',
    'SET jit_optimize_above_cost = 0',
  );
  expect(Math.abs(Number(row.jit_us) / 1000 - (plan.JIT?.Timing.Total ?? 0))).toBeLessThan(
    0.05 * (plan.JIT?.Timing.Total ?? 0),
  );
  expect(Number(row.jit_us)).toBeGreaterThan(100);
});
