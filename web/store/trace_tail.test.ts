/** The live tail reads blocks as agents send them: what rows leave out is there again, of agents of before too. */
import { expect, test } from 'vitest';
import { type CsvRow, file } from '../../native/csv_model.js';
import { csvToBlock } from '../../native/index.js';
import { readBlock } from './blocks.js';
import { callsOfBlock } from './trace_tail.js';

const texts = ['SELECT a FROM t WHERE id = $1', 'SELECT a FROM t WHERE id = 7', null, 'COMMIT'];
const rows: CsvRow[] = Array.from({ length: 500 }, (_, n) => ({
  trace: n % 10 === 9 ? 4 : 3,
  line: n,
  end_time: 1_790_000_000_000_000 + n,
  exec_us: n % 3,
  vxid: `3/${n}`,
  pid: 17,
  slot: 2,
  database: 'shop',
  username: 'web',
  application: '',
  tag: 'SELECT',
  rows: n % 5 === 4 ? null : n % 2,
  shared_hit: 0,
  shared_read: n % 7 === 0 ? 3 : 0,
  flags: n % 11 === 0 ? 32 : 0,
  query: texts[n % 4] as string | null,
}));

test('a block with things left out gives the calls that it gives without', async () => {
  const bytes = file(rows);
  const meta = {
    ...{ target: 1n, probe: 'sql_trace_events', probeVersion: 2, kind: 'append' as const },
    ...{ recordedAtUs: 1_790_000_001_000_000n, intervalUs: 0n },
  };
  const read = async (eventRows: boolean) =>
    callsOfBlock(readBlock((await csvToBlock(meta, { bytes }, { eventRows })).block), 3, 5000);
  const [now, before] = [await read(true), await read(false)];
  expect(now.count).toBe(450);
  expect(now.calls).toEqual(before.calls);
  expect(now.calls.slice(0, 5).map((call) => [call.query, call.rows, call.flags, call.shared_read])).toEqual([
    [texts[0], 0, 32, 3],
    [texts[1], 1, 0, 0],
    [null, 0, 0, 0],
    [texts[3], 1, 0, 0],
    [texts[0], null, 0, 0],
  ]);
  expect((await read(true)).calls.at(-1)).toMatchObject({ database: 'shop', username: 'web', exec_us: 0 });
});
