/**
 * A wrong system clock for one process: `node --import dist/bench/rig/wrong_clock.js …` with PEM_RIG_CLOCK_MS, how far it
 * is ahead. Dates are shifted; the monotonic clock and the kernel's times are not, as on a host whose clock was set wrong.
 */
const aheadMs = Number(process.env.PEM_RIG_CLOCK_MS ?? 0);
const RightDate = Date;

class WrongDate extends RightDate {
  constructor(...given: [] | [number | string | Date]) {
    if (given.length === 0) super(RightDate.now() + aheadMs);
    else super(given[0]);
  }

  static override now(): number {
    return RightDate.now() + aheadMs;
  }
}

globalThis.Date = WrongDate as DateConstructor;
