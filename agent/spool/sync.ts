/**
 * Lazy syncing of the ring (D14). PEM usually has a batch within a second; only what it still does not have after
 * `afterMs` is worth a flush, and a killed process loses nothing that is in the page cache.
 *
 * 1. At most one flush is under way, so at most one of libuv's pool threads ever waits for the disk.
 * 2. A flush covers all that was written to the file before it began, so what is synced is a prefix of the file.
 * 3. A file's name is synced before the file counts as synced.
 * 4. After a failed flush the kernel may call the lost pages clean: the file is not written to again, and its batches
 *    stay unsynced only in name (counted; the ring goes on in a new segment).
 */
import type { SpoolFs } from './fs.js';
import type { ReceivedSet } from './received.js';
import type { ReportProblem, Segment } from './ring.js';
import { SpoolProblem } from './segment.js';

export class LazySync {
  #busy: Promise<void> | null = null;
  #syncing: Segment | null = null;
  #closeAfter = false;
  done = 0;
  failed = 0;

  constructor(
    private readonly fs: SpoolFs,
    private readonly received: ReceivedSet,
    private readonly afterMs: number,
    private readonly report: ReportProblem,
    /** The segment's file is no good to write to any more. */
    private readonly abandon: (segment: Segment) => void,
  ) {}

  /**
   * Syncs the oldest segment that needs it. `all`: whatever is not acknowledged, however young.
   * @returns false when nothing needs a sync (any more)
   */
  async step(
    segments: readonly Segment[],
    active: Segment | null,
    nowMs: number,
    all = false,
  ): Promise<boolean> {
    if (this.#busy !== null) {
      await this.#busy;
      return true;
    }
    // The newest first: files of earlier runs have had more time to reach the disk by themselves.
    const segment = segments.findLast((candidate) => this.#needsSync(candidate, nowMs, all));
    this.#closeIdle(segments, active);
    if (segment === undefined) return false;
    this.#busy = this.#sync(segment);
    try {
      await this.#busy;
    } finally {
      this.#busy = null;
    }
    this.#closeIdle(segments, active);
    return true;
  }

  /** Closes the file of a segment that leaves the ring; not under the feet of a flush, its number could be given anew. */
  release(segment: Segment): void {
    segment.unsynced = [];
    if (segment === this.#syncing) {
      this.#closeAfter = true;
      return;
    }
    segment.file?.close();
    segment.file = null;
  }

  #needsSync(segment: Segment, nowMs: number, all: boolean): boolean {
    if (segment.unsynced.length === 0) return false;
    if (this.received.covers(segment.boot, segment.firstSeq, segment.lastSeq)) {
      segment.unsynced = [];
      return false;
    }
    let acknowledged = 0;
    while (
      acknowledged < segment.unsynced.length - 1 &&
      this.received.has(segment.boot, segment.unsynced[acknowledged]?.seq ?? 0)
    ) {
      acknowledged += 1;
    }
    if (acknowledged > 0) segment.unsynced.splice(0, acknowledged);
    const oldest = segment.unsynced[0];
    return oldest !== undefined && (all || nowMs - oldest.atMs >= this.afterMs);
  }

  async #sync(segment: Segment): Promise<void> {
    const covered = segment.unsynced.length;
    this.#syncing = segment;
    this.#closeAfter = false;
    try {
      segment.file ??= this.fs.open(segment.name);
      await segment.file.sync();
      if (!segment.named) await this.fs.syncFolder();
      segment.named = true;
      segment.unsynced.splice(0, covered);
      this.done += 1;
    } catch (cause) {
      this.failed += 1;
      segment.unsynced.splice(0, covered);
      this.report(new SpoolProblem('spool_sync', segment.name, -1, 'the disk did not take it', { cause }));
      this.abandon(segment);
    } finally {
      this.#syncing = null;
      if (this.#closeAfter) this.release(segment);
    }
  }

  #closeIdle(segments: readonly Segment[], active: Segment | null): void {
    for (const segment of segments) {
      if (segment === active || segment.file === null || segment.unsynced.length > 0) continue;
      segment.file.close();
      segment.file = null;
    }
  }
}
