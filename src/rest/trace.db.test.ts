/** Traces over REST: who may do what, what is refused and how it is said, what the agent's word looks like. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Pem, type RigAgent, startPem } from '../../bench/rig/pem.js';
import { startWeb, type Visitor, type WebRig } from '../../bench/rig/web.js';

const path = '/pem/api/v1/traces';
let pem: Pem;
let web: WebRig;
let agent: RigAgent;
let server: number;
let ada: Visitor;
let guest: Visitor;

beforeAll(async () => {
  pem = await startPem();
  await pem.addTeam('crew');
  const [password, guestPassword] = [
    await pem.addUser('ada', { level: 'pem_admin', teams: ['crew'] }),
    await pem.addUser('guest', { teams: ['crew'] }),
  ];
  agent = await pem.addAgent({
    name: 'alpha',
    team: 'crew',
    servers: [{ name: 'main', host: pem.cluster.socketDirectory, port: pem.port }],
  });
  server = agent.serverTargets[0] ?? 0;
  web = await startWeb(pem);
  ada = await web.signIn('ada', password);
  guest = await web.signIn('guest', guestPassword);
});
afterAll(async () => {
  await web?.stop();
  await pem?.stop();
});

interface Trace {
  readonly id: number;
  readonly [field: string]: unknown;
}

async function make(body: object): Promise<number> {
  const answer = await ada.send('POST', path, { targetId: server, ...body });
  expect(answer.status, answer.body.toString()).toBe(201);
  return answer.json<{ id: number }>().id;
}
const read = async (id: number): Promise<Trace> => (await ada.get(`${path}/${id}`)).json<Trace>();

test('made, listed, started, stopped, deleted; who asked is written down', async () => {
  const id = await make({
    name: 'nightly',
    options: { min_duration_us: 500, users: ['app'], kinds: ['select'], sample_rate: 0.5, plan: 'json' },
    schedule: { kind: 'daily', time: '03:30', timezone: 'Europe/Berlin' },
    durationS: 900,
    events: false,
  });
  expect(await read(id)).toMatchObject({
    targetId: server,
    name: 'nightly',
    options: { min_duration_us: 500, users: ['app'], kinds: ['select'], sample_rate: 0.5, plan: 'json' },
    schedule: { kind: 'daily', time: '03:30', timezone: 'Europe/Berlin' },
    durationS: 900,
    events: false,
    eventsPerS: 2000,
    continuous: false,
    keepFiles: false,
    createdBy: 'ada',
    request: 'none',
    pending: false,
    state: 'new',
    agentId: agent.agentId,
    agentStatus: 'unknown',
    runs: [],
  });
  expect((await ada.send('POST', `${path}/${id}/start`)).status).toBe(204);
  expect(await read(id)).toMatchObject({
    request: 'start',
    requestedBy: 'ada',
    requestedAtUs: expect.any(Number),
    pending: true,
  });
  expect((await ada.send('POST', `${path}/${id}/stop`)).status).toBe(204);
  expect(await read(id)).toMatchObject({ request: 'stop' });
  const listed = await guest.get(`${path}?targetId=${server}`);
  expect(listed.json<{ traces: Trace[] }>().traces.map((trace) => trace.id)).toEqual([id]);
  expect((await guest.get(`${path}?targetId=${agent.hostTarget}`)).json()).toEqual({ traces: [] });
  expect((await ada.send('DELETE', `${path}/${id}`)).status).toBe(204);
  expect((await ada.get(`${path}/${id}`)).status).toBe(404);
  expect((await ada.send('DELETE', `${path}/${id}`)).json()).toMatchObject({
    error: { code: 'trace_unknown' },
  });
  expect((await ada.get(path)).json()).toEqual({ traces: [] });
});

test('what no server would take is refused at once, by field', async () => {
  const wrong: [object, string][] = [
    [{}, 'body name: it is missing'],
    [{ name: 'x', options: 5 }, 'body options: it is an object of options'],
    [{ name: 'x', owner: 'me' }, 'body owner: there is no such field here'],
    [{ name: 'x\u0000y' }, 'body: a text holds U+0000'],
    [{ name: 'x', options: { databases: ['a\u0000'] } }, 'body: a text holds U+0000'],
    [
      { name: 'x', options: { users: ['ü'.repeat(32)] } },
      'body options.users.0: a name has at most 63 bytes',
    ],
    [
      { name: 'x', options: { users: Array.from({ length: 100 }, () => 'u'.repeat(40)) } },
      'at most 4096 bytes',
    ],
    ...['foo', '10.0.0.0/33', '10.0.0.0/', '1.2.3', 'fe80::1%eth0', '::1/129', '[LOCAL]'].map(
      (client): [object, string] => [
        { name: 'x', options: { clients: [client] } },
        'body options.clients.0: an entry is',
      ],
    ),
  ];
  for (const [body, message] of wrong) {
    const answer = await ada.send('POST', path, { targetId: server, ...body });
    expect(answer.status, JSON.stringify(body)).toBe(400);
    expect(answer.json<{ error: { message: string } }>().error.message).toContain(message);
  }
  expect((await ada.get(`${path}?targetId=%00`)).status).toBe(400);
  const clients = ['10.0.0.7', '10.0.0.0/8', '2001:db8::/32', '::ffff:10.0.0.1', '[local]'];
  await ada.send(
    'DELETE',
    `${path}/${await make({ name: 'fine', options: { clients, users: ['ü'.repeat(31)] } })}`,
  );
});

test('whoever is no administrator may look, not touch', async () => {
  const id = await make({ name: 'theirs', start: true });
  expect((await guest.get(`${path}/${id}`)).json()).toMatchObject({ name: 'theirs', request: 'start' });
  for (const [method, where, body] of [
    ['POST', path, { targetId: server, name: 'mine' }],
    ['POST', `${path}/${id}/start`, undefined],
    ['POST', `${path}/${id}/stop`, undefined],
    ['DELETE', `${path}/${id}`, undefined],
  ] as const) {
    const answer = await guest.send(method, where, body);
    expect([answer.status, where]).toEqual([403, where]);
  }
});

test("the agent's word: state, error, runs with their counts", async () => {
  const id = await make({ name: 'spoken of' });
  const client = await agent.client();
  await client.query('SELECT pem.sync($1)', [
    {
      boots: ['00000000-0000-4000-8000-00000000000a'],
      traces: [
        {
          id,
          handledSeq: 0,
          state: 'blocked',
          code: 'trace_not_permitted',
          error: 'GRANT pg_read_all_stats TO pem_monitor',
          run: 'm1',
          runs: [
            {
              run: 'm1',
              serverId: 4,
              serverName: 'pem_1_m1_x',
              state: 'running',
              startedUs: 2e15,
              rowsRead: 12,
            },
          ],
        },
      ],
    },
  ]);
  await client.end();
  expect(await read(id)).toMatchObject({
    state: 'blocked',
    code: 'trace_not_permitted',
    error: 'GRANT pg_read_all_stats TO pem_monitor',
    run: 'm1',
    reportedAtUs: expect.any(Number),
    agentStatus: 'up',
    runs: [{ run: 'm1', serverId: 4, state: 'running', startedAtUs: 2e15, rowsRead: 12, serverRows: null }],
  });
});

test.each<[string, object, string]>([
  ['an option that does not exist', { options: { speed: 1 } }, 'options'],
  ['an option of the wrong type', { options: { users: 'app' } }, 'options.users'],
  ['an empty list', { options: { databases: [] } }, 'options.databases'],
  ['a kind that does not exist', { options: { kinds: ['vacuum'] } }, 'options.kinds'],
  ['a rate of nothing', { options: { sample_rate: 0 } }, 'options.sample_rate'],
  ['a plan in yaml', { options: { plan: 'yaml' } }, 'options.plan'],
  ['no name', { name: '' }, 'name'],
  ['a schedule without length', { schedule: { kind: 'once', atUs: 1 } }, 'durationS'],
  [
    'a schedule with what belongs to another',
    { schedule: { kind: 'once', atUs: 1, time: '1' }, durationS: 1 },
    'time',
  ],
  ['a time of day that is none', { schedule: { kind: 'daily', time: '25:00' }, durationS: 1 }, 'HH:MM'],
  ['no time of day', { schedule: { kind: 'daily' }, durationS: 1 }, 'schedule.time'],
  [
    'a pattern of seconds',
    { schedule: { kind: 'cron', pattern: '* * * * * *' }, durationS: 1 },
    'five fields',
  ],
  [
    'a zone that is none',
    { schedule: { kind: 'daily', time: '01:00', timezone: 'X/Y' }, durationS: 1 },
    'X/Y',
  ],
  ['a run that is too long', { durationS: 1e9 }, 'durationS'],
  ['continuous, and files kept', { continuous: true, keepFiles: true }, 'keep_files'],
  ['what nobody knows', { colour: 'red' }, 'colour'],
])('refused with the field: %s', async (_what, body, word) => {
  const answer = await ada.send('POST', path, { targetId: server, name: 'refused', ...body });
  expect(answer.status).toBe(400);
  expect(answer.body.toString()).toContain(word);
  const host = await ada.send('POST', path, { targetId: agent.hostTarget, name: 'x' });
  expect([host.status, host.body.toString()]).toEqual([400, expect.stringContaining('no server')]);
});
