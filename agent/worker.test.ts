import { expect, test } from 'vitest';
import { silentLog } from '../bench/rig/clock.js';
import type { SpoolStats } from './spool/spool.js';
import { lossNotes } from './worker.js';

test('a spool that loses says so when it begins, once a minute while it goes on, and the last sum', () => {
  const { log, lines } = silentLog();
  let nowMs = 0;
  const note = lossNotes(log, () => nowMs);
  const at = (seconds: number, batches: number): number => {
    nowMs = seconds * 1000;
    note({ dropped: { batches, bytes: 0, rows: 10 * batches }, bytes: 5, maxBytes: 6 } as SpoolStats);
    return lines.length;
  };
  expect([
    at(0, 0),
    at(1, 0),
    at(2, 3),
    at(3, 4),
    at(61, 9),
    at(62, 9),
    at(63, 9),
    at(122, 9),
    at(500, 9),
  ]).toEqual([0, 0, 1, 1, 1, 2, 2, 2, 2]);
  const said = lines.map((line) => JSON.parse(line) as { code: string; batches: number; rows: number });
  expect(said.map(({ code, batches, rows }) => [code, batches, rows])).toEqual([
    ['spool_dropping', 3, 30],
    ['spool_dropping', 9, 90],
  ]);
});
