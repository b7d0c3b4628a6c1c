/** Frames to the browser as src/push/FORMAT.md draws them. Pure; a frame's memory belongs to the caller. */

export const frameKind = { snapshot: 1, blocks: 2, denied: 3 } as const;

export interface FrameHead {
  readonly kind: (typeof frameKind)[keyof typeof frameKind];
  readonly epoch: number;
  readonly n: number;
  readonly prev: number;
  readonly target: bigint;
  /** The probe's name as bytes: topics keep it, so that a frame costs no encoding. */
  readonly probe: Uint8Array;
}

const headerBytes = 32;
const padded = (bytes: number): number => (bytes + 7) & ~7;

export function encodeFrame(head: FrameHead, blocks: readonly Uint8Array[]): Buffer {
  let bytes = headerBytes + padded(head.probe.length);
  for (const block of blocks) bytes += 8 + padded(block.length);
  const frame = Buffer.allocUnsafe(bytes);
  frame[0] = 0x50;
  frame[1] = 1;
  frame[2] = head.kind;
  frame[3] = 0;
  frame.writeUInt32LE(head.epoch, 4);
  frame.writeUInt32LE(head.n, 8);
  frame.writeUInt32LE(head.prev, 12);
  frame.writeBigInt64LE(head.target, 16);
  frame.writeUInt16LE(head.probe.length, 24);
  frame.writeUInt16LE(blocks.length, 26);
  frame.writeUInt32LE(0, 28);
  frame.set(head.probe, headerBytes);
  let at = headerBytes + head.probe.length;
  const nameEnd = headerBytes + padded(head.probe.length);
  if (at < nameEnd) frame.fill(0, at, nameEnd);
  at = nameEnd;
  for (const block of blocks) {
    frame.writeUInt32LE(block.length, at);
    frame.writeUInt32LE(0, at + 4);
    frame.set(block, at + 8);
    at += 8 + block.length;
    const end = at + padded(block.length) - block.length;
    if (at < end) frame.fill(0, at, end);
    at = end;
  }
  return frame;
}

/** A copy of a frame that names another predecessor. */
export function withPrevious(frame: Buffer, prev: number): Buffer {
  const copy = Buffer.from(frame);
  copy.writeUInt32LE(prev, 12);
  return copy;
}
