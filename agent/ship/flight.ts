/**
 * Batches that were sent and are not in the received set yet. Memory only: after a restart everything that is not in the
 * set is sent again, and PEM drops what it has.
 */
import type { ReceivedSet } from '../spool/received.js';

interface Sent {
  readonly boot: string;
  readonly seq: number;
  readonly bytes: number;
  readonly sentAtMs: number;
  dueAtMs: number;
}

const longestWaitMs = 300_000;
const mostRemembered = 10_000;

export interface Landed {
  readonly batches: number;
  /** From sent to seen in the set, of the slowest. */
  readonly slowestMs: number;
  /** Some waited too long and may be sent again. */
  readonly overdue: number;
}

export class Flight {
  readonly #sent = new Map<string, Sent>();
  /** How often a batch has been sent in vain: the wait doubles, or an ingester that is away for an hour gets copies. */
  readonly #attempts = new Map<string, number>();
  bytes = 0;

  constructor(private readonly firstWaitMs: number) {}

  get batches(): number {
    return this.#sent.size;
  }

  has(boot: string, seq: number): boolean {
    return this.#sent.has(`${boot}/${seq}`);
  }

  add(boot: string, seq: number, bytes: number, nowMs: number): void {
    const key = `${boot}/${seq}`;
    const attempts = this.#attempts.get(key) ?? 0;
    const waitMs = Math.min(longestWaitMs, this.firstWaitMs * 2 ** attempts);
    this.#sent.set(key, { boot, seq, bytes, sentAtMs: nowMs, dueAtMs: nowMs + waitMs });
    this.bytes += bytes;
  }

  /** Was this batch sent before, in vain? */
  repeated(boot: string, seq: number): boolean {
    return this.#attempts.has(`${boot}/${seq}`);
  }

  /** Compares with a fresh received set. */
  settle(received: ReceivedSet, nowMs: number): Landed {
    let batches = 0;
    let slowestMs = 0;
    let overdue = 0;
    for (const [key, sent] of this.#sent) {
      const there = received.has(sent.boot, sent.seq);
      if (!there && nowMs < sent.dueAtMs) continue;
      this.#sent.delete(key);
      this.bytes -= sent.bytes;
      if (there) {
        this.#attempts.delete(key);
        batches += 1;
        slowestMs = Math.max(slowestMs, nowMs - sent.sentAtMs);
      } else {
        overdue += 1;
        this.#attempts.set(key, (this.#attempts.get(key) ?? 0) + 1);
        if (this.#attempts.size > mostRemembered) this.#attempts.clear();
      }
    }
    return { batches, slowestMs, overdue };
  }

  /**
   * The server may have lost its inbox (a crash empties it): what is under way is looked for once more and then sent
   * again soon, as if for the first time.
   */
  doubt(nowMs: number, waitMs: number): void {
    this.#attempts.clear();
    for (const sent of this.#sent.values()) sent.dueAtMs = Math.min(sent.dueAtMs, nowMs + waitMs);
  }
}
