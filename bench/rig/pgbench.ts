/** PostgreSQL's own load generator against a cluster of the rig. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Cluster } from './cluster.js';

/**
 * Runs pgbench to its end in the database postgres, as the cluster's superuser.
 * @returns what it says
 * @throws where it fails; the error carries its stderr
 */
export async function pgbench(cluster: Cluster, ...options: readonly string[]): Promise<string> {
  const connection = ['-h', cluster.socketDirectory, '-p', String(cluster.port), '-U', cluster.superuser];
  const { stdout } = await promisify(execFile)(join(cluster.bin, 'pgbench'), [
    ...connection,
    ...options,
    'postgres',
  ]);
  return stdout;
}
