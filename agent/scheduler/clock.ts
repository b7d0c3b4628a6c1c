/**
 * Time as the measuring side sees it. Spacing comes from the monotonic clock alone; the system clock only stamps what was
 * measured, so a clock that is set, back or forth, changes no interval. Tests put a clock of their own here.
 */
export interface Clock {
  /** Milliseconds since some fixed moment; never goes back, never jumps. */
  monotonicMs(): number;
  /** µs since 1970-01-01 UTC by the system clock. */
  wallUs(): bigint;
  /** Calls back once after `delayMs`; returns a function that calls it off. */
  after(delayMs: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallUs: () => BigInt(Date.now()) * 1000n,
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};

/** Waits on a clock. */
export function pause(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(delayMs, resolve);
  });
}
