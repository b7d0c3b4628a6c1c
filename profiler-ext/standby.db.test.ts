/**
 * Standbys: a hot standby has traces of its own, through recovery, crashes and promotion; copies of a server (pg_basebackup,
 * of primaries and of standbys; pg_rewind) carry none.
 */
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Cluster, startCluster } from '../bench/rig/cluster.js';
import { killBackend } from '../bench/rig/crash.js';
import { eventually } from '../bench/rig/processes.js';
import {
  baseBackup,
  caughtUp,
  follows,
  replicationHba,
  runServerProgram,
  startStandby,
} from '../bench/rig/standby.js';
import {
  brokenLines,
  queries,
  readTrace,
  startProfiled,
  startTrace,
  stopTrace,
  type TraceRow,
  traceStatus,
} from '../bench/rig/traces.js';

const settings = {
  shared_preload_libraries: "'sql_profiler'",
  wal_level: 'replica',
  // pg_rewind compares with what the primary wrote since.
  wal_log_hints: 'on',
  wal_keep_size: "'256MB'",
  max_standby_streaming_delay: '0',
};

let primary: Cluster;
let standby: Cluster;
let onPrimary: number;

beforeAll(async () => {
  primary = await startProfiled({ hba: replicationHba, settings });
  await primary.query('CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 100)');
  onPrimary = await startTrace(primary, 'of the primary');
  await primary.query('SELECT 1 AS on_primary');
  standby = await startStandby(primary, await baseBackup(primary, 'copy'), { settings });
});
afterAll(async () => {
  await standby?.stop();
  await primary?.stop();
});

const list = async (of: Cluster): Promise<unknown[]> =>
  (await of.query('SELECT id, name, state FROM sql_profiler.traces')).rows;

const stopAndDrop = async (of: Cluster, id: number): Promise<void> => {
  await stopTrace(of, id);
  await of.query('SELECT sql_profiler.drop($1)', [id]);
};

/** Rows of statements that hold `part`, in the order in which they were written. */
const rowsWith = async (of: Cluster, id: number, part: string): Promise<TraceRow[]> =>
  (await readTrace(of, id)).filter((row) => row.query?.includes(part));

describe('a hot standby', () => {
  it('has none of its primary’s traces, nor a text of them', async () => {
    expect((await standby.query('SELECT pg_is_in_recovery() AS is')).rows).toEqual([{ is: true }]);
    expect(existsSync(join(primary.dataDirectory, `sql_profiler/pgsql_tmp_${onPrimary}`))).toBe(true);
    expect(readdirSync(join(standby.dataDirectory, 'sql_profiler'))).toEqual([]);
    expect(await list(standby)).toEqual([]);
  });

  it('starts, reads, stops and drops its own, from the next statement of running sessions on', async () => {
    const session = await standby.client();
    await session.query('SELECT 1 AS standby_session');
    const id = await startTrace(standby, 'of the standby');
    await session.query('SELECT 2 AS standby_session');
    expect(queries(await readTrace(standby, id), 'AS standby_session')).toEqual([
      'SELECT 2 AS standby_session',
    ]);
    const changed = (await standby.query('SELECT * FROM sql_profiler.changed($1, 0)', [id])).rows;
    expect(changed.length).toBeGreaterThanOrEqual(1);
    await primary.query('SELECT 2 AS on_primary');
    await stopTrace(standby, id);
    await session.query('SELECT 3 AS standby_session');
    expect(queries(await readTrace(standby, id), 'AS standby_session')).toHaveLength(1);
    expect(queries(await readTrace(standby, id), 'on_primary')).toEqual([]);
    expect(queries(await readTrace(primary, onPrimary), 'standby_session')).toEqual([]);
    expect(await list(standby)).toEqual([{ id, name: 'of the standby', state: 'stopped' }]);
    expect(await list(primary)).toEqual([{ id: onPrimary, name: 'of the primary', state: 'running' }]);
    await standby.query('SELECT sql_profiler.drop($1)', [id]);
    expect(await list(standby)).toEqual([]);
    expect(readdirSync(join(standby.dataDirectory, 'sql_profiler'))).toEqual(['pgsql_tmp_state']);
    await session.end();
  });

  it('has a virtual transaction id and no other in each row, and its statements’ failures', async () => {
    const id = await startTrace(standby, 'columns');
    const session = await standby.client();
    await session.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    const { rows } = await session.query(
      "SELECT virtualtransaction AS vxid FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'virtualxid'",
    );
    await session.query('COMMIT');
    await expect(session.query('INSERT INTO t VALUES (0)')).rejects.toThrow(/read-only transaction/);
    // Cannot wait for its snapshot: the primary removes rows that it sees.
    await session.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await session.query('SELECT count(*) FROM t');
    const waiting = session
      .query('SELECT pg_sleep(60) AS in_conflict')
      .catch((error: Error) => error.message);
    // An idle session would be ended instead of its statement.
    await eventually('it runs', async () => {
      const sql = `SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'`;
      return (await standby.query(sql)).rows.length === 1;
    });
    await primary.query('DELETE FROM t WHERE a > 50');
    await primary.query('VACUUM t');
    expect(await waiting).toMatch(/conflict with recovery/);
    await session.query('ROLLBACK');
    await session.end();
    const all = await readTrace(standby, id);
    const find = (part: string): TraceRow | undefined => all.find((row) => row.query?.includes(part));
    expect(find('AS vxid')?.vxid).toBe(rows[0].vxid);
    expect(find('INSERT INTO t')).toMatchObject({ sqlstate: '25006', tag: 'INSERT' });
    expect(find('in_conflict')).toMatchObject({ sqlstate: '40001' });
    expect(new Set(all.map((row) => row.xid))).toEqual(new Set(['']));
    expect(all.every((row) => /^\d+\/\d+$/.test(row.vxid ?? ''))).toBe(true);
    expect(new Set(all.map((row) => row.wal_records).filter((n) => n !== ''))).toEqual(new Set(['0']));
    await stopAndDrop(standby, id);
  });

  it('goes on with a trace after a crash and after a restart, and loses no row by them', async () => {
    const id = await startTrace(standby, 'through crashes');
    const session = await standby.client();
    for (let i = 0; i < 5; i++) await session.query(`SELECT ${i} AS through`);
    const { rows } = await session.query('SELECT pg_backend_pid() AS pid');
    // All processes start anew and recovery goes on.
    await killBackend(standby, rows[0].pid);
    expect((await standby.query('SELECT pg_is_in_recovery() AS is')).rows).toEqual([{ is: true }]);
    await standby.query('SELECT 5 AS through');
    await standby.halt('immediate');
    await standby.start();
    await standby.query('SELECT 6 AS through');
    await primary.query('CREATE TABLE after_crash ()');
    await caughtUp(primary, standby);
    const all = await readTrace(standby, id);
    expect(queries(all, 'AS through')).toEqual([0, 1, 2, 3, 4, 5, 6].map((n) => `SELECT ${n} AS through`));
    expect(brokenLines(all)).toEqual([]);
    expect(await traceStatus(standby, id)).toMatchObject({ state: 'running', lost_rows: '0' });
    await stopAndDrop(standby, id);
  });

  it('that is copied itself gives its traces to nobody', async () => {
    const id = await startTrace(standby, 'not for copies');
    await standby.query('SELECT 1 AS secret_of_standby');
    const copy = await baseBackup(standby, 'cascade');
    expect(readdirSync(join(copy, 'sql_profiler'))).toEqual([]);
    const cascaded = await startStandby(standby, copy, { settings });
    try {
      expect(await list(cascaded)).toEqual([]);
      const own = await startTrace(cascaded, 'of the second standby');
      await cascaded.query('SELECT 1 AS on_second');
      expect(queries(await readTrace(cascaded, own), 'on_second')).toHaveLength(1);
    } finally {
      await cascaded.stop();
      rmSync(copy, { recursive: true });
    }
    await stopAndDrop(standby, id);
  });
});

describe('promotion', () => {
  it('under a running trace: the same sessions go on, and write', async () => {
    const id = await startTrace(standby, 'promoted');
    const session = await standby.client();
    await session.query('SELECT 1 AS before_promotion');
    await caughtUp(primary, standby);
    await standby.query('SELECT pg_promote()');
    await expect
      .poll(async () => (await session.query('SELECT pg_is_in_recovery() AS is')).rows[0].is, {
        timeout: 60_000,
      })
      .toBe(false);
    await session.query('BEGIN');
    await session.query('INSERT INTO t VALUES (1) /* promoted */');
    const { rows } = await session.query('SELECT pg_current_xact_id()::xid::text AS xid');
    await session.query('COMMIT');
    const [inserted] = await rowsWith(standby, id, '/* promoted */');
    expect(inserted).toMatchObject({ tag: 'INSERT', xid: rows[0].xid, rows: '1' });
    expect(Number(inserted?.wal_records)).toBeGreaterThan(0);
    expect(queries(await readTrace(standby, id), 'before_promotion')).toHaveLength(1);
    await session.end();
    await standby.halt('fast');
    await standby.start();
    expect(await list(standby)).toEqual([{ id, name: 'promoted', state: 'running' }]);
    const all = await readTrace(standby, id);
    expect(brokenLines(all)).toEqual([]);
    expect(queries(all, '/* promoted */')).toHaveLength(1);
  });

  it('and pg_rewind of the old primary: no trace of either is there, and it takes new ones', async () => {
    await primary.query('INSERT INTO t VALUES (2) /* on the wrong side */');
    expect(queries(await readTrace(primary, onPrimary), 'wrong side')).toHaveLength(1);
    // As after a crash: pg_rewind itself completes recovery, in a server of one process that has the library too.
    await primary.halt('immediate');
    await standby.query('CHECKPOINT');
    const said = await runServerProgram(primary, 'pg_rewind', [
      ...['--target-pgdata', primary.dataDirectory],
      ...['--source-server', `host=${standby.folder} port=${standby.port} user=postgres dbname=postgres`],
    ]);
    expect(said).toMatch(/Done!/);
    const folder = join(primary.dataDirectory, 'sql_profiler');
    expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([]);
    // The settings came along; this server's own are its place.
    const rewound = await startCluster({
      bin: primary.bin,
      template: primary.dataDirectory,
      settings: { ...settings, primary_conninfo: follows(standby) },
      prepare: (data) => writeFileSync(join(data, 'standby.signal'), ''),
    });
    try {
      expect((await rewound.query('SELECT pg_is_in_recovery() AS is')).rows).toEqual([{ is: true }]);
      expect(await list(rewound)).toEqual([]);
      const id = await startTrace(rewound, 'after the rewind');
      expect(id).toBe(1);
      await rewound.query('SELECT 1 AS after_rewind');
      expect(queries(await readTrace(rewound, id), 'after_rewind')).toHaveLength(1);
      await stopAndDrop(rewound, id);
      expect(await list(standby)).toMatchObject([{ name: 'promoted', state: 'running' }]);
    } finally {
      await rewound.stop();
    }
  });
});
