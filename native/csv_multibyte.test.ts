/** Texts of encodings of several bytes a character: where they are cut, and what of them is escaped. */
import { expect, test } from 'vitest';
import { blockRows, readBlock } from '../src/wire/block.js';
import type { BlockMeta } from './codec.js';
import { csvFlags, csvToBlock } from './csv.js';
import { line } from './csv_model.js';

const meta: BlockMeta = {
  ...{ target: 1n, probe: 'sql_trace', probeVersion: 1, kind: 'append' },
  ...{ recordedAtUs: 0n, intervalUs: 0n },
};
const { escaped, readerCut } = csvFlags;
const ka = '\xa4\xab';

const cases: [encoding: string, bytes: string, text: string, flags: number][] = [
  ['EUC_JP', `a${ka}${ka}`, 'aかか', 0],
  ['EUC_JP', `${ka}${ka}${ka}`, 'かか', readerCut],
  ['EUC_JP', `ab${ka}${ka}`, 'abか', readerCut],
  ['EUC_JP', `a\xa4`, 'a\\xa4', escaped],
  ['EUC_JP', `\xa4${ka}`, 'い\\xab', escaped],
  ['EUC_JP', `\0${ka}a`, '\\x00か', escaped | readerCut],
  ['EUC_JP', `\x85`, '\\x85', escaped],
  ['EUC_JP', `abcd\x85`, 'abcd', escaped | readerCut],
  ['EUC_JP', `\x8e\xb6\x8e`, 'ｶ\\x8e', escaped],
  ['EUC_JIS_2004', `\xa4\xf7`, 'か゚', 0],
  ['EUC_JIS_2004', ka, 'か', 0],
  ['EUC_KR', `\xb0\xa1\xff`, '가\\xff', escaped],
  ['EUC_TW', `\x8e\xa2\xa1\xa1`, '乂', 0],
  ['EUC_CN', `\xb0\xa1"`, '啊"', 0],
];

test('they are cut between characters, and what is no character is escaped', async () => {
  const names = ['encoding', 'flags', 'query'];
  const lines = cases.map(([encoding, bytes]) =>
    line({ encoding, flags: 0, query: Buffer.from(bytes, 'latin1') }, names),
  );
  const bytes = Buffer.concat([Buffer.from(`${names.join(',')}\n`), ...lines]);
  const { block } = await csvToBlock(meta, { bytes }, { columns: names, maxTextBytes: 7 });
  const found = blockRows(readBlock(block)).map(({ encoding, query, flags }) => [encoding, query, flags]);
  expect(found).toEqual(cases.map(([encoding, , text, flags]) => [encoding, text, flags]));
});
