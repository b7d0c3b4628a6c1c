/** pem.sync: boots and their arrival, definitions, commands, and copies of one agent that give themselves away. */
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Pem, type RigAgent, startPem } from '../../bench/rig/pem.js';

const [a, b, c] = ['a', 'b', 'c'].map((digit) => `00000000-0000-4000-8000-00000000000${digit}`) as [
  string,
  string,
  string,
];
let pem: Pem;
let agent: RigAgent;
let client: pg.Client;
let number = 0;

beforeAll(async () => {
  // A vacuum's snapshot would keep old versions of a heartbeat, and the next one would go to another page.
  pem = await startPem({ settings: { autovacuum: 'off' } });
});
beforeEach(async () => {
  await client?.end();
  number += 1;
  agent = await pem.addAgent({
    name: `agent ${number}`,
    servers: [{ name: 'main', host: 'db', port: 5432 }],
  });
  client = await agent.client();
});
afterAll(async () => {
  await client?.end();
  await pem?.stop();
});

async function sync(request: Record<string, unknown>): Promise<Record<string, unknown>> {
  return (await client.query('SELECT pem.sync($1) AS reply', [request])).rows[0].reply;
}

test('boots get their arrival in the order of the announcement, and ranges come back for those alone', async () => {
  expect((await sync({ boots: [a, b] })).received).toEqual({ [a]: [], [b]: [] });
  expect((await sync({ boots: [a, b, c] })).received).toEqual({ [a]: [], [b]: [], [c]: [] });
  const { rows } = await pem.query('SELECT boot FROM pem.received WHERE agent_id = $1 ORDER BY arrival', [
    agent.agentId,
  ]);
  expect(rows.map((row) => row.boot)).toEqual([a, b, c]);
  await pem.query(`UPDATE pem.received SET ranges = '{[1,5),[7,9)}' WHERE agent_id = $1 AND boot = $2`, [
    agent.agentId,
    b,
  ]);
  expect((await sync({ boots: [b, c] })).received).toEqual({
    [b]: [
      [1, 5],
      [7, 9],
    ],
    [c]: [],
  });
});

test('boots are bounded by the day: an agent that died 60,000 times reports again', async () => {
  const fill = (boots: number, at: string) =>
    pem.query(
      `INSERT INTO pem.received (agent_id, boot, first_at, last_at)
       SELECT $1, gen_random_uuid(), ${at}, ${at} FROM generate_series(1, $2::int)`,
      [agent.agentId, boots],
    );
  await fill(60_000, `now() - interval '2 days'`);
  await fill(9_999, 'now()');
  expect((await sync({ boots: [a] })).received).toEqual({ [a]: [] });
  await expect(sync({ boots: [a, b] })).rejects.toMatchObject({
    code: 'PE004',
    message: expect.stringContaining('too many boots today'),
  });
});

test('an announcement nobody makes honestly is refused', async () => {
  await expect(sync({ boots: [] })).rejects.toMatchObject({ code: 'PE004' });
  await expect(sync({})).rejects.toMatchObject({ code: 'PE004' });
  await expect(sync({ boots: ['x'] })).rejects.toMatchObject({ code: '22P02' });
  await expect(sync({ boots: Array(5000).fill(a) })).rejects.toMatchObject({ code: 'PE004' });
});

test('definitions come when the version differs, and follow what people change', async () => {
  const first = await sync({ boots: [a], configVersion: 0 });
  const config = first.config as {
    configVersion: number;
    schedule: { targetId: number; probe: string; intervalMs: number }[];
    probes: Record<string, Record<string, unknown>>;
    servers: unknown[];
  };
  expect(config).toMatchObject({
    agentId: agent.agentId,
    hostTarget: agent.hostTarget,
    configVersion: first.configVersion,
  });
  expect(config.servers).toEqual([
    {
      targetId: agent.serverTargets[0],
      name: 'main',
      host: 'db',
      port: 5432,
      database: 'postgres',
      user: 'pem_monitor',
      sslmode: 'prefer',
    },
  ]);
  expect(Object.keys(config.probes.cpu_usage ?? {}).sort()).toEqual([
    'collector',
    'columns',
    'level',
    'mode',
    'name',
    'version',
  ]);
  expect(config.schedule).toContainEqual({
    targetId: agent.hostTarget,
    probe: 'cpu_usage',
    intervalMs: expect.any(Number),
  });
  expect(config.schedule).toContainEqual({
    targetId: agent.serverTargets[0],
    probe: 'table_statistics',
    intervalMs: expect.any(Number),
  });
  expect((await sync({ boots: [a], configVersion: first.configVersion })).config).toBeUndefined();

  await pem.query(`SELECT pem.set_probe_config($1, 'cpu_usage', NULL, 7000, NULL)`, [agent.hostTarget]);
  await pem.query(`SELECT pem.set_probe_config($1, 'settings', false, NULL, NULL)`, [agent.serverTargets[0]]);
  const second = await sync({ boots: [a], configVersion: first.configVersion });
  const changed = second.config as typeof config;
  expect(Number(second.configVersion)).toBeGreaterThan(Number(first.configVersion));
  expect(changed.schedule).toContainEqual({
    targetId: agent.hostTarget,
    probe: 'cpu_usage',
    intervalMs: 7000,
  });
  expect(changed.schedule.some((entry) => entry.probe === 'settings')).toBe(false);
  expect(changed.probes.settings).toBeUndefined();

  await pem.query('SELECT pem.remove_server($1)', [agent.serverTargets[0]]);
  const third = (await sync({ boots: [a], configVersion: second.configVersion })).config as typeof config;
  expect(third.servers).toEqual([]);
  expect(third.schedule.every((entry) => entry.targetId === agent.hostTarget)).toBe(true);
  // After a restore PEM's version may be the smaller one.
  expect((await sync({ boots: [a], configVersion: 1_000_000 })).config).toBeDefined();
});

test("probes of PEM itself are the first agent's alone", async () => {
  const { rows } = await pem.query(
    `SELECT (pem.definitions(a) -> 'probes') ? 'ingest_self' AS has FROM pem.agent a ORDER BY id`,
  );
  expect(rows.map((row) => row.has)).toEqual(rows.map((_, index) => index === 0));
});

test('facts reach host, server, version and status; a heartbeat is one HOT update', async () => {
  await sync({
    boots: [a],
    version: '0.2.0',
    info: {
      spoolBytes: 5,
      host: {
        hostname: 'h1',
        os: 'Linux',
        kernel: '6',
        cpus: 4,
        memoryBytes: 8_000_000_000,
        bootedAtUs: 1_700_000_000_000_000,
      },
    },
    servers: [
      {
        targetId: agent.serverTargets[0],
        serverVersionNum: 150018,
        systemIdentifier: '7300000000000000001',
        error: null,
      },
    ],
  });
  const { rows } = await pem.query(
    `SELECT status, version, hostname, cpus, memory_bytes, (extract(epoch FROM booted_at) * 1e6)::bigint AS booted, info -> 'spoolBytes' AS spool
       FROM pem.agent_status WHERE agent_id = $1`,
    [agent.agentId],
  );
  expect(rows).toEqual([
    {
      status: 'up',
      version: '0.2.0',
      hostname: 'h1',
      cpus: 4,
      memory_bytes: '8000000000',
      booted: '1700000000000000',
      spool: 5,
    },
  ]);
  const server = await pem.query(
    'SELECT server_version_num, system_identifier FROM pem.server WHERE target_id = $1',
    agent.serverTargets as number[],
  );
  expect(server.rows).toEqual([{ server_version_num: 150018, system_identifier: '7300000000000000001' }]);

  const updates = async (): Promise<{ all: number; hot: number }> => {
    await client.query('SELECT 1');
    const stat = await pem.query(
      `SELECT pg_stat_force_next_flush(), n_tup_upd::int AS all, n_tup_hot_upd::int AS hot FROM pg_stat_user_tables WHERE relid = 'pem.agent_heartbeat'::regclass`,
    );
    return { all: stat.rows[0].all, hot: stat.rows[0].hot };
  };
  for (let n = 0; n < 50; n++) await sync({ boots: [a], info: { spoolBytes: n } });
  await client.end();
  client = await agent.client();
  const after = await updates();
  expect(after.all).toBeGreaterThanOrEqual(50);
  expect(after.hot).toBe(after.all);
});

test('silence: up, then down, after a crash unknown', async () => {
  const status = async (): Promise<string> =>
    (await pem.query('SELECT status FROM pem.agent_status WHERE agent_id = $1', [agent.agentId])).rows[0]
      .status;
  expect(await status()).toBe('unknown');
  await sync({ boots: [a] });
  expect(await status()).toBe('up');
  await pem.query(`UPDATE pem.agent_heartbeat SET at = now() - interval '11 s' WHERE agent_id = $1`, [
    agent.agentId,
  ]);
  expect(await status()).toBe('down');
});

test('server status follows its samples and its agent', async () => {
  const target = agent.serverTargets[0];
  const status = async (): Promise<string> =>
    (await pem.query('SELECT status FROM pem.server_status WHERE target_id = $1', [target])).rows[0].status;
  expect(await status()).toBe('unknown');
  await sync({ boots: [a] });
  await pem.query(`INSERT INTO pem.probe_state VALUES ($1, 'server_info', '', now(), 1, 1, 1, 1, 1)`, [
    target,
  ]);
  expect(await status()).toBe('up');
  await pem.query(`UPDATE pem.agent_heartbeat SET at = now() - interval '11 s' WHERE agent_id = $1`, [
    agent.agentId,
  ]);
  expect(await status()).toBe('down');
  await sync({ boots: [a] });
  await pem.query(`UPDATE pem.probe_state SET seen_at = now() - interval '10 minutes' WHERE target_id = $1`, [
    target,
  ]);
  expect(await status()).toBe('down');
});

test("server status judges samples by PEM's clock, whatever the agent's says", async () => {
  const target = agent.serverTargets[0];
  const status = async (sampled: string, seen: string, offset: unknown): Promise<string> => {
    await sync({ boots: [a], info: { clockOffsetUs: offset } });
    await pem.query(
      `INSERT INTO pem.probe_state (target_id, probe, recorded_at, arrival, seq, seen_at)
         VALUES ($1, 'server_info', now() + $2::interval, 1, 1, now() + $3::interval)
       ON CONFLICT (target_id, probe, scope) DO UPDATE SET recorded_at = excluded.recorded_at, seen_at = excluded.seen_at`,
      [target, sampled, seen],
    );
    return (await pem.query('SELECT status FROM pem.server_status WHERE target_id = $1', [target])).rows[0]
      .status;
  };
  const hourUs = 3_600_000_000;
  // Half an hour ahead: fresh while samples come in, not for the half hour after the last one.
  expect(await status('30 min', '0', -hourUs / 2)).toBe('up');
  expect(await status('30 min', '-1 min', -hourUs / 2)).toBe('down');
  expect(await status('30 min', '-1 min', null)).toBe('down');
  // Two days behind: fresh all the same; an old sample that comes in late is not.
  expect(await status('-2 days', '0', 48 * hourUs)).toBe('up');
  expect(await status('-2 days', '0', null)).toBe('up');
  expect(await status('-2 days', '0', 0)).toBe('down');
  // So far ahead that no sample is taken: nobody knows.
  expect(await status('-1 h', '-1 h', -3 * hourUs)).toBe('unknown');
  // An agent may say what it likes without breaking the view.
  for (const nonsense of ['x', {}, true, [1]]) expect(await status('0', '0', nonsense)).toBe('up');
  await sync({ boots: [a] });
  await pem.query(
    `UPDATE pem.agent_heartbeat SET info = '{"clockOffsetUs": 1e400}'::jsonb WHERE agent_id = $1`,
    [agent.agentId],
  );
  const { rows } = await pem.query('SELECT status FROM pem.server_status WHERE target_id = $1', [target]);
  expect(rows[0].status).toBe('up');
});

test('commands come once a boot until they are done', async () => {
  const { rows } = await pem.query(`SELECT pem.send_command($1, 'sync_now', '{"x": 1}') AS id`, [
    agent.agentId,
  ]);
  const id = Number(rows[0].id);
  expect((await sync({ boots: [a] })).commands).toEqual([{ id, kind: 'sync_now', payload: { x: 1 } }]);
  expect((await sync({ boots: [a] })).commands).toEqual([]);
  expect((await sync({ boots: [a, b] })).commands).toHaveLength(1);
  await sync({ boots: [a, b], commandResults: [{ id, ok: true, result: { y: 2 } }] });
  expect((await sync({ boots: [a, b, c] })).commands).toEqual([]);
  const done = await pem.query('SELECT result, done_at IS NOT NULL AS done FROM pem.command WHERE id = $1', [
    id,
  ]);
  expect(done.rows).toEqual([{ result: { ok: true, result: { y: 2 } }, done: true }]);
});

test('a worker that starts again is no clone; a boot that comes back is', async () => {
  await sync({ boots: [a] });
  await sync({ boots: [a, b] });
  expect((await sync({ boots: [b] })).quarantined).toBeUndefined();
  await client.query('INSERT INTO pem.inbox VALUES ($1)', [Buffer.alloc(100)]);

  const reply = await sync({ boots: [a] });
  expect(reply.quarantined).toMatch(/^cloned: boot .*a came back after boot .*b$/);
  await expect(client.query('INSERT INTO pem.inbox VALUES ($1)', [Buffer.alloc(100)])).rejects.toMatchObject({
    code: 'PE003',
  });
  await expect(client.query(`SELECT pem.renew_certificate('x')`)).rejects.toMatchObject({ code: 'PE003' });
  const status = await pem.query('SELECT quarantined_reason FROM pem.agent_status WHERE agent_id = $1', [
    agent.agentId,
  ]);
  expect(status.rows[0].quarantined_reason).toBe(reply.quarantined);

  await pem.query('SELECT pem.release_agent($1)', [agent.agentId]);
  expect((await sync({ boots: [a] })).quarantined).toBeUndefined();
  await client.query('INSERT INTO pem.inbox VALUES ($1)', [Buffer.alloc(100)]);
  await sync({ boots: [b] });
  expect((await sync({ boots: [a] })).quarantined).toBeDefined();
});
