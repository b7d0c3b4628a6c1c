/**
 * From blocks to batches: the Outbox that collectors see. In: encoded blocks. Out: batches appended to the spool and
 * offered to ship. Waits a few milliseconds for the blocks of probes that run at the same moment; nothing else is held
 * in memory. Full: the spool's bound decides and counts. On stop: `flush` writes what is collected.
 */
import { blockInfo, encodeBatch } from '../../native/index.js';
import type { Log } from '../../src/base/log.js';
import type { DurableOutbox } from '../outbox.js';
import type { Spool, StoredBatch } from '../spool/spool.js';

export interface BatcherOptions {
  readonly agentId: number;
  readonly spool: Spool;
  readonly offer: (batch: StoredBatch) => void;
  readonly log: Log;
  /** How long a block waits for others; default 15 ms. */
  readonly windowMs?: number;
  /** A batch is closed before it grows beyond this; default 1 MiB. */
  readonly targetBytes?: number;
}

const envelopeBytes = 64;
/** One entry of the envelope's table and the padding behind a block. */
const perBlockBytes = 8 + 7;
const mostBlocks = 4096;
const mostBytes = 4 * 1024 * 1024;

export class Batcher implements DurableOutbox {
  readonly #options: BatcherOptions;
  readonly #windowMs: number;
  readonly #targetBytes: number;
  readonly #listeners = new Set<() => void>();
  readonly #forget: () => void;
  #blocks: Buffer[] = [];
  #bytes = envelopeBytes;
  #timer: NodeJS.Timeout | null = null;
  /** Blocks larger than a batch can be. */
  tooLarge = 0;

  constructor(options: BatcherOptions) {
    this.#options = options;
    this.#windowMs = options.windowMs ?? 15;
    this.#targetBytes = options.targetBytes ?? 1024 * 1024;
    this.#forget = options.spool.onLoss(() => this.#tellLoss());
  }

  put(blocks: readonly Buffer[]): void {
    const added = blocks.reduce((total, block) => total + block.length + perBlockBytes, 0);
    // Blocks of one run travel together where they fit.
    if (this.#blocks.length > 0 && this.#bytes + added > this.#targetBytes) this.flush();
    for (const block of blocks) {
      const size = block.length + perBlockBytes;
      if (envelopeBytes + size > mostBytes) {
        this.#refuse(block);
        continue;
      }
      const full = this.#bytes + size > this.#targetBytes || this.#blocks.length === mostBlocks;
      if (full && this.#blocks.length > 0) this.flush();
      this.#blocks.push(block);
      this.#bytes += size;
    }
    if (this.#blocks.length > 0) this.#timer ??= setTimeout(() => this.flush(), this.#windowMs);
  }

  onLoss(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Writes what is collected, now. */
  flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const blocks = this.#blocks;
    if (blocks.length === 0) return;
    this.#blocks = [];
    this.#bytes = envelopeBytes;
    this.#write(blocks, () => undefined);
  }

  commit(blocks: readonly Buffer[], writing: (boot: string, seq: number) => void): boolean {
    this.flush();
    return this.#write(blocks, writing);
  }

  has(boot: string, seq: number): boolean {
    return this.#options.spool.has(boot, seq);
  }

  backlogShare(): number {
    const { pendingBytes, maxBytes } = this.#options.spool.stats();
    return pendingBytes / maxBytes;
  }

  close(): void {
    this.flush();
    this.#forget();
  }

  #write(blocks: readonly Buffer[], writing: (boot: string, seq: number) => void): boolean {
    const { agentId, spool } = this.#options;
    const rows = blocks.reduce((total, block) => total + blockInfo(block).rows, 0);
    const batch = spool.append(rows, (seq) => {
      const bytes = encodeBatch(
        { agentId, boot: spool.boot, seq: BigInt(seq), createdAtUs: BigInt(Date.now()) * 1000n },
        blocks,
      );
      writing(spool.boot, seq);
      return bytes;
    });
    if (batch !== null) this.#options.offer(batch);
    return batch !== null;
  }

  #refuse(block: Buffer): void {
    this.tooLarge += 1;
    const { probe, target } = blockInfo(block);
    this.#options.log.error(
      { code: 'block_too_large', probe, target: String(target), bytes: block.length },
      `a block is larger than a batch can be (${mostBytes} bytes); it was dropped`,
    );
    this.#tellLoss();
  }

  #tellLoss(): void {
    for (const listener of this.#listeners) listener();
  }
}
