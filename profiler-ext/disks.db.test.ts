/**
 * Traces on small file systems of each kind that can be mounted here, full before, during and after: statements never
 * notice, what is lost is counted, what is there is whole, and rows are taken again when there is room.
 */
import { chownSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { describe, expect, it } from 'vitest';
import { type Cluster, serverUser } from '../bench/rig/cluster.js';
import { killBackend } from '../bench/rig/crash.js';
import { type DiskKind, diskKinds, SmallDisk } from '../bench/rig/small_disk.js';
import {
  brokenLines,
  queries,
  readTrace,
  startProfiled,
  startTrace,
  stopTrace,
  traceRows,
  traceStatus,
} from '../bench/rig/traces.js';

const filler = 'x'.repeat(400);

async function statements(client: pg.Client, mark: string, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await client.query(`SELECT ${i} AS ${mark} /* ${filler} */`);
}

async function withDisk(
  kind: DiskKind,
  bytes: number,
  work: (cluster: Cluster, disk: SmallDisk) => Promise<void>,
) {
  const user = serverUser();
  const disk = SmallDisk.mount(bytes, user, kind);
  const home = join(disk.folder, 'sql_profiler');
  try {
    mkdirSync(home, { mode: 0o700 });
    if (user.uid !== undefined && user.gid !== undefined) chownSync(home, user.uid, user.gid);
    const cluster = await startProfiled({
      prepare: (dataDirectory) => symlinkSync(home, join(dataDirectory, 'sql_profiler')),
    });
    try {
      await work(cluster, disk);
    } finally {
      await cluster.stop();
    }
  } finally {
    disk.unmount();
  }
}

/** What SQL reads, what the files hold alone, and what was counted. */
async function consistent(cluster: Cluster, id: number): Promise<void> {
  const rows = await readTrace(cluster, id);
  const status = await traceStatus(cluster, id);
  expect(brokenLines(rows)).toEqual([]);
  expect(rows.length).toBe(Number(status.rows));
  const folder = join(cluster.dataDirectory, `sql_profiler/pgsql_tmp_${id}`);
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.csv'))) {
    const bytes = readFileSync(join(folder, name));
    expect(bytes.includes(0)).toBe(false);
    // Throws where the last row is not whole.
    traceRows(bytes, 1);
  }
}

describe.each(Object.keys(diskKinds) as DiskKind[])('on %s', (kind) => {
  const reason = SmallDisk.refusal(kind);
  const title = (what: string): string => (reason === null ? what : `${what} (not run: ${reason})`);

  it.skipIf(reason !== null)(title('a disk that gets full under a trace, and has room again'), async () => {
    await withDisk(kind, 24 << 20, async (cluster, disk) => {
      const id = await startTrace(cluster, 'gets full');
      const client = await cluster.client();
      await statements(client, 'with_room', 100);
      disk.fill(0);
      // Some kinds have taken room beyond a file's end: until that is used up, nothing is lost.
      let full = await traceStatus(cluster, id);
      for (let tries = 0; Number(full.lost_rows) < 500 && tries < 20; tries++) {
        await statements(client, 'without_room', 600);
        full = await traceStatus(cluster, id);
      }
      expect(full.state).toBe('running');
      expect(Number(full.lost_rows)).toBeGreaterThanOrEqual(500);
      expect(full.lost_reason).toMatch(/No space left on device|could not be written back/);
      disk.free();
      await sleep(1100);
      await statements(client, 'room_again', 300);
      const again = queries(await readTrace(cluster, id), 'AS room_again');
      expect(again.at(-1)).toContain('SELECT 299 AS');
      expect(again.length).toBeGreaterThanOrEqual(299);
      expect(queries(await readTrace(cluster, id), 'AS with_room')).toHaveLength(100);
      await consistent(cluster, id);
      await stopTrace(cluster, id);
      await client.query('SELECT 1');
      await consistent(cluster, id);
      await client.end();
    });
  });

  it.skipIf(reason !== null)(
    title('a backend that begins, is killed and restarts on a full disk'),
    async () => {
      await withDisk(kind, 24 << 20, async (cluster, disk) => {
        const id = await startTrace(cluster, 'full from the start');
        const old = await cluster.client();
        await statements(old, 'before', 50);
        disk.fill(0);
        const client = await cluster.client();
        await statements(client, 'nowhere', 50);
        const { rows } = await client.query('SELECT pg_backend_pid() AS pid');
        await statements(old, 'into_the_ring', 20);
        await killBackend(cluster, rows[0].pid);
        const after = await cluster.client();
        await statements(after, 'after_crash', 20);
        const there = await readTrace(cluster, id);
        expect(queries(there, 'AS before')).toHaveLength(50);
        expect(brokenLines(there)).toEqual([]);
        disk.free();
        await sleep(1100);
        await statements(after, 'room_again', 20);
        expect(queries(await readTrace(cluster, id), 'AS room_again').length).toBeGreaterThanOrEqual(19);
        await stopTrace(cluster, id);
        await after.query('SELECT 1');
        await consistent(cluster, id);
        await after.end();
      });
    },
  );

  it.skipIf(reason !== null)(title('stopping, dropping and starting on a full disk'), async () => {
    await withDisk(kind, 24 << 20, async (cluster, disk) => {
      const id = await startTrace(cluster, 'stopped when full');
      const client = await cluster.client();
      await statements(client, 'before', 100);
      disk.fill(0);
      await stopTrace(cluster, id);
      expect(queries(await readTrace(cluster, id), 'AS before')).toHaveLength(100);
      const full = await startTrace(cluster, 'started when full').catch((error: Error) => error.message);
      if (typeof full === 'string') expect(full).toMatch(/No space left on device/);
      disk.free();
      await expect
        .poll(async () => (await traceStatus(cluster, id)).state, { timeout: 60_000 })
        .toBe('stopped');
      await client.query('SELECT 1');
      await cluster.query('SELECT sql_profiler.drop($1)', [id]);
      await client.end();
    });
  });
});
