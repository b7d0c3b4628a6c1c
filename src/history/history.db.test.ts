import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startMaster } from '../../agent/master/index.js';
import type { FleetAgent } from '../../bench/load/fleet.js';
import { type Ingesting, nowUs, rigBlock, startIngesting } from '../../bench/load/ingesting.js';
import { rigDelta, rigFull } from '../../bench/load/probes.js';
import { eventually } from '../../bench/rig/processes.js';
import { connect, type PgConn } from '../../native/index.js';
import { parseConninfo } from '../base/conninfo.js';
import { openLog } from '../base/log.js';
import { makePartition, partitionBounds, partitionName, removePartition } from './partitions.js';
import { keepPartitions } from './retention.js';

const day = 86_400_000_000n;
let rig: Ingesting;
let master: PgConn;
beforeAll(async () => {
  rig = await startIngesting();
  master = await connect({ params: parseConninfo(rig.pem.conninfo('pem_master')), timeoutMs: 60_000 });
});
afterAll(async () => {
  master.close();
  await rig.stop();
});

const nameAt = (probe: string, atUs: bigint): string =>
  partitionName(probe, 'day', partitionBounds('day', atUs));

const partitions = async (probe: string): Promise<string[]> =>
  (
    await rig.rows(
      `SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = ('pemhistory.' || $1)::regclass AND NOT inhdetachpending ORDER BY 1`,
      [probe],
    )
  ).map((row) => String(row.relname));

/** A transaction that has read the history table and stays open. */
async function longReader(probe: string): Promise<pg.Client> {
  const reader = await rig.pem.client();
  await reader.query('BEGIN');
  await reader.query(`SELECT count(*) FROM pemhistory.${probe}`);
  return reader;
}

async function sendAt(agent: FleetAgent, atUs: bigint, value: bigint): Promise<void> {
  await agent.send(agent.batch([rigBlock(rigFull, agent.target, [['key', value, null]], { atUs })]));
}

test('partitions stand three days and two months ahead, made by agent 1 in its own role', async () => {
  // One time for all of it: the day may end in between.
  const now = nowUs();
  const upkeep = await keepPartitions(master, now);
  expect(upkeep.busy).toEqual([]);
  for (let i = 0n; i <= 3n; i += 1n) expect(upkeep.made).toContain(nameAt('rig_full', now + i * day));
  expect((await keepPartitions(master, now)).made).toEqual([]);
  expect(await rig.rows(`SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'pempart'`)).toEqual([
    { tableowner: 'pem_history' },
  ]);
  // Each has the parent's index, attached.
  const [indexes] = await rig.rows(
    `SELECT count(*)::int AS n FROM pg_inherits WHERE inhparent = 'pemhistory.rig_full_at'::regclass`,
  );
  expect(indexes?.n).toBe((await partitions('rig_full')).length);
});

test('two who make the same partition at once are both right', async () => {
  const other = await connect({ params: parseConninfo(rig.pem.conninfo('pem_ingest')), timeoutMs: 60_000 });
  for (let i = 0; i < 10; i += 1) {
    const at = nowUs() + BigInt(20 + i) * day;
    const make = async (session: PgConn): Promise<string> => {
      for (;;) {
        const made = await makePartition(session, 'rig_delta', 'day', at);
        if (made !== 'busy') return made;
      }
    };
    const both = await Promise.all([make(master), make(other)]);
    expect(both.sort()).toEqual(['made', 'there']);
  }
  other.close();
  expect(rigDelta.partition).toBe('day');
});

test('a day begins behind a long reader: rows of the new day arrive while the reader still reads', async () => {
  const [agent] = (await rig.fleet.add(1, 'rollover')) as [FleetAgent];
  const ingester = rig.ingest();
  // Days that no partition stands for yet: what an ingester meets when agent 1 has been away.
  const today = nowUs() - 6n * day;
  await sendAt(agent, today, 1n);
  await rig.drained();
  const reader = await longReader('rig_full');
  const pid = (await reader.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid;
  for (let i = 1n; i <= 3n; i += 1n) {
    await sendAt(agent, today + i * day, i + 1n);
    await rig.drained();
    expect(
      await rig.rows('SELECT value FROM pemhistory.rig_full WHERE target_id = $1 ORDER BY 1', [agent.target]),
    ).toHaveLength(Number(i) + 1);
  }
  const [open] = await rig.rows(
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE state = 'idle in transaction' AND pid = $1",
    [pid],
  );
  expect(open?.n).toBe(1);
  await reader.query('COMMIT');
  await reader.end();
  await ingester.stop();
});

test('retention behind a long reader: put off, ingest goes on, then the whole day is gone', async () => {
  const [agent] = (await rig.fleet.add(1, 'retention')) as [FleetAgent];
  const ingester = rig.ingest();
  const old = nowUs() - 6n * day;
  await sendAt(agent, old, 1n);
  await rig.drained();
  const name = nameAt('rig_full', old);
  expect(await partitions('rig_full')).toContain(name);
  const reader = await longReader('rig_full');
  const later = nowUs() + 3n * day;
  const blocked = await keepPartitions(master, later);
  expect(blocked.busy).toContain(name);
  // Today, and a day whose partition is missing while the other is being detached.
  await sendAt(agent, nowUs(), 2n);
  await sendAt(agent, nowUs() - day, 3n);
  await rig.drained();
  await reader.query('COMMIT');
  await reader.end();
  const removed = await keepPartitions(master, later);
  expect(removed.removed).toContain(name);
  expect(removed.busy).toEqual([]);
  expect(
    await rig.rows(`SELECT FROM pg_tables WHERE schemaname = 'pempart' AND tablename = $1`, [name]),
  ).toEqual([]);
  expect(
    await rig.rows('SELECT value FROM pemhistory.rig_full WHERE target_id = $1 ORDER BY 1', [agent.target]),
  ).toEqual([{ value: '2' }, { value: '3' }]);
  await ingester.stop();
});

test('a removal that was cut off is finished, also when the day is wanted again', async () => {
  const at = nowUs() - 2n * day;
  for (const finish of ['remove', 'make'] as const) {
    while ((await makePartition(master, 'rig_delta', 'day', at)) === 'busy') await sleep(20);
    const reader = await longReader('rig_delta');
    expect(await removePartition(master, 'rig_delta', nameAt('rig_delta', at))).toBe('busy');
    expect(await partitions('rig_delta')).not.toContain(nameAt('rig_delta', at));
    await reader.query('COMMIT');
    await reader.end();
    if (finish === 'remove') {
      expect(await removePartition(master, 'rig_delta', nameAt('rig_delta', at))).toBe('removed');
    } else {
      expect(await makePartition(master, 'rig_delta', 'day', at)).toBe('made');
      expect(await partitions('rig_delta')).toContain(nameAt('rig_delta', at));
    }
  }
});

test("agent 1's duty does both by itself", async () => {
  await rig.pem.query(
    "INSERT INTO pem.web_session VALUES ('\\x00', 'nobody', now(), now() - interval '1 hour', 'x')",
  );
  const now = nowUs();
  for (const name of await partitions('rig_full')) {
    if (name > nameAt('rig_full', now + day)) {
      while ((await removePartition(master, 'rig_full', name)) === 'busy') await sleep(20);
    }
  }
  const duty = startMaster({ db: parseConninfo(rig.pem.conninfo('pem_master')), log: openLog('master') });
  await eventually('partitions ahead', async () =>
    (await partitions('rig_full')).includes(nameAt('rig_full', now + 3n * day)),
  );
  await eventually(
    'old sessions gone',
    async () => (await rig.rows('SELECT FROM pem.web_session')).length === 0,
  );
  await duty.stop();
});
