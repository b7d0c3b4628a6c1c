/** Every SQL probe against every major that this machine can get, and against a standby. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Cluster, startCluster } from '../../bench/rig/cluster.js';
import { findMajor } from '../../bench/rig/majors.js';
import { readBlock } from '../../bench/rig/outbox.js';
import { eventually } from '../../bench/rig/processes.js';
import { monitorRole, serverProbes, type WatchedServer, watchServer } from '../../bench/rig/watched.js';
import type { ProbeRuntime } from '../../src/wire/config.js';

const majors = await Promise.all(
  [13, 15, 17, 18].map(async (major) => [major, await findMajor(major)] as const),
);

/** Columns that a version lacks are NULL there, and have values where it has them. */
const since: readonly { probe: string; column: string; version: number }[] = [
  { probe: 'database_statistics', column: 'sessions', version: 14 },
  { probe: 'database_statistics', column: 'parallel_workers_launched', version: 18 },
  { probe: 'background_writer_statistics', column: 'restartpoints_done', version: 17 },
  { probe: 'background_writer_statistics', column: 'checkpoints_done', version: 18 },
  { probe: 'background_writer_statistics', column: 'buffers_backend', version: 13 },
  { probe: 'table_statistics', column: 'n_tup_newpage_upd', version: 16 },
];

async function runAndRead(watched: WatchedServer, cluster: Cluster, probe: ProbeRuntime) {
  const result = await watched.run(probe);
  const blocks = watched.outbox.take().map(({ block }) => readBlock(cluster, block));
  return { result, rows: (await Promise.all(blocks)).flat() };
}

describe.each(majors)('PostgreSQL %i', (major, found) => {
  const reason = 'reason' in found ? found.reason : '';
  test.skipIf(reason !== '')(
    `every SQL probe runs${reason === '' ? '' : `: skipped, ${reason}`}`,
    async () => {
      if ('reason' in found) throw new Error(reason);
      const cluster = await startCluster({ bin: found.bin });
      try {
        await cluster.query(monitorRole);
        await cluster.query('CREATE TABLE t AS SELECT i FROM generate_series(1, 10000) i');
        await cluster.query('CHECKPOINT');
        const watched = watchServer(cluster);
        for (const probe of serverProbes) {
          const { result, rows } = await runAndRead(watched, cluster, probe);
          expect(result.failure).toBeUndefined();
          expect(result.rows).toBeGreaterThan(0);
          expect(rows.length).toBe(result.rows);
          for (const { column, version } of since.filter((each) => each.probe === probe.name))
            expect([column, rows.some((row) => row[column] !== null)]).toEqual([column, major >= version]);
        }
        // 13 and 14 gather statistics in a process of their own: they come a moment later.
        const written = async (): Promise<number> =>
          Number((await watched.rows('background_writer_statistics'))[0]?.buffers_checkpoint);
        await eventually('buffers that the checkpoint wrote', async () => (await written()) > 0);
        expect(Math.floor(watched.link.serverVersion / 10_000)).toBe(major);
        watched.link.close();
      } finally {
        await cluster.stop();
      }
    },
  );
});

test('every SQL probe runs on a standby', async () => {
  const primary = await startCluster();
  await primary.query(monitorRole);
  await primary.halt('fast');
  const standby = await startCluster({
    template: primary.dataDirectory,
    prepare: (folder) => writeFileSync(join(folder, 'standby.signal'), ''),
  });
  try {
    const watched = watchServer(standby);
    for (const probe of serverProbes) expect((await watched.run(probe)).failure).toBeUndefined();
    const server = watched.outbox.take().find(({ info }) => info.probe === 'server_info');
    await primary.start();
    const [row] = await readBlock(primary, server?.block ?? Buffer.alloc(0));
    expect(row).toMatchObject({ in_recovery: 't', timeline: '1' });
    expect(row?.wal_lsn).not.toBeNull();
    watched.link.close();
  } finally {
    await standby.stop();
    await primary.stop();
  }
});
