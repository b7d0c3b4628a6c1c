/** Which plans are one plan: values and estimates differ, tables, indexes and nodes do not. */
import { expect, test } from 'vitest';
import type { Call } from './trace.js';
import { distinctPlans } from './trace_plans.js';

const call = (plan: string | null, execUs: number, endUs: number, flags = 0): Call => ({
  ...{ plan, flags },
  exec_us: execUs,
  end_time: endUs,
});

const seqScan = (value: number | string, cost: string): string =>
  `Aggregate  (cost=${cost} rows=1 width=8)\n  ->  Seq Scan on orders_2024 o  (cost=0.00..${cost} rows=12 width=51)\n        Filter: ((customer_id = ${value}) AND (state = 'it''s ${value}'::text))`;
const indexScan =
  'Index Scan using orders_2024_idx on orders_2024 o  (cost=0.29..8.30 rows=1 width=4)\n  Index Cond: (id = 7)';

test('plans that differ in values and costs are one; its times are those of its calls', () => {
  const plans = distinctPlans([
    call(seqScan(1, '12.5..13'), 100, 50),
    call(indexScan, 5, 60),
    call(null, 7, 65),
    call(seqScan(-27.5, '1.00..7'), 300, 40),
    call(indexScan.replace('orders_2024_idx', 'orders_2025_idx'), 6, 70),
  ]);
  expect(plans).toHaveLength(3);
  expect(plans[0]).toMatchObject({
    outline: 'Aggregate › Seq Scan on orders_2024 o',
    ...{ calls: 2, firstUs: 40, lastUs: 50, minUs: 100, meanUs: 200, maxUs: 300, cut: false },
    text: seqScan(-27.5, '1.00..7'),
  });
  expect(plans.slice(1).map(({ outline }) => outline)).toEqual([
    'Index Scan using orders_2025_idx on orders_2024 o',
    'Index Scan using orders_2024_idx on orders_2024 o',
  ]);
});

test('the same for plans as JSON, also where the end was cut', () => {
  const plan = (rows: number, table: string): string =>
    JSON.stringify([
      {
        Plan: {
          ...{ 'Node Type': 'Gather', 'Workers Planned': 2, 'Total Cost': rows * 1.5, 'Plan Rows': rows },
          Plans: [
            {
              'Node Type': 'Seq Scan',
              'Relation Name': table,
              Filter: `(id = ${rows}) ${'AND true '.repeat(4000)}`,
            },
          ],
        },
      },
    ]);
  const plans = distinctPlans([
    call(plan(10, 'orders'), 1, 1),
    call(plan(20, 'orders'), 2, 2),
    call(plan(20, 'lines'), 1, 3),
    call(plan(20, 'orders').slice(0, 30_000), 1, 4, 4),
    call(plan(30, 'orders').slice(0, 30_000), 1, 5, 4),
  ]);
  expect(plans.map(({ outline, calls, cut }) => [outline, calls, cut])).toEqual([
    ['Gather › Seq Scan on orders', 2, false],
    ['plan', 2, true],
    ['Gather › Seq Scan on lines', 1, false],
  ]);
});

test('names in quotes keep their figures', () => {
  const scan = (table: string): string => `Seq Scan on "${table}"  (cost=0..1 rows=1 width=1)`;
  expect(distinctPlans([call(scan('a 1'), 1, 1), call(scan('a 2'), 1, 1)])).toHaveLength(2);
});
