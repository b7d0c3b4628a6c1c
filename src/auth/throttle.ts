/**
 * Sign-in throttling: a bucket of attempts per user name and per address that refills with time; a success gives its
 * attempt back. Memory is bounded: at most `maxKeys` buckets, the longest untouched goes first (and a full bucket is
 * forgotten at once, since it says nothing).
 */
export interface BucketOptions {
  /** Attempts that may come in one go. */
  readonly capacity: number;
  /** One attempt comes back after this. */
  readonly refillMs: number;
  readonly maxKeys: number;
}

/** Whom an address stands for: an IPv6 host has a whole /64 to choose from; IPv4 inside IPv6 is IPv4. */
export function networkOf(address: string): string {
  const groups = address.split(':');
  if (groups.length !== 8 || address.toLowerCase().startsWith('0000:0000:0000:0000:0000:ffff:'))
    return address;
  return groups.slice(0, 4).join(':');
}

export class Throttle {
  readonly #options: BucketOptions;
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>();

  constructor(options: BucketOptions) {
    this.#options = options;
  }

  /** Takes one attempt. @returns 0, or the milliseconds to wait until there is one */
  take(key: string, nowMs: number): number {
    const tokens = this.#tokens(key, nowMs);
    if (tokens < 1) {
      this.#keep(key, tokens, nowMs);
      return Math.ceil((1 - tokens) * this.#options.refillMs);
    }
    this.#keep(key, tokens - 1, nowMs);
    return 0;
  }

  /** Gives one attempt back after a success. */
  giveBack(key: string, nowMs: number): void {
    const tokens = Math.min(this.#options.capacity, this.#tokens(key, nowMs) + 1);
    if (tokens === this.#options.capacity) this.#buckets.delete(key);
    else this.#keep(key, tokens, nowMs);
  }

  get size(): number {
    return this.#buckets.size;
  }

  #tokens(key: string, nowMs: number): number {
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) return this.#options.capacity;
    const refilled = Math.max(0, nowMs - bucket.atMs) / this.#options.refillMs;
    return Math.min(this.#options.capacity, bucket.tokens + refilled);
  }

  #keep(key: string, tokens: number, nowMs: number): void {
    this.#buckets.delete(key);
    this.#buckets.set(key, { tokens, atMs: nowMs });
    if (this.#buckets.size > this.#options.maxKeys) {
      const oldest = this.#buckets.keys().next();
      if (oldest.done !== true) this.#buckets.delete(oldest.value);
    }
  }
}
