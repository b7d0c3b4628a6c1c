/**
 * Push frames as src/push/FORMAT.md draws them. In: the bytes of one WebSocket message; out: Frames whose blocks are
 * views on those bytes. Lengths are checked before they are used: a frame that does not add up is an error, not a guess.
 */
export interface Frame {
  readonly kind: 'snapshot' | 'blocks' | 'denied';
  readonly epoch: number;
  /** Number of this frame in its topic; of a snapshot, of the last frame it covers. */
  readonly n: number;
  readonly prev: number;
  readonly target: number;
  readonly probe: string;
  readonly blocks: readonly Uint8Array[];
}

const headerBytes = 32;
const kinds = { 1: 'snapshot', 2: 'blocks', 3: 'denied' } as const;
const utf8 = new TextDecoder('utf-8', { fatal: true });
const padded = (length: number): number => (length + 7) & ~7;

/**
 * The frames of one message: those of one commit come together.
 * @throws RangeError naming what does not add up
 */
export function decodeFrames(message: ArrayBuffer): Frame[] {
  const frames: Frame[] = [];
  let at = 0;
  do at = decodeFrame(message, at, frames);
  while (at < message.byteLength);
  return frames;
}

/** @returns where the next frame begins */
function decodeFrame(message: ArrayBuffer, start: number, frames: Frame[]): number {
  const bytes = message.byteLength - start;
  if (bytes < headerBytes) throw new RangeError(`push frame of ${bytes} bytes is too short`);
  const view = new DataView(message, start);
  if (view.getUint8(0) !== 0x50 || view.getUint8(1) !== 1)
    throw new RangeError('not a push frame of version 1');
  const kind = kinds[view.getUint8(2) as keyof typeof kinds];
  if (kind === undefined) throw new RangeError(`push frame of unknown kind ${view.getUint8(2)}`);
  const nameLength = view.getUint16(24, true);
  const count = view.getUint16(26, true);
  let at = start + headerBytes + padded(nameLength);
  if (at > message.byteLength) throw new RangeError('push frame ends inside its probe name');
  const probe = utf8.decode(new Uint8Array(message, start + headerBytes, nameLength));
  const blocks: Uint8Array[] = [];
  for (let index = 0; index < count; index += 1) {
    if (at + 8 > message.byteLength) throw new RangeError('push frame ends inside a block length');
    const length = view.getUint32(at - start, true);
    at += 8;
    if (length > message.byteLength - at) throw new RangeError('push frame ends inside a block');
    blocks.push(new Uint8Array(message, at, length));
    at += padded(length);
  }
  if (at > message.byteLength) throw new RangeError('push frame ends inside its padding');
  frames.push({
    kind,
    epoch: view.getUint32(4, true),
    n: view.getUint32(8, true),
    prev: view.getUint32(12, true),
    target: Number(view.getBigInt64(16, true)),
    probe,
    blocks,
  });
  return at;
}
