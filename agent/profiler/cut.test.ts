/** Pieces of trace files cut at a moment: every byte is in the head or in the rest, and rows stay whole. */
import { expect, test } from 'vitest';
import { csvColumns } from '../../native/index.js';
import { cutAt } from './cut.js';

const header = Buffer.from(`${csvColumns.map((column) => column.name).join(',')}\n`);
const row = (endUs: number, query = 'SELECT 1'): string =>
  `${csvColumns.map(({ name }) => (name === 'end_time' ? endUs : name === 'query' ? query : '')).join(',')}\n`;
const piece = (rows: readonly string[], fromBytes = 0) =>
  fromBytes === 0
    ? { bytes: Buffer.concat([header, Buffer.from(rows.join(''))]), fromBytes }
    : { bytes: Buffer.from(rows.join('')), fromBytes, header };

test.each([
  ['before all of them', 5, 0],
  ['at the first', 10, 0],
  ['between', 25, 2],
  ['at one of several of the same moment', 30, 2],
  ['at the last', 40, 4],
  ['behind all of them', 41, 5],
])('%s', async (_what, us, rowsBefore) => {
  const rows = [row(10), row(20, '"two\nlines, ""quoted"""'), row(30), row(30), row(40)];
  for (const fromBytes of [0, 7000]) {
    const given = piece(rows, fromBytes);
    const { head, tail } = await cutAt([given], us, header);
    const start = fromBytes === 0 ? header.toString() : '';
    expect(Buffer.concat(head.map(({ bytes }) => bytes)).toString()).toBe(
      start + rows.slice(0, rowsBefore).join(''),
    );
    expect(Buffer.concat(tail.map(({ bytes }) => bytes)).toString()).toBe(rows.slice(rowsBefore).join(''));
    for (const rest of tail) {
      expect(rest.fromBytes).toBe(fromBytes + given.bytes.length - rest.bytes.length);
      expect(rest.header).toBe(header);
    }
  }
});

test('each piece by itself; a clock that went back leaves its rows where they are', async () => {
  const pieces = [piece([row(10), row(50)]), piece([row(60), row(5)], 900), piece([row(1)], 800)];
  const { head, tail } = await cutAt(pieces, 40, header);
  expect(head.map(({ bytes }) => bytes.toString())).toEqual([header + row(10), row(1)]);
  expect(tail.map(({ bytes }) => bytes.toString())).toEqual([row(50), row(60) + row(5)]);
});
