/** Tokens, registration, certificates: each secret works once, for one agent, for a while. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Pem, startPem } from '../../bench/rig/pem.js';
import { scramVerifier } from './scram.js';
import { createToken, type Token } from './users.js';

const csr = '-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n';
const facts = {
  version: '0.1.0',
  hostname: 'alpha',
  os: 'Linux',
  cpus: 2,
  memoryBytes: 1024,
  bootedAtUs: 1_700_000_000_000_000,
};
let pem: Pem;

beforeAll(async () => {
  pem = await startPem();
  await pem.addTeam('crew');
  await pem.addTeam('others');
  await pem.addUser('ann', { level: 'pem_admin', teams: ['crew'] });
  await pem.addUser('uma', { level: 'pem_user', teams: ['crew'] });
});
afterAll(() => pem?.stop());

async function tokenOf(
  user: string,
  ttlSeconds = 60,
  team: string | undefined = 'crew',
  owner = user,
): Promise<Token> {
  return pem.asUser(user, async (client) => {
    const token = await createToken(client, { displayName: 'alpha', owner, team, ttlSeconds });
    await client.query('COMMIT');
    return token;
  });
}

async function session(token: Token, secret = token.secret): Promise<pg.Client> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port: pem.port,
    user: token.role,
    password: secret,
    database: 'pem',
    ssl: { ca: readFileSync(join(pem.tls, 'root.crt')) },
  });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

test('one registration from token to certificate, then the token is worth nothing', async () => {
  const token = await tokenOf('ann');
  expect(token.token).toBe(`${token.id}.${token.secret}`);
  const client = await session(token);
  const { rows } = await client.query('SELECT pem.register($1, $2) AS made', [csr, facts]);
  const made = rows[0].made;
  expect(made).toEqual({
    agentId: expect.any(Number),
    role: `agent${made.agentId}`,
    csrId: expect.any(Number),
    hostTarget: expect.any(Number),
  });
  const stored = await pem.query('SELECT agent_id, csr FROM pem.csr WHERE id = $1', [made.csrId]);
  expect(stored.rows).toEqual([{ agent_id: made.agentId, csr }]);
  const target = await pem.query('SELECT kind, name, owner, team FROM pem.target WHERE id = $1', [
    made.hostTarget,
  ]);
  expect(target.rows).toEqual([{ kind: 'host', name: 'alpha', owner: 'ann', team: 'crew' }]);

  await expect(client.query('SELECT pem.register($1, $2)', [csr, facts])).rejects.toMatchObject({
    code: 'PE023',
  });
  const waiting = await client.query('SELECT pem.registered_certificate($1) AS pem', [made.csrId]);
  expect(waiting.rows).toEqual([{ pem: null }]);
  await expect(client.query('SELECT pem.registered_certificate($1)', [made.csrId + 1])).rejects.toMatchObject(
    { code: 'PE021' },
  );

  const signer = await pem.client('pem_signer');
  const open = await signer.query(
    'SELECT c.id, a.role FROM pem.csr c JOIN pem.agent a ON a.id = c.agent_id WHERE c.certificate IS NULL FOR UPDATE OF c SKIP LOCKED',
  );
  expect(open.rows).toEqual([{ id: String(made.csrId), role: made.role }]);
  await signer.query(
    `UPDATE pem.csr SET certificate = 'signed', serial = '0a', not_after = '2030-01-01', signed_at = now() WHERE id = $1`,
    [made.csrId],
  );
  await expect(
    signer.query(`UPDATE pem.csr SET certificate = 'again' WHERE id = $1`, [made.csrId]),
  ).rejects.toMatchObject({ code: 'PE022' });
  await expect(signer.query(`UPDATE pem.csr SET agent_id = 1`)).rejects.toMatchObject({ code: '42501' });
  await expect(signer.query('SELECT * FROM pem.target')).rejects.toMatchObject({ code: '42501' });
  await signer.end();

  const signed = await client.query('SELECT pem.registered_certificate($1) AS pem', [made.csrId]);
  expect(signed.rows).toEqual([{ pem: 'signed' }]);
  await client.end();
  await expect(session(token)).rejects.toMatchObject({ code: '28000' });
  const agent = await pem.query('SELECT cert_serial, active FROM pem.agent WHERE id = $1', [made.agentId]);
  expect(agent.rows).toEqual([{ cert_serial: '0a', active: true }]);
  const role = await pem.query(
    'SELECT rolcanlogin, rolconnlimit, rolsuper, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = $1',
    [made.role],
  );
  expect(role.rows).toEqual([
    { rolcanlogin: true, rolconnlimit: 2, rolsuper: false, rolcreaterole: false, rolbypassrls: false },
  ]);
});

test('a wrong secret, an expired token, a second session are refused', async () => {
  const token = await tokenOf('ann');
  await expect(session(token, 'wrong')).rejects.toMatchObject({ code: '28P01' });
  const first = await session(token);
  await expect(session(token)).rejects.toMatchObject({ code: '53300' });
  await pem.query(`UPDATE pem.registration_token SET expires_at = now() - interval '1 s' WHERE id = $1`, [
    token.id,
  ]);
  await expect(first.query('SELECT pem.register($1, $2)', [csr, facts])).rejects.toMatchObject({
    code: 'PE023',
  });
  await first.end();
  await pem.query(`ALTER ROLE ${token.role} VALID UNTIL '2020-01-01'`);
  await expect(session(token)).rejects.toMatchObject({ code: '28P01' });
});

test('the role ends with the token: VALID UNTIL is its expiry, and the garbage collection drops it', async () => {
  const token = await tokenOf('ann', 3600);
  const role = await pem.query(
    `SELECT r.rolvaliduntil = t.expires_at AS same, t.expires_at - now() < interval '1 hour' AS soon
       FROM pem.registration_token t JOIN pg_roles r ON r.rolname = t.role WHERE t.id = $1`,
    [token.id],
  );
  expect(role.rows).toEqual([{ same: true, soon: true }]);
  await pem.query(`UPDATE pem.registration_token SET expires_at = now() - interval '2 hours' WHERE id = $1`, [
    token.id,
  ]);
  const master = await pem.client('pem_master');
  await master.query('SELECT pem.collect_garbage()');
  await master.end();
  expect((await pem.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [token.role])).rows).toEqual([]);
});

test('a failed registration spends nothing', async () => {
  const token = await tokenOf('ann');
  const client = await session(token);
  for (const bad of ['', 'x', `-----BEGIN CERTIFICATE REQUEST-----${'x'.repeat(20_000)}`]) {
    await expect(client.query('SELECT pem.register($1, $2)', [bad, facts])).rejects.toMatchObject({
      code: 'PE022',
    });
  }
  const { rows } = await client.query('SELECT pem.register($1, $2) AS made', [csr, {}]);
  expect(rows[0].made.agentId).toBeGreaterThan(0);
  await client.end();
});

test('a session of a token reads and calls nothing else', async () => {
  const token = await tokenOf('ann');
  const client = await session(token);
  const { rows } = await client.query(
    `SELECT p.oid::regproc::text AS name FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      WHERE n.nspname LIKE 'pem%' AND has_function_privilege(p.oid, 'EXECUTE') ORDER BY 1`,
  );
  expect(rows.map((row) => row.name)).toEqual(['pem.register', 'pem.registered_certificate']);
  await expect(client.query('SELECT * FROM pem.agent')).rejects.toMatchObject({ code: '42501' });
  await expect(client.query(`ALTER ROLE ${token.role} VALID UNTIL 'infinity'`)).rejects.toMatchObject({
    code: '42501',
  });
  await client.end();
});

test('tokens are for administrators, for themselves and their teams', async () => {
  await expect(tokenOf('uma')).rejects.toMatchObject({ code: '42501' });
  await expect(tokenOf('ann', 60, 'others')).rejects.toMatchObject({ code: 'PE021' });
  await expect(tokenOf('ann', 60, 'crew', 'uma')).rejects.toMatchObject({ code: 'PE021' });
  await expect(tokenOf('ann', 60, 'nobody knows it')).rejects.toMatchObject({ code: 'PE022' });
  await expect(tokenOf('ann', 31 * 86_400)).rejects.toMatchObject({ code: 'PE022' });
});

test('renewal: one open request, the answer comes with sync and by its number', async () => {
  const agent = await pem.addAgent({ name: 'renewing', owner: 'ann' });
  const client = await agent.client();
  const first = await client.query('SELECT pem.renew_certificate($1) AS id', [csr]);
  const second = await client.query('SELECT pem.renew_certificate($1) AS id', [csr]);
  await expect(client.query('SELECT pem.certificate($1)', [first.rows[0].id])).rejects.toMatchObject({
    code: 'PE024',
  });
  const signer = await pem.client('pem_signer');
  await signer.query(
    `UPDATE pem.csr SET certificate = 'new one', serial = '0b', not_after = '2031-01-01', signed_at = now() WHERE id = $1`,
    [second.rows[0].id],
  );
  await signer.end();
  const request = { boots: ['00000000-0000-4000-8000-000000000001'] };
  const reply = await client.query('SELECT pem.sync($1) AS reply', [request]);
  expect(reply.rows[0].reply.certificate).toBe('new one');
  expect((await client.query('SELECT pem.sync($1) AS reply', [request])).rows[0].reply.certificate).toBe(
    null,
  );
  expect((await client.query('SELECT pem.certificate($1) AS pem', [second.rows[0].id])).rows).toEqual([
    { pem: 'new one' },
  ]);
  await client.end();
});

test('users and teams: never a superuser, never a name of PEM, only as a super administrator', async () => {
  await pem.addUser('sue', { level: 'pem_super_admin' });
  const verifier = (await pem.query(`SELECT rolpassword AS v FROM pg_authid WHERE rolname = 'ann'`)).rows[0]
    .v;
  await pem.asUser('sue', async (client) => {
    for (const [name, level, code] of [
      ['pem_x', 'pem_user', 'PE012'],
      ['agent7', 'pem_user', 'PE012'],
      ['reg_7', 'pem_user', 'PE012'],
      ['pg_x', 'pem_user', 'PE012'],
      ['postgres', 'pem_user', 'PE012'],
      ['ann', 'pem_user', '42710'],
      ['x', 'pem_owner', 'PE022'],
      ['x', 'team', 'PE022'],
    ]) {
      await client.query('SAVEPOINT s');
      await expect(
        client.query('SELECT pem.create_user($1, $2, $3)', [name, level, verifier]),
        name,
      ).rejects.toMatchObject({ code });
      await client.query('ROLLBACK TO s');
    }
    for (const [user, team] of [
      ['ann', 'pem_owner'],
      ['ann', 'pg_read_server_files'],
      ['ann', 'uma'],
      ['pem_web', 'crew'],
      ['agent1', 'crew'],
    ]) {
      await client.query('SAVEPOINT s');
      await expect(
        client.query('SELECT pem.set_team($1, $2, true)', [user, team]),
        team,
      ).rejects.toMatchObject({ code: 'PE012' });
      await client.query('ROLLBACK TO s');
    }
    await client.query('SAVEPOINT s');
    await expect(
      client.query(`SELECT pem.create_user('zed', 'pem_user', 'plain text')`),
    ).rejects.toMatchObject({ code: 'PE011' });
    await client.query('ROLLBACK TO s');
    await expect(client.query(`SELECT pem.make_role('team', 'zed', NULL, NULL)`)).rejects.toMatchObject({
      code: '42501',
    });
  });
  await pem.asUser('ann', (client) =>
    expect(
      client.query('SELECT pem.create_user($1, $2, $3)', ['zed', 'pem_user', verifier]),
    ).rejects.toMatchObject({ code: '42501' }),
  );
});

test('a disabled user is out at once', async () => {
  const password = await pem.addUser('zoe');
  const client = await pem.userClient('zoe', password);
  const ended = new Promise<void>((resolve) => client.on('end', () => resolve()));
  await pem.query(`SELECT pem.disable_user('zoe')`);
  await ended;
  await expect(pem.userClient('zoe', password)).rejects.toMatchObject({ code: '28000' });
});

test.each(['pencil', 'mit Umläuten und \u{1F511}', ' spaces '])(
  'our SCRAM verifier is the one PostgreSQL makes: %s',
  async (password) => {
    await pem.query(`SET password_encryption = 'scram-sha-256'; CREATE ROLE sample PASSWORD '${password}'`);
    const { rows } = await pem.query(`SELECT rolpassword FROM pg_authid WHERE rolname = 'sample'`);
    await pem.query('DROP ROLE sample');
    const theirs: string = rows[0].rolpassword;
    const salt = Buffer.from(/:([^$]+)\$/.exec(theirs)?.[1] ?? '', 'base64');
    expect(scramVerifier(password, salt)).toBe(theirs);
    expect(scramVerifier(password)).not.toBe(theirs);
  },
);
