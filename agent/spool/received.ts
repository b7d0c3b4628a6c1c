/**
 * What PEM has of this agent: per boot a set of seqs as ascending, disjoint ranges [lo, hi). It is read whole from
 * pem.sync(), never added to from here: an answer to COPY says only that a batch lies in the inbox.
 */

export type Range = readonly [lo: number, hiExclusive: number];

export class ReceivedSet {
  readonly #boots = new Map<string, readonly Range[]>();

  /**
   * Takes over what pem.sync() says of a boot.
   * @returns true when something that was in the set is no longer in it
   */
  replace(boot: string, ranges: readonly Range[]): boolean {
    const sorted = [...ranges].sort((a, b) => a[0] - b[0]);
    const before = this.#boots.get(boot) ?? [];
    this.#boots.set(boot, sorted);
    return before.some(([lo, hi]) => this.count(boot, lo, hi - 1) !== hi - lo);
  }

  /** Forgets boots that are not in `boots`: the spool holds nothing of theirs any more. */
  keep(boots: ReadonlySet<string>): void {
    for (const boot of this.#boots.keys()) if (!boots.has(boot)) this.#boots.delete(boot);
  }

  has(boot: string, seq: number): boolean {
    return this.count(boot, seq, seq) === 1;
  }

  /** How many of first .. last (both included) are in the set. */
  count(boot: string, first: number, last: number): number {
    const ranges = this.#boots.get(boot);
    if (ranges === undefined) return 0;
    // The first range that ends behind `first`.
    let low = 0;
    let high = ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((ranges[middle] as Range)[1] <= first) low = middle + 1;
      else high = middle;
    }
    let total = 0;
    for (let at = low; at < ranges.length; at += 1) {
      const [lo, hi] = ranges[at] as Range;
      if (lo > last) break;
      total += Math.min(hi, last + 1) - Math.max(lo, first);
    }
    return total;
  }

  /** The first of first .. last that is not in the set; last + 1 when all are. */
  firstMissing(boot: string, first: number, last: number): number {
    let wanted = first;
    for (const [lo, hi] of this.#boots.get(boot) ?? []) {
      if (hi <= wanted) continue;
      if (lo > wanted) break;
      wanted = hi;
    }
    return Math.min(wanted, last + 1);
  }

  covers(boot: string, first: number, last: number): boolean {
    return this.count(boot, first, last) === last - first + 1;
  }
}
