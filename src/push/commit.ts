/**
 * The ingester's messages (src/push/FORMAT.md): bytes of the unix socket in, commits out. The ingester is our own
 * process and its blocks are verified, yet nothing here reads beyond what came: a message that does not add up ends the
 * link. Blocks are views on the message's memory.
 */
import { PemError } from '../base/errors.js';

export const messageKind = { hello: 1, commit: 2, lost: 3 } as const;

/** What push needs to know of a committed block. */
export interface CommitEntry {
  readonly agent: number;
  /** 32 hex digits. */
  readonly boot: string;
  readonly seq: bigint;
  readonly target: bigint;
  readonly probe: string;
  readonly kind: 'full' | 'delta' | 'append';
  readonly scope: string;
  readonly block: Buffer;
}

const entryBytes = 4 + 4 + 16 + 8;
const kinds = [undefined, 'full', 'delta', 'append'] as const;

/** Absolute position of a table's field, 0 where it is absent (then its default holds). */
function field(block: Buffer, table: number, slot: number): number {
  const vtable = table - block.readInt32LE(table);
  const at = 4 + slot * 2;
  if (at >= block.readUInt16LE(vtable)) return 0;
  const offset = block.readUInt16LE(vtable + at);
  return offset === 0 ? 0 : table + offset;
}

function text(block: Buffer, at: number): string {
  if (at === 0) return '';
  const start = at + block.readUInt32LE(at);
  const length = block.readUInt32LE(start);
  if (start + 4 + length > block.length) throw new RangeError('text beyond the block');
  return block.toString('utf8', start + 4, start + 4 + length);
}

/** Target, probe, kind and scope of a block: the four fields of `batch.fbs` that say where it goes. */
export function blockHead(block: Buffer): Pick<CommitEntry, 'target' | 'probe' | 'kind' | 'scope'> {
  const table = block.readUInt32LE(0);
  const target = field(block, table, 0);
  const kind = field(block, table, 3);
  // FlatBuffers leaves a default out: the first kind.
  const named = kinds[kind === 0 ? 1 : block.readUInt8(kind)];
  if (named === undefined) throw new RangeError('block of unknown kind');
  return {
    target: target === 0 ? 0n : block.readBigInt64LE(target),
    probe: text(block, field(block, table, 1)),
    kind: named,
    scope: text(block, field(block, table, 4)),
  };
}

/** @throws PemError push_message_invalid */
export function decodeCommit(payload: Buffer): CommitEntry[] {
  try {
    const entries: CommitEntry[] = [];
    const count = payload.readUInt16LE(0);
    let at = 2;
    for (let index = 0; index < count; index++) {
      const length = payload.readUInt32LE(at);
      const start = at + entryBytes;
      if (start + length > payload.length) throw new RangeError('block beyond the message');
      const block = payload.subarray(start, start + length);
      const { target, probe, kind, scope } = blockHead(block);
      entries.push({
        agent: payload.readUInt32LE(at + 4),
        boot: payload.toString('hex', at + 8, at + 24),
        seq: payload.readBigUInt64LE(at + 24),
        target,
        probe,
        kind,
        scope,
        block,
      });
      at = start + length;
    }
    if (at !== payload.length) throw new RangeError('bytes after the last block');
    return entries;
  } catch (error) {
    const message = `message of an ingester does not add up: ${(error as Error).message}`;
    throw new PemError('push_message_invalid', message, 'corrupt', { cause: error });
  }
}

/** The inverse, for the ingester's side of tests and benchmarks. */
export function encodeCommit(
  entries: readonly Pick<CommitEntry, 'agent' | 'boot' | 'seq' | 'block'>[],
): Buffer {
  const pieces: Buffer[] = [Buffer.alloc(2)];
  pieces[0]?.writeUInt16LE(entries.length);
  for (const entry of entries) {
    const head = Buffer.alloc(entryBytes);
    head.writeUInt32LE(entry.block.length, 0);
    head.writeUInt32LE(entry.agent, 4);
    head.write(entry.boot.replaceAll('-', ''), 8, 'hex');
    head.writeBigUInt64LE(entry.seq, 24);
    pieces.push(head, entry.block);
  }
  return Buffer.concat(pieces);
}

/** One message with its length and kind in front. */
export function encodeMessage(kind: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32LE(payload.length + 1, 0);
  head.writeUInt8(kind, 4);
  return Buffer.concat([head, payload]);
}

/** Cuts a stream of bytes into messages. Holds at most one message of `maxBytes` that is not whole yet. */
export class MessageReader {
  readonly #maxBytes: number;
  #pieces: Buffer[] = [];
  #held = 0;

  constructor(maxBytes = 64 * 1024 * 1024) {
    this.#maxBytes = maxBytes;
  }

  /** @throws PemError push_message_invalid */
  push(chunk: Buffer, onMessage: (kind: number, payload: Buffer) => void): void {
    this.#pieces.push(chunk);
    this.#held += chunk.length;
    for (;;) {
      if (this.#held < 5) return;
      const first = this.#pieces[0] as Buffer;
      const head = first.length >= 5 ? first : this.#join();
      const length = head.readUInt32LE(0);
      if (length < 1 || length > this.#maxBytes) {
        throw new PemError('push_message_invalid', `message of ${length} bytes`, 'corrupt');
      }
      if (this.#held < 4 + length) return;
      const all = this.#join();
      onMessage(all.readUInt8(4), all.subarray(5, 4 + length));
      const rest = all.subarray(4 + length);
      this.#pieces = rest.length === 0 ? [] : [rest];
      this.#held = rest.length;
    }
  }

  #join(): Buffer {
    const first = this.#pieces[0] as Buffer;
    if (this.#pieces.length === 1) return first;
    const all = Buffer.concat(this.#pieces);
    this.#pieces = [all];
    return all;
  }
}
