/**
 * Who sees what, for every relation there is: they are read from pg_class, so a new table without a policy, without rows
 * in `seed`, or a new function without an entry below fails here. Rows of team A carry the mark A, rows of B the mark B.
 */
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Pem, type RigAgent, startPem } from '../../bench/rig/pem.js';
import { probes } from '../catalog/probes/index.js';
import type { ColumnType } from '../wire/config.js';

const sample: Readonly<Record<ColumnType, string>> = {
  bool: 'true',
  int2: '1',
  int4: '1',
  int8: '1',
  float4: '1',
  float8: '1',
  numeric: '1',
  text: 'MARK',
  name: 'MARK',
  oid: '1',
  xid: '1',
  pg_lsn: '0/1',
  inet: '10.0.0.1',
  timestamptz: '2026-01-02 00:00:00+00',
  interval: '1 s',
  json: '{"x": "MARK"}',
  jsonb: '{"x": "MARK"}',
  'text[]': '{MARK}',
};

type Side = 'A' | 'B';
const sides: readonly Side[] = ['A', 'B'];
const users = ['ann', 'bob', 'nia', 'own_a', 'sue'] as const;
type User = (typeof users)[number];
/** What each may see. */
const allowed: Readonly<Record<User, readonly Side[]>> = {
  ann: ['A'],
  bob: ['B'],
  nia: [],
  own_a: ['A'],
  sue: ['A', 'B'],
};

let pem: Pem;
const agents = {} as Record<Side, RigAgent>;
const passwords = {} as Record<User, string>;
const traces = {} as Record<Side, number>;
let relations: { name: string; kind: string; columns: string[] }[];

async function seedProbes(): Promise<void> {
  for (const probe of probes) {
    if (probe.history) {
      await pem.query(`SET ROLE pem_history; CREATE TABLE pempart."${probe.name}_x" (LIKE pemhistory."${probe.name}" INCLUDING ALL);
        ALTER TABLE pemhistory."${probe.name}" ATTACH PARTITION pempart."${probe.name}_x"
        FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2026-02-01 00:00:00+00')`);
    }
    for (const side of sides) {
      const target =
        probe.level === 'host' || probe.level === 'pem'
          ? agents[side].hostTarget
          : agents[side].serverTargets[0];
      const names = probe.columns.map((column) => `"${column.name}"`).join(', ');
      const values = probe.columns
        .map((column) => `'${sample[column.type].replace('MARK', `MARK_${side}`)}'`)
        .join(', ');
      if (probe.history) {
        await pem.query(
          `INSERT INTO pemhistory."${probe.name}" (recorded_at, target_id, ${names} ${probe.mode === 'delta' ? ', gone' : ''})
           VALUES ('2026-01-02 00:00:00+00', ${target}, ${values} ${probe.mode === 'delta' ? ', false' : ''})`,
        );
      }
      if (probe.mode !== 'append') {
        await pem.query(
          `INSERT INTO pemdata."${probe.name}" (target_id, recorded_at, ${names}, _arrival, _seq)
           VALUES (${target}, '2026-01-02 00:00:00+00', ${values}, 1, 1)`,
        );
      }
    }
  }
}

async function seedTables(side: Side): Promise<void> {
  const agent = agents[side];
  const target = agent.serverTargets[0];
  const boot = `00000000-0000-4000-8000-00000000000${side === 'A' ? 1 : 2}`;
  const client = await agent.client();
  const trace = await pem.query(
    `SELECT pem.create_trace($1, $2, '{}', NULL, NULL, true, 100, false, false)::int AS id`,
    [target, `MARK_${side}`],
  );
  traces[side] = trace.rows[0].id;
  await client.query('SELECT pem.sync($1)', [
    {
      boots: [boot],
      version: `MARK_${side}`,
      info: { host: { hostname: `MARK_${side}` } },
      servers: [{ targetId: target, error: `MARK_${side}` }],
      traces: [
        {
          id: traces[side],
          state: 'running',
          runs: [{ run: 'm1', serverName: `MARK_${side}`, state: 'running' }],
        },
      ],
    },
  ]);
  for (const slot of [1, 2, 3, 0]) {
    await pem.query('UPDATE pem_inbox.state SET active = $1', [slot]);
    await client.query('INSERT INTO pem.inbox VALUES ($1)', [Buffer.alloc(100, side)]);
  }
  await client.end();
  await pem.query(`INSERT INTO pem.probe_state VALUES ($1, 'server_info', '', now(), 1, 1, 1, 1, 1)`, [
    target,
  ]);
  await pem.query(`INSERT INTO pem.stray VALUES ($1, $2, 1, $3, 'server_info', 'future', 1, now())`, [
    agent.agentId,
    boot,
    target,
  ]);
  await pem.query(
    `INSERT INTO pem.quarantine (agent_id, target_id, code, reason, payload) VALUES ($1, $2, 'x', $3, 'x')`,
    [agent.agentId, target, `MARK_${side}`],
  );
  await pem.query(`SELECT pem.send_command($1, 'sync_now', $2)`, [agent.agentId, { mark: `MARK_${side}` }]);
  await pem.query(`SELECT pem.set_probe_config($1, 'server_info', NULL, 2000, NULL)`, [target]);
  await pem.query('INSERT INTO pem.server_connection (target_id, username, agent_id) VALUES ($1, $2, $3)', [
    ...[target, `MARK_${side}`, agent.agentId],
  ]);
}

beforeAll(async () => {
  pem = await startPem();
  for (const team of ['team_a', 'team_b']) await pem.addTeam(team);
  passwords.ann = await pem.addUser('ann', { level: 'pem_admin', teams: ['team_a'] });
  passwords.bob = await pem.addUser('bob', { level: 'pem_admin', teams: ['team_b'] });
  passwords.nia = await pem.addUser('nia', { level: 'pem_admin' });
  passwords.own_a = await pem.addUser('own_a', { level: 'pem_admin' });
  passwords.sue = await pem.addUser('sue', { level: 'pem_super_admin' });
  await pem.addUser('own_b');
  for (const side of sides) {
    agents[side] = await pem.addAgent({
      name: `host MARK_${side}`,
      owner: `own_${side.toLowerCase()}`,
      team: `team_${side.toLowerCase()}`,
      servers: [{ name: `server MARK_${side}`, host: `MARK_${side}`, port: 1 }],
    });
    await seedTables(side);
  }
  await seedProbes();
  relations = (
    await pem.query(`SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relkind::text AS kind,
        array_agg(a.attname::text ORDER BY a.attnum) AS columns
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
     WHERE n.nspname LIKE 'pem%' AND c.relkind IN ('r', 'p', 'v', 'm', 'f') GROUP BY 1, 2 ORDER BY 1`)
  ).rows;
});
afterAll(() => pem?.stop());

/** The sides that a row belongs to, by its marks and by the ids it names. */
function sidesOf(relation: string, row: Record<string, unknown>): Set<Side> {
  const found = new Set<Side>();
  const text = JSON.stringify(row);
  for (const side of sides) {
    const targets = [agents[side].hostTarget, ...agents[side].serverTargets].map(String);
    const named = [row.target_id, row.host_target_id, relation === 'pem.target' ? row.id : null].map(String);
    const namedAgent = String(relation === 'pem.agent' ? row.id : row.agent_id);
    if (
      text.includes(`MARK_${side}`) ||
      named.some((id) => targets.includes(id)) ||
      namedAgent === String(agents[side].agentId)
    ) {
      found.add(side);
    }
  }
  return found;
}

const namesSomething = (columns: readonly string[]): boolean =>
  columns.some((name) => ['target_id', 'host_target_id', 'agent_id'].includes(name));

/** undefined: not permitted. */
async function readAll(client: pg.Client, relation: string): Promise<Set<Side> | undefined> {
  try {
    const { rows } = await client.query<Record<string, unknown>>(
      `SELECT to_jsonb(r) AS row FROM ${relation} r`,
    );
    return new Set(rows.flatMap((row) => [...sidesOf(relation, row.row as Record<string, unknown>)]));
  } catch (error) {
    expect((error as { code?: string }).code, relation).toBe('42501');
    return undefined;
  }
}

test('rows of both sides are in every relation that names a target, an agent or a server', async () => {
  const client = await pem.client();
  const seeded = relations.filter(
    (relation) => namesSomething(relation.columns) || relation.name === 'pem.target',
  );
  expect(seeded.length).toBeGreaterThan(40);
  for (const relation of seeded) {
    expect([...((await readAll(client, relation.name)) ?? [])].sort(), `seed ${relation.name}`).toEqual([
      'A',
      'B',
    ]);
  }
  await client.end();
});

test('every such table outside the inbox and the partitions has row-level security', async () => {
  const { rows } =
    await pem.query(`SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('pem', 'pemdata', 'pemhistory') AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity ORDER BY 1`);
  expect(rows.map((row) => row.name)).toEqual([
    'pem.config',
    'pem.ingest_suspect',
    'pem.ingester',
    'pem.migration',
    'pem.one_time_link',
    'pem.probe',
    'pem.web_session',
  ]);
});

test('every view reads with the rights of whoever asks', async () => {
  const { rows } =
    await pem.query(`SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname LIKE 'pem%' AND c.relkind IN ('v', 'm') AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false)`);
  expect(rows).toEqual([]);
});

describe.each(users)('%s', (user) => {
  test('reads no foreign row of any relation, and all rows of its own', async () => {
    const client = await pem.userClient(user, passwords[user]);
    await pem.asUser(user, async (web) => {
      let readable = 0;
      for (const relation of relations) {
        const seen = await readAll(client, relation.name);
        await web.query('SAVEPOINT s');
        const seenByWeb = await readAll(web, relation.name);
        await web.query('ROLLBACK TO s');
        expect(seenByWeb, relation.name).toEqual(seen);
        if (seen === undefined) continue;
        readable += 1;
        const expected =
          namesSomething(relation.columns) || relation.name === 'pem.target' ? [...allowed[user]] : [];
        expect([...seen].sort(), relation.name).toEqual(expected);
      }
      expect(readable).toBeGreaterThan(30);
    });
    await client.end();
  });

  test('reads no partition, slot or quarantine directly', async () => {
    const client = await pem.userClient(user, passwords[user]);
    const hidden = relations.filter((relation) =>
      /^(pempart|pem_inbox)\.|^pem\.(quarantine|received|csr|web_session|one_time_link)$/.test(relation.name),
    );
    expect(hidden.length).toBeGreaterThan(probes.filter((probe) => probe.history).length);
    for (const relation of hidden)
      expect(await readAll(client, relation.name), relation.name).toBeUndefined();
    await client.end();
  });

  test('writes no table', async () => {
    const { rows } = await pem.query(
      `SELECT c.oid::regclass::text AS name, p AS privilege FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
         unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES']) p
        WHERE n.nspname LIKE 'pem%' AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND has_table_privilege($1, c.oid, p)`,
      [user],
    );
    expect(rows).toEqual([]);
  });

  test('an error message tells nothing of hidden rows', async () => {
    const client = await pem.userClient(user, passwords[user]);
    for (const side of sides.filter((other) => !allowed[user].includes(other))) {
      for (const query of [
        `SELECT count(*) FROM pem.target WHERE name LIKE '%MARK_${side}%' AND name::int = 1`,
        `SELECT count(*) FROM pemhistory.session_info WHERE application_name LIKE '%MARK_${side}%' AND application_name::int = 1`,
        `SELECT count(*) FROM pemdata.session_info WHERE application_name LIKE '%MARK_${side}%' AND application_name::int = 1`,
      ]) {
        expect((await client.query(query)).rows, query).toEqual([{ count: '0' }]);
      }
    }
    await client.end();
  });
});

test('pem_web as itself sees nothing of the fleet', async () => {
  const client = await pem.client('pem_web');
  for (const relation of relations) {
    const seen = await readAll(client, relation.name);
    if (seen !== undefined) {
      expect(['pem.config', 'pem.probe', 'pem.web_session', 'pem.one_time_link'], relation.name).toContain(
        relation.name,
      );
    }
  }
  await client.end();
});

/** Arguments that aim at side B, for each function with the owner's rights that an administrator may call. */
const aimed: Readonly<Record<string, (b: RigAgent) => readonly unknown[]>> = {
  'pem.create_token': () => ['x', 'own_b', 'team_b', '1 hour', 'x'],
  'pem.revoke_agent': (b) => [b.agentId],
  'pem.release_agent': (b) => [b.agentId],
  'pem.remove_agent': (b) => [b.agentId],
  'pem.add_server': (b) => [b.agentId, 'x', 'x', 1, 'x', 'x', 'prefer', null, null],
  'pem.remove_server': (b) => b.serverTargets,
  'pem.move_server': (b) => [b.serverTargets[0], agents.A.agentId],
  'pem.set_probe_config': (b) => [b.serverTargets[0], 'server_info', false, null, null],
  'pem.set_belonging': (b) => [b.hostTarget, 'ann', 'team_a'],
  'pem.send_command': (b) => [b.agentId, 'sync_now', {}],
  'pem.create_trace': (b) => [b.serverTargets[0], 'x', {}, null, null, true, 1, false, false],
  'pem.request_trace': () => [traces.B, 'start'],
  'pem.delete_trace': () => [traces.B],
  'pem.add_unmanaged_server': () => ['x', 'x', 1, 'x', 'x', 'require', 'own_b', 'team_b'],
  'pem.unmanaged_server': (b) => b.serverTargets,
  'pem.hold_server': (b) => [b.serverTargets[0], agents.A.agentId],
  'pem.request_advice': () => [traces.B, { statements: [] }],
};

test('functions with rights of their own refuse what the invoker does not see', async () => {
  const { rows } = await pem.query(`SELECT p.oid::regproc::text AS name, p.proretset AS set FROM pg_proc p
     WHERE p.prosecdef AND has_function_privilege('ann', p.oid, 'EXECUTE') ORDER BY 1`);
  for (const user of ['ann', 'nia'] as const) {
    const client = await pem.userClient(user, passwords[user]);
    for (const { name } of rows as { name: string }[]) {
      if (name === 'pem.quarantine_totals') {
        const totals = await client.query('SELECT agent_id FROM pem.quarantine_totals()');
        expect(totals.rows).toEqual(user === 'ann' ? [{ agent_id: agents.A.agentId }] : []);
        continue;
      }
      const entry = aimed[name];
      if (entry === undefined) throw new Error(`add ${name} to this test`);
      const values = entry(agents.B);
      await expect(
        client.query(`SELECT ${name}(${values.map((_, index) => `$${index + 1}`).join(', ')})`, [...values]),
        name,
      ).rejects.toMatchObject({ code: 'PE021' });
    }
    await client.end();
  }
  expect(
    (rows as { name: string }[])
      .map((row) => row.name)
      .filter((name) => name in aimed)
      .sort(),
  ).toEqual(Object.keys(aimed).sort());
});

test('a server watched by an agent of another team shows the server, not the agent', async () => {
  await pem.query('SELECT pem.move_server($1, $2)', [agents.A.serverTargets[0], agents.B.agentId]);
  await pem.asUser('ann', async (client) => {
    expect((await client.query('SELECT name FROM pem.server_status')).rows).toEqual([
      { name: 'server MARK_A' },
    ]);
    expect((await client.query('SELECT display_name FROM pem.agent_status')).rows).toEqual([
      { display_name: 'host MARK_A' },
    ]);
  });
  await pem.query('SELECT pem.move_server($1, $2)', [agents.A.serverTargets[0], agents.A.agentId]);
});

test('losing the team takes effect in the next transaction, dropping it breaks no policy', async () => {
  await pem.addTeam('passing');
  const password = await pem.addUser('pat', { teams: ['passing'] });
  const agent = await pem.addAgent({ name: 'passing host', owner: 'own_b', team: 'passing' });
  const client = await pem.userClient('pat', password);
  const seen = async (): Promise<unknown[]> =>
    (await client.query({ name: 'seen', text: 'SELECT * FROM pem.visible_targets() AS id' })).rows;
  expect(await seen()).toEqual([{ id: String(agent.hostTarget) }]);
  await pem.query(`SELECT pem.set_team('pat', 'passing', false)`);
  expect(await seen()).toEqual([]);
  await pem.query(`SELECT pem.set_team('pat', 'passing', true)`);
  expect(await seen()).toHaveLength(1);
  await pem.query('DROP ROLE passing');
  expect(await seen()).toEqual([]);
  expect((await client.query('SELECT count(*) FROM pemhistory.cpu_usage')).rows).toEqual([{ count: '0' }]);
  await client.end();
  await pem.asUser('sue', async (opened) => {
    expect(
      (await opened.query('SELECT name FROM pem.target WHERE id = $1', [agent.hostTarget])).rows,
    ).toHaveLength(1);
  });
});
