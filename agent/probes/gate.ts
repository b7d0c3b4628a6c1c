/**
 * When a monitored server may be connected to. In: outcomes of tries. Out: leave to try, or `server_unreachable`. Pure
 * state over a clock; one gate for all connections to one server.
 *
 * 1. At most `connectsPerMinute` connects a minute, in bursts of as many; a caller waits for its turn.
 * 2. After a try that was not answered at all the next waits at least the server's authentication_timeout: the backend
 *    that did not answer holds its connection slot until then. Twice as long each time, up to five minutes.
 * 3. After a refusal (not running, starting up, too many connections) it waits 1 s, twice as long each time, up to 10 s.
 * 4. One success opens it again.
 */
import { PemError } from '../../src/base/errors.js';
import { type Clock, pause } from '../scheduler/clock.js';

export interface GateLimits {
  readonly connectsPerMinute: number;
  /** PostgreSQL's default; an agent that may not connect cannot ask for it. */
  readonly authenticationTimeoutMs: number;
}

export const defaultGateLimits: GateLimits = { connectsPerMinute: 60, authenticationTimeoutMs: 60_000 };

const longestUnansweredMs = 300_000;
const firstRefusedMs = 1000;
const longestRefusedMs = 10_000;

export class ConnectGate {
  private tokens: number;
  private filledMs: number;
  private closedUntilMs = Number.NEGATIVE_INFINITY;
  private unanswered = 0;
  private refused = 0;
  private why = '';
  /** How often it is tried now. No moment: the words are kept, and read after it. */
  private again = '';

  constructor(
    private readonly clock: Clock,
    private readonly limits: GateLimits = defaultGateLimits,
  ) {
    this.tokens = limits.connectsPerMinute;
    this.filledMs = clock.monotonicMs();
  }

  /** The last failure's text, '' when the server answers. */
  get trouble(): string {
    return this.why;
  }

  /** @throws PemError server_unreachable while a try would be too early. */
  check(): void {
    if (this.closedUntilMs <= this.clock.monotonicMs()) return;
    throw new PemError('server_unreachable', `${this.why}; ${this.again}`);
  }

  /** Waits for a turn among the connects of this minute. */
  async turn(): Promise<void> {
    for (;;) {
      const now = this.clock.monotonicMs();
      const perMs = this.limits.connectsPerMinute / 60_000;
      this.tokens = Math.min(this.limits.connectsPerMinute, this.tokens + (now - this.filledMs) * perMs);
      this.filledMs = now;
      if (this.tokens >= 1) {
        this.tokens -= 1;
        return;
      }
      await pause(this.clock, Math.ceil((1 - this.tokens) / perMs));
    }
  }

  succeeded(): void {
    this.unanswered = 0;
    this.refused = 0;
    this.why = '';
    this.closedUntilMs = Number.NEGATIVE_INFINITY;
  }

  failed(kind: 'unanswered' | 'refused', why: string): void {
    this.why = why;
    const waitMs =
      kind === 'unanswered'
        ? Math.max(
            this.limits.authenticationTimeoutMs,
            Math.min(this.limits.authenticationTimeoutMs * 2 ** this.unanswered++, longestUnansweredMs),
          )
        : Math.min(firstRefusedMs * 2 ** this.refused++, longestRefusedMs);
    this.closedUntilMs = this.clock.monotonicMs() + waitMs;
    const minutes = Math.ceil(waitMs / 60_000);
    const often = kind === 'refused' ? 'few seconds' : minutes === 1 ? 'minute' : `${minutes} min`;
    this.again = `it is tried again every ${often}`;
  }
}
