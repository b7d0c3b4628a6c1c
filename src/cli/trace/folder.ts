/**
 * A trace as a folder of files, with no server: of a data directory where a server may be writing, or a copy. In: a path.
 * Out: what store.ts says. Files of the profiler are found by their names; other CSV files are read where their header is a
 * trace's; the rest is named as a problem. Descriptors of rings stay open until close().
 */
import { closeSync, fstatSync, openSync, readdirSync, readSync, type Stats, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import type { TraceSource } from '../../../native/index.js';
import { errorCode, errorText, PemError } from '../../base/errors.js';
import { printable } from './format.js';
import { type RingHeader, readRing, readRingHeader } from './ring.js';
import type { FollowedStore, SlotPosition, TraceFile, TraceProblem } from './store.js';

const csvName = /^slot_(\d{6})\.(\d{6})\.v(\d+)\.csv$/;
const ringName = /^slot_(\d{6})\.ring$/;
const formatVersion = 1;
/** A new slot's files are noticed this often at least, where the folder's time does not tell. */
const relistMs = 1000;

/** The ring of a slot that is followed. */
interface Ring {
  /** undefined: there are more slots than descriptors; it is opened each time. */
  readonly fd: number | undefined;
  readonly inode: number;
  /** What was told last. */
  told: string;
}

/** @throws PemError trace_folder_missing | trace_folder_unreadable */
function look(path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new PemError('trace_folder_missing', `no folder or file ${path}`, 'operator', { cause: error });
    }
    throw unreadable(path, error);
  }
}

function unreadable(path: string, error: unknown): PemError {
  return new PemError(
    'trace_folder_unreadable',
    `cannot read ${path}: ${errorText(error)}; traces are their server's (0600): run this as its user, or give --db`,
    'operator',
    { cause: error },
  );
}

/** What else the folder may be, for who named the wrong one. */
function hint(path: string, names: readonly string[]): string {
  const traces = (folder: string): string[] => {
    try {
      return readdirSync(folder).filter((name) => /^pgsql_tmp_\d+$/.test(name));
    } catch {
      return [];
    }
  };
  for (const folder of [path, join(path, 'sql_profiler')]) {
    const found = traces(folder);
    if (found.length > 0)
      return `; traces are in ${found.map((name) => join(folder, name)).join(', ')}: name one of them`;
  }
  return names.length === 0 ? '; it is empty' : '';
}

export class FolderStore implements FollowedStore {
  readonly kind: 'folder' | 'file';
  readonly name: string;
  readonly problems: TraceProblem[] = [];
  readonly #folder: string;
  readonly #only: string | undefined;
  readonly #rings = new Map<number, Ring>();
  readonly #lost = new Map<number, number>();
  #listedAt = 0;
  #folderTime = -1;

  /** @param allowEmpty a trace that has no rows yet is none to complain of. Throws PemError trace_* */
  constructor(path: string, options: { allowEmpty?: boolean } = {}) {
    this.name = resolve(path);
    const about = look(this.name);
    this.kind = about.isDirectory() ? 'folder' : 'file';
    this.#folder = about.isDirectory() ? this.name : resolve(this.name, '..');
    this.#only = about.isDirectory() ? undefined : basename(this.name);
    const names = this.#names();
    if (options.allowEmpty === true || this.#only !== undefined) return;
    if (!names.some((name) => name.endsWith('.csv') || ringName.test(name))) {
      throw new PemError(
        'trace_folder_empty',
        `no trace files (slot_*.csv) in ${this.name}${hint(this.name, names)}`,
        'operator',
      );
    }
  }

  #names(): string[] {
    if (this.#only !== undefined) return [this.#only];
    try {
      return readdirSync(this.#folder).sort();
    } catch (error) {
      throw unreadable(this.#folder, error);
    }
  }

  async list(): Promise<TraceFile[]> {
    this.problems.length = 0;
    const files: TraceFile[] = [];
    const others: TraceFile[] = [];
    const rings = new Set<number>();
    for (const name of this.#names()) {
      const path = join(this.#folder, name);
      const csv = csvName.exec(name);
      const ring = ringName.exec(name);
      if (ring !== null) rings.add(Number(ring[1]));
      else if (csv !== null && Number(csv[3]) !== formatVersion)
        this.#problem(name, `a file of format ${csv[3]}; this version reads format ${formatVersion}`);
      else if (csv !== null)
        files.push({ label: name, slot: Number(csv[1]), number: Number(csv[2]), bytes: sizeOf(path), path });
      else if (this.#only !== undefined || name.endsWith('.csv'))
        others.push({ label: printable(name), slot: -1, number: 0, bytes: sizeOf(path), path });
      else this.#problem(name, 'no file of a trace');
    }
    files.sort((a, b) => a.slot - b.slot || a.number - b.number);
    const listed = files.map((file) => {
      const ring = this.#ringOf(file.slot);
      return ring?.file === file.number
        ? { ...file, bytes: Math.max(file.bytes, ring.committedBytes) }
        : file;
    });
    for (const slot of rings) this.#checkRing(slot, files);
    return [...listed, ...others];
  }

  #problem(file: string, problem: string): void {
    this.problems.push({ file: printable(file), problem });
  }

  /** A ring whose file is gone has rows that nothing says the columns of. */
  #checkRing(slot: number, files: readonly TraceFile[]): void {
    const name = basename(this.#ringPath(slot));
    const header = this.#ringOf(slot);
    if (header !== undefined) this.#lost.set(slot, header.lost);
    if (header === undefined) this.#problem(name, 'no ring, or one that was never used');
    else if (
      header.committedBytes > header.baseBytes &&
      !files.some((file) => file.slot === slot && file.number === header.file)
    )
      this.#problem(
        name,
        `${header.committedBytes - header.baseBytes} bytes of rows belong to file ${header.file}, which is not there`,
      );
  }

  #ringPath(slot: number): string {
    return join(this.#folder, `slot_${String(slot).padStart(6, '0')}.ring`);
  }

  /** undefined: the slot has no ring. */
  #withRing<T>(slot: number, work: (fd: number) => T): T | undefined {
    const kept = this.#rings.get(slot)?.fd;
    if (kept !== undefined) return work(kept);
    const path = this.#ringPath(slot);
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw unreadable(path, error);
    }
    try {
      return work(fd);
    } finally {
      closeSync(fd);
    }
  }

  #ringOf(slot: number): RingHeader | undefined {
    return this.#withRing(slot, readRingHeader);
  }

  async lostRows(): Promise<ReadonlyMap<number, number>> {
    return this.#lost;
  }

  source(file: TraceFile): Omit<TraceSource, 'file'> | undefined {
    const path = file.path as string;
    if (file.slot < 0) return { path, complete: true, lines: false };
    const read = this.#withRing(file.slot, (fd) => readRing(fd));
    if (read === undefined || read.header.file !== file.number) return { path };
    // A copy of the folder may have a CSV file that is younger than its ring.
    if (sizeOf(path) >= read.header.committedBytes) return { path };
    return { path, to: read.header.baseBytes, tail: read.rows };
  }

  async read(file: Pick<TraceFile, 'slot' | 'number' | 'path'>, from: number, max: number): Promise<Buffer> {
    const path = file.path ?? this.#pathOf(file.slot, file.number);
    const header = file.slot < 0 ? undefined : this.#ringOf(file.slot);
    if (header === undefined || header.file !== file.number) return readPart(path, from, max);
    if (from < header.baseBytes) return readPart(path, from, Math.min(max, header.baseBytes - from));
    const read = this.#withRing(file.slot, (fd) => readRing(fd, from));
    // Emptied meanwhile: it is in the file now.
    if (read === undefined || read.header.file !== file.number || read.header.baseBytes > from)
      return this.read(file, from, max);
    return read.rows;
  }

  #pathOf(slot: number, number: number): string {
    const digits = (value: number): string => String(value).padStart(6, '0');
    return join(this.#folder, `slot_${digits(slot)}.${digits(number)}.v${formatVersion}.csv`);
  }

  async changed(): Promise<SlotPosition[]> {
    this.#relist();
    const moved: SlotPosition[] = [];
    for (const [slot, ring] of this.#rings) {
      const header = this.#ringOf(slot);
      if (header === undefined) continue;
      const told = `${header.file}:${header.committedBytes}`;
      if (told === ring.told) continue;
      ring.told = told;
      moved.push({ slot, file: header.file, bytes: header.committedBytes });
    }
    return moved;
  }

  /** Slots that are new, and rings that took another's place. */
  #relist(): void {
    const time = look(this.#folder).mtimeMs;
    const now = performance.now();
    if (time === this.#folderTime && now - this.#listedAt < relistMs) return;
    this.#folderTime = time;
    this.#listedAt = now;
    for (const name of this.#names()) {
      const slot = ringName.exec(name)?.[1];
      if (slot !== undefined) this.#follow(Number(slot));
    }
  }

  #follow(slot: number): void {
    const path = this.#ringPath(slot);
    const known = this.#rings.get(slot);
    const inode = statSync(path, { throwIfNoEntry: false })?.ino;
    if (known?.inode === inode) return;
    if (known?.fd !== undefined) closeSync(known.fd);
    this.#rings.delete(slot);
    if (inode === undefined) return;
    let fd: number | undefined;
    try {
      fd = openSync(path, 'r');
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return;
      if (errorCode(error) !== 'EMFILE') throw unreadable(path, error);
    }
    this.#rings.set(slot, { fd, inode: fd === undefined ? inode : fstatSync(fd).ino, told: '' });
  }

  async ended(): Promise<string | undefined> {
    return undefined;
  }

  async close(): Promise<void> {
    for (const { fd } of this.#rings.values()) if (fd !== undefined) closeSync(fd);
    this.#rings.clear();
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function readPart(path: string, from: number, max: number): Buffer {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(max, fstatSync(fd).size - from)));
    return bytes.subarray(0, bytes.length === 0 ? 0 : readSync(fd, bytes, 0, bytes.length, from));
  } finally {
    closeSync(fd);
  }
}
