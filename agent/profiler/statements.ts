/**
 * Aggregates of one trace's interval. In: pieces of CSV. Out: blocks of sql_trace_statements, and of sql_trace_texts the texts
 * that PEM may not have yet. Owns the native aggregate (bounded, see native/core/AGGREGATE.md) and the memory of texts sent,
 * bounded too: a text that was driven out of it travels again.
 */
import { type BlockMeta, type CsvPiece, TraceAggregate } from '../../native/index.js';
import { columnOf, readBlock } from '../../src/wire/index.js';
import type { FollowLimits } from './limits.js';

export interface TakenBlocks {
  readonly statements: readonly Buffer[];
  readonly texts: readonly Buffer[];
}

export interface Added {
  /** In the range, those of parallel workers among them. */
  readonly rows: number;
  readonly badRows: number;
  /** Rows that ended at the range's end or later. */
  readonly behind: number;
  /** Of all rows. */
  readonly firstUs: number | undefined;
  readonly lastUs: number | undefined;
}

export class Statements {
  /** Rows counted in this interval. */
  rows = 0;
  /** The end of the interval by the server's clock, µs; null before its first row. */
  endUs: number | null = null;
  readonly #aggregate: TraceAggregate;
  /** Fingerprints by the time their text was sent, oldest first. */
  readonly #sent = new Map<bigint, number>();

  constructor(private readonly limits: FollowLimits) {
    this.#aggregate = new TraceAggregate({
      entries: limits.statements,
      names: 256,
      samples: 0,
      spans: 0,
      states: 0,
      textBytesEach: limits.statementTextBytes,
    });
  }

  /**
   * Whole rows alone, as the server hands them out; what is damaged is left out and counted.
   * @param range by end of statement, µs: from, up to but not including; default all
   */
  async add(pieces: readonly CsvPiece[], range: { fromUs?: number; toUs?: number } = {}): Promise<Added> {
    const { rows, workers, badRows, behind, firstUs, lastUs } = await this.#aggregate.add(pieces, range);
    this.rows += rows + workers;
    return { rows: rows + workers, badRows, behind, firstUs, lastUs };
  }

  /** What the interval came to. `textsMeta` undefined: texts do not travel. */
  async take(
    serverId: number,
    meta: BlockMeta,
    textsMeta: BlockMeta | undefined,
    nowMs: number,
  ): Promise<TakenBlocks> {
    const statements = await this.#aggregate.statementBlocks(meta, serverId, this.limits.blockBytes);
    if (textsMeta === undefined) return { statements, texts: [] };
    const wanted = new Set<bigint>();
    for (const block of statements) {
      const fingerprints = columnOf(readBlock(block), 'fingerprint')?.values;
      for (const fingerprint of (fingerprints ?? []) as BigInt64Array) {
        if (fingerprint !== 0n && this.#isNews(fingerprint, nowMs)) wanted.add(fingerprint);
      }
    }
    if (wanted.size === 0) return { statements, texts: [] };
    const texts = await this.#aggregate.textBlocks(
      textsMeta,
      BigInt64Array.from(wanted),
      this.limits.blockBytes,
    );
    for (const fingerprint of wanted) this.#remember(fingerprint, nowMs);
    return { statements, texts };
  }

  /** Begins a new interval. */
  reset(): void {
    this.#aggregate.reset();
    this.rows = 0;
    this.endUs = null;
  }

  /** Texts may have been lost on their way: all travel again. */
  forgetSent(): void {
    this.#sent.clear();
  }

  #isNews(fingerprint: bigint, nowMs: number): boolean {
    const atMs = this.#sent.get(fingerprint);
    return atMs === undefined || nowMs - atMs >= this.limits.textsAgainMs;
  }

  #remember(fingerprint: bigint, nowMs: number): void {
    this.#sent.delete(fingerprint);
    this.#sent.set(fingerprint, nowMs);
    if (this.#sent.size <= this.limits.textsRemembered) return;
    const [oldest] = this.#sent.keys();
    if (oldest !== undefined) this.#sent.delete(oldest);
  }
}
