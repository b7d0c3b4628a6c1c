/**
 * What a collector of the operating system or of the agent itself is. In: files of /proc and /sys. Out: rows by column
 * name; the caller picks the columns that the definition in force has, so agent and catalogue may differ in version.
 * A collector keeps its last sample to compute rates from; whoever created it owns it and simply drops it.
 */
import type { CellValue } from '../../native/index.js';

export type CollectedRow = Readonly<Record<string, CellValue>>;

/** The rows of now; null when there is nothing to say yet (a rate needs two samples). */
export type Collector = (nowMs: number) => Promise<readonly CollectedRow[] | null>;

/** Growth of a counter, or null where it went back: it was reset, and what happened meanwhile is not known. */
export function growth(now: number, before: number): number | null {
  return now >= before ? now - before : null;
}

/** Growth a second. */
export function rate(now: number, before: number, elapsedMs: number): number | null {
  const grown = growth(now, before);
  return grown === null || elapsedMs <= 0 ? null : (grown * 1000) / elapsedMs;
}
