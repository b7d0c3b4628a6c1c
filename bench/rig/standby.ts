/**
 * Standbys of a test's cluster: a copy by pg_basebackup that follows it by streaming. In: a cluster with `wal_level` replica
 * and `replicationHba`. Out: the copy's folder, or a running standby; their owner is the test.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Cluster, type ClusterOptions, serverUser, startCluster } from './cluster.js';

const run = promisify(execFile);

/** pg_hba.conf of a cluster that standbys may connect to. */
export const replicationHba = 'local all all trust\nlocal replication all trust\n';

/** Runs a program of the server as the user that owns the cluster. Returns what it said; throws where it fails. */
export async function runServerProgram(
  cluster: Cluster,
  name: string,
  parameters: string[],
): Promise<string> {
  const { uid, gid } = serverUser();
  const identity = uid === undefined ? {} : { uid, gid: gid as number };
  const { stdout, stderr } = await run(join(cluster.bin, name), parameters, {
    ...identity,
    cwd: cluster.folder,
  });
  return stdout + stderr;
}

/** A copy of a running cluster, in a folder of that cluster. */
export async function baseBackup(cluster: Cluster, name: string): Promise<string> {
  const folder = join(cluster.folder, name);
  const where = ['-h', cluster.folder, '-p', String(cluster.port), '-U', 'postgres'];
  await runServerProgram(cluster, 'pg_basebackup', [...where, '-D', folder, '-R', '-c', 'fast']);
  return folder;
}

/** The value of `primary_conninfo` that follows a cluster. */
export const follows = (primary: Cluster): string =>
  `'host=${primary.folder} port=${primary.port} user=postgres'`;

/** A standby of a cluster, from a copy that was made of it. */
export async function startStandby(
  primary: Cluster,
  template: string,
  options: ClusterOptions = {},
): Promise<Cluster> {
  return startCluster({
    bin: primary.bin,
    hba: replicationHba,
    template,
    ...options,
    settings: { primary_conninfo: follows(primary), ...options.settings },
  });
}

/** Waits until a standby has replayed all that its primary has written. */
export async function caughtUp(primary: Cluster, standby: Cluster): Promise<void> {
  const { rows } = await primary.query('SELECT pg_current_wal_lsn() AS lsn');
  for (;;) {
    const seen = await standby.query('SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn AS is', [rows[0].lsn]);
    if (seen.rows[0].is === true) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
