/**
 * The door between the side that measures (scheduler, collectors, probes) and the side that keeps and sends (spool, ship).
 * In: encoded blocks. `put` never blocks and never throws for want of room: the spool's bound decides what is dropped,
 * and counts it.
 */
export interface Outbox {
  /** Hands over blocks of one run; they travel in one batch where they fit. The buffers must not be changed afterwards. */
  put(blocks: readonly Buffer[]): void;
  /**
   * Called when something was dropped before it could reach PEM, or a new boot began: delta probes must send a full
   * block next. Returns a function that takes the listener away.
   */
  onLoss(listener: () => void): () => void;
}
