/**
 * Sets of whole numbers as sorted half-open ranges, in and out as PostgreSQL's int8multirange text. Pure.
 *
 * 1. Ranges are ascending, never empty, never touching: a healthy boot is one range however long it ran.
 */
import { PemError } from '../base/errors.js';

export class RangeSet {
  private readonly bounds: bigint[] = [];

  /** Index of the first bound above `value`; odd: the value is inside a range. */
  private above(value: bigint): number {
    let low = 0;
    let high = this.bounds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.bounds[middle] as bigint) > value) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  has(value: bigint): boolean {
    return this.above(value) % 2 === 1;
  }

  /** Adds one number; false when it was in already. */
  add(value: bigint): boolean {
    const at = this.above(value);
    if (at % 2 === 1) return false;
    const joinsLeft = at > 0 && this.bounds[at - 1] === value;
    const joinsRight = this.bounds[at] === value + 1n;
    if (joinsLeft && joinsRight) this.bounds.splice(at - 1, 2);
    else if (joinsLeft) this.bounds[at - 1] = value + 1n;
    else if (joinsRight) this.bounds[at] = value;
    else this.bounds.splice(at, 0, value, value + 1n);
    return true;
  }

  /** Takes one number out; false when it was not in. */
  remove(value: bigint): boolean {
    const at = this.above(value);
    if (at % 2 === 0) return false;
    const low = this.bounds[at - 1] as bigint;
    const high = this.bounds[at] as bigint;
    const left = low < value ? [low, value] : [];
    const right = value + 1n < high ? [value + 1n, high] : [];
    this.bounds.splice(at - 1, 2, ...left, ...right);
    return true;
  }

  clear(): void {
    this.bounds.length = 0;
  }

  /** Number of ranges. */
  get size(): number {
    return this.bounds.length / 2;
  }

  /** Forgets every number below `value`. */
  dropBelow(value: bigint): void {
    const at = this.above(value);
    if (at % 2 === 1) {
      this.bounds.splice(0, at - 1);
      this.bounds[0] = value;
    } else this.bounds.splice(0, at);
  }

  copy(): RangeSet {
    const twin = new RangeSet();
    twin.bounds.push(...this.bounds);
    return twin;
  }

  /** '{[1,5),[7,8)}' */
  toString(): string {
    const parts: string[] = [];
    for (let i = 0; i < this.bounds.length; i += 2) parts.push(`[${this.bounds[i]},${this.bounds[i + 1]})`);
    return `{${parts.join(',')}}`;
  }

  /** @throws PemError multirange_syntax */
  static parse(text: string): RangeSet {
    const set = new RangeSet();
    if (!/^\{(\[-?\d+,-?\d+\)(,\[-?\d+,-?\d+\))*)?\}$/.test(text)) {
      throw new PemError('multirange_syntax', `not an int8multirange: ${text.slice(0, 80)}`, 'corrupt');
    }
    for (const bound of text.match(/-?\d+/g) ?? []) set.bounds.push(BigInt(bound));
    return set;
  }
}
