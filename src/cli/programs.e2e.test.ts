/**
 * The same programs apart, as docs/operations.md says: a PostgreSQL that is there already, `pem init`, then signer,
 * ingester and web server with a connection string each, and an agent registered and run from a folder of its own.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Cluster, freePort, serverUser, startCluster } from '../../bench/rig/cluster.js';
import { eventually } from '../../bench/rig/processes.js';
import { hostRules, identityRules } from './desk/cluster.js';

const entry = join(import.meta.dirname, '../../dist/src/cli/pem.js');
let folder: string;
let cluster: Cluster;
let fingerprint: string;
let webPort: number;
const programs: { child: ChildProcess; exit: Promise<number | null>; output: () => string }[] = [];

interface Ended {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/** Runs `pem …` to its end. */
function pem(...words: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, [entry, ...words], { cwd: folder }, (error, out, err) => {
      resolve({ status: typeof error?.code === 'number' ? error.code : error === null ? 0 : 99, out, err });
    });
  });
}

/** Runs `pem …` and leaves it running. */
function start(...words: string[]): ChildProcess {
  const child = spawn(process.execPath, [entry, ...words], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (data: Buffer) => {
      text += data.toString();
    });
  }
  programs.push({ child, exit: new Promise((resolve) => child.once('exit', resolve)), output: () => text });
  return child;
}

const db = (): string => `host=${cluster.socketDirectory} port=${cluster.port}`;

const api = (path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`http://127.0.0.1:${webPort}/pem/api/v1${path}`, init);

async function signIn(username: string, password: string): Promise<Response> {
  return api('/session', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username, password }),
  });
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pem-apart-'));
  cluster = await startCluster({
    tcp: true,
    hba: hostRules(),
    ident: identityRules([...new Set([userInfo().username, serverUser().name])]),
  });
  webPort = await freePort();
}, 300_000);

afterAll(async () => {
  for (const { child } of programs) child.kill('SIGTERM');
  await Promise.all(programs.map(({ exit }) => exit));
  await cluster.stop();
  rmSync(folder, { recursive: true, force: true });
}, 300_000);

test('init makes database, authority, certificate and administrator once, and again without harm', async () => {
  const words = [
    'init',
    '--db',
    `${db()} user=postgres`,
    '--ca',
    'ca',
    '--tls',
    'tls',
    '--name',
    'pem.example',
  ];
  const first = await pem(...words, '--admin-password-out', 'admin-password');
  expect(first).toMatchObject({ status: 0, err: '' });
  fingerprint = /--ca-sha256": ([0-9a-f]{64})\n/.exec(first.out)?.[1] ?? '';
  expect(fingerprint).toHaveLength(64);
  expect(statSync(join(folder, 'admin-password')).mode & 0o777).toBe(0o600);
  const second = await pem(...words, '--admin-password-out', 'other-password');
  expect(second.status).toBe(0);
  expect(second.out).toContain(fingerprint);
  expect(second.out).toContain('schema: up to date');
  expect(existsSync(join(folder, 'other-password'))).toBe(false);

  // What the operator then does on that PostgreSQL: certificate in, TLS on.
  const { uid, gid } = serverUser();
  for (const file of ['server.crt', 'server.key', 'root.crt']) {
    const target = join(cluster.dataDirectory, file);
    writeFileSync(target, readFileSync(join(folder, 'tls', file)), { mode: 0o600 });
    if (uid !== undefined && gid !== undefined) chownSync(target, uid, gid);
  }
  await cluster.query(`ALTER SYSTEM SET ssl_ca_file = 'root.crt'`);
  await cluster.query('ALTER SYSTEM SET ssl = on');
  await cluster.query('SELECT pg_reload_conf()');
});

test('signer, ingester and web server come up with a connection string each', async () => {
  start('sign', '--db', db(), '--ca', 'ca');
  start('ingest', '--db', db(), '--push-directory', folder);
  start('server', '--db', db(), '--push-directory', folder, '--listen', `127.0.0.1:${webPort}`);
  await eventually('the web server', async () => (await api('/session')).status === 401);
  const password = readFileSync(join(folder, 'admin-password'), 'utf8').trim();
  expect((await signIn('admin', password)).status).toBe(200);
});

test('a host registers with token and fingerprint, and its agent runs from its own folder', async () => {
  const made = await pem('token', 'create', 'web1', '--out', 'token', '--owner', 'admin', '--db', db());
  expect(made).toMatchObject({ status: 0, err: '' });
  expect(made.out).not.toContain(readFileSync(join(folder, 'token'), 'utf8').trim());
  // What is to be typed on the host, whole.
  expect(made.out).toContain(
    `pem agent register --server 127.0.0.1:${cluster.port} --ca-sha256 ${fingerprint} --token-file token --directory`,
  );
  expect(statSync(join(folder, 'token')).mode & 0o777).toBe(0o600);

  const register = (directory: string, sha256: string): Promise<Ended> =>
    pem(
      ...['agent', 'register', '--server', `127.0.0.1:${cluster.port}`, '--directory', directory],
      ...['--ca-sha256', sha256, '--token-file', 'token'],
    );
  const wrong = await register(
    'agent-x',
    fingerprint.replace(/^./, (digit) => (digit === '0' ? '1' : '0')),
  );
  expect(wrong).toMatchObject({ status: 1, err: expect.stringMatching(/^pem: ca_not_sent: /) });
  const right = await register('agent1', fingerprint);
  expect(right).toMatchObject({ status: 0, err: '' });
  expect(right.out).toContain('registered as agent1');
  expect(statSync(join(folder, 'agent1/agent.key')).mode & 0o777).toBe(0o600);
  const again = await register('agent2', fingerprint);
  expect(again).toMatchObject({ status: 1, err: expect.stringMatching(/^pem: token_refused: /) });

  start('agent', 'run', '--directory', 'agent1');
  await eventually('the agent is up', async () =>
    /1 +web1 +up/.test((await pem('status', '--db', db())).out),
  );
});

test('a monitored server is added, watched, listed and removed', async () => {
  await cluster.query('CREATE ROLE pem_monitor LOGIN CONNECTION LIMIT 3 IN ROLE pg_monitor');
  await cluster.query('GRANT CONNECT ON DATABASE postgres TO pem_monitor');
  const added = await pem(
    ...['monitor', 'add', 'main', '--agent', '1', '--host', cluster.socketDirectory],
    ...['--port', String(cluster.port), '--owner', 'admin', '--db', db()],
  );
  expect(added).toMatchObject({ status: 0, out: expect.stringMatching(/^target \d+ added\n$/) });
  const target = /\d+/.exec(added.out)?.[0] ?? '';
  await eventually('the server is up', async () =>
    /main .* up /.test((await pem('monitor', 'list', '--db', db())).out),
  );
  // What says that it is up is another probe.
  await eventually('its sessions in history', async () => {
    const stored = await cluster.query('SELECT FROM pemhistory.session_info LIMIT 1', [], 'pem');
    return stored.rows.length === 1;
  });
  const run = async (...words: string[]): Promise<string> => {
    const ended = await pem(...words, '--db', db());
    return `${ended.out}${ended.err}`;
  };
  expect(await run('token', 'create', 'spare', '--out', 'spare-token', '--owner', 'admin')).toContain(
    'spare-token',
  );
  await pem(
    ...['agent', 'register', '--server', `127.0.0.1:${cluster.port}`, '--directory', 'spare'],
    ...['--ca-sha256', fingerprint, '--token-file', 'spare-token'],
  );
  expect(await run('monitor', 'move', target, '--agent', '2')).toBe(
    `target ${target} is watched by agent 2\n`,
  );
  expect(await run('monitor', 'list')).toMatch(/^\d+ +main .* 2 +admin/m);
  expect(await run('agent', 'remove', '2')).toMatch(/^pem: PE022: agent 2 watches 1 servers; remove them/);
  expect(await run('status')).toMatch(/^2 +spare/m);
  expect(await run('monitor', 'move', target, '--agent', '1')).toContain('agent 1');
  expect(await run('monitor', 'assign', target, '--owner', 'admin')).toBe(`target ${target} is admin's\n`);
  expect(await run('monitor', 'assign', target, '--owner', 'nobody')).toContain('PE022');
  expect(await run('agent', 'remove', '2')).toBe('agent 2 removed\n');
  expect(await run('agent', 'remove', '2')).toBe('pem: PE021: there is no agent 2\n');
  expect(await run('agent', 'remove', '1')).toMatch(/^pem: PE022: agent 1 looks after PEM itself/);
  expect(await run('status')).not.toMatch(/^2 +spare/m);
  expect((await pem('monitor', 'remove', target, '--db', db())).status).toBe(0);
  expect((await pem('monitor', 'list', '--db', db())).out).not.toContain('main');
});

test('a user of another team signs in and sees nothing of it', async () => {
  writeFileSync(join(folder, 'ann'), 'correct horse\n', { mode: 0o600 });
  const made = await pem('user', 'add', 'ann', '--team', 'blue', '--password-file', 'ann', '--db', db());
  expect(made).toMatchObject({ status: 0, out: 'user ann made (user, blue)\n' });
  const reply = await signIn('ann', 'correct horse');
  expect(reply.status).toBe(200);
  const cookie = (reply.headers.get('set-cookie') ?? '').split(';')[0] ?? '';
  const seen = await api('/agent', { headers: { cookie } });
  expect(await seen.json()).toEqual({ agents: [] });
  const twice = await pem('user', 'add', 'ann', '--password-out', 'twice', '--db', db());
  expect([twice.status, existsSync(join(folder, 'twice'))]).toEqual([1, false]);
});

test('users are listed, change teams and passwords, are kept out and let in again', async () => {
  const run = async (...words: string[]): Promise<string> => {
    const ended = await pem('user', ...words, '--db', db());
    return `${ended.out}${ended.err}`;
  };
  expect(await run('join', 'ann', 'red')).toBe('user ann is in team red\n');
  expect(await run('list')).toMatch(/^ann +user +blue, red +yes$/m);
  expect(await run('list')).toMatch(/^admin +super-admin +yes$/m);
  expect(await run('leave', 'ann', 'red')).toBe('user ann is no longer in team red\n');
  expect(await run('list')).toMatch(/^ann +user +blue +yes$/m);

  const before = await signIn('ann', 'correct horse');
  const cookie = (before.headers.get('set-cookie') ?? '').split(';')[0] ?? '';
  expect(await run('password', 'ann', '--password-out', 'new')).toBe(
    'user ann has a new password; it is in new\n',
  );
  await eventually(
    'the old session is over',
    async () => (await api('/session', { headers: { cookie } })).status === 401,
  );
  expect((await signIn('ann', 'correct horse')).status).toBe(401);
  const password = readFileSync(join(folder, 'new'), 'utf8').trim();
  expect((await signIn('ann', password)).status).toBe(200);

  expect(await run('disable', 'ann')).toBe('user ann disabled\n');
  expect((await signIn('ann', password)).status).toBe(401);
  expect(await run('list')).toMatch(/^ann +user +blue +disabled$/m);
  expect(await run('enable', 'ann')).toBe('user ann may sign in\n');
  expect((await signIn('ann', password)).status).toBe(200);
  for (const name of ['agent1', 'pem_web', 'nobody', 'postgres']) {
    expect(await run('enable', name)).toBe(`pem: PE012: "${name}" is no user of PEM\n`);
    expect(await run('password', name, '--password-out', 'x')).toBe(
      `pem: PE012: "${name}" is no user of PEM\n`,
    );
    expect(existsSync(join(folder, 'x'))).toBe(false);
  }
  expect((await pem('--version')).out).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test("an operator's mistakes are one line with a code and the way out, exit status 1; the world's are 2", async () => {
  const line = async (status: number, code: string, ...words: string[]): Promise<void> => {
    const ended = await pem(...words);
    expect(ended).toMatchObject({ status, err: expect.stringMatching(new RegExp(`^pem: ${code}: .*\n$`)) });
  };
  await line(1, 'conninfo_password', 'status', '--db', 'host=x password=y');
  await line(1, 'settings_missing', 'status', '--config', 'none.toml');
  await line(1, 'option_missing', 'sign', '--db', db());
  await line(1, 'ca_missing', 'sign', '--db', db(), '--ca', 'nowhere');
  await line(1, 'agent_missing', 'agent', 'run', '--directory', 'nowhere');
  await line(1, 'no_terminal', 'user', 'add', 'bob', '--db', db());
  await line(1, 'file_exists', 'token', 'create', 'x', '--out', 'ann', '--db', db());
  await line(1, 'address_syntax', 'server', '--db', db(), '--push-directory', folder, '--listen', 'nowhere');
  writeFileSync(join(folder, 'open'), 'secret', { mode: 0o644 });
  await line(1, 'secret_readable', 'user', 'add', 'bob', '--password-file', 'open', '--db', db());
  writeFileSync(join(folder, 'bad.toml'), 'surprise = 1\n');
  await line(1, 'settings_syntax', 'status', '--config', 'bad.toml');
  await line(2, 'ENOENT', 'status', '--db', `host=${folder} port=1`);
  const elsewhere = `${db()} dbname=postgres user=postgres`;
  await line(1, '42P01', 'status', '--db', elsewhere);
  for (const program of [['server', '--push-directory', folder], ['ingest'], ['sign', '--ca', 'ca']]) {
    await line(1, 'schema_missing', ...program, '--db', elsewhere);
    await line(1, 'password_missing', ...program, '--db', `${db()} user=ann`);
  }
});

test('a revoked agent is out, and every program ends on SIGTERM with status 0', async () => {
  expect((await pem('agent', 'revoke', '1', '--db', db())).status).toBe(0);
  await eventually('the agent is down', async () =>
    /1 +web1 +down/.test((await pem('status', '--db', db())).out),
  );
  for (const { child } of programs) child.kill('SIGTERM');
  for (const { exit, output } of programs) expect(await exit, output()).toBe(0);
  expect(readdirSync(folder).filter((name) => name.endsWith('.sock'))).toEqual([]);
});
