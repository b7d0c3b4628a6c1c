/**
 * Attacks on everybody else: an agent, a token or a user with a login of its own that keeps transactions open, repeats
 * itself, or takes what belongs to a team mate. None may hold up the signer, an ingester, an administrator or its own end.
 */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Pem, type RigAgent, startPem } from '../../bench/rig/pem.js';
import { probes } from '../catalog/probes/index.js';
import { syncCatalogue } from './catalogue.js';
import { addUser, createToken, type Token } from './users.js';

let pem: Pem;
let superuser: pg.Client;
let admin: pg.Client;
const passwords = {} as Record<'ann' | 'bob' | 'eve', string>;
const request = '-----BEGIN CERTIFICATE REQUEST-----\nx\n-----END CERTIFICATE REQUEST-----\n';

beforeAll(async () => {
  pem = await startPem();
  await pem.addTeam('crew');
  passwords.ann = await pem.addUser('ann', { level: 'pem_super_admin' });
  passwords.bob = await pem.addUser('bob', { level: 'pem_admin', teams: ['crew'] });
  passwords.eve = await pem.addUser('eve', { level: 'pem_admin', teams: ['crew'] });
  superuser = await pem.client();
  admin = await pem.userClient('ann', passwords.ann);
  // What waits for an agent fails here instead of hanging.
  for (const client of [superuser, admin]) await client.query(`SET statement_timeout = '60s'`);
});
afterAll(async () => {
  await superuser?.end();
  await admin?.end();
  await pem?.stop();
});

const sync = (client: pg.Client, boot: string, version: string): Promise<pg.QueryResult> =>
  client.query('SELECT pem.sync($1)', [{ boots: [boot], version, configVersion: 0, info: {}, servers: [] }]);

/** An agent whose open transaction has its own row locked, and which has promised itself not to end it. */
async function holding(name: string): Promise<{ agent: RigAgent; client: pg.Client }> {
  const agent = await pem.addAgent({ name, owner: 'bob', team: 'crew' });
  const client = await agent.client();
  await sync(client, randomUUID(), '1');
  await client.query('SET idle_in_transaction_session_timeout = 0; BEGIN');
  await sync(client, randomUUID(), '2');
  return { agent, client };
}

test('an agent does not hold off its own revocation by what it has locked', async () => {
  const { agent, client } = await holding('holds its row and its role');
  await client.query(`ALTER ROLE ${agent.role} PASSWORD 'x'`);
  const ended = new Promise<void>((resolve) => client.on('end', () => resolve()));
  await admin.query('SELECT pem.revoke_agent($1)', [agent.agentId]);
  await ended;
  const { rows } = await pem.query(
    'SELECT a.active, r.rolcanlogin FROM pem.agent a JOIN pg_roles r ON r.rolname = a.role WHERE a.id = $1',
    [agent.agentId],
  );
  expect(rows).toEqual([{ active: false, rolcanlogin: false }]);
});

test('nor its quarantine, nor a change of its configuration', async () => {
  const { agent } = await holding('holds its row');
  const ingest = await pem.client('pem_ingest');
  await ingest.query(`SET statement_timeout = '60s'`);
  await ingest.query('SELECT pem.quarantine_agent($1, $2)', [agent.agentId, 'cloned']);
  await ingest.end();
  const other = await holding('holds its row too');
  await admin.query(`SELECT pem.add_server($1, 's', 'h', 1, 'd', 'u')`, [other.agent.agentId]);
  const { rows } = await pem.query('SELECT quarantined_reason FROM pem.agent WHERE id = $1', [agent.agentId]);
  expect(rows).toEqual([{ quarantined_reason: 'cloned' }]);
});

test('nor the signer, which answers everybody', async () => {
  const agent = await pem.addAgent({ name: 'asks and holds', owner: 'bob' });
  const client = await agent.client();
  const csr = await client.query('SELECT pem.renew_certificate($1) AS id', [request]);
  await client.query('BEGIN');
  await sync(client, randomUUID(), 'another');
  const signer = await pem.client('pem_signer');
  await signer.query(`SET statement_timeout = '60s'`);
  await signer.query(`UPDATE pem.csr SET certificate = 'c', serial = 's', not_after = now() WHERE id = $1`, [
    csr.rows[0].id,
  ]);
  await signer.end();
  const { rows } = await pem.query('SELECT cert_serial FROM pem.agent WHERE id = $1', [agent.agentId]);
  expect(rows).toEqual([{ cert_serial: 's' }]);
});

test('nor an ingester that meets a boot whose announcement hangs', async () => {
  const agent = await pem.addAgent({ name: 'announces without end', owner: 'bob' });
  const client = await agent.client();
  const boot = randomUUID();
  await client.query('BEGIN');
  await sync(client, boot, '1');
  const ingest = await pem.client('pem_ingest');
  await ingest.query(`SET statement_timeout = '60s'`);
  const admit = () => ingest.query('SELECT pem.admit_boots($1, $2)', [[agent.agentId], [boot]]);
  await admit();
  await admit();
  await ingest.end();
  const { rows } = await pem.query('SELECT boot FROM pem.received WHERE agent_id = $1', [agent.agentId]);
  expect(rows).toEqual([{ boot }]);
});

test('an expired token whose session lives on neither registers nor holds up the cleaning', async () => {
  const token = await createToken(superuser, { displayName: 'late', owner: 'bob', ttlSeconds: 600 });
  const client = await pem.userClient(token.role, token.secret);
  await client.query('BEGIN');
  await client.query(`ALTER ROLE ${token.role} PASSWORD 'x'`);
  // Its transaction began while the token was good.
  await pem.query(`UPDATE pem.registration_token SET expires_at = clock_timestamp() WHERE id = $1`, [
    token.id,
  ]);
  await expect(client.query(`SELECT pem.register($1, '{}')`, [request])).rejects.toMatchObject({
    code: 'PE023',
  });
  await pem.query(`UPDATE pem.registration_token SET expires_at = now() - interval '2 hours' WHERE id = $1`, [
    token.id,
  ]);
  const master = await pem.client('pem_master');
  await master.query(`SET statement_timeout = '60s'`);
  const { rows } = await master.query('SELECT pem.collect_garbage() AS done');
  await master.end();
  expect(rows[0].done.tokens).toBeGreaterThan(0);
  expect((await pem.query('SELECT FROM pg_roles WHERE rolname = $1', [token.role])).rowCount).toBe(0);
});

test('a user does not hold off the end of their own right to log in', async () => {
  const password = await pem.addUser('mal');
  const client = await pem.userClient('mal', password);
  await client.query(`BEGIN; ALTER ROLE mal PASSWORD 'x'`);
  await admin.query(`SELECT pem.disable_user('mal')`);
  await expect(pem.userClient('mal', password)).rejects.toMatchObject({ code: '28000' });
});

test('ending a user ends no session of a program of PEM', async () => {
  const program = await pem.client('pem_ingest');
  await expect(admin.query(`SELECT pem.disable_user('pem_ingest')`)).rejects.toMatchObject({ code: 'PE012' });
  expect((await program.query('SELECT 1 AS alive')).rows).toEqual([{ alive: 1 }]);
  await program.end();
});

test('a member of the team neither takes a thing from its owner nor moves it out of the team', async () => {
  const agent = await pem.addAgent({ name: 'of bob', owner: 'bob', team: 'crew' });
  const eve = await pem.userClient('eve', passwords.eve);
  await expect(
    eve.query('SELECT pem.set_belonging($1, $2, NULL)', [agent.hostTarget, 'eve']),
  ).rejects.toMatchObject({ code: 'PE021' });
  await eve.end();
  const bob = await pem.userClient('bob', passwords.bob);
  await bob.query('SELECT pem.set_belonging($1, $2, NULL)', [agent.hostTarget, 'bob']);
  await bob.end();
  await admin.query('SELECT pem.set_belonging($1, $2, $3)', [agent.hostTarget, 'eve', 'crew']);
  const { rows } = await pem.query('SELECT owner, team FROM pem.target WHERE id = $1', [agent.hostTarget]);
  expect(rows).toEqual([{ owner: 'eve', team: 'crew' }]);
});

test('who sees the host of an agent reads nothing of foreign servers that it watches', async () => {
  const agent = await pem.addAgent({ name: 'shared', owner: 'bob', team: 'crew' });
  const { rows } = await admin.query(
    `SELECT pem.add_server($1, 'secret', 'h', 1, 'd', 'u', 'prefer', 'ann', NULL) AS id`,
    [agent.agentId],
  );
  await pem.query(`UPDATE pem.target SET team = NULL WHERE id = $1`, [rows[0].id]);
  const client = await agent.client();
  await client.query('SELECT pem.sync($1)', [
    { boots: [randomUUID()], info: {}, servers: [{ targetId: rows[0].id, error: 'secret error' }] },
  ]);
  await client.end();
  const eve = await pem.userClient('eve', passwords.eve);
  const seen = await eve.query('SELECT info FROM pem.agent_heartbeat WHERE agent_id = $1', [agent.agentId]);
  expect(seen.rows).toHaveLength(1);
  await expect(eve.query('SELECT servers FROM pem.agent_heartbeat')).rejects.toMatchObject({ code: '42501' });
  expect((await eve.query(`SELECT FROM pem.server WHERE error = 'secret error'`)).rowCount).toBe(0);
  await eve.end();
});

test('repeats of what PEM has fill no disk while no ingester runs: PE001', async () => {
  const agent = await pem.addAgent({ name: 'repeats', owner: 'bob' });
  const client = await agent.client();
  const boot = randomUUID();
  await pem.query(`INSERT INTO pem.received (agent_id, boot, ranges) VALUES ($1, $2, '{[1,10)}')`, [
    agent.agentId,
    boot,
  ]);
  const batch = Buffer.alloc(4_194_304);
  batch.write(boot.replaceAll('-', ''), 24, 'hex');
  batch.writeBigInt64LE(1n, 40);
  let kept = 0;
  await expect(
    (async () => {
      for (; kept < 100; kept++) await client.query('INSERT INTO pem.inbox VALUES ($1)', [batch]);
    })(),
  ).rejects.toMatchObject({ code: 'PE001' });
  expect(kept).toBeLessThanOrEqual(32);
  await client.end();
});

test.each(['a user', 'an agent'])(
  'a query of %s does not fill the disk with temporary files',
  async (who) => {
    const client =
      who === 'a user'
        ? await pem.userClient('bob', passwords.bob)
        : await (await pem.addAgent({ name: 'spills', owner: 'bob' })).client();
    expect((await client.query('SHOW temp_file_limit')).rows).toEqual([{ temp_file_limit: '1GB' }]);
    await expect(client.query('SET temp_file_limit = -1')).rejects.toMatchObject({ code: '42501' });
    await client.end();
  },
);

test.each([
  ['null', 'null'],
  ['text', '"x"'],
  ['a list', '[1]'],
  ['deep', `{"x": ${'['.repeat(3000)}${']'.repeat(3000)}}`],
  ['long', `{"x": "${'x'.repeat(70_000)}"}`],
  ['a few numbers of 131,000 digits', `{"x": [${'1e131000,'.repeat(100)}1]}`],
])(
  'what an agent says of itself is refused where it would break the pages of others: %s',
  async (_what, info) => {
    const agent = await pem.addAgent({ name: 'talks', owner: 'bob' });
    const client = await agent.client();
    await expect(
      client.query('SELECT pem.sync($1)', [`{"boots": ["${randomUUID()}"], "info": ${info}}`]),
    ).rejects.toMatchObject({ code: 'PE004' });
    await client.end();
  },
);

test.each(['"Infinity"', '"-Infinity"', '9.2239e18', '-1'])(
  'a boot time of %s is none: it would be no number of microseconds for anybody',
  async (bootedAtUs) => {
    const agent = await pem.addAgent({ name: 'booted', owner: 'bob' });
    const client = await agent.client();
    await client.query('SELECT pem.sync($1)', [
      `{"boots": ["${randomUUID()}"], "info": {"host": {"hostname": "h", "bootedAtUs": ${bootedAtUs}}}}`,
    ]);
    await client.end();
    const { rows } = await pem.query(
      `SELECT (extract(epoch FROM booted_at) * 1000000)::int8 AS us FROM pem.agent_status WHERE agent_id = $1`,
      [agent.agentId],
    );
    expect(rows).toEqual([{ us: null }]);
  },
);

test('a refused new user leaves no verifier in the error, nor in the log of the server', async () => {
  const error: { code?: string; where?: string } = await addUser(superuser, {
    name: 'bob',
    password: 'another password',
    level: 'pem_user',
  }).then(
    () => ({}),
    (thrown: object) => thrown,
  );
  expect(error.code).toBe('42710');
  expect(JSON.stringify(error)).not.toContain('SCRAM');
});

test('groups own nothing and are no team', async () => {
  const bob = await pem.userClient('bob', passwords.bob);
  const token = (owner: string, team: string | null) =>
    bob.query(`SELECT pem.create_token('x', $1, $2, '1 hour', 'x')`, [owner, team]);
  await expect(token('bob', 'pem_user')).rejects.toMatchObject({ code: 'PE022' });
  await bob.query('SET ROLE pem_admin');
  await expect(token('pem_admin', null)).rejects.toMatchObject({ code: 'PE022' });
  await bob.end();
});

test('a reader who keeps a transaction open stops no ingester by an upgrade that queues behind it', async () => {
  const bob = await pem.userClient('bob', passwords.bob);
  await bob.query('BEGIN');
  await bob.query('SELECT FROM pemdata.server_info');
  const wider = probes.map((probe) =>
    probe.name === 'server_info'
      ? {
          ...probe,
          version: probe.version + 1,
          columns: [
            ...probe.columns,
            { name: 'added', type: 'int4', role: 'metric', kind: 'gauge', unit: '', title: 'Added' } as const,
          ],
        }
      : probe,
  );
  await expect(syncCatalogue(superuser, wider)).rejects.toMatchObject({ code: '55P03' });
  await bob.end();
});

test('a token whose role cannot be dropped does not stop the cleaning', async () => {
  const made = [];
  for (const displayName of ['sticks', 'goes']) {
    made.push(await createToken(superuser, { displayName, owner: 'bob', ttlSeconds: 600 }));
  }
  const [sticks, goes] = made as [Token, Token];
  const client = await pem.userClient(sticks.role, sticks.secret);
  // Anybody may do this; a role on which something depends cannot be dropped.
  await client.query('ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC');
  await client.end();
  await pem.query(
    `UPDATE pem.registration_token SET expires_at = now() - interval '2 hours' WHERE id = ANY ($1)`,
    [made.map((token) => token.id)],
  );
  const master = await pem.client('pem_master');
  await master.query('SELECT pem.collect_garbage()');
  await master.end();
  const { rows } = await pem.query('SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname = ANY ($1)', [
    [sticks.role, goes.role],
  ]);
  expect(rows).toEqual([{ rolname: sticks.role, rolcanlogin: false }]);
});
