/**
 * The lock on a spool folder: one worker at a time, or two would give the same (boot, seq) to different batches of one
 * folder's ring and drop each other's segments.
 *
 * It is flock(2) on `lock`. Node has no call for it, but the lock belongs to the open file, not to the process that took
 * it: the system's flock program locks the descriptor that it inherits, ends, and the lock stays ours until the kernel
 * closes the file, however we die. A pid file would have to guess about recycled pids and pid namespaces, an abstract
 * socket holds only within one network namespace; both lie when a folder is mounted into two containers.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode, PemError } from '../../src/base/errors.js';

const heldByAnother = 1;

function openLock(folder: string): number {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return openSync(join(folder, 'lock'), 'w', 0o600);
  } catch (cause) {
    throw new PemError(
      'spool_folder',
      `cannot write in the spool's folder ${folder} (${errorCode(cause)}); give the agent's user the right to, or name another with spool.folder`,
      'operator',
      { cause },
    );
  }
}

/**
 * Takes the lock, waiting up to `waitSeconds` for a worker that is just ending.
 * @returns a function that lets it go
 * @throws PemError spool_folder | spool_locked | spool_lock_failed
 */
export function lockSpool(folder: string, waitSeconds: number): () => void {
  const fd = openLock(folder);
  const result = spawnSync('flock', ['--exclusive', '--timeout', String(waitSeconds), '3'], {
    stdio: ['ignore', 'ignore', 'pipe', fd],
  });
  if (result.status === 0) return () => closeSync(fd);
  closeSync(fd);
  if (result.status === heldByAnother) {
    throw new PemError(
      'spool_locked',
      `another agent works in ${folder}; one folder serves one agent`,
      'operator',
    );
  }
  throw new PemError(
    'spool_lock_failed',
    `cannot lock ${folder}: ${result.error?.message ?? result.stderr?.toString().trim()} (flock comes with util-linux)`,
    'operator',
    { cause: result.error },
  );
}
