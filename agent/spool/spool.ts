/**
 * The spool: a ring of segment files (FORMAT.md) that keeps every batch until its bound, whether PEM has it or not.
 * In: batches of this boot, one at a time, never blocking on the disk beyond a write to the page cache. Out: batches PEM
 * does not have, oldest first, read off the main thread. Full: the oldest segments go, counted. On stop: what PEM does not
 * have is synced.
 *
 * 1. A batch gets its seq when it is written, and no seq is given twice within a boot; a failed write burns its seq.
 * 2. Boots are 128 random bits, made at open; segments of different boots are never mixed in one file.
 * 3. Segments are numbered in the order they were made; within a segment offsets and seqs ascend together.
 * 4. A segment leaves the ring for two reasons alone: bytes and age. An acknowledgement moves only the sender's cursor.
 * 5. The ring, active segment included, never holds more than `maxBytes`.
 * 6. What leaves the ring without being in the received set is counted in batches, bytes and rows, and told to listeners.
 * 7. Nothing that is read back is handed on unless its checksums hold and it carries the seq it stands for.
 * 8. Corruption, junk and newer formats cost what they cover and nothing else; each is reported with file and offset.
 */
import { randomBytes } from 'node:crypto';
import { errorCode } from '../../src/base/errors.js';
import { BackfillReader, type Quantity, quantityOf, type SpoolCursor, type StoredBatch } from './backfill.js';
import type { SpoolFile, SpoolFs } from './fs.js';
import type { ReceivedSet } from './received.js';
import { type ReportProblem, recallSegment, type Segment, segmentPattern } from './ring.js';
import {
  bootSeed,
  bootText,
  encodeSegmentHeader,
  frameRecord,
  frameSeal,
  type RecordEntry,
  recordSize,
  SpoolProblem,
  sealBytes,
  segmentHeaderBytes,
  segmentName,
} from './segment.js';
import { LazySync } from './sync.js';

export interface SpoolOptions {
  readonly fs: SpoolFs;
  readonly agentId: number;
  readonly received: ReceivedSet;
  readonly maxBytes: number;
  readonly maxAgeMs: number;
  /** A segment is finished at this size; default 8 MiB, at most a quarter of `maxBytes`. */
  readonly segmentBytes?: number;
  /** What PEM does not have after this long is synced. */
  readonly syncAfterMs?: number;
  readonly report: ReportProblem;
  readonly now?: () => number;
  readonly boot?: string;
}

export interface SpoolStats {
  readonly bytes: number;
  readonly segments: number;
  readonly batches: number;
  readonly rows: number;
  readonly maxBytes: number;
  /** What PEM does not have. */
  readonly pendingBatches: number;
  /** The same in bytes, within a segment estimated. */
  readonly pendingBytes: number;
  /** Creation time of the oldest batch that PEM does not have, µs (within a segment estimated); 0 when nothing waits. */
  readonly oldestPendingUs: number;
  /** Gone without PEM having said that it has it. */
  readonly dropped: Readonly<Quantity>;
  /** Gone by the bound after PEM had it. */
  readonly recycled: Readonly<Quantity>;
  readonly corrupt: number;
  readonly tornBytes: number;
  readonly writeErrors: number;
  readonly syncs: number;
  readonly syncErrors: number;
}

const defaultSegmentBytes = 8 * 1024 * 1024;
/** A worker that dies young again and again leaves a small segment each time; pem.sync() takes 4,096 boots. */
const mostSegments = 4000;
const outOfRoom = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

export class Spool {
  readonly boot: string;
  readonly #fs: SpoolFs;
  readonly #options: SpoolOptions;
  readonly #seed: number;
  readonly #segmentBytes: number;
  readonly #now: () => number;
  readonly #sync: LazySync;
  readonly #reader: BackfillReader;
  readonly #listeners = new Set<() => void>();
  readonly #dropped: Quantity = { batches: 0, bytes: 0, rows: 0 };
  readonly #recycled: Quantity = { batches: 0, bytes: 0, rows: 0 };
  readonly #counts = { tornBytes: 0, corrupt: 0, writeErrors: 0 };
  #segments: Segment[] = [];
  #active: Segment | null = null;
  #bytes = 0;
  #nextSeq = 1;
  #nextNumber = 1;

  /** Opens the ring; the caller holds the folder's lock (lock.ts). */
  constructor(options: SpoolOptions) {
    this.#options = options;
    this.#fs = options.fs;
    this.#now = options.now ?? Date.now;
    this.boot = options.boot ?? bootText(randomBytes(16));
    this.#seed = bootSeed(this.boot);
    this.#segmentBytes = Math.min(options.segmentBytes ?? defaultSegmentBytes, options.maxBytes >> 2);
    this.#sync = new LazySync(
      this.#fs,
      options.received,
      options.syncAfterMs ?? 3000,
      options.report,
      (segment) => this.#abandon(segment),
    );
    this.#reader = new BackfillReader(
      this.#fs,
      options.received,
      {
        segments: () => this.#segments,
        active: () => this.#active,
        take: (segment) => this.#take(segment),
        lose: (lost) => this.#lose(lost),
      },
      options.report,
      this.#counts,
    );
    const nowMs = this.#now();
    for (const entry of this.#fs.list().sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const number = Number.parseInt(segmentPattern.exec(entry.name)?.[1] ?? '0', 16);
      this.#nextNumber = Math.max(this.#nextNumber, number + 1);
      const segment = recallSegment(this.#fs, options.agentId, entry, nowMs, options.report, this.#counts);
      if (segment === null) continue;
      this.#segments.push(segment);
      this.#bytes += segment.bytes;
    }
    while ((this.#bytes > options.maxBytes || this.#segments.length > mostSegments) && this.#dropOldest());
  }

  /**
   * Writes one batch. `build` gets the seq that it is to carry and is called once.
   * @returns the batch, or null when there was no room or no working disk: counted as dropped
   */
  append(rows: number, build: (seq: number) => Buffer): StoredBatch | null {
    const seq = this.#nextSeq;
    this.#nextSeq += 1;
    const payload = build(seq);
    const createdAtUs = this.#now() * 1000;
    const pieces = frameRecord(this.#seed, seq, createdAtUs, rows, payload);
    const size = recordSize(payload.length);
    for (let failures = 0; failures < 2; ) {
      try {
        if (!this.#makeRoom(size)) break;
        const segment = this.#segmentFor(size, seq, createdAtUs);
        this.#write(segment, pieces, segment.bytes);
        this.#account(
          segment,
          { seq, offset: segment.bytes, payloadBytes: payload.length, rows, createdAtUs },
          size,
        );
        return { boot: this.boot, seq, rows, createdAtUs, payload };
      } catch (cause) {
        this.#counts.writeErrors += 1;
        if (outOfRoom.has(errorCode(cause))) {
          // The oldest make room for the newest; with nothing left to drop, the newest is what is lost.
          if (this.#dropOldest()) continue;
          failures = 2;
        } else {
          if (this.#active !== null) this.#abandon(this.#active);
          failures += 1;
        }
        if (failures < 2) continue;
        this.#options.report(
          new SpoolProblem('spool_write', this.#active?.name ?? '-', -1, 'batch not written', { cause }),
        );
      }
    }
    this.#lose({ batches: 1, bytes: payload.length, rows });
    return null;
  }

  /**
   * The next batches that PEM does not have and `skip` does not name, from the cursor on, oldest first, up to about
   * `maxBytes` of one segment; empty at the end of the ring. Moves the cursor behind them.
   */
  read(
    cursor: SpoolCursor,
    skip: (boot: string, seq: number) => boolean,
    maxBytes: number,
  ): Promise<StoredBatch[]> {
    return this.#reader.read(cursor, skip, maxBytes);
  }

  /** Boots the ring holds something of, oldest first; the last is this one, even when it is empty. */
  boots(): string[] {
    return [
      ...new Set([
        ...this.#segments.map((segment) => segment.boot).filter((boot) => boot !== this.boot),
        this.boot,
      ]),
    ];
  }

  /** Is this batch in the ring? A seq that was burned by a failed write counts like its neighbours. */
  has(boot: string, seq: number): boolean {
    return this.#segments.some(
      (segment) => segment.boot === boot && segment.firstSeq <= seq && seq <= segment.lastSeq,
    );
  }

  /** Once a second or so: syncs what waits for it, drops what is too old. */
  async tick(): Promise<void> {
    const nowMs = this.#now();
    const oldestUs = (nowMs - this.#options.maxAgeMs) * 1000;
    while (this.#segments[0] !== undefined && this.#segments[0].newestUs < oldestUs) this.#dropOldest(true);
    await this.#sync.step(this.#segments, this.#active, nowMs);
  }

  /** PEM no longer has what it had: what was not synced because PEM had it needs that again. */
  receivedShrank(): void {
    const atMs = this.#now();
    for (const segment of this.#segments) {
      if (segment.unsynced.length === 0) segment.unsynced.push({ seq: segment.lastSeq, atMs });
    }
    for (const listener of this.#listeners) listener();
  }

  /** Called after something was dropped that PEM does not have. Returns a function that takes the listener away. */
  onLoss(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Syncs all that PEM does not have. */
  async flush(): Promise<void> {
    while (await this.#sync.step(this.#segments, this.#active, this.#now(), true));
  }

  /** Syncs all that PEM does not have and closes the files. */
  async close(): Promise<void> {
    if (this.#active !== null) this.#seal(this.#active);
    this.#active = null;
    await this.flush();
    for (const segment of this.#segments) this.#sync.release(segment);
    this.#segments = [];
  }

  stats(): SpoolStats {
    let batches = 0;
    let rows = 0;
    let pendingBatches = 0;
    let pendingBytes = 0;
    let oldestPendingUs = 0;
    for (const segment of this.#segments) {
      batches += segment.batches;
      rows += segment.rows;
      const pending =
        segment.batches - this.#options.received.count(segment.boot, segment.firstSeq, segment.lastSeq);
      if (pending <= 0) continue;
      pendingBatches += pending;
      pendingBytes += Math.round((segment.payloadBytes * pending) / segment.batches);
      if (oldestPendingUs === 0) oldestPendingUs = this.#pendingSinceUs(segment);
    }
    return {
      bytes: this.#bytes,
      segments: this.#segments.length,
      batches,
      rows,
      maxBytes: this.#options.maxBytes,
      pendingBatches,
      pendingBytes,
      oldestPendingUs,
      dropped: { ...this.#dropped },
      recycled: { ...this.#recycled },
      ...this.#counts,
      syncs: this.#sync.done,
      syncErrors: this.#sync.failed,
    };
  }

  /**
   * When the oldest batch of a segment that PEM does not have was made. A segment knows the times of its first and last
   * batch; between them batches are taken as evenly spread, which spares an index of every batch for one figure.
   */
  #pendingSinceUs(segment: Segment): number {
    const { boot, firstSeq, lastSeq, oldestUs, newestUs } = segment;
    const missing = this.#options.received.firstMissing(boot, firstSeq, lastSeq);
    const share = Math.min(1, (missing - firstSeq) / Math.max(1, lastSeq - firstSeq));
    return Math.round(oldestUs + (newestUs - oldestUs) * share);
  }

  #makeRoom(size: number): boolean {
    const room = this.#options.maxBytes - size - segmentHeaderBytes - 2 * sealBytes;
    if (room < 0) return false;
    while (this.#bytes > room) if (!this.#dropOldest(true)) return false;
    return true;
  }

  #segmentFor(size: number, seq: number, createdAtUs: number): Segment {
    const active = this.#active;
    if (active !== null) {
      if (active.bytes + size <= this.#segmentBytes) return active;
      this.#seal(active);
      this.#active = null;
      active.index = null;
    }
    while (this.#segments.length >= mostSegments) this.#dropOldest();
    const number = this.#nextNumber;
    const name = segmentName(number);
    this.#nextNumber += 1;
    const file = this.#fs.create(name);
    const header = { agentId: this.#options.agentId, boot: this.boot, firstSeq: seq, createdAtUs, number };
    try {
      file.write([encodeSegmentHeader(header)], 0);
    } catch (error) {
      file.close();
      this.#remove(name);
      throw error;
    }
    const segment: Segment = {
      name,
      number,
      boot: this.boot,
      seed: this.#seed,
      firstSeq: seq,
      lastSeq: seq - 1,
      batches: 0,
      rows: 0,
      payloadBytes: 0,
      oldestUs: createdAtUs,
      newestUs: createdAtUs,
      bytes: segmentHeaderBytes,
      index: [],
      file,
      unsynced: [],
      named: false,
    };
    this.#segments.push(segment);
    this.#bytes += segmentHeaderBytes;
    this.#active = segment;
    return segment;
  }

  #write(segment: Segment, pieces: readonly Buffer[], position: number): void {
    try {
      (segment.file as SpoolFile).write(pieces, position);
    } catch (error) {
      try {
        segment.file?.truncate(position);
      } catch {
        // A torn piece stays behind: it fails its checksum, and the next write begins over it.
      }
      throw error;
    }
  }

  #account(segment: Segment, entry: RecordEntry, size: number): void {
    segment.index?.push(entry);
    segment.lastSeq = entry.seq;
    segment.batches += 1;
    segment.rows += entry.rows;
    segment.payloadBytes += entry.payloadBytes;
    segment.newestUs = Math.max(segment.newestUs, entry.createdAtUs);
    segment.bytes += size;
    segment.unsynced.push({ seq: entry.seq, atMs: this.#now() });
    this.#bytes += size;
  }

  #seal(segment: Segment): void {
    if (segment.batches === 0) return;
    try {
      this.#write(segment, frameSeal(segment.seed, segment), segment.bytes);
      segment.bytes += sealBytes;
      this.#bytes += sealBytes;
    } catch {
      this.#counts.writeErrors += 1; // The next start scans it instead.
    }
  }

  /** Writing goes on in a new segment; what this one holds stays readable. */
  #abandon(segment: Segment): void {
    if (segment !== this.#active) return;
    this.#active = null;
    if (segment.batches === 0) this.#take(segment);
  }

  #take(segment: Segment): void {
    this.#segments = this.#segments.filter((other) => other !== segment);
    if (segment === this.#active) this.#active = null;
    this.#bytes -= segment.bytes;
    this.#sync.release(segment);
    this.#remove(segment.name);
  }

  #remove(name: string): void {
    try {
      this.#fs.remove(name);
    } catch (cause) {
      if (errorCode(cause) === 'ENOENT') return;
      this.#options.report(new SpoolProblem('spool_write', name, -1, 'cannot be removed', { cause }));
    }
  }

  #dropOldest(evenActive = false): boolean {
    const segment = this.#segments[0];
    if (segment === undefined || (segment === this.#active && !evenActive && segment.batches === 0))
      return false;
    const { received } = this.#options;
    const had = received.count(segment.boot, segment.firstSeq, segment.lastSeq);
    const lost: Quantity = { batches: segment.batches, bytes: segment.payloadBytes, rows: segment.rows };
    if (had > 0) {
      if (received.covers(segment.boot, segment.firstSeq, segment.lastSeq))
        Object.assign(lost, { batches: 0, bytes: 0, rows: 0 });
      else
        Object.assign(
          lost,
          quantityOf(
            this.#reader.indexNow(segment).filter((entry) => !received.has(segment.boot, entry.seq)),
          ),
        );
    }
    this.#recycled.batches += segment.batches - lost.batches;
    this.#recycled.bytes += segment.payloadBytes - lost.bytes;
    this.#recycled.rows += segment.rows - lost.rows;
    this.#take(segment);
    if (lost.batches > 0) this.#lose(lost);
    return true;
  }

  #lose(lost: Quantity): void {
    this.#dropped.batches += lost.batches;
    this.#dropped.bytes += lost.bytes;
    this.#dropped.rows += lost.rows;
    for (const listener of this.#listeners) listener();
  }
}

export type { Quantity, SpoolCursor, StoredBatch } from './backfill.js';
