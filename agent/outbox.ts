/**
 * The door between the side that measures (scheduler, collectors, probes, profiler) and the side that keeps and sends
 * (spool, ship). In: encoded blocks. `put` never blocks and never throws for want of room: the spool's bound decides what
 * is dropped, and counts it.
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

/** Blocks of one commit have at most so many bytes together: a batch of 4 MiB less its envelope. */
export const mostCommitBytes = 4 * 1024 * 1024 - 64 * 1024;

/** For a reader that keeps its own position: position and batch are both there after a restart, or neither is. */
export interface DurableOutbox extends Outbox {
  /**
   * Writes blocks to the spool at once, in one batch of their own, behind all that was put before. `writing` is called once,
   * just before the write, with the name that the batch will have: whoever notes it knows after a restart, by `has`, whether
   * the batch came that far.
   * @returns false where there was no room or no working disk: dropped, and counted by the spool
   */
  commit(blocks: readonly Buffer[], writing: (boot: string, seq: number) => void): boolean;
  /** Is this batch in the spool, of whichever boot? Batches leave it by its bounds alone. */
  has(boot: string, seq: number): boolean;
  /** How much of the spool's room is taken by what PEM does not have, 0 to 1. */
  backlogShare(): number;
}
