/**
 * A block that is too large for a batch, cut into several. In: a full block. Out: a full block with its first rows, then
 * deltas without tombstones with the others; read in order they say the same. Rare, so it goes the plain way round by
 * PGCOPY. The caller owns all buffers.
 */
import { type BlockMeta, blocksToPgcopy, type ColumnSpec, pgcopyToBlock } from '../../native/index.js';
import { PemError } from '../../src/base/errors.js';

/** Room that a batch of 4 MiB leaves for one block. */
export const maxBlockBytes = 4 * 1024 * 1024 - 64 * 1024;
const headerBytes = 19;
const trailer = Buffer.from([0xff, 0xff]);

/** Cuts a PGCOPY stream between rows so that no piece is longer than `maxBytes`, except where a single row is. */
export function cutPgcopy(stream: Buffer, maxBytes: number): Buffer[] {
  const pieces: Buffer[] = [];
  let start = headerBytes;
  let offset = headerBytes;
  for (;;) {
    const fields = stream.readInt16BE(offset);
    let next = offset + 2;
    if (fields >= 0)
      for (let field = 0; field < fields; field++) next += 4 + Math.max(0, stream.readInt32BE(next));
    if (offset > start && (fields < 0 || next - start > maxBytes)) {
      pieces.push(stream.subarray(start, offset));
      start = offset;
    }
    if (fields < 0) return pieces;
    offset = next;
  }
}

/** @throws PemError probe_too_large where single rows are too large */
export async function splitBlock(
  block: Buffer,
  meta: BlockMeta,
  columns: readonly ColumnSpec[],
  maxBytes = maxBlockBytes,
): Promise<Buffer[]> {
  const stream = await blocksToPgcopy([block], { columns, prefix: [] });
  const header = stream.subarray(0, headerBytes);
  const blocks: Buffer[] = [];
  // PGCOPY of NULLs is shorter than a block's columns: cut at half the room, and check.
  for (const piece of cutPgcopy(stream, maxBytes / 2)) {
    const kind = blocks.length === 0 ? 'full' : 'delta';
    const made = await pgcopyToBlock({ ...meta, kind }, columns, [header, piece, trailer]);
    if (made.block.length > maxBytes)
      throw new PemError(
        'probe_too_large',
        `probe ${meta.probe}: a piece of its rows is larger than a batch`,
      );
    blocks.push(made.block);
  }
  return blocks;
}
