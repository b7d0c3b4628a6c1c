import { expect, test } from 'vitest';
import { decodeFrames } from './frames.js';

function frame(kind: number, name: string, blocks: number[][]): ArrayBuffer {
  const padded = (length: number) => (length + 7) & ~7;
  const bytes = new Uint8Array(
    32 + padded(name.length) + blocks.reduce((sum, block) => sum + 8 + padded(block.length), 0),
  );
  const view = new DataView(bytes.buffer);
  bytes.set([0x50, 1, kind]);
  view.setUint32(4, 3, true);
  view.setUint32(8, 8, true);
  view.setUint32(12, 7, true);
  view.setBigInt64(16, 2n, true);
  view.setUint16(24, name.length, true);
  view.setUint16(26, blocks.length, true);
  bytes.set(new TextEncoder().encode(name), 32);
  let at = 32 + padded(name.length);
  for (const block of blocks) {
    view.setUint32(at, block.length, true);
    bytes.set(block, at + 8);
    at += 8 + padded(block.length);
  }
  return bytes.buffer;
}

test('a frame is read as drawn', () => {
  const [read] = decodeFrames(frame(2, 'cpu_usage', [[1, 2, 3], [4]]));
  expect(read).toMatchObject({ kind: 'blocks', epoch: 3, n: 8, prev: 7, target: 2, probe: 'cpu_usage' });
  expect(read?.blocks.map((block) => [...block])).toEqual([[1, 2, 3], [4]]);
});

test('every truncation of a frame is an error, never a guess', () => {
  const whole = frame(1, 'load_average', [[9, 9, 9, 9, 9, 9, 9, 9]]);
  for (let length = 0; length < whole.byteLength; length += 1) {
    expect(() => decodeFrames(whole.slice(0, length))).toThrow(RangeError);
  }
});

test('a foreign first byte, version or kind is refused', () => {
  for (const [at, value] of [
    [0, 0],
    [1, 2],
    [2, 9],
  ] as const) {
    const bytes = new Uint8Array(frame(1, 'x', []));
    bytes[at] = value;
    expect(() => decodeFrames(bytes.buffer)).toThrow(RangeError);
  }
});

test('frames of one commit come in one message', () => {
  const first = new Uint8Array(frame(2, 'cpu_usage', [[1, 2, 3], [4]]));
  const second = new Uint8Array(frame(2, 'load_average', [[5]]));
  const message = new Uint8Array(first.length + second.length);
  message.set(first);
  message.set(second, first.length);
  const read = decodeFrames(message.buffer);
  expect(read.map(({ probe }) => probe)).toEqual(['cpu_usage', 'load_average']);
  expect(read.map(({ blocks }) => blocks.map((block) => [...block]))).toEqual([[[1, 2, 3], [4]], [[5]]]);
  expect(() => decodeFrames(message.buffer.slice(0, first.length + 8))).toThrow(RangeError);
});
