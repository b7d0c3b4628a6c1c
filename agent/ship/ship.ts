/**
 * Ship: batches from the spool into PEM's inbox, over the connection that link keeps. In: batches as they are made
 * (live), batches that the spool still holds and PEM does not have (back-fill), the received set after each pem.sync().
 * Out: COPY pem.inbox. Owns no file and no connection; holds at most `liveBytes` of batches in memory beside the one COPY
 * under way.
 *
 * States. *Away*: there is no connection, or what PEM has was not yet read on it; nothing is sent. *Idle*: connected,
 * nothing to send. *Sending*: one COPY is under way; everything else waits for its answer. *Waiting*: PEM refused for
 * now (backlog full, disk full, agent quarantined …); until the wait is over nothing is sent. attach() leads from away to
 * idle, detach() from everywhere to away.
 *
 * 1. A batch is done when its own seq is in the received set; an answered COPY says only that it lies in the inbox.
 * 2. Live batches go first: before each COPY the live queue is looked at, and a COPY of back-fill is no larger than
 *    what went through in about 20 ms lately, so a live batch never waits longer behind back-fill than that or one
 *    single batch. When the queue is full its oldest are left to back-fill.
 * 3. Back-fill walks the spool from its oldest batch; whenever something comes back (overdue, refused for now, the
 *    received set shrank) the cursor goes back to the start, which costs a look at each segment's range.
 * 4. At most `windowBytes` of back-fill are under way unacknowledged; live batches have room above that.
 * 5. A batch PEM will never take (PE002) is set aside: skipped until the worker ends, counted, logged.
 */
import { errorCode, errorText } from '../../src/base/errors.js';
import type { Log } from '../../src/base/log.js';
import type { ReceivedSet } from '../spool/received.js';
import type { Spool, SpoolCursor, StoredBatch } from '../spool/spool.js';
import { Flight } from './flight.js';

/** What ship needs of a connection. */
export interface ShipConnection {
  readonly closed: boolean;
  copyIn(sql: string, pieces: readonly Buffer[], options?: { timeoutMs?: number }): Promise<number>;
}

export interface ShipOptions {
  readonly spool: Spool;
  readonly received: ReceivedSet;
  readonly log: Log;
  readonly now?: () => number;
  readonly random?: () => number;
  /** A batch not in the received set this long after it was sent is sent again; default 5 s, doubled each time. */
  readonly overdueMs?: number;
  readonly windowBytes?: number;
  readonly liveBytes?: number;
}

export interface ShipCounts {
  batches: number;
  bytes: number;
  rows: number;
  backfilled: number;
  resent: number;
  acknowledged: number;
  errors: number;
  setAside: number;
  /** Times that the received set no longer held what it had held. */
  shrank: number;
  /** From COPY to the received set, of the slowest batch of the last settled ones. */
  ackMs: number;
}

const copySql = 'COPY pem.inbox (batch) FROM STDIN (FORMAT binary)';
const copyHeader = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)]);
const copyTrailer = Buffer.from([0xff, 0xff]);
const copyTimeoutMs = 15_000;
const largestCopyBytes = 1024 * 1024;
const smallestShareBytes = 64 * 1024;
const shareMs = 20;
const shortestWaitMs = 100;
const longestWaitMs = 5_000;
const refusedWaitMs = 30_000;

/** Pieces of one COPY stream, a row for each batch. */
export function copyPieces(batches: readonly StoredBatch[]): Buffer[] {
  const pieces: Buffer[] = [copyHeader];
  for (const batch of batches) {
    const row = Buffer.allocUnsafe(6);
    row.writeUInt16BE(1, 0);
    row.writeUInt32BE(batch.payload.length, 2);
    pieces.push(row, batch.payload);
  }
  pieces.push(copyTrailer);
  return pieces;
}

export class Ship {
  readonly counts: ShipCounts = {
    batches: 0,
    bytes: 0,
    rows: 0,
    backfilled: 0,
    resent: 0,
    acknowledged: 0,
    errors: 0,
    setAside: 0,
    shrank: 0,
    ackMs: 0,
  };
  readonly #options: ShipOptions;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #windowBytes: number;
  readonly #liveBytes: number;
  readonly #flight: Flight;
  readonly #aside = new Set<string>();
  #cursor: SpoolCursor = { segment: 0, offset: 0 };
  #connection: ShipConnection | null = null;
  #live: StoredBatch[] = [];
  #liveQueued = 0;
  #held: StoredBatch[] = [];
  #running = false;
  #again = false;
  #waitUntilMs = 0;
  #waitMs = 0;
  #timer: NodeJS.Timeout | null = null;
  #shareBytes = smallestShareBytes;
  #oneByOne = 0;
  #lastTrouble = '';
  #blocked = false;

  constructor(options: ShipOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#random = options.random ?? Math.random;
    this.#windowBytes = options.windowBytes ?? 4 * 1024 * 1024;
    this.#liveBytes = options.liveBytes ?? 2 * 1024 * 1024;
    this.#flight = new Flight(options.overdueMs ?? 5_000);
  }

  /** Back-fill waits for acknowledgements: reading the received set sooner would let it go on. */
  get hungry(): boolean {
    return this.#blocked;
  }

  /** A batch just written to the spool. */
  offer(batch: StoredBatch): void {
    if (this.#connection === null) return; // Back-fill finds it.
    this.#live.push(batch);
    this.#liveQueued += batch.payload.length;
    let left = false;
    while (this.#liveQueued > this.#liveBytes && this.#live.length > 1) {
      this.#liveQueued -= (this.#live.shift() as StoredBatch).payload.length;
      left = true;
    }
    if (left) this.#rewind();
    this.#pump();
  }

  /** A connection on which the received set was read. */
  attach(connection: ShipConnection): void {
    this.#connection = connection;
    this.#waitUntilMs = 0;
    this.#waitMs = 0;
    this.#flight.doubt(this.#now(), 2_000);
    this.#rewind();
    this.#pump();
  }

  detach(): void {
    this.#connection = null;
    this.#live = [];
    this.#liveQueued = 0;
    this.#held = [];
    this.#blocked = false;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** The received set was read anew; `shrank`: it no longer holds something it held. */
  settle(shrank: boolean): void {
    const landed = this.#flight.settle(this.#options.received, this.#now());
    this.counts.acknowledged += landed.batches;
    if (landed.batches > 0) this.counts.ackMs = landed.slowestMs;
    if (shrank) {
      this.counts.shrank += 1;
      this.#options.log.warn(
        { code: 'received_set_shrank' },
        'PEM lost batches that it had (restored or failed over?); sending again what the spool holds',
      );
    }
    if (landed.overdue > 0 || shrank) this.#rewind();
    this.#pump();
  }

  /** The reason to wait is gone: PEM takes batches of this agent again. */
  resume(): void {
    this.#waitUntilMs = 0;
    this.#pump();
  }

  #rewind(): void {
    this.#held = [];
    // A new object: a read that is under way goes on with the old one.
    this.#cursor = { segment: 0, offset: 0 };
  }

  #pump(): void {
    this.#again = true;
    if (this.#running) return;
    this.#running = true;
    this.#run()
      .catch((error: unknown) => {
        // The spool could not be read for now (out of file descriptors …).
        this.#trouble(error);
        this.#waitFor(longestWaitMs);
        this.#rewind();
      })
      .finally(() => {
        this.#running = false;
        this.#arm();
      });
  }

  async #run(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      for (;;) {
        const connection = this.#connection;
        if (connection === null || connection.closed || this.#now() < this.#waitUntilMs) break;
        let batches = this.#takeLive();
        const live = batches.length > 0;
        if (!live) {
          if (this.#held.length === 0) this.#held = await this.#readBackfill();
          if (this.#connection !== connection) break;
          // What was made while the spool was read goes first.
          if (this.#live.length > 0) continue;
          batches = this.#held;
          this.#held = [];
        }
        if (batches.length === 0) break;
        await this.#send(connection, batches, live);
      }
    }
  }

  #takeLive(): StoredBatch[] {
    const taken: StoredBatch[] = [];
    let bytes = 0;
    while (this.#live[0] !== undefined) {
      const size = this.#live[0].payload.length;
      if (taken.length > 0 && (bytes + size > largestCopyBytes || this.#oneByOne > 0)) break;
      bytes += size;
      taken.push(this.#live.shift() as StoredBatch);
    }
    this.#liveQueued -= bytes;
    // Back-fill may have sent it already while it waited here.
    return taken.filter((batch) => !this.#isUnderWay(batch.boot, batch.seq));
  }

  #isUnderWay(boot: string, seq: number): boolean {
    return this.#flight.has(boot, seq) || this.#aside.has(`${boot}/${seq}`);
  }

  async #readBackfill(): Promise<StoredBatch[]> {
    const room = this.#windowBytes - this.#flight.bytes;
    this.#blocked = room <= 0 && this.#options.spool.stats().pendingBatches > this.#flight.batches;
    if (room <= 0) return [];
    const share = this.#oneByOne > 0 ? 1 : Math.min(this.#shareBytes, room);
    const queued = new Set(this.#live.map((batch) => batch.seq));
    const boot = this.#options.spool.boot;
    return this.#options.spool.read(
      this.#cursor,
      (ofBoot, seq) => this.#isUnderWay(ofBoot, seq) || (ofBoot === boot && queued.has(seq)),
      share,
    );
  }

  async #send(connection: ShipConnection, batches: readonly StoredBatch[], live: boolean): Promise<void> {
    const bytes = batches.reduce((total, batch) => total + batch.payload.length, 0);
    const startMs = this.#now();
    try {
      await connection.copyIn(copySql, copyPieces(batches), { timeoutMs: copyTimeoutMs });
    } catch (error) {
      this.#refused(connection, batches, live, error);
      return;
    }
    const nowMs = this.#now();
    this.#waitMs = 0;
    this.#lastTrouble = '';
    this.#oneByOne = Math.max(0, this.#oneByOne - batches.length);
    for (const batch of batches) {
      if (this.#flight.repeated(batch.boot, batch.seq)) this.counts.resent += 1;
      this.#flight.add(batch.boot, batch.seq, batch.payload.length, nowMs);
      this.counts.rows += batch.rows;
    }
    this.counts.batches += batches.length;
    this.counts.bytes += bytes;
    if (live) return;
    this.counts.backfilled += batches.length;
    const rate = bytes / Math.max(1, nowMs - startMs);
    const wanted = (this.#shareBytes + rate * shareMs) / 2;
    this.#shareBytes = Math.round(Math.min(largestCopyBytes, Math.max(smallestShareBytes, wanted)));
  }

  #refused(connection: ShipConnection, batches: readonly StoredBatch[], live: boolean, error: unknown): void {
    this.counts.errors += 1;
    this.#rewind();
    const code = errorCode(error);
    if (connection.closed || this.#connection !== connection) return; // Link comes back with another one.
    if (code === 'PE002') {
      if (batches.length > 1) {
        this.#oneByOne = batches.length; // Find out which one it is.
        return;
      }
      const batch = batches[0] as StoredBatch;
      this.#aside.add(`${batch.boot}/${batch.seq}`);
      this.counts.setAside += 1;
      this.#options.log.error(
        { code, boot: batch.boot, seq: batch.seq, bytes: batch.payload.length, error: errorText(error) },
        'PEM will never take this batch; it is set aside',
      );
      return;
    }
    if (live) {
      this.#live.unshift(...batches); // Still ahead of back-fill when the wait is over.
      this.#liveQueued += batches.reduce((total, batch) => total + batch.payload.length, 0);
    }
    // A COPY that fails leaves the rows before the failing one dead on PEM's disk: alone, a refused batch leaves nothing.
    this.#oneByOne = Math.max(this.#oneByOne, batches.length);
    this.#trouble(error);
    this.#waitFor(
      code === 'PE003' ? refusedWaitMs : Math.min(longestWaitMs, Math.max(shortestWaitMs, this.#waitMs * 2)),
    );
  }

  /** Says each kind of trouble once until something goes through. */
  #trouble(error: unknown): void {
    const code = errorCode(error);
    if (code === this.#lastTrouble) return;
    this.#lastTrouble = code;
    this.#options.log.warn({ code, error: errorText(error) }, 'PEM does not take batches for now');
  }

  #waitFor(waitMs: number): void {
    this.#waitMs = waitMs;
    this.#waitUntilMs = this.#now() + waitMs * (0.5 + this.#random());
  }

  #arm(): void {
    if (this.#connection === null) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const delayMs = this.#waitUntilMs - this.#now();
    if (delayMs > 0) {
      this.#timer = setTimeout(() => this.#pump(), delayMs);
      this.#timer.unref();
    } else if (this.#again) this.#pump();
  }
}
