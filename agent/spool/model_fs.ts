/**
 * A model of a file system for tests of the spool: keeps apart what is on disk and what was only written. `crash` loses,
 * tears and reorders everything that was not synced; names made, removed and moved without a sync of the folder may or
 * may not have happened. Faults can be planned: the n-th call fails once, or the disk has only so many bytes.
 */
import type { SpoolFile, SpoolFs } from './fs.js';

export type Random = () => number;

/** Small seeded generator (mulberry32), so that a failing run can be repeated. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

interface Inode {
  /** As a reader sees it now. */
  now: Buffer;
  /** As it was at the last sync. */
  disk: Buffer;
  pending: ({ at: number; bytes: Buffer } | { truncate: number })[];
}

type FolderChange = { name: string; inode: Inode | null };

function put(target: Buffer, at: number, bytes: Buffer): Buffer {
  const end = at + bytes.length;
  const grown =
    end > target.length ? Buffer.concat([target, Buffer.alloc(end - target.length)]) : Buffer.from(target);
  bytes.copy(grown, at);
  return grown;
}

function failure(code: string): Error {
  return Object.assign(new Error(`${code} (planned)`), { code });
}

export class ModelFs implements SpoolFs {
  #names = new Map<string, Inode>();
  #disk = new Map<string, Inode>();
  #changes: FolderChange[] = [];
  /** Files that were moved out of the ring. */
  readonly aside: string[] = [];
  capacity = Number.POSITIVE_INFINITY;
  calls = 0;
  /** The call with this number fails once with `failCode`. */
  failAt = -1;
  failCode = 'EIO';

  #step(): void {
    this.calls += 1;
    if (this.calls - 1 === this.failAt) throw failure(this.failCode);
  }

  get used(): number {
    let total = 0;
    for (const inode of this.#names.values()) total += inode.now.length;
    return total;
  }

  list(): { name: string; bytes: number }[] {
    return [...this.#names].map(([name, inode]) => ({ name, bytes: inode.now.length }));
  }

  create(name: string): SpoolFile {
    this.#step();
    if (this.#names.has(name)) throw failure('EEXIST');
    const inode: Inode = { now: Buffer.alloc(0), disk: Buffer.alloc(0), pending: [] };
    this.#names.set(name, inode);
    this.#changes.push({ name, inode });
    return this.#file(inode);
  }

  open(name: string): SpoolFile {
    this.#step();
    return this.#file(this.#inode(name));
  }

  #inode(name: string): Inode {
    const inode = this.#names.get(name);
    if (inode === undefined) throw failure('ENOENT');
    return inode;
  }

  #file(inode: Inode): SpoolFile {
    let open = true;
    const check = (): void => {
      if (!open) throw failure('EBADF');
    };
    const write = (at: number, bytes: Buffer): void => {
      inode.now = put(inode.now, at, bytes);
      inode.pending.push({ at, bytes });
    };
    return {
      write: (pieces, position) => {
        check();
        const bytes = Buffer.concat(pieces);
        const growth = Math.max(0, position + bytes.length - inode.now.length);
        const room = this.capacity - this.used;
        if (growth > room) {
          const fits = bytes.length - (growth - Math.max(0, room));
          if (fits > 0) write(position, bytes.subarray(0, fits));
          throw failure('ENOSPC');
        }
        try {
          this.#step();
        } catch (error) {
          // A failing write may have written a part.
          write(position, bytes.subarray(0, bytes.length >> 1));
          throw error;
        }
        write(position, bytes);
      },
      truncate: (bytes) => {
        check();
        this.#step();
        inode.now = Buffer.from(inode.now.subarray(0, bytes));
        inode.pending.push({ truncate: bytes });
      },
      sync: async () => {
        check();
        this.#step();
        inode.disk = Buffer.from(inode.now);
        inode.pending = [];
      },
      close: () => {
        check();
        open = false;
      },
    };
  }

  readNow(name: string, position: number, bytes: number): Buffer {
    this.#step();
    return Buffer.from(this.#inode(name).now.subarray(position, position + bytes));
  }

  async read(name: string, position: number, bytes: number): Promise<Buffer> {
    return this.readNow(name, position, bytes);
  }

  remove(name: string): void {
    this.#step();
    this.#inode(name);
    this.#names.delete(name);
    this.#changes.push({ name, inode: null });
  }

  setAside(name: string): void {
    this.#step();
    this.#inode(name);
    this.#names.delete(name);
    this.#changes.push({ name, inode: null });
    this.aside.push(name);
  }

  async syncFolder(): Promise<void> {
    this.#step();
    this.#disk = new Map(this.#names);
    this.#changes = [];
  }

  /** Puts a file there, synced, as if it had always been. */
  plant(name: string, bytes: Buffer): void {
    const inode: Inode = { now: Buffer.from(bytes), disk: Buffer.from(bytes), pending: [] };
    this.#names.set(name, inode);
    this.#disk.set(name, inode);
  }

  bytesOf(name: string): Buffer {
    return Buffer.from(this.#inode(name).now);
  }

  /** Power is lost: of what was not synced any part is there, in any order, torn anywhere. */
  crash(random: Random): void {
    const names = new Map(this.#disk);
    for (const change of this.#changes) {
      if (random() < 0.5) continue;
      if (change.inode === null) names.delete(change.name);
      else names.set(change.name, change.inode);
    }
    for (const inode of new Set(names.values())) {
      let bytes: Buffer = Buffer.from(inode.disk);
      for (const pending of inode.pending) {
        const fate = random();
        if (fate < 0.3) continue;
        if ('truncate' in pending) bytes = Buffer.from(bytes.subarray(0, pending.truncate));
        else if (fate < 0.6) bytes = put(bytes, pending.at, pending.bytes);
        else {
          const from = Math.floor(random() * pending.bytes.length);
          const to = from + Math.floor(random() * (pending.bytes.length - from));
          bytes = put(bytes, pending.at + from, pending.bytes.subarray(from, to));
        }
      }
      inode.now = bytes;
      inode.disk = Buffer.from(bytes);
      inode.pending = [];
    }
    this.#names = names;
    this.#disk = new Map(names);
    this.#changes = [];
  }
}
