/**
 * Reading the ring back: back-fill's side of the spool. In: segments. Out: batches that PEM does not have, verified. Reads
 * go through libuv's pool, one at a time; at most one segment's bytes are in memory while its index is made. What cannot be
 * read costs what it covers: it is reported with file and offset and counted as dropped.
 */
import { errorCode } from '../../src/base/errors.js';
import type { SpoolFs } from './fs.js';
import type { ReceivedSet } from './received.js';
import { type ReportProblem, reportCorrupt, type Segment, setAside } from './ring.js';
import { payloadOf, type RecordEntry, recordSize, SpoolProblem, scanSegment } from './segment.js';

export interface StoredBatch {
  readonly boot: string;
  readonly seq: number;
  readonly rows: number;
  readonly createdAtUs: number;
  readonly payload: Buffer;
}

/** Where back-fill goes on reading; `rewind` sends it to the oldest batch. */
export interface SpoolCursor {
  segment: number;
  offset: number;
}

export interface Quantity {
  batches: number;
  bytes: number;
  rows: number;
}

/** What reading may do to the ring. */
export interface RingDoor {
  segments(): readonly Segment[];
  active(): Segment | null;
  /** Out of the ring, file removed. */
  take(segment: Segment): void;
  lose(lost: Quantity): void;
}

export class BackfillReader {
  constructor(
    private readonly fs: SpoolFs,
    private readonly received: ReceivedSet,
    private readonly ring: RingDoor,
    private readonly report: ReportProblem,
    private readonly counts: { corrupt: number },
  ) {}

  /**
   * The next batches that PEM does not have and `skip` does not name, from the cursor on, oldest first, up to about
   * `maxBytes` of one segment; empty at the end of the ring. Moves the cursor behind them.
   */
  async read(
    cursor: SpoolCursor,
    skip: (boot: string, seq: number) => boolean,
    maxBytes: number,
  ): Promise<StoredBatch[]> {
    const { received } = this;
    for (;;) {
      const segment = this.ring.segments().find((candidate) => candidate.number >= cursor.segment);
      if (segment === undefined) return [];
      if (segment.number > cursor.segment) Object.assign(cursor, { segment: segment.number, offset: 0 });
      if (!received.covers(segment.boot, segment.firstSeq, segment.lastSeq)) {
        const index = segment.index ?? (await this.#load(segment));
        const wanted: RecordEntry[] = [];
        let bytes = 0;
        for (let at = firstAtOrBehind(index, cursor.offset); at < index.length && bytes < maxBytes; at += 1) {
          const entry = index[at] as RecordEntry;
          if (bytes > 0 && bytes + entry.payloadBytes > maxBytes) break;
          cursor.offset = entry.offset + 1;
          if (received.has(segment.boot, entry.seq) || skip(segment.boot, entry.seq)) {
            // One read for neighbours; a gap ends it.
            if (wanted.length > 0) break;
            continue;
          }
          wanted.push(entry);
          bytes += entry.payloadBytes;
        }
        if (wanted.length > 0) {
          const batches = await this.#fetch(segment, wanted);
          if (batches.length > 0) return batches;
          continue;
        }
      }
      if (segment === this.ring.active()) {
        cursor.offset = segment.bytes;
        return [];
      }
      segment.index = null;
      Object.assign(cursor, { segment: segment.number + 1, offset: 0 });
    }
  }

  /** A segment's index without waiting: for the moment when it is dropped. */
  indexNow(segment: Segment): RecordEntry[] {
    if (segment.index !== null) return segment.index;
    try {
      return scanSegment(this.fs.readNow(segment.name, 0, segment.bytes), segment.seed).records;
    } catch {
      return []; // Unreadable: counted as had rather than guessed, the read error itself was or will be reported.
    }
  }

  async #load(segment: Segment): Promise<RecordEntry[]> {
    const bytes = await this.#readBytes(segment, 0, segment.bytes);
    if (bytes === null) return [];
    const scan = scanSegment(bytes, segment.seed);
    segment.index = scan.records;
    if (scan.records.length < segment.batches) {
      const torn = scan.tornBytes > 0 ? [{ offset: scan.end, bytes: scan.tornBytes }] : [];
      reportCorrupt(segment.name, [...scan.corrupt, ...torn], this.report, this.counts);
      this.#shrink(segment, scan.records);
    }
    return scan.records;
  }

  /** Batches that corruption took out of a segment count as dropped. */
  #shrink(segment: Segment, left: readonly RecordEntry[]): void {
    const now = quantityOf(left);
    const lost = {
      batches: segment.batches - now.batches,
      bytes: segment.payloadBytes - now.bytes,
      rows: segment.rows - now.rows,
    };
    Object.assign(segment, { batches: now.batches, payloadBytes: now.bytes, rows: now.rows });
    this.ring.lose(lost);
  }

  async #fetch(segment: Segment, wanted: readonly RecordEntry[]): Promise<StoredBatch[]> {
    const first = wanted[0] as RecordEntry;
    const last = wanted[wanted.length - 1] as RecordEntry;
    const span = last.offset + recordSize(last.payloadBytes) - first.offset;
    const bytes = await this.#readBytes(segment, first.offset, span);
    if (bytes === null) return [];
    const batches: StoredBatch[] = [];
    for (const entry of wanted) {
      const payload = payloadOf(bytes.subarray(entry.offset - first.offset), segment.seed, entry.seq);
      if (payload !== null) {
        batches.push({
          boot: segment.boot,
          seq: entry.seq,
          rows: entry.rows,
          createdAtUs: entry.createdAtUs,
          payload,
        });
        continue;
      }
      if (!this.ring.segments().includes(segment)) return []; // Dropped while it was read.
      reportCorrupt(
        segment.name,
        [{ offset: entry.offset, bytes: recordSize(entry.payloadBytes) }],
        this.report,
        this.counts,
      );
      segment.index = (segment.index ?? []).filter((other) => other !== entry);
      this.#shrink(segment, segment.index);
    }
    return batches;
  }

  /** Null when the segment is gone: dropped meanwhile, or its file cannot be read and was set aside. */
  async #readBytes(segment: Segment, position: number, bytes: number): Promise<Buffer | null> {
    try {
      return await this.fs.read(segment.name, position, bytes);
    } catch (cause) {
      if (!this.ring.segments().includes(segment)) return null;
      const code = errorCode(cause);
      const problem = new SpoolProblem('spool_read', segment.name, position, `cannot be read (${code})`, {
        cause,
      });
      if (code !== 'ENOENT' && code !== 'EIO') throw problem;
      this.report(problem);
      this.counts.corrupt += 1;
      if (code === 'EIO') setAside(this.fs, segment.name, this.report);
      this.ring.take(segment);
      this.ring.lose({ batches: segment.batches, bytes: segment.payloadBytes, rows: segment.rows });
      return null;
    }
  }
}

export function quantityOf(entries: readonly RecordEntry[]): Quantity {
  const total: Quantity = { batches: 0, bytes: 0, rows: 0 };
  for (const entry of entries) {
    total.batches += 1;
    total.bytes += entry.payloadBytes;
    total.rows += entry.rows;
  }
  return total;
}

function firstAtOrBehind(index: readonly RecordEntry[], offset: number): number {
  let low = 0;
  let high = index.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((index[middle] as RecordEntry).offset < offset) low = middle + 1;
    else high = middle;
  }
  return low;
}
