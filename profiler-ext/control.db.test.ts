/** Control in a real server: who may do what, which sessions a trace takes, and what becomes of traces over time. */
import { chmodSync, existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Cluster, startCluster } from '../bench/rig/cluster.js';
import { eventually } from '../bench/rig/processes.js';
import {
  queries,
  readTrace,
  startProfiled,
  startTrace,
  stopTrace,
  traceStatus,
} from '../bench/rig/traces.js';

const hba = 'local all all trust\nhost all all 127.0.0.1/32 trust\n';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startProfiled({
    tcp: true,
    hba,
  });
  await cluster.query('CREATE ROLE watcher LOGIN IN ROLE pg_read_all_stats');
  await cluster.query('CREATE ROLE plain LOGIN');
  await cluster.query('CREATE ROLE own LOGIN');
  await cluster.query('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sql_profiler TO own');
  await cluster.query('CREATE DATABASE other');
});
afterAll(() => cluster?.stop());

/** Nothing runs when a test begins. */
beforeEach(async () => {
  await cluster.query("SELECT sql_profiler.stop(id) FROM sql_profiler.traces WHERE state = 'running'");
});

async function connect(config: pg.ClientConfig = {}, to = cluster): Promise<pg.Client> {
  const client = new pg.Client({ ...to.config(), ...config });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** One statement in a session of its own. */
async function once(config: pg.ClientConfig, ...statements: string[]): Promise<void> {
  const client = await connect(config);
  for (const sql of statements) await client.query(sql);
  await client.end();
}

const state = (to = cluster): string => join(to.dataDirectory, 'sql_profiler/pgsql_tmp_state');
const folders = (to = cluster): string[] =>
  readdirSync(join(to.dataDirectory, 'sql_profiler')).filter((name) => name !== 'pgsql_tmp_state');

describe('rights', () => {
  it('are nobody’s by default, and the readers’ of all statistics', async () => {
    const plain = await connect({ user: 'plain' });
    for (const call of [
      "start('x')",
      'stop(1)',
      'drop(1)',
      'progress(1)',
      'changed(1, 0)',
      'read(1, 1, 1, 0)',
      'list()',
    ])
      await expect(plain.query(`SELECT sql_profiler.${call}`)).rejects.toThrow(/permission denied/);
    await expect(plain.query('SELECT * FROM sql_profiler.traces')).rejects.toThrow(/permission denied/);
    const watcher = await connect({ user: 'watcher' });
    const { rows } = await watcher.query("SELECT sql_profiler.start('by watcher') AS id");
    await plain.query('SELECT 1 AS seen_by_watcher');
    const { rows: text } = await watcher.query(
      `SELECT string_agg(convert_from(sql_profiler.read($1, slot, 1, 0), 'UTF8'), '') AS all
       FROM sql_profiler.progress($1)`,
      [rows[0].id],
    );
    expect(text[0].all).toContain('seen_by_watcher');
    await watcher.query('SELECT sql_profiler.stop($1)', [rows[0].id]);
    await Promise.all([plain.end(), watcher.end()]);
  });

  it('by a grant alone are for one’s own statements', async () => {
    const own = await connect({ user: 'own' });
    await expect(own.query(`SELECT sql_profiler.start('x', '{"users": ["postgres"]}')`)).rejects.toThrow(
      /permission denied to trace user "postgres"/,
    );
    const { rows } = await own.query("SELECT sql_profiler.start('mine') AS id");
    const id = rows[0].id as number;
    const theirs = await startTrace(cluster, 'theirs');
    await cluster.query('SELECT 1 AS not_mine');
    await once({ user: 'own' }, 'SELECT 1 AS mine_too');
    await own.query('SELECT 1 AS mine_alone');
    const seen = await readTrace(cluster, id);
    expect(queries(seen, 'mine')).toEqual(['SELECT 1 AS mine_too', 'SELECT 1 AS mine_alone']);
    expect(new Set(seen.map((row) => row.username))).toEqual(new Set(['own']));
    for (const call of [
      `read(${theirs}, 1, 1, 0)`,
      `progress(${theirs})`,
      `stop(${theirs})`,
      `drop(${theirs})`,
    ])
      await expect(own.query(`SELECT sql_profiler.${call}`)).rejects.toThrow(/permission denied for trace/);
    const { rows: listed } = await own.query('SELECT id, owner FROM sql_profiler.traces');
    expect(listed.every((row) => row.owner === 'own')).toBe(true);
    expect(listed.map((row) => row.id)).toContain(id);
    await own.query('SELECT sql_profiler.stop($1), sql_profiler.drop($1)', [id]);
    await own.end();
  });

  it('of a role that another session takes on do not show that session', async () => {
    const own = await connect({ user: 'own' });
    const { rows } = await own.query("SELECT sql_profiler.start('mine') AS id");
    await once({}, 'SET ROLE own', 'SELECT 1 AS as_own', 'RESET ROLE', 'SELECT 1 AS as_own_not');
    await once({ user: 'own' }, 'SELECT 1 AS as_own_really');
    expect(queries(await readTrace(cluster, rows[0].id), 'as_own')).toEqual(['SELECT 1 AS as_own_really']);
    await own.end();
  });
});

describe('errors', () => {
  it.each([
    ['stop(4711)', /trace 4711 does not exist/],
    ['drop(4711)', /trace 4711 does not exist/],
    ['read(4711, 1, 1, 0)', /trace 4711 does not exist/],
    ['progress(-1)', /trace -1 does not exist/],
    ["start('')", /a trace's name must have 1 to 63 bytes/],
    [`start('${'é'.repeat(32)}')`, /a trace's name must have 1 to 63 bytes/],
  ])('%s', async (call, message) => {
    await expect(cluster.query(`SELECT sql_profiler.${call}`)).rejects.toThrow(message);
  });

  it('of reading name the argument', async () => {
    const id = await startTrace(cluster, 'arguments');
    for (const [call, message] of [
      [`read(${id}, 1, 0, 0)`, /files are counted from 1/],
      [`read(${id}, 1, 1, -1)`, /from_bytes must not be negative/],
      [`read(${id}, 1, 1, 0, 0)`, /max_bytes must be from 1 to/],
    ] as const)
      await expect(cluster.query(`SELECT sql_profiler.${call}`)).rejects.toThrow(message);
    for (const nothing of [
      '-1, 1, 0',
      '2147483647, 1, 0',
      '1, 99, 0',
      '1, 1, 9223372036854775807',
      '50, 2147483647, 5',
    ]) {
      const { rows } = await cluster.query(`SELECT sql_profiler.read(${id}, ${nothing}) AS bytes`);
      expect(rows[0].bytes).toHaveLength(0);
    }
    await expect(cluster.query(`SELECT sql_profiler.drop(${id})`)).rejects.toThrow(/is running/);
  });
});

describe('sessions', () => {
  it('of eight traces at once are those that each asks for; a ninth is refused', async () => {
    const ids: Record<string, number> = {};
    for (const [name, options] of Object.entries({
      all: {},
      database: { databases: ['other', 'nowhere'] },
      user: { users: ['watcher'] },
      application: { applications: ['app one'] },
      local: { clients: ['[local]'] },
      network: { clients: ['10.0.0.0/8', '127.0.0.0/8', '::1'] },
      both: { databases: ['other'], users: ['plain'] },
      none: { databases: ['other'], clients: ['192.0.2.1'] },
    }))
      ids[name] = await startTrace(cluster, name, options);
    await expect(startTrace(cluster, 'ninth')).rejects.toThrow(/8 traces are running already/);
    await once({}, 'SELECT 1 AS x_local');
    await once({ host: '127.0.0.1' }, 'SELECT 1 AS x_tcp');
    await once({ database: 'other' }, 'SELECT 1 AS x_other');
    await once({ database: 'other', user: 'plain' }, 'SELECT 1 AS x_other_plain');
    await once({ user: 'watcher' }, 'SELECT 1 AS x_watcher');
    await once({ application_name: 'app one' }, 'SELECT 1 AS x_application');
    await once(
      {},
      'SELECT 1 AS x_before',
      "SET application_name = 'app one'",
      'SELECT 1 AS x_renamed',
      "SET application_name = 'app two'",
      'SELECT 1 AS x_renamed_again',
      'SET SESSION AUTHORIZATION watcher',
      'SELECT 1 AS x_authorized',
      'RESET SESSION AUTHORIZATION',
      'SELECT 1 AS x_reset',
    );
    const seen = async (name: string): Promise<string[]> =>
      queries(await readTrace(cluster, ids[name] as number), 'AS x_').map((text) =>
        text.replace(/.* AS x_/, ''),
      );
    const always = ['before', 'renamed', 'renamed_again', 'authorized', 'reset'];
    const once_ = ['local', 'tcp', 'other', 'other_plain', 'watcher', 'application'];
    expect(await seen('all')).toEqual([...once_, ...always]);
    expect(await seen('database')).toEqual(['other', 'other_plain']);
    expect(await seen('user')).toEqual(['watcher', 'authorized']);
    expect(await seen('application')).toEqual(['application', 'renamed']);
    expect(await seen('local')).toEqual([...once_.filter((name) => name !== 'tcp'), ...always]);
    expect(await seen('network')).toEqual(['tcp']);
    expect(await seen('both')).toEqual(['other_plain']);
    expect(await seen('none')).toEqual([]);
  });

  it('that run see a start at their next statement and a stop at their next row', async () => {
    const [client, holder] = await Promise.all([connect(), connect({ application_name: 'holder' })]);
    await holder.query('SELECT pg_advisory_lock(1)');
    await client.query('SELECT 0 AS at_once');
    const id = await startTrace(cluster, 'at once');
    await client.query('SELECT 1 AS at_once');
    const slow = client.query('SELECT pg_advisory_lock(1), 2 AS at_once');
    await eventually('it waits in its statement', async () => {
      const waiting = await cluster.query(`SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`);
      return waiting.rows.length === 1;
    });
    await stopTrace(cluster, id);
    await holder.end();
    await slow;
    await client.query('SELECT 3 AS at_once');
    expect(queries(await readTrace(cluster, id), 'at_once')).toEqual(['SELECT 1 AS at_once']);
    await client.end();
  });

  it('that read traces are not traced', async () => {
    const id = await startTrace(cluster, 'readers');
    for (const call of [`read(${id}, 1, 1, 0)`, `progress(${id})`, `changed(${id}, 0)`])
      await once(
        {},
        'SELECT 1 AS before_reading',
        `SELECT * FROM sql_profiler.${call}`,
        'SELECT 1 AS after_reading',
      );
    await once({}, 'SELECT 1 AS before_reading', 'SELECT * FROM sql_profiler.traces', 'SELECT 1 AS listed');
    const rows = await readTrace(cluster, id);
    expect(queries(rows, '_reading')).toEqual(Array(4).fill('SELECT 1 AS before_reading'));
    expect(queries(rows, 'AS listed')).toHaveLength(1);
    expect(queries(rows, 'sql_profiler.progress')).toEqual([]);
  });

  it('are let alone by sql_profiler.enabled = off, without any call', async () => {
    const id = await startTrace(cluster, 'enabled');
    const client = await connect();
    const set = async (value: string): Promise<void> => {
      await cluster.query(`ALTER SYSTEM SET sql_profiler.enabled = ${value}`);
      await cluster.query('SELECT pg_reload_conf()');
      const shown = async () => (await client.query('SHOW sql_profiler.enabled')).rows[0];
      await expect.poll(shown, { timeout: 60_000 }).toEqual({ 'sql_profiler.enabled': value });
    };
    await client.query('SELECT 1 AS switched');
    await set('off');
    await client.query('SELECT 2 AS switched');
    await set('on');
    await client.query('SELECT 3 AS switched');
    await client.end();
    const texts = queries(await readTrace(cluster, id), 'AS switched');
    expect(texts).toEqual(['SELECT 1 AS switched', 'SELECT 3 AS switched']);
  });
});

describe('following', () => {
  it('tells the slots that changed since a version of the same session, all to anybody else', async () => {
    const id = await startTrace(cluster, 'following');
    const [one, two, reader, stranger] = await Promise.all([connect(), connect(), connect(), connect()]);
    const changed = async (client: pg.Client, since: string) =>
      (await client.query('SELECT * FROM sql_profiler.changed($1, $2)', [id, since])).rows;
    await one.query('SELECT 1');
    await two.query('SELECT 1');
    const first = await changed(reader, '0');
    const version = first[0].version;
    expect(first.length).toBeGreaterThanOrEqual(2);
    expect(new Set(first.map((row) => row.version)).size).toBe(1);
    expect(await changed(reader, version)).toEqual([]);
    await two.query('SELECT 2');
    const second = await changed(reader, version);
    expect(second).toHaveLength(1);
    const before = first.find((row) => row.slot === second[0].slot);
    expect(Number(second[0].committed_bytes)).toBeGreaterThan(Number(before.committed_bytes));
    expect(await changed(reader, second[0].version)).toEqual([]);
    // An answer that got lost: the older version gets everything.
    expect(await changed(reader, version)).toHaveLength(first.length);
    expect(await changed(stranger, second[0].version)).toHaveLength(first.length);
    await stopTrace(cluster, id);
    await one.query('SELECT 3');
    expect((await changed(reader, '0')).length).toBe(first.length);
    await Promise.all([one, two, reader, stranger].map((client) => client.end()));
  });
});

describe('state', () => {
  it('ends with a start of the server where sql_profiler.after_restart says so, and where the time is over', async () => {
    const over = await startTrace(cluster, 'over', { duration_s: 1 });
    const goes = await startTrace(cluster, 'goes on');
    await cluster.query('SELECT 1 AS before_stop');
    await cluster.halt('immediate');
    await sleep(1100);
    await cluster.start();
    expect(await traceStatus(cluster, over)).toMatchObject({ state: 'stopped', stop_reason: 'duration_s' });
    expect(await traceStatus(cluster, goes)).toMatchObject({ state: 'running', stop_reason: null });
    await cluster.query("ALTER SYSTEM SET sql_profiler.after_restart = 'stop'");
    await cluster.halt('fast');
    await cluster.start();
    expect(await traceStatus(cluster, goes)).toMatchObject({ state: 'stopped', stop_reason: 'restart' });
    expect(queries(await readTrace(cluster, goes), 'AS before_stop')).toHaveLength(1);
    await cluster.query('ALTER SYSTEM RESET sql_profiler.after_restart');
    await cluster.query('SELECT pg_reload_conf()');
  });

  it('of a library with other columns goes on in other files: no row is under a header line that is not its own', async () => {
    const id = await startTrace(cluster, 'columns');
    await cluster.query('SELECT 1 AS under_the_old_library');
    await cluster.halt('fast');
    const file = join(state(), `trace_${id}`);
    const written = readFileSync(file, 'utf8');
    expect(written).toMatch(/^boot [0-9a-f-]{27}\.[0-9a-f]{8}$/m);
    // As a library wrote it whose columns were others, on the same boot of the machine.
    writeFileSync(file, written.replace(/^(boot .{27}\.).*$/m, '$100000000'));
    await cluster.start();
    const client = await connect();
    const { rows } = await client.query('SELECT pg_backend_pid() AS pid');
    await client.query('SELECT 1 AS under_the_new_library');
    await client.end();
    await stopTrace(cluster, id);
    const folder = join(cluster.dataDirectory, 'sql_profiler', `pgsql_tmp_${id}`);
    const textsOf = (first: boolean): string =>
      readdirSync(folder)
        .filter((name) => name.endsWith('.csv') && name.includes('.000001.') === first)
        .map((name) => readFileSync(join(folder, name), 'utf8'))
        .join('');
    expect(textsOf(true)).toContain('under_the_old_library');
    const all = await readTrace(cluster, id);
    const later = all.find(({ query }) => query?.includes('AS under_the_new_library'));
    expect(later?.pid).toBe(String(rows[0].pid));
    expect(queries(all, 'AS under_the_old_library')).toHaveLength(1);
    // Where its slot had a file before the restart, it has another one now.
    const files = readdirSync(folder).filter((name) =>
      name.startsWith(`slot_${later?.slot?.padStart(6, '0')}.0`),
    );
    const earlier = all.some(({ slot, query }) => slot === later?.slot && query?.includes('old_library'));
    expect(earlier).toBe(true);
    expect(files).toHaveLength(2);
    expect(textsOf(false)).toContain('under_the_new_library');
    expect(await traceStatus(cluster, id)).toMatchObject({ rows: String(all.length), lost_rows: '0' });
  });

  it('gives no id twice, and leaves alone a state file that it cannot read', async () => {
    const kept = await startTrace(cluster, 'kept');
    const broken = await startTrace(cluster, 'broken');
    const dropped = await startTrace(cluster, 'dropped');
    await stopTrace(cluster, dropped);
    await cluster.query('SELECT sql_profiler.drop($1)', [dropped]);
    await cluster.halt('fast');
    const file = join(state(), `trace_${broken}`);
    writeFileSync(file, readFileSync(file, 'utf8').replace('\nid ', '\nid x'));
    await cluster.start();
    expect(await traceStatus(cluster, kept)).toMatchObject({ state: 'running' });
    await expect(traceStatus(cluster, broken)).rejects.toThrow('no trace');
    await expect(stopTrace(cluster, broken)).rejects.toThrow(/could not read the state of trace/);
    expect(readFileSync(file, 'utf8')).toContain('id x');
    expect(folders()).toContain(`pgsql_tmp_${broken}`);
    expect(await startTrace(cluster, 'next')).toBe(dropped + 1);
  });

  it('that cannot be written is said, and written later', async () => {
    const id = await startTrace(cluster, 'unwritten');
    await cluster.query('SELECT 1 AS unwritten');
    chmodSync(state(), 0o500);
    const client = await connect();
    const notices: string[] = [];
    client.on('notice', (notice) => notices.push(notice.message ?? ''));
    await client.query('SELECT sql_profiler.stop($1)', [id]);
    expect(notices[0]).toMatch(/has ended, but its state could not be written: Permission denied/);
    await cluster.query('SELECT 2 AS unwritten');
    await expect(startTrace(cluster, 'unwritten too')).rejects.toThrow(/could not write the last id/);
    chmodSync(state(), 0o700);
    expect(await traceStatus(cluster, id)).toMatchObject({ state: 'stopped', stop_reason: 'requested' });
    expect(queries(await readTrace(cluster, id), 'AS unwritten')).toEqual(['SELECT 1 AS unwritten']);
    await client.end();
  });

  it('of files that may not be written is loss, counted, and never an error of a statement', async () => {
    const id = await startTrace(cluster, 'forbidden');
    const folder = join(cluster.dataDirectory, `sql_profiler/pgsql_tmp_${id}`);
    chmodSync(folder, 0);
    const client = await connect();
    for (let i = 0; i < 30; i++) await client.query('SELECT 1');
    const status = await traceStatus(cluster, id);
    expect(status.lost_reason).toBe('Permission denied');
    expect(Number(status.lost_rows)).toBeGreaterThanOrEqual(30);
    chmodSync(folder, 0o700);
    await sleep(1100);
    await client.query('SELECT 1 AS allowed_again');
    expect(queries(await readTrace(cluster, id), 'allowed_again')).toHaveLength(1);
    await client.end();
  });

  it('is listed in databases of any encoding', async () => {
    await cluster.query("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    const id = await startTrace(cluster, 'naïve €');
    const latin = await connect({ database: 'latin' });
    await latin.query('CREATE EXTENSION sql_profiler');
    const list = 'SELECT name FROM sql_profiler.traces WHERE id = $1';
    expect((await latin.query(list, [id])).rows).toEqual([{ name: 'na??ve ???' }]);
    const { rows } = await latin.query("SELECT sql_profiler.start('façade') AS id");
    expect((await cluster.query(list, [rows[0].id])).rows).toEqual([{ name: 'façade' }]);
    await latin.end();
  });
});

it('a drop that was interrupted is completed by the next start of the server', async () => {
  const id = await startTrace(cluster, 'half dropped');
  await cluster.query('SELECT 1');
  await stopTrace(cluster, id);
  const folder = join(cluster.dataDirectory, 'sql_profiler');
  await cluster.halt('fast');
  renameSync(join(folder, `pgsql_tmp_${id}`), join(folder, `pgsql_tmp_dropped_${id}`));
  await cluster.start();
  expect(existsSync(join(folder, `pgsql_tmp_dropped_${id}`))).toBe(false);
});

it('files of slots that the server has no more are read all the same', async () => {
  const id = await startTrace(cluster, 'slots');
  await cluster.query('SELECT 1 AS high_slot');
  await cluster.query('ALTER SYSTEM SET max_connections = 10');
  await cluster.halt('fast');
  await cluster.start();
  await cluster.query('SELECT 2 AS high_slot');
  const { rows } = await cluster.query('SELECT max(slot) AS slot FROM sql_profiler.progress($1)', [id]);
  expect(rows[0].slot).toBeGreaterThan(50);
  const both = ['SELECT 1 AS high_slot', 'SELECT 2 AS high_slot'];
  expect(queries(await readTrace(cluster, id), ' AS high_slot')).toEqual(both);
  const running = await traceStatus(cluster, id);
  await stopTrace(cluster, id);
  expect(queries(await readTrace(cluster, id), ' AS high_slot')).toEqual(both);
  const stopped = await traceStatus(cluster, id);
  expect(Number(stopped.rows)).toBeGreaterThanOrEqual(Number(running.rows));
  const state = readFileSync(join(cluster.dataDirectory, `sql_profiler/pgsql_tmp_state/trace_${id}`), 'utf8');
  expect(state).toContain('\nsettled 1\n');
  await cluster.query('ALTER SYSTEM SET max_connections = 100');
  await cluster.halt('fast');
  await cluster.start();
});

it('thousands of backends: the server starts, and what slots hold is told quickly', async () => {
  const large = await startProfiled({ settings: { max_connections: '5000' } });
  try {
    const id = await startTrace(large, 'large');
    const clients = await Promise.all(Array.from({ length: 40 }, () => large.client()));
    await Promise.all(clients.map((client) => client.query('SELECT 1 AS large')));
    const reader = await large.client();
    // The least of many: what it takes where nobody else has the processor.
    const timesMs: number[] = [];
    for (let n = 0; n < 20; n++) {
      const { rows } = await reader.query(
        'EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM sql_profiler.changed($1, 0)',
        [id],
      );
      timesMs.push(rows[0]['QUERY PLAN'][0]['Execution Time']);
    }
    expect(Math.min(...timesMs)).toBeLessThan(50);
    expect(queries(await readTrace(large, id), 'AS large')).toHaveLength(40);
    await Promise.all([...clients, reader].map((client) => client.end()));
  } finally {
    await large.stop();
  }
});

it('without the library preloaded the functions say so', async () => {
  const bare = await startCluster({ bin: cluster.bin });
  try {
    await bare.query('CREATE EXTENSION sql_profiler');
    for (const call of ["start('x')", 'stop(1)', 'list()', 'progress(1)', 'read(1, 1, 1, 0)'])
      await expect(bare.query(`SELECT sql_profiler.${call}`)).rejects.toThrow(
        /must be loaded by "shared_preload_libraries"/,
      );
    await bare.query("LOAD 'sql_profiler'");
    await bare.query('SELECT 1');
  } finally {
    await bare.stop();
  }
});
