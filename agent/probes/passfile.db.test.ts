import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Cluster, startCluster } from '../../bench/rig/cluster.js';
import { connect } from '../../native/index.js';
import { systemClock } from '../scheduler/clock.js';
import { serverParams } from '../scheduler/index.js';
import { ConnectGate } from './gate.js';
import { ServerLink } from './link.js';

let cluster: Cluster;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pem-passfile-'));
  cluster = await startCluster({ hba: 'local all postgres trust\nlocal all all scram-sha-256\n' });
  await cluster.query(
    `CREATE ROLE pem_monitor LOGIN CONNECTION LIMIT 3 PASSWORD 'its password' IN ROLE pg_monitor`,
  );
});
afterAll(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** What is said of the server after one try. */
async function troubleWith(passfile: string | undefined): Promise<string> {
  const server = {
    ...{ targetId: 1, name: 'shop', host: cluster.socketDirectory, port: cluster.port },
    ...{ database: 'postgres', user: 'pem_monitor', sslmode: '' },
  };
  const link = new ServerLink({
    connect,
    clock: systemClock,
    gate: new ConnectGate(systemClock),
    params: (database) => serverParams(server, database, passfile),
    onConnect: () => undefined,
  });
  try {
    await link.cluster((connection) => connection.query('SELECT 1')).catch(() => undefined);
    return link.trouble;
  } finally {
    link.close();
  }
}

test('a server that gets no password says where it belongs, and why the file is not used', async () => {
  const passfile = join(folder, 'pgpass');
  expect(await troubleWith(undefined)).toContain('servers.passfile of agent.toml');
  expect(await troubleWith(passfile)).toContain(
    `${passfile}, which servers.passfile of agent.toml names, cannot be read`,
  );
  writeFileSync(passfile, 'other:5432:*:pem_monitor:x\n', { mode: 0o600 });
  expect(await troubleWith(passfile)).toContain(`${passfile} has no line for it`);
  writeFileSync(passfile, `*:${cluster.port}:*:pem_monitor:its password\n`);
  chmodSync(passfile, 0o640);
  expect(await troubleWith(passfile)).toContain(`chmod 600 ${passfile}`);
  chmodSync(passfile, 0o600);
  expect(await troubleWith(passfile)).toBe('');
});
