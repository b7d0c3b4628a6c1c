/**
 * Room on local file systems, from /proc/self/mountinfo and statfs. Network and user-space file systems are not asked:
 * statfs on a hung one never returns. One file system is asked at a time, so a dying disk holds one thread, not all.
 */
import { readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { errorCode } from '../../src/base/errors.js';
import type { CollectedRow, Collector } from './collector.js';

export interface Mount {
  readonly mount: string;
  readonly device: string;
  readonly fsType: string;
  readonly readOnly: boolean;
}

const local = new Set(
  'ext2 ext3 ext4 xfs btrfs zfs jfs reiserfs f2fs bcachefs vfat exfat ntfs3 overlay'.split(' '),
);

/** mountinfo writes space, tab, newline and backslash as octal. */
function fromOctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

/**
 * Local file systems, each once: of several mounts of one device (binds) the one with the shortest path stays. tmpfs
 * counts only where somebody may fill it with purpose: /tmp and /dev/shm, where PostgreSQL keeps its shared memory.
 */
export function parseMountinfo(text: string): Mount[] {
  const byDevice = new Map<string, Mount>();
  for (const line of text.split('\n')) {
    const [left, right] = line.split(' - ');
    if (left === undefined || right === undefined) continue;
    const fields = left.split(' ');
    const [fsType = '', device = '', superOptions = ''] = right.split(' ');
    const mount = fromOctal(fields[4] ?? '');
    if (!local.has(fsType) && !(fsType === 'tmpfs' && (mount === '/tmp' || mount === '/dev/shm'))) continue;
    const readOnly = [...(fields[5] ?? '').split(','), ...superOptions.split(',')].includes('ro');
    const id = fields[2] ?? '';
    const known = byDevice.get(id);
    if (known === undefined || mount.length < known.mount.length)
      byDevice.set(id, { mount, device: fromOctal(device), fsType, readOnly });
  }
  // A later mount hides an earlier one on the same path; what statfs sees is the later.
  return [...new Map([...byDevice.values()].map((entry) => [entry.mount, entry])).values()];
}

export interface Space {
  readonly bsize: bigint;
  readonly blocks: bigint;
  readonly bfree: bigint;
  readonly bavail: bigint;
  readonly files: bigint;
  readonly ffree: bigint;
}

export function spaceRow(entry: Mount, space: Space): CollectedRow {
  const used = space.blocks - space.bfree;
  // As df has it: the share of what users can have at all.
  const reachable = used + space.bavail;
  const share = (part: bigint, whole: bigint): number | null =>
    whole > 0n ? (100 * Number(part)) / Number(whole) : null;
  return {
    mount: entry.mount,
    device: entry.device,
    fs_type: entry.fsType,
    read_only: entry.readOnly,
    total_bytes: space.blocks * space.bsize,
    used_bytes: used * space.bsize,
    free_bytes: space.bfree * space.bsize,
    available_bytes: space.bavail * space.bsize,
    used_percent: share(used, reachable),
    inodes: space.files,
    inodes_free: space.ffree,
    inodes_used_percent: share(space.files - space.ffree, space.files),
  };
}

export function diskSpace(): Collector {
  return async () => {
    const rows: CollectedRow[] = [];
    for (const entry of parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8'))) {
      try {
        rows.push(spaceRow(entry, await statfs(entry.mount, { bigint: true })));
      } catch (error) {
        // Unmounted since, or not ours to look at.
        if (!['ENOENT', 'EACCES', 'ENOTDIR'].includes(errorCode(error))) throw error;
      }
    }
    return rows;
  };
}
