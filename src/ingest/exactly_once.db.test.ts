import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { FleetAgent } from '../../bench/load/fleet.js';
import { type Ingesting, rigBlock, startIngesting } from '../../bench/load/ingesting.js';
import { seeded } from '../../bench/load/oracle.js';
import { rigFull } from '../../bench/load/probes.js';

let rig: Ingesting;
beforeAll(async () => {
  rig = await startIngesting();
});
afterAll(async () => {
  await rig.stop();
});

/** A batch whose rows are numbered: (agent, number, row) stands in history exactly once or the test fails. */
function numbered(agent: FleetAgent, number: number, rows = 3): Buffer {
  return agent.batch([
    rigBlock(
      rigFull,
      agent.target,
      Array.from({ length: rows }, (_, row) => [`r${row}`, BigInt(number), 'row']),
    ),
  ]);
}

/** What is wrong with history, given how many batches each agent made. */
async function wrong(agents: readonly FleetAgent[], batches: number, rows = 3): Promise<unknown[]> {
  return rig.rows(
    `SELECT target_id, value, count(*) FROM (
       SELECT target_id, value, name FROM pemhistory.rig_full
       UNION ALL SELECT t, v, NULL FROM unnest($1::bigint[]) t, generate_series(1, $2::int) v) x
      WHERE target_id = ANY ($1::bigint[]) GROUP BY 1, 2 HAVING count(name) <> $3 OR count(DISTINCT name) <> $3 LIMIT 5`,
    [agents.map((agent) => String(agent.target)), batches, rows],
  );
}

test('batches sent twice and more, and ingesters that come and go, leave every row once', async () => {
  const agents = await rig.fleet.add(3, 'twice');
  let ingester = rig.ingest('first');
  const sent: { agent: FleetAgent; batch: Buffer }[] = [];
  for (let i = 1; i <= 12; i += 1) {
    for (const agent of agents) sent.push({ agent, batch: numbered(agent, i) });
    for (const { agent, batch } of sent.slice(-9)) await agent.send(batch);
    if (i % 4 === 0) {
      await ingester.stop();
      ingester = rig.ingest('first');
    }
  }
  await rig.drained();
  expect(await wrong(agents, 12)).toEqual([]);
  expect(
    await rig.rows('SELECT DISTINCT ranges FROM pem.received WHERE agent_id = ANY ($1)', [
      agents.map((agent) => agent.agentId),
    ]),
  ).toEqual([{ ranges: '{[1,13)}' }]);
  expect(await rig.rows('SELECT code FROM pem.quarantine')).toEqual([]);
  await ingester.stop();
  expect(await rig.rows("SELECT name FROM pem.ingester WHERE name = 'first'")).toEqual([]);
});

test('several ingesters at once, killed at random, with PostgreSQL stopped hard in between', async () => {
  const random = seeded(7);
  const agents = await rig.fleet.add(6, 'kill');
  const children: ChildProcess[] = ['a', 'b', 'c'].map((name) => rig.spawn(name));
  const sent: { agent: FleetAgent; batch: Buffer }[] = [];
  let made = 0;
  const rounds = 24;
  for (let round = 1; round <= rounds; round += 1) {
    made += 1;
    for (const agent of agents) {
      const one = { agent, batch: numbered(agent, made) };
      sent.push(one);
      await agent.send(one.batch);
      const other = sent[Math.floor(random() * sent.length)] ?? one;
      if (random() < 0.3) await other.agent.send(other.batch);
    }
    await sleep(random() * 60);
    if (random() < 0.4) {
      const at = Math.floor(random() * children.length);
      children[at]?.kill('SIGKILL');
      children[at] = rig.spawn('abc'[at] as string);
    }
    if (round === 12) await rig.pem.restart('immediate');
  }
  // What a spool does: all that the received set does not hold comes again (the inbox was unlogged).
  for (const { agent, batch } of sent) await agent.send(batch);
  await rig.drained();
  expect(await wrong(agents, made)).toEqual([]);
  expect(await rig.rows('SELECT code, reason FROM pem.quarantine')).toEqual([]);
  expect(
    await rig.rows('SELECT DISTINCT value FROM pemdata.rig_full WHERE target_id = ANY ($1::bigint[])', [
      agents.map((agent) => String(agent.target)),
    ]),
  ).toEqual([{ value: String(made) }]);
  for (const child of children) child.kill('SIGTERM');
  await Promise.all(children.map((child) => new Promise((resolve) => child.once('exit', resolve))));
});

test('a database that was set back takes what is missing again, and only that', async () => {
  const agents = await rig.fleet.add(2, 'restored');
  const ingester = rig.ingest('restored');
  const sent: { agent: FleetAgent; batch: Buffer }[] = [];
  for (let i = 1; i <= 10; i += 1) {
    for (const agent of agents) {
      sent.push({ agent, batch: numbered(agent, i) });
      await agent.send((sent.at(-1) as { batch: Buffer }).batch);
    }
  }
  await rig.drained();
  await ingester.stop();
  // As of the sixth batch: what a base backup of then would hold.
  const targets = agents.map((agent) => String(agent.target));
  await rig.pem.query('DELETE FROM pemhistory.rig_full WHERE value > 6 AND target_id = ANY ($1::bigint[])', [
    targets,
  ]);
  await rig.pem.query(
    "UPDATE pem.received SET ranges = '{[1,7)}', recent_seq = '{}', recent_crc = '{}' WHERE agent_id = ANY ($1)",
    [agents.map((agent) => agent.agentId)],
  );
  await rig.pem.query('TRUNCATE pem_inbox.slot_0, pem_inbox.slot_1, pem_inbox.slot_2, pem_inbox.slot_3');
  const again = rig.ingest('restored');
  for (const { agent, batch } of sent) await agent.send(batch);
  await rig.drained();
  expect(await wrong(agents, 10)).toEqual([]);
  await again.stop();
});

test('with no ingester the inbox refuses at its bound; afterwards everything comes in', async () => {
  const [agent] = await rig.fleet.add(1, 'full');
  if (agent === undefined) throw new Error('no agent');
  const rows = 2000;
  const spool: Buffer[] = [];
  let refused = '';
  for (let i = 1; i <= 400 && refused === ''; i += 1) {
    spool.push(numbered(agent, i, rows));
    await agent.send(spool[i - 1] as Buffer).catch((error: { code: string }) => {
      refused = error.code;
    });
  }
  expect(refused).toBe('PE001');
  const [held] = await rig.rows(
    'SELECT sum(bytes)::bigint AS bytes FROM pem_inbox.slots WHERE agent_id = $1',
    [agent.agentId],
  );
  expect(Number(held?.bytes)).toBeLessThanOrEqual(8 * 1024 * 1024);
  const ingester = rig.ingest('late');
  for (const batch of spool) {
    for (;;) {
      const code = await agent.send(batch).then(
        () => '',
        (error: { code: string }) => error.code,
      );
      if (code === '') break;
      expect(code).toBe('PE001');
      await sleep(50);
    }
  }
  await rig.drained();
  expect(await wrong([agent], spool.length, rows)).toEqual([]);
  await ingester.stop();
});

test('after an end that was not clean a batch that keeps ending the process is set aside unread', async () => {
  const [agent] = await rig.fleet.add(1, 'suspect');
  if (agent === undefined) throw new Error('no agent');
  await agent.send(numbered(agent, 1), numbered(agent, 2), numbered(agent, 3));
  // As three runs leave it that died over the second batch.
  await rig.pem.query("INSERT INTO pem.ingester VALUES ('died', 1, now(), now(), '{}')");
  await rig.pem.query(
    'INSERT INTO pem.ingest_suspect (inbox_id, tries) SELECT id, 3 FROM pem_inbox.slots WHERE agent_id = $1 AND seq = 2',
    [agent.agentId],
  );
  // What another left that died over batches which somebody else then took in.
  await rig.pem.query('INSERT INTO pem.ingest_suspect VALUES (1, 1)');
  const ingester = rig.ingest('after');
  await rig.drained();
  expect(
    await rig.rows('SELECT DISTINCT value FROM pemhistory.rig_full WHERE target_id = $1 ORDER BY 1', [
      agent.target,
    ]),
  ).toEqual([{ value: '1' }, { value: '3' }]);
  expect(
    await rig.rows('SELECT code, payload IS NOT NULL AS kept FROM pem.quarantine WHERE agent_id = $1', [
      agent.agentId,
    ]),
  ).toEqual([{ code: 'ingester_crashed', kept: true }]);
  expect(await rig.rows("SELECT name FROM pem.ingester WHERE name = 'died'")).toEqual([]);
  await ingester.stop();
  // Of all tests before, too.
  expect(await rig.rows('SELECT inbox_id FROM pem.ingest_suspect')).toEqual([]);
});
