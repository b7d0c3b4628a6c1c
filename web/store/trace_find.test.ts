/** Parts of a search: together they have every moment of the rows once. */
import { expect, test } from 'vitest';
import { blockFromRows } from '../../native/index.js';
import { partEdges } from './trace_find.js';
import { TraceRows } from './trace_rows.js';

test('parts lie between moments, whose calls are never divided', () => {
  const rows = new TraceRows(0);
  expect(partEdges(rows, 4)).toEqual([]);
  const meta = {
    ...{ target: 2n, probe: 'sql_trace_events', probeVersion: 1, kind: 'append' as const },
    ...{ recordedAtUs: 0n, intervalUs: 0n },
  };
  const moments = [10, 10, 10, 20, 20, 30, 30, 30, 30, 30, 30, 40];
  rows.add(
    blockFromRows(
      meta,
      [{ name: 'recorded_at', type: 'timestamptz' }],
      moments.map((us) => [1_000_000 + us]),
    ),
  );
  const edges = partEdges(rows, 4);
  expect(edges[0]).toEqual({ us: 1_000_010, row: 0 });
  expect(edges.at(-1)).toEqual({ us: 1_000_041, row: 12 });
  const counted = edges
    .slice(1)
    .map(
      (to, part) =>
        moments.filter((us) => us + 1_000_000 >= (edges[part]?.us ?? 0) && us + 1_000_000 < to.us).length,
    );
  expect(counted.reduce((sum, calls) => sum + calls, 0)).toBe(moments.length);
  expect(partEdges(rows, 100)).toHaveLength(2);
});
