/**
 * A clock for tests that moves only when told. `advance` runs what falls due in order of time and lets promises settle
 * after each callback; `freeze` lets time pass without anything running, as when a process is stopped.
 */
import { Writable } from 'node:stream';
import { pino } from 'pino';
import type { Clock } from '../../agent/scheduler/clock.js';
import type { Log } from '../../src/base/log.js';

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly callback: () => void;
}

export class FakeClock implements Clock {
  wallOffsetUs = 1_700_000_000_000_000n;
  private nowMs = 0;
  private order = 0;
  private readonly timers = new Set<Timer>();

  monotonicMs(): number {
    return this.nowMs;
  }

  wallUs(): bigint {
    return this.wallOffsetUs + BigInt(Math.round(this.nowMs * 1000));
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.nowMs + delayMs, order: this.order++, callback };
    this.timers.add(timer);
    return () => this.timers.delete(timer);
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(delayMs, resolve);
    });
  }

  freeze(ms: number): void {
    this.nowMs += ms;
  }

  async advance(ms: number): Promise<void> {
    const end = this.nowMs + ms;
    for (;;) {
      let next: Timer | undefined;
      for (const timer of this.timers) {
        if (timer.atMs > end) continue;
        if (
          next === undefined ||
          timer.atMs < next.atMs ||
          (timer.atMs === next.atMs && timer.order < next.order)
        )
          next = timer;
      }
      if (next === undefined) break;
      this.timers.delete(next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.callback();
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.nowMs = Math.max(this.nowMs, end);
  }
}

/** A log that keeps its lines. */
export function silentLog(): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  return { log: pino({ level: 'debug' }, sink), lines };
}
