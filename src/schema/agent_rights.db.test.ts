/** What a hostile agent tries with its own login: everything but its inbox and its own functions is refused. */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Pem, type RigAgent, startPem } from '../../bench/rig/pem.js';

const run = promisify(execFile);
let pem: Pem;
let agent: RigAgent;
let other: RigAgent;
let client: pg.Client;

beforeAll(async () => {
  pem = await startPem();
  await pem.addUser('ann', { level: 'pem_super_admin' });
  agent = await pem.addAgent({ name: 'hostile', owner: 'ann' });
  other = await pem.addAgent({ name: 'other', owner: 'ann', servers: [{ name: 's', host: 'h', port: 1 }] });
  client = await agent.client();
});
afterAll(async () => {
  await client?.end();
  await pem?.stop();
});

/** A batch's head with a sequence number, and padding. */
function batch(seq: number, bytes = 100): Buffer {
  const made = Buffer.alloc(bytes, 7);
  made.writeBigInt64LE(BigInt(seq), 40);
  return made;
}

test('reads no relation of PEM at all', async () => {
  const { rows } = await pem.query(`SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname LIKE 'pem%' AND c.relkind IN ('r', 'p', 'v', 'S')`);
  expect(rows.length).toBeGreaterThan(50);
  for (const { name } of rows as { name: string }[]) {
    await expect(client.query(`SELECT * FROM ${name}`), name).rejects.toMatchObject({ code: '42501' });
  }
});

test('has no privilege on any relation but INSERT on its inbox', async () => {
  const { rows } = await pem.query(
    `SELECT c.oid::regclass::text AS name, p AS privilege FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
       unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES']) p
      WHERE n.nspname LIKE 'pem%' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND (has_table_privilege($1, c.oid, p)
          OR (p NOT IN ('DELETE', 'TRUNCATE', 'TRIGGER') AND has_any_column_privilege($1, c.oid, p)))`,
    [agent.role],
  );
  expect(rows).toEqual([{ name: 'pem.inbox', privilege: 'INSERT' }]);
});

test('may execute its own functions of PEM and no other', async () => {
  const { rows } = await pem.query(
    `SELECT p.oid::regprocedure::text AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      WHERE n.nspname LIKE 'pem%' AND has_function_privilege($1, p.oid, 'EXECUTE') ORDER BY 1`,
    [agent.role],
  );
  expect(rows.map((row) => row.name)).toEqual([
    'pem.certificate(bigint)',
    'pem.renew_certificate(text)',
    'pem.sync(jsonb)',
  ]);
});

test.each([
  ['a temporary table', 'CREATE TEMP TABLE t (x int)'],
  ['a table', 'CREATE TABLE public.t (x int)'],
  ['a table in pem', 'CREATE TABLE pem.t (x int)'],
  ['a schema', 'CREATE SCHEMA s'],
  ['a function', 'CREATE FUNCTION pem.f() RETURNS int LANGUAGE sql RETURN 1'],
  ['a block of PL/pgSQL', 'DO $$ BEGIN END $$'],
  ['a role', 'CREATE ROLE x'],
  ['a database', 'CREATE DATABASE x'],
  ['a large object', `SELECT lo_create(0)`],
  ['a large object with contents', `SELECT lo_from_bytea(0, 'x')`],
  ['a file', `COPY (SELECT 1) TO '/tmp/x'`],
  ['a program', `COPY (SELECT 1) TO PROGRAM 'true'`],
  ['an advisory lock', 'SELECT pg_advisory_lock(1)'],
  ['a shared advisory lock', 'SELECT pg_try_advisory_xact_lock_shared(1)'],
  ['a WAL message', `SELECT pg_logical_emit_message(false, 'x', 'x')`],
  ['a snapshot file', 'SELECT pg_export_snapshot()'],
  ['a notification by function', `SELECT pg_notify('x', 'x')`],
  ['a lock on a table', 'BEGIN; LOCK TABLE pem.agent IN ACCESS SHARE MODE'],
  ['history', `INSERT INTO pemhistory.cpu_usage (recorded_at, target_id) VALUES (now(), 1)`],
  ['latest', `INSERT INTO pemdata.cpu_usage (target_id) VALUES (1)`],
  [
    'a slot',
    `INSERT INTO pem_inbox.slot_0 (agent_id, boot, seq, bytes, batch) VALUES (1, gen_random_uuid(), 1, 1, 'x')`,
  ],
  ['rotation', 'SELECT pem_inbox.rotate()'],
  ['a role of PEM', `SELECT pem.make_role('agent', 'agent99', NULL, NULL)`],
  ['another agent by its role', 'SET ROLE agent2'],
  ['the owner', 'SET ROLE pem_owner'],
  ['the ingester', 'SET ROLE pem_ingest'],
  ['another session', 'SET SESSION AUTHORIZATION agent2'],
  ['the superuser', 'SET SESSION AUTHORIZATION postgres'],
  ['its own limits', 'ALTER ROLE agent1 CONNECTION LIMIT 100'],
])('cannot have %s', async (_what, sql) => {
  await expect(client.query(sql)).rejects.toMatchObject({ code: expect.stringMatching(/^(42501|3F000)$/) });
  await client.query('ROLLBACK');
});

test('an upper role is not reached through settings', async () => {
  await expect(client.query(`SELECT set_config('role', 'agent2', false)`)).rejects.toMatchObject({
    code: '42501',
  });
  await expect(
    client.query(`SELECT set_config('session_authorization', 'postgres', false)`),
  ).rejects.toMatchObject({ code: '42501' });
  await client.query(`SET search_path = pg_temp, public`);
  await client.query('INSERT INTO pem.inbox VALUES ($1)', [batch(1)]);
  await client.query('RESET search_path');
});

test('a row is always its own, whatever its group role', async () => {
  await client.query('SET ROLE pem_agent');
  await client.query('INSERT INTO pem.inbox VALUES ($1)', [batch(2)]);
  await client.query('RESET ROLE');
  const { rows } = await pem.query('SELECT DISTINCT agent_id FROM pem_inbox.slots');
  expect(rows).toEqual([{ agent_id: agent.agentId }]);
});

test('facts about a server that another agent watches are ignored', async () => {
  await client.query('SELECT pem.sync($1)', [
    {
      boots: ['00000000-0000-4000-8000-0000000000aa'],
      servers: [{ targetId: other.serverTargets[0], serverVersionNum: 666, error: 'lies' }],
    },
  ]);
  const { rows } = await pem.query('SELECT server_version_num, error FROM pem.server');
  expect(rows).toEqual([{ server_version_num: null, error: null }]);
});

test('reads no certificate request of another', async () => {
  const { rows } = await pem.query('SELECT id FROM pem.csr WHERE agent_id = $1', [other.agentId]);
  await expect(client.query('SELECT pem.certificate($1)', [rows[0].id])).rejects.toMatchObject({
    code: 'PE021',
  });
});

test('connects to no other database and at most twice', async () => {
  for (const database of ['postgres', 'template1']) {
    const { rows } = await pem.query(`SELECT has_database_privilege($1, $2, 'CONNECT') AS may`, [
      agent.role,
      database,
    ]);
    expect(rows).toEqual([{ may: false }]);
  }
  const second = await agent.client();
  await expect(agent.client()).rejects.toMatchObject({ code: '53300' });
  await second.end();
});

test("is let in by its certificate alone, and by nobody else's", async () => {
  const config = { host: '127.0.0.1', port: pem.port, database: 'pem', ssl: { rejectUnauthorized: false } };
  const bare = new pg.Client({ ...config, user: agent.role, password: 'x' });
  await expect(bare.connect()).rejects.toThrow(/certificate/);
  const foreign = new pg.Client({
    ...config,
    user: other.role,
    ssl: { rejectUnauthorized: false, cert: readFileSync(agent.certificate), key: readFileSync(agent.key) },
  });
  await expect(foreign.connect()).rejects.toThrow(/certificate authentication failed/);
});

test('sizes that are no batch are refused: PE002', async () => {
  for (const bytes of [0, 71, 4_194_305]) {
    await expect(
      client.query('INSERT INTO pem.inbox VALUES ($1)', [Buffer.alloc(bytes)]),
    ).rejects.toMatchObject({ code: 'PE002' });
  }
  await expect(client.query('INSERT INTO pem.inbox VALUES (NULL)')).rejects.toMatchObject({ code: 'PE002' });
});

test('a flood ends at the backlog, in one statement or many, and goes on when PEM has caught up: PE001', async () => {
  await pem.query('TRUNCATE pem_inbox.slot_0');
  await expect(
    client.query('INSERT INTO pem.inbox SELECT $1::bytea FROM generate_series(1, 20)', [batch(1, 1_000_000)]),
  ).rejects.toMatchObject({ code: 'PE001' });
  await expect(
    client.query('INSERT INTO pem.inbox SELECT $1::bytea FROM generate_series(1, 5000)', [batch(1)]),
  ).rejects.toMatchObject({ code: 'PE001' });
  expect((await pem.query('SELECT count(*)::int AS n FROM pem_inbox.slots')).rows).toEqual([{ n: 0 }]);
  for (let seq = 1; seq <= 8; seq++)
    await client.query('INSERT INTO pem.inbox VALUES ($1)', [batch(seq, 1_000_000)]);
  await expect(
    client.query('INSERT INTO pem.inbox VALUES ($1)', [batch(9, 1_000_000)]),
  ).rejects.toMatchObject({ code: 'PE001' });
  await pem.query(
    `INSERT INTO pem.received (agent_id, boot, ranges) SELECT agent_id, boot, '{[1,5)}' FROM pem_inbox.slots LIMIT 1`,
  );
  for (let seq = 9; seq <= 12; seq++)
    await client.query('INSERT INTO pem.inbox VALUES ($1)', [batch(seq, 1_000_000)]);
  await expect(
    client.query('INSERT INTO pem.inbox VALUES ($1)', [batch(13, 1_000_000)]),
  ).rejects.toMatchObject({ code: 'PE001' });
  // The other agent's backlog is its own.
  const neighbour = await other.client();
  await neighbour.query('INSERT INTO pem.inbox VALUES ($1)', [batch(1)]);
  await neighbour.end();
  await pem.query('TRUNCATE pem_inbox.slot_0');
});

test('COPY FROM STDIN BINARY into the inbox works as the protocol says', async () => {
  const header = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)]);
  const field = Buffer.alloc(6);
  field.writeInt16BE(1, 0);
  field.writeInt32BE(200, 2);
  const file = join(pem.tls, 'batch.pgcopy');
  writeFileSync(file, Buffer.concat([header, field, batch(77, 200), Buffer.from([0xff, 0xff])]));
  await run(join(pem.cluster.bin, 'psql'), [
    '-X',
    '-d',
    agent.conninfo,
    '-c',
    `\\copy pem.inbox (batch) from '${file}' with (format binary)`,
  ]);
  const { rows } = await pem.query('SELECT seq, bytes FROM pem_inbox.slots');
  expect(rows).toEqual([{ seq: '77', bytes: 200 }]);
});

test('a revoked agent is thrown out and stays out', async () => {
  const running = await other.client();
  const ended = new Promise<void>((resolve) => running.on('end', () => resolve()));
  await pem.asUser('ann', async (opened) => {
    await opened.query('SELECT pem.revoke_agent($1)', [other.agentId]);
    await opened.query('COMMIT');
  });
  await ended;
  await expect(other.client()).rejects.toMatchObject({ code: '28000' });
  const { rows } = await pem.query('SELECT status, active FROM pem.agent_status WHERE agent_id = $1', [
    other.agentId,
  ]);
  expect(rows[0].active).toBe(false);
});
