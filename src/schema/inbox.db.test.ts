/** The inbox under load: rotation loses nothing, empties only what is finished, and nobody can hold it up for ever. */
import type pg from 'pg';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { type Pem, type RigAgent, startPem } from '../../bench/rig/pem.js';

let pem: Pem;
beforeEach(async () => {
  await pem?.stop();
  pem = await startPem();
});
afterAll(() => pem?.stop());

function batch(boot: string, seq: number, bytes = 2000): Buffer {
  const made = Buffer.alloc(bytes);
  Buffer.from(boot.replaceAll('-', ''), 'hex').copy(made, 24);
  made.writeBigInt64LE(BigInt(seq), 40);
  return made;
}

const bootOf = (agent: RigAgent): string =>
  `00000000-0000-4000-8000-${String(agent.agentId).padStart(12, '0')}`;

async function rotate(client: pg.Client, parameters = `1, '0 s'`): Promise<Record<string, unknown>> {
  return (await client.query(`SELECT pem_inbox.rotate(${parameters}) AS done`)).rows[0].done;
}

test('many writers, a reader that finishes and rotation without pause: every acknowledged batch was read once it stood', async () => {
  const agents = await Promise.all(
    Array.from({ length: 6 }, (_, index) => pem.addAgent({ name: `writer ${index}` })),
  );
  const ingest = await pem.client('pem_ingest');
  const rotator = await pem.client('pem_ingest');
  for (const agent of agents) {
    await pem.query(`INSERT INTO pem.received (agent_id, boot) VALUES ($1, $2)`, [
      agent.agentId,
      bootOf(agent),
    ]);
  }
  const acknowledged = new Set<string>();
  const seen = new Map<string, number>();
  let writing = true;
  let emptied = 0;
  let sent = 0;

  const write = async (agent: RigAgent, connection: number): Promise<void> => {
    const client = await agent.client();
    // As long as slots have not been emptied under the writers several times.
    for (let n = 0; n < 200 || (emptied <= 4 && n < 20_000); n++) {
      const seq = n * 2 + connection + 1;
      const rollback = n % 17 === 3;
      await client.query('BEGIN');
      await client.query('INSERT INTO pem.inbox VALUES ($1)', [batch(bootOf(agent), seq)]);
      await client.query(rollback ? 'ROLLBACK' : 'COMMIT');
      sent += rollback ? 0 : 1;
      if (!rollback) acknowledged.add(`${agent.agentId}:${seq}`);
    }
    await client.end();
  };
  const read = async (): Promise<number> => {
    const { rows } = await ingest.query('SELECT id, agent_id, boot, seq, batch FROM pem_inbox.slots');
    const fresh = rows.filter((row) => !seen.has(`${row.agent_id}:${row.seq}`));
    for (const row of fresh) {
      expect(row.batch.readBigInt64LE(40)).toBe(BigInt(row.seq));
      seen.set(`${row.agent_id}:${row.seq}`, Number(row.id));
      await ingest.query(
        'UPDATE pem.received SET ranges = ranges + int8multirange(int8range($3::int8, $3::int8 + 1)) WHERE agent_id = $1 AND boot = $2',
        [row.agent_id, row.boot, row.seq],
      );
    }
    return fresh.length;
  };
  const reader = (async () => {
    while (writing) await read();
    while ((await read()) > 0);
  })();
  const rotation = (async () => {
    while (writing) if ('emptied' in (await rotate(rotator))) emptied += 1;
  })();
  await Promise.all(agents.flatMap((agent) => [write(agent, 0), write(agent, 1)]));
  writing = false;
  await Promise.all([reader, rotation]);

  expect(emptied).toBeGreaterThan(4);
  expect(acknowledged.size).toBe(sent);
  expect(sent).toBeGreaterThanOrEqual(6 * 2 * 188);
  expect([...seen.keys()].sort()).toEqual([...acknowledged].sort());
  for (let n = 0; n < 8; n++) await rotate(rotator);
  const left = await pem.query('SELECT count(*)::int AS n FROM pem_inbox.slots');
  expect(left.rows).toEqual([{ n: 0 }]);
  await ingest.end();
  await rotator.end();
});

test('an unfinished batch keeps its slot; received, quarantined or deleted, it lets go', async () => {
  const agent = await pem.addAgent({ name: 'one' });
  const client = await agent.client();
  const ingest = await pem.client('pem_ingest');
  const boot = bootOf(agent);
  await ingest.query('INSERT INTO pem.received (agent_id, boot) VALUES ($1, $2)', [agent.agentId, boot]);
  for (const seq of [1, 2, 3]) await client.query('INSERT INTO pem.inbox VALUES ($1)', [batch(boot, seq)]);
  expect(await rotate(ingest)).toEqual({ active: 1 });
  const left = async (): Promise<unknown[]> =>
    (await pem.query('SELECT seq FROM pem_inbox.slots ORDER BY 1')).rows;
  expect(await rotate(ingest)).toEqual({});
  await ingest.query(`UPDATE pem.received SET ranges = '{[1,2)}'`);
  expect(await rotate(ingest)).toEqual({});
  await ingest.query(
    `INSERT INTO pem.quarantine (agent_id, code, reason, inbox_id) SELECT agent_id, 'x', 'x', id FROM pem_inbox.slots WHERE seq = 2`,
  );
  expect(await rotate(ingest)).toEqual({});
  expect(await left()).toHaveLength(3);
  await ingest.query('DELETE FROM pem_inbox.slot_0 WHERE seq = 3');
  expect(await rotate(ingest)).toEqual({ emptied: 0 });
  expect(await left()).toEqual([]);
  await client.end();
  await ingest.end();
});

test('all slots unfinished: the active one goes on and says full; a second rotator is told busy', async () => {
  const agent = await pem.addAgent({ name: 'one' });
  const client = await agent.client();
  const ingest = await pem.client('pem_ingest');
  for (let seq = 1; seq <= 4; seq++) {
    await client.query('INSERT INTO pem.inbox VALUES ($1)', [batch(bootOf(agent), seq)]);
    expect(await rotate(ingest)).toEqual(seq < 4 ? { active: seq } : { full: true });
  }
  await client.query('INSERT INTO pem.inbox VALUES ($1)', [batch(bootOf(agent), 5)]);
  await ingest.query('BEGIN');
  await rotate(ingest);
  const second = await pem.client('pem_ingest');
  expect(await rotate(second)).toEqual({ busy: true });
  await ingest.query('COMMIT');
  await second.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  await expect(rotate(second)).rejects.toMatchObject({ code: 'PE013' });
  await Promise.all([client.end(), ingest.end(), second.end()]);
});

test('an agent that sits in a transaction is ended, and its slot is emptied', async () => {
  const agent = await pem.addAgent({ name: 'sitting' });
  const client = await agent.client();
  const ended = new Promise<void>((resolve) => client.on('end', () => resolve()));
  const ingest = await pem.client('pem_ingest');
  const boot = bootOf(agent);
  await client.query('INSERT INTO pem.inbox VALUES ($1)', [batch(boot, 1)]);
  await ingest.query(`INSERT INTO pem.received (agent_id, boot, ranges) VALUES ($1, $2, '{[1,2)}')`, [
    agent.agentId,
    boot,
  ]);
  await client.query('BEGIN');
  await client.query('INSERT INTO pem.inbox VALUES ($1)', [batch(boot, 2)]);
  expect(await rotate(ingest)).toEqual({ active: 1 });
  expect(await rotate(ingest)).toEqual({ locked: 0 });
  expect(await rotate(ingest, `1, '0 s', '0 s'`)).toEqual({ locked: 0, ended: true });
  await ended;
  for (;;) {
    const done = await rotate(ingest);
    if (done.emptied === 0) break;
    expect(done).toEqual({ locked: 0 });
  }
  await ingest.end();
});

test('a crash of PostgreSQL empties the inbox, ids go on, and agents can write again', async () => {
  const agent = await pem.addAgent({ name: 'one' });
  const before = await agent.client();
  await before.query('INSERT INTO pem.inbox VALUES ($1)', [batch(bootOf(agent), 1)]);
  const first = await pem.query('SELECT id FROM pem_inbox.slots');
  await pem.restart('immediate');
  expect((await pem.query('SELECT count(*)::int AS n FROM pem_inbox.slots')).rows).toEqual([{ n: 0 }]);
  const after = await agent.client();
  await after.query('INSERT INTO pem.inbox VALUES ($1)', [batch(bootOf(agent), 1)]);
  const second = await pem.query('SELECT id FROM pem_inbox.slots');
  expect(Number(second.rows[0].id)).toBeGreaterThan(Number(first.rows[0].id));
  await after.end();
});
