/**
 * Bytes of a spool segment (FORMAT.md): pure functions between buffers and records. In: a segment's bytes, or a batch to
 * frame. Out: headers, records with their offsets, and what is torn or corrupt. Owns nothing and does no I/O.
 */
import { crc32c } from '../../native/index.js';
import { PemError } from '../../src/base/errors.js';

export const segmentVersion = 1;
export const segmentHeaderBytes = 64;
export const recordHeaderBytes = 40;
export const sealBytes = recordHeaderBytes + 32;
/** Largest batch the wire format allows; a longer length in a record header is corruption. */
export const maxPayloadBytes = 4 * 1024 * 1024;

const segmentMagic = Buffer.from('PEMS');
const recordMagic = 0x524d4550;
const kindBatch = 1;
const kindSeal = 2;
const padding = Buffer.alloc(8);

/** Trouble with a file of the spool; `offset` is where in the file, -1 where that makes no sense. */
export class SpoolProblem extends PemError {
  constructor(
    code:
      | 'spool_corrupt'
      | 'spool_newer'
      | 'spool_junk'
      | 'spool_write'
      | 'spool_sync'
      | 'spool_read'
      | 'spool_full',
    readonly file: string,
    readonly offset: number,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(
      code,
      `${file}${offset < 0 ? '' : ` at ${offset}`}: ${message}`,
      code === 'spool_corrupt' || code === 'spool_junk' || code === 'spool_newer' ? 'corrupt' : 'outside',
      options,
    );
  }
}

export interface SegmentHeader {
  readonly agentId: number;
  readonly boot: string;
  readonly firstSeq: number;
  readonly createdAtUs: number;
  readonly number: number;
}

/** One batch inside a segment; `offset` is that of its record header. */
export interface RecordEntry {
  readonly seq: number;
  readonly offset: number;
  readonly payloadBytes: number;
  readonly rows: number;
  readonly createdAtUs: number;
}

/** What a seal says, or what a scan found. */
export interface SegmentSummary {
  readonly batches: number;
  readonly rows: number;
  readonly payloadBytes: number;
  readonly lastSeq: number;
  readonly newestUs: number;
}

export interface SegmentScan {
  readonly records: RecordEntry[];
  readonly corrupt: { offset: number; bytes: number }[];
  /** End of the last valid record; what follows is a torn tail. */
  readonly end: number;
  readonly tornBytes: number;
}

export function bootBytes(boot: string): Buffer {
  return Buffer.from(boot.replaceAll('-', ''), 'hex');
}

export function bootText(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** Seed of all checksums in segments of this boot. */
export function bootSeed(boot: string): number {
  return crc32c(bootBytes(boot));
}

export function segmentName(number: number): string {
  return `${number.toString(16).padStart(16, '0')}.seg`;
}

/** Bytes a batch of this size takes in a segment. */
export function recordSize(payloadBytes: number): number {
  return recordHeaderBytes + Math.ceil(payloadBytes / 8) * 8;
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(segmentHeaderBytes);
  segmentMagic.copy(bytes);
  bytes.writeUInt16LE(segmentVersion, 4);
  bytes.writeUInt16LE(segmentHeaderBytes, 6);
  bytes.writeUInt32LE(header.agentId, 12);
  bootBytes(header.boot).copy(bytes, 16);
  bytes.writeBigUInt64LE(BigInt(header.firstSeq), 32);
  bytes.writeBigInt64LE(BigInt(header.createdAtUs), 40);
  bytes.writeBigUInt64LE(BigInt(header.number), 48);
  bytes.writeUInt32LE(crc32c(bytes.subarray(12)), 8);
  return bytes;
}

/** @throws SpoolProblem spool_junk | spool_newer | spool_corrupt */
export function decodeSegmentHeader(file: string, bytes: Buffer): SegmentHeader {
  if (bytes.length < 8 || bytes.compare(segmentMagic, 0, 4, 0, 4) !== 0) {
    throw new SpoolProblem('spool_junk', file, 0, 'not a spool segment');
  }
  const version = bytes.readUInt16LE(4);
  if (version > segmentVersion) {
    throw new SpoolProblem(
      'spool_newer',
      file,
      4,
      `format version ${version}, this agent reads ${segmentVersion}`,
    );
  }
  if (
    bytes.length < segmentHeaderBytes ||
    bytes.readUInt32LE(8) !== crc32c(bytes.subarray(12, segmentHeaderBytes))
  ) {
    throw new SpoolProblem('spool_corrupt', file, 0, 'segment header fails its checksum');
  }
  return {
    agentId: bytes.readUInt32LE(12),
    boot: bootText(bytes.subarray(16, 32)),
    firstSeq: Number(bytes.readBigUInt64LE(32)),
    createdAtUs: Number(bytes.readBigInt64LE(40)),
    number: Number(bytes.readBigUInt64LE(48)),
  };
}

function frame(
  kind: number,
  seed: number,
  seq: number,
  createdAtUs: number,
  rows: number,
  payload: Buffer,
): Buffer[] {
  const header = Buffer.alloc(recordHeaderBytes);
  header.writeUInt32LE(recordMagic, 0);
  header.writeUInt32LE(payload.length, 8);
  header.writeUInt32LE(crc32c(payload, seed), 12);
  header.writeBigUInt64LE(BigInt(seq), 16);
  header.writeBigInt64LE(BigInt(createdAtUs), 24);
  header.writeUInt32LE(rows, 32);
  header.writeUInt32LE(kind, 36);
  header.writeUInt32LE(crc32c(header.subarray(8), seed), 4);
  const pad = -payload.length & 7;
  return pad === 0 ? [header, payload] : [header, payload, padding.subarray(0, pad)];
}

/** A batch as pieces to write one after the other. */
export function frameRecord(
  seed: number,
  seq: number,
  createdAtUs: number,
  rows: number,
  payload: Buffer,
): Buffer[] {
  return frame(kindBatch, seed, seq, createdAtUs, rows, payload);
}

export function frameSeal(seed: number, summary: SegmentSummary): Buffer[] {
  const payload = Buffer.alloc(32);
  payload.writeUInt32LE(summary.batches, 0);
  payload.writeBigUInt64LE(BigInt(summary.rows), 8);
  payload.writeBigUInt64LE(BigInt(summary.payloadBytes), 16);
  payload.writeBigInt64LE(BigInt(summary.newestUs), 24);
  return frame(kindSeal, seed, summary.lastSeq, summary.newestUs, 0, payload);
}

interface RawRecord {
  readonly kind: number;
  readonly entry: RecordEntry;
  readonly next: number;
}

function recordAt(bytes: Buffer, offset: number, seed: number): RawRecord | null {
  if (offset + recordHeaderBytes > bytes.length || bytes.readUInt32LE(offset) !== recordMagic) return null;
  if (
    bytes.readUInt32LE(offset + 4) !== crc32c(bytes.subarray(offset + 8, offset + recordHeaderBytes), seed)
  ) {
    return null;
  }
  const payloadBytes = bytes.readUInt32LE(offset + 8);
  const start = offset + recordHeaderBytes;
  if (payloadBytes > maxPayloadBytes || start + payloadBytes > bytes.length) return null;
  if (bytes.readUInt32LE(offset + 12) !== crc32c(bytes.subarray(start, start + payloadBytes), seed))
    return null;
  return {
    kind: bytes.readUInt32LE(offset + 36),
    entry: {
      seq: Number(bytes.readBigUInt64LE(offset + 16)),
      offset,
      payloadBytes,
      rows: bytes.readUInt32LE(offset + 32),
      createdAtUs: Number(bytes.readBigInt64LE(offset + 24)),
    },
    next: offset + recordSize(payloadBytes),
  };
}

/** All valid records of a segment's bytes (header included), in order, each checksum verified. */
export function scanSegment(bytes: Buffer, seed: number): SegmentScan {
  const records: RecordEntry[] = [];
  const corrupt: { offset: number; bytes: number }[] = [];
  let end = segmentHeaderBytes;
  let hole = -1;
  let offset = segmentHeaderBytes;
  while (offset < bytes.length) {
    const found = recordAt(bytes, offset, seed);
    if (found === null) {
      if (hole < 0) hole = offset;
      offset += 8;
      continue;
    }
    if (hole >= 0) corrupt.push({ offset: hole, bytes: offset - hole });
    hole = -1;
    if (found.kind === kindBatch) records.push(found.entry);
    offset = found.next;
    end = Math.min(offset, bytes.length);
  }
  return { records, corrupt, end, tornBytes: bytes.length - end };
}

/** Reads the seal from a segment's last bytes; null where there is none. */
export function readSeal(tail: Buffer, seed: number): SegmentSummary | null {
  if (tail.length < sealBytes) return null;
  const found = recordAt(tail, tail.length - sealBytes, seed);
  if (found === null || found.kind !== kindSeal) return null;
  const payload = tail.subarray(tail.length - 32);
  return {
    batches: payload.readUInt32LE(0),
    rows: Number(payload.readBigUInt64LE(8)),
    payloadBytes: Number(payload.readBigUInt64LE(16)),
    lastSeq: found.entry.seq,
    newestUs: Number(payload.readBigInt64LE(24)),
  };
}

export function summarize(records: readonly RecordEntry[]): SegmentSummary {
  let rows = 0;
  let payloadBytes = 0;
  let lastSeq = 0;
  let newestUs = 0;
  for (const record of records) {
    rows += record.rows;
    payloadBytes += record.payloadBytes;
    lastSeq = Math.max(lastSeq, record.seq);
    newestUs = Math.max(newestUs, record.createdAtUs);
  }
  return { batches: records.length, rows, payloadBytes, lastSeq, newestUs };
}

/** Payload of a record from its bytes (header .. padding); null where the checksum or the seq does not fit. */
export function payloadOf(bytes: Buffer, seed: number, seq: number): Buffer | null {
  const found = recordAt(bytes, 0, seed);
  if (found === null || found.entry.seq !== seq) return null;
  return bytes.subarray(recordHeaderBytes, recordHeaderBytes + found.entry.payloadBytes);
}
