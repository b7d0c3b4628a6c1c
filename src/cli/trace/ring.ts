/**
 * The ring in front of a slot's CSV file, read while its owner may be writing (profiler-ext/src/prof_ring.h). In: a file
 * descriptor. Out: rows that are committed. The owner stores the committed length behind the bytes, and moves the base before
 * it uses the room again: whoever finds the base unmoved behind its copy has whole rows.
 */
import { readSync } from 'node:fs';

const pageBytes = 4096;
const ringBytes = 65_536;
const headerBytes = 56;
const magic = 'PEMRING1';
const offsetBits = 40n;
const offsetMask = (1n << offsetBits) - 1n;

export interface RingHeader {
  readonly trace: number;
  readonly slot: number;
  /** The CSV file that is written now. */
  readonly file: number;
  /** Bytes of it that are flushed, and that are committed. */
  readonly baseBytes: number;
  readonly committedBytes: number;
  /** Rows written or lost, and lost. */
  readonly line: number;
  readonly lost: number;
}

const scratch = Buffer.alloc(headerBytes);

/** undefined: this is no ring (any more). Throws the system's errors. */
export function readRingHeader(fd: number): RingHeader | undefined {
  if (readSync(fd, scratch, 0, headerBytes, 0) < headerBytes) return undefined;
  if (scratch.toString('latin1', 0, 8) !== magic) return undefined;
  const base = scratch.readBigUInt64LE(16);
  // Between the two stores of a file's end the committed length is behind: the ring is empty.
  const ahead = scratch.readBigUInt64LE(24) - base;
  const file = Number(base >> offsetBits);
  const baseBytes = Number(base & offsetMask);
  if (file === 0 || ahead > ringBytes) return undefined;
  return {
    trace: scratch.readInt32LE(8),
    slot: scratch.readInt32LE(12),
    file,
    baseBytes,
    committedBytes: baseBytes + Math.max(0, Number(ahead)),
    line: Number(scratch.readBigUInt64LE(32)),
    lost: Number(scratch.readBigUInt64LE(40)),
  };
}

/**
 * The ring's rows from byte `from` of their file on, with the header they belong to. undefined: no ring. Tries again while
 * the owner empties it.
 */
export function readRing(fd: number, from?: number): { header: RingHeader; rows: Buffer } | undefined {
  for (;;) {
    const header = readRingHeader(fd);
    if (header === undefined) return undefined;
    const begin = Math.max(from ?? header.baseBytes, header.baseBytes);
    const rows = Buffer.alloc(Math.max(0, header.committedBytes - begin));
    const got =
      rows.length === 0 ? 0 : readSync(fd, rows, 0, rows.length, pageBytes + begin - header.baseBytes);
    const again = readRingHeader(fd);
    if (again === undefined) return undefined;
    if (again.file === header.file && again.baseBytes === header.baseBytes)
      return { header, rows: rows.subarray(0, got) };
  }
}
