/** PostgreSQL's own load generator against a cluster of the rig. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Cluster } from './cluster.js';

/**
 * Runs pgbench to its end, as the cluster's superuser.
 * @param where the database, default postgres, and settings of the client's environment
 * @returns what it says
 * @throws where it fails; the error carries its stderr
 */
export async function pgbench(
  cluster: Cluster,
  options: readonly string[],
  where: { readonly database?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<string> {
  const connection = ['-h', cluster.socketDirectory, '-p', String(cluster.port), '-U', cluster.superuser];
  const { stdout } = await promisify(execFile)(
    join(cluster.bin, 'pgbench'),
    [...connection, ...options, where.database ?? 'postgres'],
    { env: { ...process.env, ...where.env } },
  );
  return stdout;
}
