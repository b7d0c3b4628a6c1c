import { expect, test } from 'vitest';
import { blockFromRows } from '../../native/index.js';
import {
  blockHead,
  decodeCommit,
  encodeCommit,
  encodeMessage,
  MessageReader,
  messageKind,
} from './commit.js';

const boot = '00112233445566778899aabbccddeeff';

function block(kind: 'full' | 'delta' | 'append', scope?: string): Buffer {
  const meta = {
    target: 77n,
    probe: 'table_statistics',
    probeVersion: 1,
    kind,
    recordedAtUs: 1n,
    intervalUs: 1n,
    ...(scope === undefined ? {} : { scope }),
  };
  return blockFromRows(meta, [{ name: 'a', type: 'int4' }], [[1]]);
}

test('a commit survives its message, whatever pieces it comes in', () => {
  const entries = [block('full', 'postgres'), block('delta'), block('append')].map((bytes, index) => ({
    agent: 5,
    boot,
    seq: BigInt(index) + 2n ** 40n,
    block: bytes,
  }));
  const hello = encodeMessage(messageKind.hello, Buffer.from('one'));
  const stream = Buffer.concat([hello, encodeMessage(messageKind.commit, encodeCommit(entries)), hello]);
  for (const step of [1, 2, 5, 7, 64, stream.length]) {
    const reader = new MessageReader();
    const messages: [number, Buffer][] = [];
    for (let at = 0; at < stream.length; at += step) {
      reader.push(stream.subarray(at, at + step), (kind, payload) => messages.push([kind, payload]));
    }
    expect(messages.map(([kind]) => kind)).toEqual([
      messageKind.hello,
      messageKind.commit,
      messageKind.hello,
    ]);
    expect(decodeCommit(messages[1]?.[1] as Buffer)).toEqual(
      entries.map((entry, index) => ({
        ...entry,
        target: 77n,
        probe: 'table_statistics',
        kind: ['full', 'delta', 'append'][index],
        scope: index === 0 ? 'postgres' : '',
      })),
    );
  }
});

test('every truncation and every flipped byte of a commit is an error of ours or another value, never a crash', () => {
  const whole = encodeCommit([{ agent: 1, boot, seq: 1n, block: block('delta', 'x') }]);
  for (let length = 0; length < whole.length; length++) {
    expect(() => decodeCommit(whole.subarray(0, length))).toThrow(
      expect.objectContaining({ code: 'push_message_invalid' }),
    );
  }
  for (let at = 0; at < whole.length; at++) {
    for (const value of [0, 1, 0x7f, 0x80, 0xff]) {
      const changed = Buffer.from(whole);
      changed[at] = value;
      try {
        decodeCommit(changed);
      } catch (error) {
        expect(error).toMatchObject({ code: 'push_message_invalid' });
      }
    }
  }
});

test('a message over the bound is refused before it is held', () => {
  const reader = new MessageReader(100);
  const head = Buffer.from([101, 0, 0, 0, 2]);
  expect(() => reader.push(head, () => undefined)).toThrow(/message of 101 bytes/);
});

test('the head of a block is read without the rest', () => {
  expect(blockHead(block('append'))).toEqual({
    target: 77n,
    probe: 'table_statistics',
    kind: 'append',
    scope: '',
  });
});
