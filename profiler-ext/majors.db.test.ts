/** Sink and control on servers of other majors: the whole way of a trace on each that can be had. */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { serverUser } from '../bench/rig/cluster.js';
import { killBackend } from '../bench/rig/crash.js';
import { findMajorWithHeaders } from '../bench/rig/majors.js';
import {
  brokenLines,
  queries,
  readTrace,
  startProfiled,
  startTrace,
  stopTrace,
  traceStatus,
} from '../bench/rig/traces.js';

const run = promisify(execFile);
const majors = await Promise.all(
  [13, 15, 17, 18].map(async (major) => [major, await findMajorWithHeaders(major)] as const),
);

describe.each(majors)('PostgreSQL %d', (major, found) => {
  const title =
    'reason' in found ? `not run: ${found.reason}` : 'traces, restarts, survives kills, limits, drops';
  it.skipIf('reason' in found)(title, { timeout: 600_000 }, async () => {
    if ('reason' in found) return;
    const cluster = await startProfiled({
      bin: found.bin,
      hba: 'local all all trust\nlocal replication all trust\n',
      settings: { wal_level: 'replica' },
    });
    try {
      const { rows: version } = await cluster.query('SHOW server_version_num');
      expect(Math.floor(Number(version[0].server_version_num) / 10_000)).toBe(major);
      await cluster.query('CREATE ROLE watcher LOGIN IN ROLE pg_read_all_stats');
      await cluster.query('CREATE ROLE own LOGIN');
      await cluster.query('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sql_profiler TO own');

      const id = await startTrace(cluster, 'all', { max_file_bytes: 65_536 });
      const named = await startTrace(cluster, 'named', { applications: ['named'], databases: ['postgres'] });
      const client = await cluster.client();
      const sent: string[] = [];
      const mark = async (count: number): Promise<void> => {
        for (let i = 0; i < count; i++) {
          const sql = `SELECT ${sent.length} AS marked /* ${'x'.repeat(300)} */`;
          await client.query(sql);
          sent.push(sql);
        }
      };
      await mark(400);
      await client.query("SET application_name = 'named'");
      await client.query('SELECT 1 AS by_name');
      await client.query('RESET application_name');

      const byUser = await startTrace(cluster, 'by user', { users: ['watcher'] });
      await client.query('SET SESSION AUTHORIZATION watcher');
      await client.query('SELECT 1 AS as_watcher');
      await client.query('RESET SESSION AUTHORIZATION');
      await client.query('SELECT 1 AS as_watcher_no_more');
      expect(queries(await readTrace(cluster, byUser), ' AS as_')).toEqual(['SELECT 1 AS as_watcher']);
      await stopTrace(cluster, byUser);

      const own = new pg.Client({ ...cluster.config(), user: 'own' });
      await own.connect();
      const { rows: mine } = await own.query("SELECT sql_profiler.start('mine') AS id");
      await own.query('SELECT 1 AS my_own');
      expect(queries(await readTrace(cluster, mine[0].id), ' AS ')).toContain('SELECT 1 AS my_own');
      await expect(own.query('SELECT sql_profiler.progress($1)', [id])).rejects.toThrow(/permission denied/);
      await own.end();

      const { rows: pid } = await client.query('SELECT pg_backend_pid() AS pid');
      await killBackend(cluster, pid[0].pid);
      const rows = await readTrace(cluster, id);
      expect(queries(rows, ' AS marked')).toEqual(sent);
      expect(brokenLines(rows)).toEqual([]);
      expect(queries(await readTrace(cluster, named), ' AS by_name')).toEqual(['SELECT 1 AS by_name']);

      await cluster.halt('fast');
      await cluster.start();
      await cluster.query('SELECT 1 AS restarted');
      expect(queries(await readTrace(cluster, id), ' AS restarted')).toHaveLength(1);
      const status = await traceStatus(cluster, id);
      expect(status).toMatchObject({ state: 'running', lost_rows: '0', lost_reason: null });
      expect(Number(status.files)).toBeGreaterThan(2);

      const copy = join(cluster.folder, 'copy');
      const user = serverUser();
      await run(
        join(cluster.bin, 'pg_basebackup'),
        ['-h', cluster.folder, '-p', String(cluster.port), '-U', 'postgres', '-D', copy, '-c', 'fast'],
        user.uid === undefined ? {} : { uid: user.uid, gid: user.gid as number, cwd: cluster.folder },
      );
      expect(readdirSync(join(copy, 'sql_profiler'))).toEqual([]);

      const idle = await cluster.client();
      await idle.query('SELECT 1 AS idle');
      for (const trace of [id, named, mine[0].id as number]) {
        await stopTrace(cluster, trace);
        await cluster.query('SELECT sql_profiler.drop($1)', [trace]);
        expect(existsSync(join(cluster.dataDirectory, `sql_profiler/pgsql_tmp_${trace}`))).toBe(false);
      }
      await idle.query('SELECT 1');
      await idle.end();
    } finally {
      await cluster.stop();
    }
  });
});
