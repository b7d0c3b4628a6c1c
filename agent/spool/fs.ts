/**
 * The spool's door to the file system: what it needs and nothing more, so that tests can put a model in its place that
 * loses, tears and reorders what was not synced.
 *
 * Writes are synchronous: they go to the page cache. Reads for back-fill and syncs go through libuv's pool; the spool
 * keeps to one of each at a time, so that two of the pool's four threads stay free for DNS and the rest.
 */
import {
  closeSync,
  fdatasync,
  fsync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writevSync,
} from 'node:fs';
import { open as openAsync } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface SpoolFile {
  /** Writes all pieces one after the other from `position` on, or throws; then any part of them may be there. */
  write(pieces: readonly Buffer[], position: number): void;
  truncate(bytes: number): void;
  /** Resolves when all that was written before the call is on disk. */
  sync(): Promise<void>;
  close(): void;
}

export interface SpoolFs {
  /** Files of the folder, `lock` and folders left out. */
  list(): { name: string; bytes: number }[];
  /** Makes a new file, mode 0600; fails where the name exists. */
  create(name: string): SpoolFile;
  /** Opens a file of an earlier run, to sync what that run could not. */
  open(name: string): SpoolFile;
  /** Up to `bytes` bytes from `position` on; fewer at the end of the file. */
  readNow(name: string, position: number, bytes: number): Buffer;
  read(name: string, position: number, bytes: number): Promise<Buffer>;
  remove(name: string): void;
  /** Moves a file out of the ring, where nobody reads it but people. */
  setAside(name: string): void;
  /** Resolves when names made and removed before the call are on disk. */
  syncFolder(): Promise<void>;
}

const keptAside = 4;
const fdatasyncDone = promisify(fdatasync);
const fsyncDone = promisify(fsync);

class NodeFile implements SpoolFile {
  constructor(readonly fd: number) {}

  write(pieces: readonly Buffer[], position: number): void {
    let left = pieces.filter((piece) => piece.length > 0);
    let at = position;
    while (left.length > 0) {
      let written = writevSync(this.fd, left, at);
      at += written;
      // A short write (signal, nearly full disk) goes on behind what was taken.
      while (left[0] !== undefined && written >= left[0].length) {
        written -= left[0].length;
        left = left.slice(1);
      }
      if (left[0] !== undefined && written > 0) left = [left[0].subarray(written), ...left.slice(1)];
    }
  }

  truncate(bytes: number): void {
    ftruncateSync(this.fd, bytes);
  }

  sync(): Promise<void> {
    return fdatasyncDone(this.fd);
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** The real thing. Makes the folder (0700) where it is missing. */
export function nodeFs(folder: string): SpoolFs {
  const aside = join(folder, 'aside');
  mkdirSync(aside, { recursive: true, mode: 0o700 });
  return {
    list() {
      return readdirSync(folder, { withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name !== 'lock')
        .map((entry) => ({ name: entry.name, bytes: statSync(join(folder, entry.name)).size }));
    },
    create: (name) => new NodeFile(openSync(join(folder, name), 'wx', 0o600)),
    open: (name) => new NodeFile(openSync(join(folder, name), 'r+')),
    readNow(name, position, bytes) {
      const fd = openSync(join(folder, name), 'r');
      try {
        const buffer = Buffer.allocUnsafe(bytes);
        let done = 0;
        while (done < bytes) {
          const count = readSync(fd, buffer, done, bytes - done, position + done);
          if (count === 0) break;
          done += count;
        }
        return buffer.subarray(0, done);
      } finally {
        closeSync(fd);
      }
    },
    async read(name, position, bytes) {
      const file = await openAsync(join(folder, name), 'r');
      try {
        const buffer = Buffer.allocUnsafe(bytes);
        let done = 0;
        while (done < bytes) {
          const { bytesRead } = await file.read(buffer, done, bytes - done, position + done);
          if (bytesRead === 0) break;
          done += bytesRead;
        }
        return buffer.subarray(0, done);
      } finally {
        await file.close();
      }
    },
    remove: (name) => unlinkSync(join(folder, name)),
    setAside(name) {
      renameSync(join(folder, name), join(aside, `${Date.now().toString(16).padStart(12, '0')}-${name}`));
      for (const old of readdirSync(aside).sort().slice(0, -keptAside)) unlinkSync(join(aside, old));
    },
    async syncFolder() {
      const fd = openSync(folder, 'r');
      try {
        await fsyncDone(fd);
      } finally {
        closeSync(fd);
      }
    },
  };
}
