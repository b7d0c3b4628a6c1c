/**
 * A disk that is full soon: a tmpfs of a few MB for tests of ENOSPC. Mounting needs root; `refusal()` says why it cannot be
 * had, for the name of a skipped test. Its owner is the test that mounted it; disks whose test was killed are unmounted by
 * the next `mount` (the owner's pid is in the folder's name).
 */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorCode } from '../../src/base/errors.js';

const prefix = 'pemdisk-';
const fillerName = 'filler';

function sweep(): void {
  for (const line of readFileSync('/proc/mounts', 'utf8').split('\n')) {
    const folder = line.split(' ')[1] ?? '';
    const owner = /\/pemdisk-(\d+)-[^/]*$/.exec(folder)?.[1];
    if (owner === undefined || existsSync(`/proc/${owner}`)) continue;
    execFileSync('umount', ['--lazy', folder]);
    rmdirSync(folder);
  }
}

export class SmallDisk {
  private constructor(readonly folder: string) {}

  static mount(bytes: number, owner: { uid?: number; gid?: number } = {}): SmallDisk {
    sweep();
    const folder = mkdtempSync(join(tmpdir(), `${prefix}${process.pid}-`));
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0711`, 'pemdisk', folder], {
        stdio: 'pipe',
      });
    } catch (error) {
      rmdirSync(folder);
      throw error;
    }
    if (owner.uid !== undefined && owner.gid !== undefined) chownSync(folder, owner.uid, owner.gid);
    chmodSync(folder, 0o711);
    return new SmallDisk(folder);
  }

  /** Why there can be no small disk here, or null. */
  static refusal(): string | null {
    if (process.getuid?.() !== 0) return 'needs root to mount a small disk';
    try {
      SmallDisk.mount(65_536).unmount();
      return null;
    } catch {
      return 'mount is not permitted here';
    }
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.folder);
    return bavail * bsize;
  }

  /** Takes all room but about `leaveBytes`, also while others write. */
  fill(leaveBytes: number): void {
    this.free();
    const file = join(this.folder, fillerName);
    try {
      for (;;) appendFileSync(file, Buffer.alloc(1024 * 1024));
    } catch (error) {
      if (errorCode(error) !== 'ENOSPC') throw error;
    }
    truncateSync(file, Math.max(0, statSync(file).size - leaveBytes));
  }

  /** Gives back what `fill` took. */
  free(): void {
    rmSync(join(this.folder, fillerName), { force: true });
  }

  /** Nothing can be written any more, or again. */
  setReadOnly(readOnly: boolean): void {
    execFileSync('mount', ['-o', `remount,${readOnly ? 'ro' : 'rw'}`, this.folder], { stdio: 'pipe' });
  }

  unmount(): void {
    execFileSync('umount', ['--lazy', this.folder]);
    rmdirSync(this.folder);
  }
}
