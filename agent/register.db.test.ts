/**
 * Registration from nothing to a connected agent, with the product's own authority and signer against a real PostgreSQL;
 * then renewal of the certificate, and what is refused.
 */
import {
  chownSync,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { serverUser } from '../bench/rig/cluster.js';
import { type Pem, startPem } from '../bench/rig/pem.js';
import { eventually } from '../bench/rig/processes.js';
import { parseConninfo } from '../src/base/conninfo.js';
import { openLog } from '../src/base/log.js';
import { createAuthority, fingerprint, issueServerCertificate, newKeyPair } from '../src/pki/authority.js';
import { runSigner, type Signer } from '../src/pki/signer.js';
import { createToken } from '../src/schema/users.js';
import { readConfig } from './config.js';
import { registerAgent } from './register.js';
import { startWorker } from './worker.js';

const log = openLog('test');
log.level = process.env.PEM_TEST_LOG ?? 'silent';
let pem: Pem;
let signer: Signer | null = null;
let place: string;
let caSha256: string;

beforeAll(async () => {
  place = mkdtempSync(join(tmpdir(), 'pem-register-'));
  pem = await startPem();
  const authority = await createAuthority(join(place, 'ca'), 'test');
  caSha256 = fingerprint(authority.certificatePem);
  const pair = await newKeyPair();
  const server = issueServerCertificate(authority, pair.publicKeyPem, ['127.0.0.1']);
  const data = pem.cluster.dataDirectory;
  writeFileSync(join(data, 'server.crt'), `${server.certificatePem}${authority.certificatePem}`);
  writeFileSync(join(data, 'server.key'), pair.privateKeyPem, { mode: 0o600 });
  copyFileSync(join(place, 'ca', 'root.crt'), join(data, 'root.crt'));
  const { uid, gid } = serverUser();
  if (uid !== undefined && gid !== undefined) chownSync(join(data, 'server.key'), uid, gid);
  await pem.restart();
  signer = await runSigner({
    db: parseConninfo(pem.conninfo('pem_signer')),
    caDirectory: join(place, 'ca'),
    log,
    pollMs: 50,
  });
});
afterAll(async () => {
  await signer?.stop();
  await pem?.stop();
  if (place !== undefined) rmSync(place, { recursive: true, force: true });
});

async function newToken(name: string): Promise<string> {
  const client = await pem.client();
  try {
    const token = await createToken(client, { displayName: name, owner: 'postgres', ttlSeconds: 600 });
    return token.token;
  } finally {
    await client.end();
  }
}

const server = (): string => `127.0.0.1:${pem.port}`;

test('an agent registers, connects with its certificate, and renews it on command', async () => {
  const directory = join(place, 'agent');
  const token = await newToken('from scratch');
  const registered = await registerAgent({ server: server(), token, caSha256, directory, verifyName: true });
  expect(registered.role).toBe(`agent${registered.agentId}`);
  expect(readdirSync(directory).sort()).toEqual(['agent.crt', 'agent.key', 'agent.toml', 'root.crt']);
  for (const file of readdirSync(directory)) expect(statSync(join(directory, file)).mode & 0o777).toBe(0o600);
  for (const file of readdirSync(directory))
    expect(readFileSync(join(directory, file), 'utf8')).not.toContain(token);

  const config = readConfig(join(directory, 'agent.toml'));
  expect(config).toMatchObject({ agentId: registered.agentId, pem: { sslmode: 'verify-full' } });
  const worker = startWorker({ config, version: '0.1.0', log });
  try {
    await eventually('connection', () => worker.link.connected);
    const first = readFileSync(join(directory, 'agent.crt'), 'utf8');
    await pem.query(`INSERT INTO pem.command (agent_id, kind) VALUES ($1, 'renew_certificate')`, [
      registered.agentId,
    ]);
    await eventually('a new certificate', () => readFileSync(join(directory, 'agent.crt'), 'utf8') !== first);
    await eventually('a session with it', () => worker.link.reconnects > 0 && worker.link.connected);
    expect(readdirSync(directory)).not.toContain('agent.key.next');
    // The session before it may be on its way out.
    const serial = await eventually('one session', async () => {
      const { rows } = await pem.query(
        'SELECT client_serial::text AS serial FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.usename = $1',
        [registered.role],
      );
      return rows.length === 1 && (rows[0].serial as string);
    });
    const newest = await pem.query(
      'SELECT serial FROM pem.csr WHERE agent_id = $1 ORDER BY id DESC LIMIT 1',
      [registered.agentId],
    );
    expect(BigInt(serial).toString(16)).toBe(newest.rows[0].serial);
  } finally {
    await worker.stop();
  }

  await expect(registerAgent({ server: server(), token, caSha256, directory })).rejects.toMatchObject({
    code: 'agent_exists',
  });
  await expect(
    registerAgent({ server: server(), token, caSha256, directory: join(place, 'again') }),
  ).rejects.toMatchObject({ code: 'token_refused' });
});

test('another CA, a wrong secret, no TLS and nobody there are each refused by name', async () => {
  const token = await newToken('refused');
  const directory = join(place, 'refused');
  await expect(
    registerAgent({ server: server(), token, caSha256: 'ab'.repeat(32), directory }),
  ).rejects.toMatchObject({ code: 'ca_not_sent' });
  await expect(
    registerAgent({ server: server(), token: `${token.split('.')[0]}.wrong`, caSha256, directory }),
  ).rejects.toMatchObject({ code: 'token_refused' });
  await expect(registerAgent({ server: '127.0.0.1:1', token, caSha256, directory })).rejects.toMatchObject({
    code: 'server_unreachable',
  });
  await expect(
    registerAgent({ server: server(), token: 'nonsense', caSha256, directory }),
  ).rejects.toMatchObject({
    code: 'token_syntax',
  });
  expect(readdirSync(directory)).not.toContain('agent.toml');
});

test('killed while it waits for the signer, the same command goes on', async () => {
  await signer?.stop();
  signer = null;
  const token = await newToken('patient');
  const directory = join(place, 'patient');
  const options = { server: server(), token, caSha256, directory };
  await expect(registerAgent({ ...options, waitMs: 0 })).rejects.toMatchObject({
    code: 'registration_pending',
  });
  const key = readFileSync(join(directory, 'agent.key'), 'utf8');
  signer = await runSigner({
    db: parseConninfo(pem.conninfo('pem_signer')),
    caDirectory: join(place, 'ca'),
    log,
    pollMs: 50,
  });
  const registered = await registerAgent(options);
  expect(readFileSync(join(directory, 'agent.key'), 'utf8')).toBe(key);
  const agents = await pem.query('SELECT count(*)::int AS n FROM pem.agent WHERE display_name = $1', [
    'patient',
  ]);
  expect(agents.rows).toEqual([{ n: 1 }]);
  expect(registered.directory).toBe(directory);
});
