/** A user of team A gets nothing of team B by any REST path or live topic; nor two seconds after losing a team. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Pem, type RigAgent, startPem } from '../../bench/rig/pem.js';
import { FakeIngester, startWeb, type Visitor, type WebRig } from '../../bench/rig/web.js';
import { blockFromRows, blockInfo } from '../../native/index.js';
import { probes } from '../catalog/probes/index.js';
import { restRoutes } from './index.js';

let pem: Pem;
let web: WebRig;
let ours: RigAgent;
let theirs: RigAgent;
let theirTrace: number;
let ada: Visitor;
let ingester: FakeIngester;
/** Stands in every text that is theirs. */
const mark = 'belongs-to-the-others';
const boot = randomUUID();
let seq = 0n;

beforeAll(async () => {
  pem = await startPem();
  await pem.addTeam('team_a');
  await pem.addTeam('team_b');
  const password = await pem.addUser('ada', { level: 'pem_admin', teams: ['team_a'] });
  const server = { host: pem.cluster.socketDirectory, port: pem.port };
  ours = await pem.addAgent({ name: 'ours', team: 'team_a', servers: [{ name: 'our server', ...server }] });
  theirs = await pem.addAgent({ name: mark, team: 'team_b', servers: [{ name: mark, ...server }] });
  await pem.query(
    `INSERT INTO pem.agent_heartbeat (agent_id, at, boot, arrival, started_at, info)
     VALUES ($1, now(), $2, 1, now(), jsonb_build_object('word', $3::text))`,
    [theirs.agentId, boot, mark],
  );
  await pem.query(`INSERT INTO pem.quarantine (agent_id, code, reason) VALUES ($1, $2, 'r')`, [
    theirs.agentId,
    mark,
  ]);
  await pem.query(`INSERT INTO pem.stray VALUES ($1, $2, 1, $3, $4, 'future', 1, now())`, [
    theirs.agentId,
    boot,
    theirs.hostTarget,
    mark,
  ]);
  await pem.query('INSERT INTO pem.probe_config VALUES ($1, $2, true, 765432, 77)', [
    theirs.hostTarget,
    'load_average',
  ]);
  const trace = await pem.query(
    `SELECT pem.create_trace($1, $2, '{}', NULL, NULL, true, 765432, false, false)::int AS id`,
    [theirs.serverTargets[0], mark],
  );
  theirTrace = trace.rows[0].id;
  await pem.query(
    `INSERT INTO pem.trace_run (trace_id, run, target_id, server_name, state, rows_read, bytes_read, events_sent, events_dropped,
       rows_skipped, bad_rows, repeated_rows, lag_bytes) VALUES ($1, 'm1', $2, $3, 'running', 0, 0, 0, 0, 0, 0, 0, 0)`,
    [theirTrace, theirs.serverTargets[0], mark],
  );
  for (const probe of probes) {
    for (const target of targetsOf(theirs)) {
      if (probe.mode !== 'append') await fillLatest(probe.name, target);
    }
  }
  web = await startWeb(pem);
  ada = await web.signIn('ada', password);
  ingester = await FakeIngester.start(pem, web.pushDirectory);
});
afterAll(async () => {
  await ingester?.stop();
  await web?.stop();
  await pem?.stop();
});

const targetsOf = (agent: RigAgent): number[] => [agent.hostTarget, ...agent.serverTargets];

/** One row of latest whose texts are the mark. */
async function fillLatest(probe: string, target: number): Promise<void> {
  const definition = probes.find((entry) => entry.name === probe);
  const columns = (definition?.columns ?? []).filter(
    (column) => column.role === 'key' || column.type === 'text',
  );
  const value = (type: string): string =>
    type === 'text' || type === 'name'
      ? `'${mark}'`
      : type === 'timestamptz'
        ? 'now()'
        : type === 'bool'
          ? 'true'
          : '1';
  await pem.query(
    `INSERT INTO pemdata.${probe} (${['target_id', 'recorded_at', '_arrival', '_seq', ...columns.map((column) => column.name)].join(', ')})
     VALUES (${[target, 'now()', 1, 1, ...columns.map((column) => value(column.type))].join(', ')})`,
  );
}

/** A block of a probe that has text keys or metrics, full of the mark. */
function block(target: number, probe: string, recordedAtUs = 1n) {
  const columns = probes.find((entry) => entry.name === probe)?.columns ?? [];
  const row = columns.map((column) => (column.type === 'text' || column.type === 'name' ? mark : null));
  const meta = {
    target: BigInt(target),
    probe,
    probeVersion: 1,
    kind: 'full' as const,
    recordedAtUs,
    intervalUs: 1n,
  };
  return { target, probe, isFull: true, block: blockFromRows(meta, columns, [row]), apply: [] };
}

/** Every GET path of the table with every one of their targets and every probe. */
function paths(): string[] {
  const list: string[] = [];
  for (const route of restRoutes) {
    if (route.method !== 'GET' || route.path === '/openapi.json') continue;
    for (const target of targetsOf(theirs)) {
      for (const probe of route.path.includes('{probe}')
        ? probes.map((entry) => entry.name)
        : ['load_average']) {
        const path = route.path
          .replace('{target}', String(target))
          .replace('{targetId}', String(target))
          .replace('{id}', String(route.path.startsWith('/traces') ? theirTrace : theirs.agentId))
          .replace('{probe}', probe)
          .replace('{name}', probe);
        for (const query of route.path.startsWith('/history')
          ? ['?fromUs=0&toUs=9999999999999999&stepMs=0', '?fromUs=0&toUs=9999999999999999&stepMs=60000']
          : ['']) {
          list.push(`/pem/api/v1${path}${query}`);
        }
      }
    }
  }
  return [...new Set(list)];
}

/** All that REST says, as JSON and as blocks. */
async function everything(visitor: Visitor): Promise<string[]> {
  const found: string[] = [];
  for (const path of paths()) {
    for (const accept of ['application/json', 'application/x-pem-block']) {
      const answer = await visitor.get(path, { accept });
      expect(answer.status, path).toBeLessThan(500);
      if (answer.body.includes(mark) || answer.body.includes('765432')) found.push(path);
    }
  }
  return found;
}

test('no REST path shows a row of another team, and what is refused looks as if it were not there', async () => {
  expect(await everything(ada)).toEqual([]);
  const hidden = await ada.get(`/pem/api/v1/latest/${theirs.hostTarget}/load_average`);
  const absent = await ada.get('/pem/api/v1/latest/4000/load_average');
  expect(hidden.status).toBe(absent.status);
  expect(hidden.body.toString().replace(String(theirs.hostTarget), '4000')).toBe(absent.body.toString());
  const set = await ada.send('PUT', `/pem/api/v1/probe/config/${theirs.hostTarget}/load_average`, {
    enabled: false,
  });
  expect(set.status).toBe(404);
  for (const [method, path] of [
    ['POST', 'start'],
    ['POST', 'stop'],
    ['DELETE', ''],
  ] as const) {
    const trace = await ada.send(method, `/pem/api/v1/traces/${theirTrace}${path === '' ? '' : `/${path}`}`);
    expect([trace.status, path]).toEqual([404, path]);
  }
  const made = await ada.send('POST', '/pem/api/v1/traces', { targetId: theirs.serverTargets[0], name: 'x' });
  expect(made.status).toBe(404);
});

test('the same paths do show them to a member: the test can fail', async () => {
  const member = await web.signIn('bob', await pem.addUser('bob', { teams: ['team_b'] }));
  expect((await everything(member)).length).toBeGreaterThan(probes.length);
});

test('no topic of another team gives a frame but "denied"', async () => {
  const live = await web.live(ada);
  const topics = targetsOf(theirs).flatMap((target) =>
    probes.map((probe) => ({ target, probe: probe.name })),
  );
  live.send({ subscribe: topics });
  await live.until(() => live.frames.length === topics.length);
  for (const target of targetsOf(theirs)) {
    for (const probe of probes)
      await ingester.commit(theirs.agentId, boot, ++seq, [block(target, probe.name)]);
  }
  live.subscribe(ours.hostTarget, 'load_average');
  await live.until(() => live.frames.at(-1)?.target === ours.hostTarget);
  const others = live.frames.filter((frame) => frame.target !== ours.hostTarget);
  expect(new Set(others.map((frame) => frame.kind))).toEqual(new Set(['denied']));
  expect(JSON.stringify(live.texts)).not.toContain(`"id":${theirs.agentId}`);
  live.close();
});

test('two seconds after losing the team nothing comes any more, by no path and no topic', async () => {
  const visitor = await web.signIn('eve', await pem.addUser('eve', { teams: ['team_b'] }));
  const live = await web.live(visitor);
  const topics = targetsOf(theirs).map((target) => ({ target, probe: 'session_info' }));
  live.send({ subscribe: topics });
  await live.until(() => live.frames.length === topics.length);
  const commit = (recordedAtUs: bigint) =>
    ingester.commit(
      theirs.agentId,
      boot,
      ++seq,
      topics.map((topic) => block(topic.target, topic.probe, recordedAtUs)),
    );
  await commit(1n);
  await live.until(() => live.frames.length === 2 * topics.length);

  await pem.query('REVOKE team_b FROM eve');
  const lostAt = Date.now();
  const denied = () => live.frames.filter((frame) => frame.kind === 'denied').length;
  // Commits go on all the time, each with its own age in it: what was made late enough must not come, however busy the
  // machine is, and the word that they are denied comes at the server's next look.
  const boundMs = 2000;
  for (let ageMs = 0; ageMs < boundMs + 500 || denied() < topics.length; ageMs = Date.now() - lostAt) {
    await commit(BigInt(ageMs + 1) * 1000n);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const after = live.frames.length;
  expect(denied()).toBe(topics.length);
  for (let i = 0; i < 20; i++) await commit(BigInt(Date.now() - lostAt) * 1000n);
  live.send({ subscribe: topics });
  await live.until(() => live.frames.length >= after + topics.length);
  expect(new Set(live.frames.slice(after).map((frame) => frame.kind))).toEqual(new Set(['denied']));
  // Behind the snapshots, which have times of their own.
  const ages = live.frames
    .slice(topics.length)
    .flatMap((frame) => frame.blocks.map((each) => blockInfo(each).recordedAtUs));
  expect(ages.length).toBeGreaterThan(0);
  expect(ages.filter((ageUs) => ageUs > BigInt(boundMs) * 1000n)).toEqual([]);
  expect(await everything(visitor)).toEqual([]);
});
