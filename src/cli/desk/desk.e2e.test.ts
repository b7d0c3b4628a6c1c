/**
 * The whole tree on one machine, as a person meets it: first start, sign-in by the link, live data, a second start, every
 * process killed in turn, the desk itself killed, Ctrl-C. Needs the build (npm test makes it).
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freePort } from '../../../bench/rig/cluster.js';
import { eventually, processes } from '../../../bench/rig/processes.js';
import { findPrograms } from './cluster.js';
import { knownDesk } from './home.js';

const entry = join(import.meta.dirname, '../../../dist/src/cli/pem.js');
let home: string;
let port: number;
let running: Desk;
let cookie: string;

interface Desk {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly exit: Promise<number | null>;
}

function startDesk(...words: string[]): Desk {
  const child = spawn(process.execPath, [entry, 'desk', '--home', home, '--port', String(port), ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (data: Buffer) => {
      output += data.toString();
    });
  }
  return {
    child,
    output: () => output,
    exit: new Promise((resolve) => child.once('exit', resolve)),
  };
}

/** The sign-in token of the link that the desk prints once it is up. */
async function linkToken(desk: Desk): Promise<string> {
  return eventually('the address', () => {
    if (desk.child.exitCode !== null) throw new Error(desk.output());
    return /#signin=([A-Za-z0-9_-]{43})\n/.exec(desk.output())?.[1];
  });
}

const api = (path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`http://127.0.0.1:${port}/pem/api/v1${path}`, init);

const post = (path: string, body: unknown): Promise<Response> =>
  api(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', origin: `http://127.0.0.1:${port}` },
    body: JSON.stringify(body),
  });

/** Microseconds of the newest session_info of the private cluster, as the page would get it. */
async function newestSample(): Promise<number> {
  const reply = await api('/latest/2/session_info', { headers: { cookie } });
  const body = (await reply.json()) as { recordedAtUs?: number | null };
  return body.recordedAtUs ?? 0;
}

async function freshData(): Promise<void> {
  const from = Date.now() * 1000;
  await eventually('samples taken after now', async () => (await newestSample()) > from);
}

/** The one process of the desk whose command line holds `words`. */
function find(words: string): number | undefined {
  const own = processes().filter((one) => one.command.includes(home) && one.command.includes(words));
  return own.find((one) => !own.some((other) => other.pid === one.parent))?.pid;
}

async function query<T extends pg.QueryResultRow>(sql: string): Promise<T[]> {
  const desk = knownDesk(home);
  const client = new pg.Client({
    host: desk?.socketDirectory ?? '',
    port: desk?.databasePort ?? 0,
    user: 'postgres',
    database: 'pem',
  });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<T>(sql)).rows;
  } finally {
    await client.end();
  }
}

beforeAll(async () => {
  expect(existsSync(entry), 'npm run build').toBe(true);
  home = mkdtempSync(join(tmpdir(), 'pem-desk-'));
  // As root the desk makes its home itself, for the user postgres.
  rmSync(home, { recursive: true });
  port = await freePort();
  running = startDesk();
  await linkToken(running);
}, 300_000);

afterAll(async () => {
  running.child.kill('SIGTERM');
  await running.exit;
  rmSync(home, { recursive: true, force: true });
}, 300_000);

test('the printed link signs in once, and data of host and server becomes newer and newer', async () => {
  const token = await linkToken(running);
  const reply = await post('/session/link', { token });
  expect(reply.status).toBe(200);
  expect(await reply.json()).toMatchObject({ user: 'admin' });
  cookie = (reply.headers.get('set-cookie') ?? '').split(';')[0] ?? '';
  expect((await post('/session/link', { token })).status).toBe(401);
  await freshData();
  await freshData();
  const { agents } = (await (await api('/agent', { headers: { cookie } })).json()) as { agents: unknown[] };
  expect(agents).toMatchObject([{ id: 1, status: 'up' }]);
  const { servers } = (await (await api('/server', { headers: { cookie } })).json()) as {
    servers: unknown[];
  };
  expect(servers).toMatchObject([{ targetId: 2, status: 'up' }]);
});

test('every enabled probe reaches the page, each with its own position', async () => {
  await eventually('positions of all probes', async () => {
    const missing = await query<{ name: string }>(
      `SELECT p.name FROM pem.probe p WHERE p.enabled AND NOT p.retired
         -- What traces bring comes with a trace.
         AND p.definition ->> 'collector' <> 'trace'
         AND NOT EXISTS (SELECT FROM pem.probe_state s WHERE s.probe = p.name AND s.rows IS NOT NULL)`,
    );
    if (missing.length > 0) throw new Error(missing.map((row) => row.name).join(' '));
    return true;
  });
  const reply = await api('/latest/1/cpu_usage', { headers: { cookie } });
  expect(await reply.json()).toMatchObject({ recordedAtUs: expect.any(Number) });
});

test('secrets are 0600, the token of agent 1 is gone, and the password in the file signs in', async () => {
  const file = join(home, 'secrets/admin-password');
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(statSync(join(home, 'ca/ca.key')).mode & 0o777).toBe(0o600);
  expect(statSync(home).mode & 0o777).toBe(0o700);
  expect(existsSync(join(home, 'secrets/agent-token'))).toBe(false);
  const password = readFileSync(file, 'utf8').trim();
  expect((await post('/session', { username: 'admin', password })).status).toBe(200);
  expect((await post('/session', { username: 'admin', password: `${password}x` })).status).toBe(401);
  // Neither secret is anywhere in what was written or in a command line.
  for (const log of ['desk', 'sign', 'ingest', 'server', 'agent', 'postgres']) {
    expect(readFileSync(join(home, `log/${log}.log`), 'utf8')).not.toContain(password);
  }
  expect(processes().filter((one) => one.command.includes(password))).toEqual([]);
});

test('the cluster trusts nobody and lets agents in by certificate alone', async () => {
  const rules = await query<{ method: string; type: string }>(
    'SELECT type, auth_method AS method FROM pg_hba_file_rules WHERE error IS NULL',
  );
  expect(new Set(rules.map((rule) => `${rule.type} ${rule.method}`))).toEqual(
    new Set(['local peer', 'local scram-sha-256', 'hostssl cert', 'hostssl scram-sha-256']),
  );
  const programs = await query<{ rolname: string }>(
    `SELECT rolname FROM pg_roles WHERE rolsuper AND rolname <> 'postgres'`,
  );
  expect(programs).toEqual([]);
  const [monitor] = await query(
    `SELECT rolconnlimit, rolsuper, rolcreaterole, pg_has_role(oid, 'pg_monitor', 'usage') AS monitor
     FROM pg_roles WHERE rolname = 'pem_monitor'`,
  );
  expect(monitor).toEqual({ rolconnlimit: 3, rolsuper: false, rolcreaterole: false, monitor: true });
  const tls = await query<{ ssl: boolean }>(
    `SELECT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'agent1'`,
  );
  expect(tls.length).toBeGreaterThan(0);
  expect(tls.every((row) => row.ssl)).toBe(true);
});

test('a second desk in the same home is refused and harms nothing', async () => {
  const settings = readFileSync(join(home, 'settings.toml'), 'utf8');
  for (const second of [startDesk(), startDesk('--port', String(await freePort()))]) {
    expect(await second.exit).toBe(1);
    // It may have ended before all that it said was read.
    await eventually('the reason', () => /^pem: desk_running: .*kill \d+/m.test(second.output()));
  }
  expect(readFileSync(join(home, 'settings.toml'), 'utf8')).toBe(settings);
  await freshData();
});

for (const [name, words] of [
  ['signer', 'pem.js sign'],
  ['ingester', 'pem.js ingest'],
  ['web server', 'pem.js server'],
  ['worker of agent 1', 'dist/agent/main.js --config'],
  ['watchdog of agent 1', 'pem-watchdog'],
  ['PostgreSQL', 'bin/postgres -D'],
] as const) {
  test(`${name} killed: it comes back, data flows on, and no batch is missing`, async () => {
    const isWorker = name === 'worker of agent 1';
    const look = (): number | undefined =>
      isWorker ? processes().find((one) => one.parent === find('pem-watchdog'))?.pid : find(words);
    const before = await eventually(`${name} runs`, look);
    process.kill(before, 'SIGKILL');
    await eventually(`${name} runs again`, () => {
      const now = look();
      return now !== undefined && now !== before;
    });
    await freshData();
    // What agents numbered is in history without a hole: one range from 1 on for each boot.
    await eventually('the received sets are whole', async () => {
      const rows = await query<{ whole: boolean }>(
        `SELECT ranges = '{}' OR (lower(ranges) = 1 AND ranges = int8multirange(int8range(lower(ranges), upper(ranges)))) AS whole
         FROM pem.received`,
      );
      return rows.length > 0 && rows.every((row) => row.whole);
    });
  });
}

test('the desk killed for good takes its processes along; the next start finds everything, also on another port', async () => {
  const desk = Number(readFileSync(join(home, 'desk.pid'), 'utf8').split(' ')[0]);
  process.kill(desk, 'SIGKILL');
  await running.exit;
  await eventually('no process of it is left', () => find('') === undefined);
  const settings = readFileSync(join(home, 'settings.toml'), 'utf8');
  const moved = await freePort();
  writeFileSync(
    join(home, 'settings.toml'),
    settings
      .replace(/^database_port = .*/m, `database_port = ${moved}`)
      .replace(/^database_listen = .*/m, 'database_listen = "127.0.0.1, 127.0.0.2"'),
  );
  running = startDesk();
  await linkToken(running);
  await freshData();
  expect(knownDesk(home)?.databasePort).toBe(moved);
  expect(await query('SELECT port FROM pem.server')).toEqual([{ port: moved }]);
});

/** Runs `pem …` against this desk, as its own user. */
function pem(...words: string[]): string {
  const { uid, gid } = statSync(home);
  const identity = process.getuid?.() === uid ? {} : { uid, gid };
  return execFileSync(process.execPath, [entry, ...words], {
    ...{ encoding: 'utf8', cwd: '/', ...identity },
    env: { ...process.env, PEM_HOME: home, HOME: home },
  });
}

test('a second host joins by the line that the token comes with, over the address that was added', async () => {
  const token = join(home, 'secrets/second');
  const said = pem('token', 'create', 'second', '--owner', 'admin', '--out', token);
  const line =
    /^ {2}pem (agent register --server \S+ --ca-sha256 [0-9a-f]{64} --token-file \S+) --directory \S+$/m.exec(
      said,
    );
  const words = (line?.[1] ?? said).replace(/--server \S+:/, '--server 127.0.0.2:').split(' ');
  expect(pem(...words, '--directory', join(home, 'agent2'))).toMatch(/^registered as agent\d+ /m);
  expect(pem('status')).toMatch(/^\d+ +second +unknown/m);
});

test('Ctrl-C ends every process and leaves a cluster that was shut down', async () => {
  running.child.kill('SIGINT');
  expect(await running.exit).toBe(0);
  expect(find('')).toBeUndefined();
  const control = execFileSync(join(findPrograms(), 'pg_controldata'), [join(home, 'data')], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  });
  expect(control).toMatch(/Database cluster state: +shut down\n/);
  expect(existsSync(join(home, 'desk.pid'))).toBe(false);
});
