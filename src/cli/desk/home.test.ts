import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { freePort as freeRigPort } from '../../../bench/rig/cluster.js';
import { findPrograms, hostRules, identityRules } from './cluster.js';
import { freePort, knownDesk, openHome, programCopy } from './home.js';
import { lockHome } from './lock.js';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pem-home-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('ports and socket folder are remembered, and the home is ours alone', async () => {
  const first = await openHome(join(folder, 'home'), undefined);
  const second = await openHome(join(folder, 'home'), undefined);
  expect(second.databasePort).toBe(first.databasePort);
  expect(second.webPort).toBe(first.webPort);
  expect(statSync(join(folder, 'home')).mode & 0o777).toBe(0o700);
  expect(statSync(first.socketDirectory).mode & 0o777).toBe(0o700);
  expect(knownDesk(join(folder, 'home'))).toEqual({
    socketDirectory: first.socketDirectory,
    databasePort: first.databasePort,
  });
  expect(knownDesk(join(folder, 'other'))).toBeUndefined();
});

test('a home with a long path gets a socket folder whose sockets fit into 107 bytes', async () => {
  const deep = join(folder, 'd'.repeat(60), 'e'.repeat(40));
  const home = await openHome(deep, undefined);
  expect(home.socketDirectory.startsWith(deep)).toBe(false);
  expect(Buffer.byteLength(join(home.socketDirectory, '.s.PGSQL.65535.lock'))).toBeLessThanOrEqual(107);
  expect(statSync(home.socketDirectory).mode & 0o777).toBe(0o700);
  expect((await openHome(deep, undefined)).socketDirectory).toBe(home.socketDirectory);
  // The folder in /tmp is gone after a boot: a new one is made, not one that somebody else put there.
  rmSync(home.socketDirectory, { recursive: true });
  writeFileSync(home.socketDirectory, '');
  const fresh = await openHome(deep, undefined);
  expect(fresh.socketDirectory).not.toBe(home.socketDirectory);
  expect(existsSync(fresh.socketDirectory)).toBe(true);
  rmSync(home.socketDirectory);
  rmSync(fresh.socketDirectory, { recursive: true });
});

test('a settings file with a mistake stops the start and names the setting', async () => {
  mkdirSync(join(folder, 'home'));
  const write = (text: string): void => writeFileSync(join(folder, 'home/settings.toml'), text);
  write('database_port = 99999\nweb_port = 8790\nsocket_directory = "/tmp/x"\n');
  await expect(openHome(join(folder, 'home'), undefined)).rejects.toMatchObject({
    code: 'settings_syntax',
    message: expect.stringContaining('database_port'),
  });
  write('database_port = [');
  await expect(openHome(join(folder, 'home'), undefined)).rejects.toMatchObject({ code: 'settings_syntax' });
});

test('a taken port is passed over', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port: from } = server.address() as AddressInfo;
  expect(await freePort(from)).toBeGreaterThan(from);
  await new Promise((resolve) => server.close(resolve));
});

test('the port that was asked for is that one or none: nobody else is taken for the page', async () => {
  const server = createServer();
  const taken = await freeRigPort();
  await new Promise<void>((resolve) => server.listen(taken, '127.0.0.1', resolve));
  await expect(openHome(join(folder, 'home'), taken)).rejects.toMatchObject({
    code: 'port_taken',
    message: expect.stringContaining(`port ${taken}`),
  });
  await new Promise((resolve) => server.close(resolve));
  expect((await openHome(join(folder, 'home'), taken)).webPort).toBe(taken);
});

test('a cluster is run by the programs of its own version where they are installed', async () => {
  const home = await openHome(join(folder, 'home'), undefined);
  const given = process.env.PEM_PGBIN;
  delete process.env.PEM_PGBIN;
  try {
    const newest = findPrograms(home);
    mkdirSync(home.path('data'));
    writeFileSync(home.path('data', 'PG_VERSION'), `${/(\d+)\/bin$/.exec(newest)?.[1]}\n`);
    expect(findPrograms(home)).toBe(newest);
    writeFileSync(home.path('data', 'PG_VERSION'), '9.6\n');
    expect(findPrograms(home)).toBe(newest);
    process.env.PEM_PGBIN = '/opt/pg/bin';
    expect(findPrograms(home)).toBe('/opt/pg/bin');
  } finally {
    delete process.env.PEM_PGBIN;
    if (given !== undefined) process.env.PEM_PGBIN = given;
  }
});

test('one desk per home: a second one is refused, the lock of a dead one is taken over', async () => {
  const home = await openHome(join(folder, 'home'), undefined);
  // Process 1 runs, but it is not the one that wrote this.
  writeFileSync(home.path('desk.pid'), '1 0\n');
  const release = lockHome(home.directory);
  expect(readFileSync(home.path('desk.pid'), 'utf8')).toMatch(new RegExp(`^${process.pid} \\d+\n$`));
  const stat = readFileSync('/proc/1/stat', 'utf8');
  writeFileSync(home.path('desk.pid'), `1 ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}\n`);
  expect(() => lockHome(home.directory)).toThrow(expect.objectContaining({ code: 'desk_running' }));
  release();
  expect(existsSync(home.path('desk.pid'))).toBe(false);
});

test('no way into the cluster is "trust", and peer is for roles of PEM alone', () => {
  const rules = hostRules()
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  expect(
    rules
      .map((line) =>
        line
          .split(/\s+/)
          .filter((word) => !word.includes('='))
          .at(-1),
      )
      .sort(),
  ).toEqual(['cert', 'peer', 'scram-sha-256', 'scram-sha-256', 'scram-sha-256']);
  expect(rules.filter((line) => line.startsWith('host ') || line.startsWith('hostnossl'))).toEqual([]);
  expect(identityRules(['ann'])).toContain('pem  "ann"  pem_web\n');
});

test('what root copies lies beside the home, not where its owner could put links in the way', () => {
  const home = join(folder, 'home');
  expect(dirname(programCopy(home))).toBe(folder);
  symlinkSync('/', `${home}-program.new`);
  expect(() => programCopy(home)).toThrow('is of another user');
});
