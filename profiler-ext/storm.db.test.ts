/**
 * Load of many kinds at once while traces start, stop, are read and dropped under it: short sessions, errors, savepoints,
 * DDL, large texts. PEM_STORM_SECONDS makes it longer. What must hold: no client sees an error that it did not ask for,
 * no backend dies (pgbench's clients would say so), the trace that ran all along has each transaction once and no row is torn.
 */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Cluster } from '../bench/rig/cluster.js';
import { pgbench } from '../bench/rig/pgbench.js';
import {
  brokenLines,
  readTrace,
  startProfiled,
  startTrace,
  stopTrace,
  traceStatus,
} from '../bench/rig/traces.js';

const seconds = Number(process.env.PEM_STORM_SECONDS ?? 8);

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startProfiled({ settings: { max_connections: '60', log_min_messages: 'panic' } });
});
afterAll(() => cluster?.stop());

const scripts: Readonly<Record<string, string>> = {
  read: 'SELECT abalance AS read_one FROM pgbench_accounts WHERE aid = :client_id + 1;\n',
  write: `BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 10 + :client_id;
SAVEPOINT one;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, :client_id, 1, now());
ROLLBACK TO one;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, :client_id, 2, now());
COMMIT;
`,
  fail: `DO $$ BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN PERFORM 'caught'; END $$;\n`,
  change: `CREATE TEMP TABLE storm (a int, b text);
CREATE INDEX ON storm (a);
INSERT INTO storm SELECT i, repeat('x', i) FROM generate_series(1, 20) i;
ALTER TABLE storm ADD COLUMN c int DEFAULT 1;
DROP TABLE storm;
`,
  large: `SELECT length('${'large text '.repeat(9000)}') AS large_one;\n`,
};

/** Transactions that pgbench says it made, by script. */
async function transactions(script: string, ...options: string[]): Promise<number> {
  const file = join(cluster.folder, `${script}.sql`);
  const said = await pgbench(cluster, ['-n', '-T', String(seconds), '-f', file, ...options]);
  expect(said).not.toMatch(/aborted/);
  return Number(/number of transactions actually processed: (\d+)/.exec(said)?.[1]);
}

it('loses nothing, twists nothing and breaks nothing', { timeout: 600_000 + seconds * 6000 }, async () => {
  await pgbench(cluster, ['-i', '-q']);
  for (const [name, text] of Object.entries(scripts)) {
    writeFileSync(join(cluster.folder, `${name}.sql`), text);
    chmodSync(join(cluster.folder, `${name}.sql`), 0o644);
  }
  const logged = await startTrace(cluster, 'all along', { max_file_bytes: 1 << 20, max_total_bytes: 4e9 });
  let over = false;
  let rounds = 0;
  const control = async (): Promise<void> => {
    for (; !over; rounds++) {
      const ids = [
        await startTrace(cluster, `storm ${rounds} a`, {
          max_file_bytes: 65_536,
          params: true,
          plan: 'text',
        }),
        await startTrace(cluster, `storm ${rounds} b`, {
          max_total_bytes: 300_000,
          workers: true,
          rusage: true,
        }),
        await startTrace(cluster, `storm ${rounds} c`, { sample_rate: 0.1, applications: ['pgbench'] }),
      ];
      await new Promise((resolve) => setTimeout(resolve, 100));
      for (const id of ids) {
        if (id % 3 === 0) expect(brokenLines(await readTrace(cluster, id))).toEqual([]);
        await stopTrace(cluster, id);
        if (id % 2 === 0) expect(brokenLines(await readTrace(cluster, id))).toEqual([]);
        await cluster.query('SELECT sql_profiler.drop($1)', [id]);
      }
    }
  };
  const controlled = control();
  // The rejection is the load's, where that goes on.
  controlled.catch(() => undefined);
  const loads = [
    ['read', '-c', '4', '-M', 'prepared', '-R', '4000'],
    ['read', '-c', '2', '-C', '-R', '100'],
    ['write', '-c', '3', '-M', 'extended', '-R', '300'],
    ['fail', '-c', '1', '-R', '200'],
    ['change', '-c', '1', '-R', '30'],
    ['large', '-c', '1', '-R', '50'],
  ] as const;
  const made = loads.map(() => 0);
  try {
    // How many rounds fit into a load's time is the machine's affair: it goes on until there were two.
    for (let leg = 0; rounds < 2 && leg < 20; leg++) {
      const counts = await Promise.all(loads.map(([script, ...options]) => transactions(script, ...options)));
      for (const [at, count] of counts.entries()) made[at] = (made[at] ?? 0) + count;
    }
  } finally {
    over = true;
  }
  await controlled;
  expect(rounds).toBeGreaterThan(1);
  await stopTrace(cluster, logged);
  const rows = await readTrace(cluster, logged);
  const count = (part: string, level = '0'): number =>
    rows.filter((row) => row.level === level && row.query?.includes(part)).length;
  const [prepared, short, write, fail, change, large] = made as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  expect(brokenLines(rows)).toEqual([]);
  expect(count('AS read_one')).toBe(prepared + short);
  expect(count('ROLLBACK TO one')).toBe(write);
  expect(count('INSERT INTO pgbench_history')).toBe(2 * write);
  expect(count('PERFORM 1 / 0')).toBe(fail);
  expect(count('CREATE TEMP TABLE storm')).toBe(change);
  expect(count('AS large_one') + count('large text')).toBeGreaterThanOrEqual(large);
  const status = await traceStatus(cluster, logged);
  expect(status).toMatchObject({ state: 'stopped', lost_rows: '0', rows: String(rows.length) });
});
