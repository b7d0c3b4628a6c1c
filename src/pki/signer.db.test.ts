/**
 * The signer against a real database and a real login: PostgreSQL with `hostssl … cert` is the judge of what it signs.
 */
import { execFileSync } from 'node:child_process';
import { chownSync, copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { serverUser } from '../../bench/rig/cluster.js';
import { type Pem, startPem } from '../../bench/rig/pem.js';
import { eventually } from '../../bench/rig/processes.js';
import { parseConninfo } from '../base/conninfo.js';
import { createAuthority, issueServerCertificate, newKeyPair } from './authority.js';
import { runSigner, type Signer } from './signer.js';

let folder: string;
let pem: Pem;
let signer: Signer;
const silent = pino({ level: 'silent' });

const openssl = (...words: string[]): string =>
  execFileSync('openssl', words, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

const startSigner = (): Promise<Signer> =>
  runSigner({ db: parseConninfo(pem.conninfo('pem_signer')), caDirectory: join(folder, 'ca'), log: silent });

/** Gives PostgreSQL files of this test and has it read them. */
async function serve(files: Readonly<Record<string, string>>): Promise<void> {
  const { uid, gid } = serverUser();
  for (const [setting, file] of Object.entries(files)) {
    const name = `test_${setting}`;
    const target = join(pem.cluster.dataDirectory, name);
    copyFileSync(join(folder, file), target);
    if (uid !== undefined && gid !== undefined) chownSync(target, uid, gid);
    await pem.query(`ALTER SYSTEM SET ${setting} = '${name}'`);
  }
  await pem.query('SELECT pg_reload_conf()');
  // A new session has what its postmaster has read by then.
  const [setting] = Object.keys(files);
  await eventually('the files are read', async () => {
    const { rows } = await pem.query(`SELECT current_setting('${setting}') AS name`);
    return rows[0].name === `test_${setting}`;
  });
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pem-signer-'));
  pem = await startPem();
  const authority = await createAuthority(join(folder, 'ca'), 'pem');
  const pair = await newKeyPair();
  writeFileSync(join(folder, 'server.key'), pair.privateKeyPem, { mode: 0o600 });
  writeFileSync(
    join(folder, 'server.crt'),
    issueServerCertificate(authority, pair.publicKeyPem, ['localhost', '127.0.0.1']).certificatePem,
  );
  await serve({
    ssl_key_file: 'server.key',
    ssl_cert_file: 'server.crt',
    ssl_ca_file: 'ca/root.crt',
    ssl_crl_file: 'ca/root.crl',
  });
  signer = await startSigner();
  for (const name of ['one', 'two']) {
    openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', `${name}.key`);
  }
});

afterAll(async () => {
  await signer.stop();
  await pem.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** A request as openssl makes it; @returns its number. */
async function handIn(agentId: number, key: string): Promise<string> {
  const csr = openssl('req', '-new', '-key', key, '-subj', '/CN=postgres');
  const made = await pem.query('INSERT INTO pem.csr (agent_id, csr) VALUES ($1, $2) RETURNING id', [
    agentId,
    csr,
  ]);
  return String(made.rows[0]?.id);
}

const answerTo = (id: string): Promise<Record<string, unknown>> =>
  eventually('an answer of the signer', async () => {
    const answer = await pem.query(
      'SELECT * FROM pem.csr WHERE id = $1 AND (certificate IS NOT NULL OR refused_reason IS NOT NULL)',
      [id],
    );
    return answer.rows[0] as Record<string, unknown> | undefined;
  });

const request = async (agentId: number, key: string): Promise<Record<string, unknown>> =>
  answerTo(await handIn(agentId, key));

async function login(user: string, certificate: string, key: string): Promise<string> {
  const client = new pg.Client({
    host: '127.0.0.1',
    port: pem.port,
    database: 'pem',
    user,
    ssl: {
      ca: readFileSync(join(folder, 'ca/root.crt')),
      cert: certificate,
      key: readFileSync(join(folder, key)),
    },
  });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return String((await client.query('SELECT session_user AS me')).rows[0]?.me);
  } finally {
    await client.end();
  }
}

test('a signed agent logs in over TLS as itself and as nobody else', async () => {
  const one = await pem.addAgent({ name: 'one' });
  const two = await pem.addAgent({ name: 'two' });
  const answer = await request(one.agentId, 'one.key');
  expect(answer.refused_reason).toBeNull();
  const certificate = String(answer.certificate);
  expect(await login(one.role, certificate, 'one.key')).toBe(one.role);
  await expect(login(two.role, certificate, 'one.key')).rejects.toThrow(/certificate authentication failed/);
  // The request said CN=postgres.
  await expect(login('postgres', certificate, 'one.key')).rejects.toThrow();
  // The agent's row names its newest certificate.
  const agent = await pem.query('SELECT cert_serial, cert_not_after FROM pem.agent WHERE id = $1', [
    one.agentId,
  ]);
  expect(agent.rows[0]).toEqual({ cert_serial: answer.serial, cert_not_after: answer.not_after });
});

test('a certificate of another authority with the right name is refused by PostgreSQL', async () => {
  const agent = await pem.addAgent({ name: 'three' });
  const other = openssl(
    'req',
    '-x509',
    '-new',
    '-key',
    'two.key',
    '-subj',
    `/CN=${agent.role}`,
    '-days',
    '1',
  );
  await expect(login(agent.role, other, 'two.key')).rejects.toThrow();
});

test('a bad request is refused with its reason, and the next one is answered', async () => {
  const agent = await pem.addAgent({ name: 'four' });
  openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024', '-out', 'weak.key');
  const refused = await request(agent.agentId, 'weak.key');
  expect(refused).toMatchObject({ certificate: null, refused_reason: expect.stringMatching(/^csr_key: /) });
  expect(await request(agent.agentId, 'two.key')).toMatchObject({ refused_reason: null });
});

test('an answer is final, and the signer may change nothing but answers', async () => {
  const client = await pem.client('pem_signer');
  try {
    await expect(
      client.query(`UPDATE pem.csr SET certificate = 'x' WHERE certificate IS NOT NULL`),
    ).rejects.toThrow();
    await expect(client.query('UPDATE pem.csr SET agent_id = 1')).rejects.toMatchObject({ code: '42501' });
    await expect(client.query('UPDATE pem.agent SET active = true')).rejects.toMatchObject({ code: '42501' });
    await expect(client.query('SELECT * FROM pem.web_session')).rejects.toMatchObject({ code: '42501' });
  } finally {
    await client.end();
  }
});

test('a revoked agent is refused twice: its role has no login, and its certificate is on the list', async () => {
  const agent = await pem.addAgent({ name: 'five' });
  const answer = await request(agent.agentId, 'two.key');
  const certificate = String(answer.certificate);
  expect(await login(agent.role, certificate, 'two.key')).toBe(agent.role);
  await pem.query('SELECT pem.revoke_agent($1)', [agent.agentId]);
  await expect(login(agent.role, certificate, 'two.key')).rejects.toThrow(/not permitted to log in/);
  const serial = String(answer.serial).toUpperCase();
  await eventually('the serial on the list', () =>
    openssl('crl', '-in', 'ca/root.crl', '-noout', '-text').includes(serial),
  );
  await serve({ ssl_crl_file: 'ca/root.crl' });
  // The list is the second line: it holds also where somebody gives the role its login back.
  await pem.query(`ALTER ROLE ${agent.role} LOGIN`);
  await eventually('a refused handshake', () =>
    login(agent.role, certificate, 'two.key').then(
      () => false,
      (error: Error) => /revoked/.test(error.message),
    ),
  );
});

test('a signer that restarts in the middle answers what is open; one without an authority says so', async () => {
  await signer.stop();
  const agent = await pem.addAgent({ name: 'six' });
  const id = await handIn(agent.agentId, 'one.key');
  await pem.restart('immediate');
  signer = await startSigner();
  expect(await answerTo(id)).toMatchObject({ refused_reason: null });
  await expect(
    runSigner({
      db: parseConninfo(pem.conninfo('pem_signer')),
      caDirectory: join(folder, 'none'),
      log: silent,
    }),
  ).rejects.toMatchObject({ code: 'ca_missing' });
});

test('the signer waits for a database that is away and goes on when it is back', async () => {
  await pem.restart('fast');
  const agent = await pem.addAgent({ name: 'seven' });
  expect(await request(agent.agentId, 'one.key')).toMatchObject({ refused_reason: null });
});
