/** Small files of the agent's folder (configuration, key, certificate, definitions): written whole and on disk, or not at all. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** Writes beside, syncs, renames over: a reader or a crash sees the old text or the new one. */
export function writeDurably(path: string, text: string, mode = 0o600): void {
  const fresh = `${path}.new`;
  // Whatever lies there, a link or a file with other readers, is not written to.
  rmSync(fresh, { force: true });
  const fd = openSync(fresh, 'wx', mode);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(fresh, path);
  syncFolder(dirname(path));
}

export function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
