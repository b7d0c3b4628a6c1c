/**
 * A disk that is full soon: a tmpfs of a few MB for tests of ENOSPC, or a file system of another kind in a file. Mounting
 * needs root; `refusal()` says why it cannot be had, for the name of a skipped test. Its owner is the test that mounted it; disks whose test was killed are unmounted by
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
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorCode } from '../../src/base/errors.js';

const prefix = 'pemdisk-';
/** Kinds of file systems, and the least bytes that their makers take. */
export const diskKinds = { tmpfs: 0, ext4: 2 << 20, xfs: 300 << 20, btrfs: 110 << 20 } as const;
export type DiskKind = keyof typeof diskKinds;
const fillerName = 'filler';

function sweep(): void {
  for (const line of readFileSync('/proc/mounts', 'utf8').split('\n')) {
    const folder = line.split(' ')[1] ?? '';
    const owner = /\/pemdisk-(\d+)-[^/]*$/.exec(folder)?.[1];
    if (owner === undefined || existsSync(`/proc/${owner}`)) continue;
    try {
      execFileSync('umount', ['--lazy', folder], { stdio: 'pipe' });
      rmdirSync(folder);
      rmSync(`${folder}.img`, { force: true });
    } catch {
      // Another process sweeps as well.
    }
  }
}

/** A file system in a file that takes only the room it uses. */
function mountImage(kind: Exclude<DiskKind, 'tmpfs'>, bytes: number, folder: string): void {
  const image = `${folder}.img`;
  writeFileSync(image, '');
  truncateSync(image, Math.max(bytes, diskKinds[kind]));
  execFileSync(`mkfs.${kind}`, ['-q', image], { stdio: 'pipe' });
  execFileSync('mount', ['-o', 'loop', image, folder], { stdio: 'pipe' });
}

export class SmallDisk {
  private constructor(readonly folder: string) {}

  static mount(
    bytes: number,
    owner: { uid?: number; gid?: number } = {},
    kind: DiskKind = 'tmpfs',
  ): SmallDisk {
    sweep();
    const folder = mkdtempSync(join(tmpdir(), `${prefix}${process.pid}-`));
    try {
      if (kind === 'tmpfs') {
        const options = `size=${bytes},mode=0711`;
        execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'pemdisk', folder], { stdio: 'pipe' });
      } else {
        mountImage(kind, bytes, folder);
      }
    } catch (error) {
      rmSync(`${folder}.img`, { force: true });
      rmdirSync(folder);
      throw error;
    }
    if (owner.uid !== undefined && owner.gid !== undefined) chownSync(folder, owner.uid, owner.gid);
    chmodSync(folder, 0o711);
    return new SmallDisk(folder);
  }

  /** Why there can be no small disk here, or null. */
  static refusal(kind: DiskKind = 'tmpfs'): string | null {
    if (process.getuid?.() !== 0) return 'needs root to mount a small disk';
    try {
      SmallDisk.mount(65_536, {}, kind).unmount();
      return null;
    } catch (error) {
      return errorCode(error) === 'ENOENT' ? `there is no mkfs.${kind} here` : 'mount is not permitted here';
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
    rmSync(`${this.folder}.img`, { force: true });
  }
}
