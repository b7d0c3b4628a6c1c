/** Frames to the browser as src/push/FORMAT.md draws them. Pure; a frame's memory belongs to the caller. */

export const frameKind = { snapshot: 1, blocks: 2, denied: 3 } as const;

export type FrameKind = (typeof frameKind)[keyof typeof frameKind];

/** Where a frame belongs; topics keep the probe's name as bytes, so that a frame costs no encoding. */
export interface FrameTopic {
  readonly target: bigint;
  readonly probeBytes: Uint8Array;
}

const headerBytes = 32;
const padded = (bytes: number): number => (bytes + 7) & ~7;

/** @param n number of this frame, of a snapshot the last it covers @param prev number of the one before */
export function encodeFrame(
  kind: FrameKind,
  topic: FrameTopic,
  epoch: number,
  n: number,
  prev: number,
  blocks: readonly Uint8Array[],
): Buffer {
  const name = topic.probeBytes;
  let bytes = headerBytes + padded(name.length);
  for (const block of blocks) bytes += 8 + padded(block.length);
  const frame = Buffer.allocUnsafe(bytes);
  frame[0] = 0x50;
  frame[1] = 1;
  frame[2] = kind;
  frame[3] = 0;
  frame.writeUInt32LE(epoch, 4);
  frame.writeUInt32LE(n, 8);
  frame.writeUInt32LE(prev, 12);
  frame.writeBigInt64LE(topic.target, 16);
  frame.writeUInt16LE(name.length, 24);
  frame.writeUInt16LE(blocks.length, 26);
  frame.writeUInt32LE(0, 28);
  frame.set(name, headerBytes);
  let at = headerBytes + name.length;
  const nameEnd = headerBytes + padded(name.length);
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
