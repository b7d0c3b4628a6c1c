/** Installation and upgrade: repeatable, without a superuser after the first time, and nothing but additions. */
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Pem, startPem } from '../../bench/rig/pem.js';
import { probes } from '../catalog/probes/index.js';
import type { ProbeDefinition } from '../catalog/types.js';
import { syncCatalogue } from './catalogue.js';
import { installRoles, installSchema, migrate, migrations } from './install.js';

let pem: Pem;
let client: pg.Client;

beforeAll(async () => {
  pem = await startPem({ hba: 'local pem upgrader trust\n' });
  await pem.query('CREATE ROLE upgrader LOGIN IN ROLE pem_owner');
  client = new pg.Client({
    host: pem.cluster.socketDirectory,
    port: pem.port,
    user: 'upgrader',
    database: 'pem',
  });
  await client.connect();
});
afterAll(async () => {
  await client?.end();
  await pem?.stop();
});

const probe: ProbeDefinition = {
  name: 'trial',
  title: 'Trial',
  description: 'A probe of this test.',
  version: 1,
  level: 'host',
  collector: 'os',
  columns: [
    { name: 'device', type: 'text', role: 'key', kind: 'label', unit: '', title: 'Device' },
    { name: 'used', type: 'int8', role: 'metric', kind: 'gauge', unit: 'bytes', title: 'Used' },
  ],
  mode: 'delta',
  history: true,
  intervalMs: 5000,
  retentionDays: 7,
  partition: 'day',
};
const withTrial = (changes: Partial<ProbeDefinition>): ProbeDefinition[] => [
  ...probes,
  { ...probe, ...changes },
];

async function columnsOf(relation: string): Promise<string[]> {
  const { rows } = await pem.query(
    `SELECT attname || ' ' || format_type(atttypid, atttypmod) AS c FROM pg_attribute
      WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
    [relation],
  );
  return rows.map((row) => row.c);
}

test('a member of pem_owner, no superuser, migrates from nothing', async () => {
  await pem.query('CREATE DATABASE fresh');
  const superuser = await pem.cluster.client('fresh');
  await installRoles(superuser);
  await superuser.end();
  const plain = new pg.Client({
    host: pem.cluster.socketDirectory,
    port: pem.port,
    user: 'postgres',
    database: 'fresh',
  });
  await plain.connect();
  await plain.query('SET SESSION AUTHORIZATION upgrader');
  expect((await plain.query('SELECT rolsuper FROM pg_roles WHERE rolname = session_user')).rows).toEqual([
    { rolsuper: false },
  ]);
  expect(await migrate(plain)).toEqual(migrations().map((migration) => migration.name));
  expect(await migrate(plain)).toEqual([]);
  expect(await syncCatalogue(plain, probes)).toEqual(probes.map((entry) => entry.name));
  await plain.end();
});

test('installing again changes nothing', async () => {
  const superuser = await pem.client();
  expect(await installSchema(superuser, { probes })).toEqual({
    migrations: [],
    probes: [],
    openDatabases: expect.any(Array),
  });
  await superuser.end();
});

test('databases that PUBLIC may enter are named', async () => {
  await pem.query('CREATE DATABASE somebody_elses');
  const superuser = await pem.client();
  expect((await installSchema(superuser, { probes })).openDatabases).toContain('somebody_elses');
  await superuser.end();
});

test('two installers at once work one after the other', async () => {
  const second = new pg.Client({
    host: pem.cluster.socketDirectory,
    port: pem.port,
    user: 'upgrader',
    database: 'pem',
  });
  await second.connect();
  const both = await Promise.all([client, second].map((each) => syncCatalogue(each, withTrial({}))));
  expect(both.flat()).toEqual(['trial']);
  await second.end();
});

test("a probe's tables: order of columns, owner, rights, policies", async () => {
  expect(await columnsOf('pemdata.trial')).toEqual([
    'target_id bigint',
    'device text',
    'recorded_at timestamp with time zone',
    'used bigint',
    '_arrival bigint',
    '_seq bigint',
    '_gone boolean',
  ]);
  expect(await columnsOf('pemhistory.trial')).toEqual([
    'recorded_at timestamp with time zone',
    'target_id bigint',
    'gone boolean',
    'device text',
    'used bigint',
  ]);
  const { rows } = await pem.query(
    `SELECT c.oid::regclass::text AS name, relowner::regrole::text AS owner, relrowsecurity AS rls, relkind AS kind
       FROM pg_class c WHERE relname = 'trial' ORDER BY 1`,
  );
  expect(rows).toEqual([
    { name: 'pemdata.trial', owner: 'pem_owner', rls: true, kind: 'r' },
    { name: 'pemhistory.trial', owner: 'pem_history', rls: true, kind: 'p' },
  ]);
});

test('a column is added, also with partitions there, and all agents hear of it', async () => {
  await pem.query(`SET ROLE pem_history; CREATE TABLE pempart.trial_20260101 (LIKE pemhistory.trial INCLUDING ALL);
    ALTER TABLE pemhistory.trial ATTACH PARTITION pempart.trial_20260101 FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2026-01-02 00:00:00+00')`);
  const agent = await pem.addAgent({ name: 'one' });
  const before = await pem.query('SELECT config_version FROM pem.agent WHERE id = $1', [agent.agentId]);
  const columns: ProbeDefinition['columns'] = [
    ...probe.columns,
    { name: 'share', type: 'float8', role: 'metric', kind: 'gauge', unit: 'percent', title: 'Share' },
  ];
  expect(await syncCatalogue(client, withTrial({ version: 2, columns }))).toEqual(['trial']);
  for (const relation of ['pemdata.trial', 'pemhistory.trial', 'pempart.trial_20260101']) {
    expect((await columnsOf(relation)).at(-1), relation).toBe('share double precision');
  }
  const after = await pem.query('SELECT config_version FROM pem.agent WHERE id = $1', [agent.agentId]);
  expect(Number(after.rows[0].config_version)).toBeGreaterThan(Number(before.rows[0].config_version));
  // A column that left the catalogue stays.
  await syncCatalogue(client, withTrial({ version: 3 }));
  expect((await columnsOf('pemhistory.trial')).at(-1)).toBe('share double precision');
});

test.each([
  [
    'catalogue_type_changed',
    {
      version: 4,
      columns: probe.columns.map((column) =>
        column.name === 'used' ? { ...column, type: 'text' as const } : column,
      ),
    },
  ],
  [
    'catalogue_key_changed',
    {
      version: 4,
      columns: [
        {
          name: 'more',
          type: 'text' as const,
          role: 'key' as const,
          kind: 'label' as const,
          unit: '',
          title: 'More',
        },
        ...probe.columns,
      ],
    },
  ],
  ['catalogue_older', { version: 2 }],
  ['probe_retention', { version: 4, retentionDays: 0 }],
])('refused, and nothing is changed: %s', async (code, changes) => {
  const before = await columnsOf('pemhistory.trial');
  await expect(syncCatalogue(client, withTrial(changes))).rejects.toMatchObject({ code });
  expect(await columnsOf('pemhistory.trial')).toEqual(before);
});

test('a probe that left the catalogue is retired and keeps its rows; it can come back', async () => {
  expect(await syncCatalogue(client, probes)).toEqual(['trial']);
  expect((await pem.query(`SELECT retired FROM pem.probe WHERE name = 'trial'`)).rows).toEqual([
    { retired: true },
  ]);
  expect((await columnsOf('pemdata.trial')).length).toBeGreaterThan(0);
  expect(await syncCatalogue(client, withTrial({ version: 3 }))).toEqual(['trial']);
});

test('a migration that was edited, and a database newer than the program, are refused', async () => {
  await pem.query(`UPDATE pem.migration SET sha256 = 'x' WHERE version = 2`);
  await expect(migrate(client)).rejects.toMatchObject({ code: 'migration_edited' });
  await pem.query(`INSERT INTO pem.migration (version, name, sha256) VALUES (900, 'future', 'x')`);
  await expect(migrate(client)).rejects.toMatchObject({ code: 'migration_newer' });
  expect((await client.query('SELECT current_user = session_user AS own')).rows).toEqual([{ own: true }]);
});

test('the master and the ingester maintain partitions through pem_history and nothing else of the owner', async () => {
  for (const program of ['pem_ingest', 'pem_master'] as const) {
    const opened = await pem.client(program);
    const name = `pempart.cpu_usage_${program}`;
    await opened.query(
      `SET ROLE pem_history; CREATE TABLE ${name} (LIKE pemhistory.cpu_usage INCLUDING ALL)`,
    );
    await opened.query(
      `ALTER TABLE pemhistory.cpu_usage ATTACH PARTITION ${name} FOR VALUES FROM ('2027-01-01+00') TO ('2027-01-02+00')`,
    );
    await opened.query(`ALTER TABLE pemhistory.cpu_usage DETACH PARTITION ${name} CONCURRENTLY`);
    await opened.query(`DROP TABLE ${name}`);
    await opened.query('RESET ROLE');
    for (const statement of [
      'ALTER TABLE pem.target DISABLE ROW LEVEL SECURITY',
      'DROP TABLE pemdata.cpu_usage',
      'SET ROLE pem_owner',
      'SET ROLE pem_registrar',
    ]) {
      await expect(opened.query(statement), statement).rejects.toMatchObject({ code: '42501' });
    }
    await opened.end();
  }
});
