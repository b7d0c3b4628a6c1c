/**
 * How far a probe is stretched. In: what its runs took and whether they failed. Out: the factor on its interval. Pure
 * state, no clock.
 *
 * 1. A probe may use a tenth of its interval, and at most `absoluteMs` a run, in the running mean. Over it, its interval
 *    doubles, up to `maxFactor`.
 * 2. It comes back by halves once its mean is under half of what the shorter interval allows.
 * 3. A failing probe backs off, twice as long after each failure, up to `maxBackOffMs` or its own interval; one success
 *    ends that.
 * 4. A server that cannot be reached is not the probe's fault: the connection's own gate spaces the tries.
 */
export interface BudgetLimits {
  /** Share of the interval a run may take in the mean. */
  readonly share: number;
  readonly absoluteMs: number;
  readonly maxFactor: number;
  readonly maxBackOffMs: number;
}

export const defaultLimits: BudgetLimits = {
  share: 0.1,
  absoluteMs: 5000,
  maxFactor: 32,
  maxBackOffMs: 60_000,
};

/** Weight of the newest run in the running mean. */
const weight = 0.2;
/** Runs to see before a new factor is judged: one slow run is no trend. */
const settleRuns = 3;

export type ProbeState = 'normal' | 'slowed' | 'backed off';
export type Change = 'slowed' | 'sped up' | 'backed off' | 'recovered' | null;

export class Budget {
  meanMs = 0;
  private factor = 1;
  private failures = 0;
  private seen = 0;

  constructor(
    public intervalMs: number,
    private readonly limits: BudgetLimits = defaultLimits,
  ) {}

  get state(): ProbeState {
    if (this.failures > 0) return 'backed off';
    return this.factor > 1 ? 'slowed' : 'normal';
  }

  /** The interval in use now. */
  get effectiveMs(): number {
    const slowed = this.intervalMs * this.factor;
    if (this.failures === 0) return slowed;
    const backedOff = this.intervalMs * 2 ** Math.min(this.failures - 1, 16);
    return Math.max(slowed, Math.min(backedOff, Math.max(this.limits.maxBackOffMs, this.intervalMs)));
  }

  private allowedMs(factor: number): number {
    return Math.min(this.intervalMs * factor * this.limits.share, this.limits.absoluteMs);
  }

  succeeded(tookMs: number): Change {
    const recovered = this.failures > 0;
    this.failures = 0;
    this.meanMs = this.seen === 0 ? tookMs : this.meanMs + weight * (tookMs - this.meanMs);
    this.seen++;
    if (this.seen >= settleRuns) {
      if (this.meanMs > this.allowedMs(this.factor) && this.factor < this.limits.maxFactor) {
        this.factor *= 2;
        this.seen = 1;
        return 'slowed';
      }
      if (this.factor > 1 && this.meanMs < this.allowedMs(this.factor / 2) / 2) {
        this.factor /= 2;
        this.seen = 1;
        return 'sped up';
      }
    }
    return recovered ? 'recovered' : null;
  }

  failed(): Change {
    this.failures++;
    return this.failures === 1 ? 'backed off' : null;
  }
}
