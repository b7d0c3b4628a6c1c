/** Index advice over REST: who may ask, what travels to the agent, who sees the answer. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Pem, startPem } from '../../bench/rig/pem.js';
import { type MadeTrace, makeTrace } from '../../bench/rig/traced.js';
import { startWeb, type Visitor, type WebRig } from '../../bench/rig/web.js';
import type { AdviceRequest } from '../wire/advice.js';

let pem: Pem;
let web: WebRig;
let ada: Visitor;
let guest: Visitor;
let eve: Visitor;
let target: number;
let agentId: number;
let made: MadeTrace;
let path: string;

beforeAll(async () => {
  pem = await startPem();
  await pem.addTeam('crew');
  await pem.addTeam('hosts');
  const passwords = [
    await pem.addUser('ada', { level: 'pem_admin', teams: ['crew'] }),
    await pem.addUser('guest', { teams: ['crew'] }),
    await pem.addUser('eve', { level: 'pem_admin', teams: ['hosts'] }),
  ];
  const agent = await pem.addAgent({
    name: 'alpha',
    team: 'crew',
    servers: [{ name: 'main', host: 'db', port: 5432 }],
  });
  target = agent.serverTargets[0] ?? 0;
  agentId = agent.agentId;
  made = await makeTrace(pem, {
    target,
    name: 'first',
    serverId: 3,
    startUs: 1_767_348_000_000_000,
    seconds: 60,
    calls: 500,
  });
  // Eve sees the agent's host and not the server.
  await pem.query(`UPDATE pem.target SET team = 'hosts' WHERE id = ${agent.hostTarget}`);
  web = await startWeb(pem);
  [ada, guest, eve] = (await Promise.all(
    ['ada', 'guest', 'eve'].map((name, i) => web.signIn(name, passwords[i] ?? '')),
  )) as [Visitor, Visitor, Visitor];
  path = `/pem/api/v1/traces/${made.id}/advice`;
});
afterAll(async () => {
  await web?.stop();
  await pem?.stop();
});

test('asked by an administrator, once; the agent gets texts, weights and the databases', async () => {
  expect((await ada.get(path)).status).toBe(404);
  expect((await guest.send('POST', path, {})).status).toBe(403);
  expect((await eve.send('POST', path, {})).status).toBe(404);
  expect((await ada.send('POST', path, { statements: 0 })).status).toBe(400);
  expect((await ada.send('POST', path, { run: 'none' })).status).toBe(404);
  const asked = await ada.send('POST', path, { statements: 10, indexes: 3, timeS: 20 });
  expect(asked.status, asked.body.toString()).toBe(202);
  const { id } = asked.json<{ id: number }>();
  expect((await ada.send('POST', path, {})).json()).toEqual({ id });

  const { rows } = await pem.query(`SELECT agent_id, kind, payload FROM pem.command WHERE id = ${id}`);
  expect(rows[0]).toMatchObject({ agent_id: agentId, kind: 'advise_indexes' });
  const payload = rows[0]?.payload as AdviceRequest;
  expect(payload).toMatchObject({ targetId: target, traceId: made.id, mostIndexes: 3, timeMs: 20_000 });
  expect(payload.token).toMatch(/^[0-9a-f-]{36}$/);
  expect(payload.statements.length).toBeGreaterThan(0);
  expect(payload.statements.length).toBeLessThanOrEqual(10);
  expect(payload.isChosen).toBe(false);
  const sum = payload.statements.reduce((all, { execUs }) => all + execUs, 0);
  expect(payload.totalUs).toBeGreaterThanOrEqual(sum * 0.5);
  for (const one of payload.statements) expect(one.text).not.toBe('');
  expect((await guest.get(path)).json()).toMatchObject({
    id,
    state: 'waiting',
    requestedBy: 'ada',
    databases: null,
  });
});

test('the answer is for whoever sees the server, also in the database itself', async () => {
  const { id } = (await ada.send('POST', path, {})).json<{ id: number }>();
  const answer = { databases: [{ form: 'pem-index-advice', indexes: [] }], failures: [] };
  await pem.query(
    `UPDATE pem.command SET delivered_at = now(), done_at = now(), result = '${JSON.stringify({ ok: true, result: answer })}' WHERE id = ${id}`,
  );
  const seen = (await guest.get(path)).json<Record<string, unknown>>();
  expect(seen).toMatchObject({ id, state: 'done', ...answer });
  expect((seen.statements as unknown[]).length).toBeGreaterThan(0);
  expect((await eve.get(path)).status).toBe(404);
  const count = (who: string) =>
    pem.asUser(
      who,
      async (client) => (await client.query('SELECT count(*)::int AS n FROM pem.command')).rows[0].n,
    );
  expect(await count('guest')).toBe(1);
  expect(await count('eve')).toBe(0);

  await pem.query(
    `UPDATE pem.command SET result = '{"ok": false, "result": {"code": "advice_refused", "message": "no"}}' WHERE id = ${id}`,
  );
  expect((await guest.get(path)).json()).toMatchObject({
    state: 'failed',
    code: 'advice_refused',
    error: 'no',
  });
});

test('statements can be chosen by their keys; all advice is told of, the last first, and each can be asked for', async () => {
  const top = (await ada.get(`/pem/api/v1/traces/${made.id}/top`)).json<{
    statements: { key: string; text: string }[];
  }>();
  const [first, third] = [top.statements[0], top.statements[2]];
  expect((await ada.send('POST', path, { keys: [] })).status).toBe(400);
  for (const none of ['one', '9999999999999999999'])
    expect((await ada.send('POST', path, { keys: [none] })).status).toBe(400);
  expect((await ada.send('POST', path, { keys: ['12345'] })).json()).toMatchObject({
    error: { code: 'input_invalid', message: expect.stringContaining('none of the chosen statements') },
  });
  const { id } = (await ada.send('POST', path, { keys: [third?.key, first?.key] })).json<{ id: number }>();
  const { rows } = await pem.query(`SELECT payload FROM pem.command WHERE id = ${id}`);
  const payload = rows[0]?.payload as AdviceRequest;
  expect(payload.statements.map(({ key }) => key)).toEqual([first?.key, third?.key]);
  // Of the chosen ones alone: an index for a rare statement would never save a hundredth of the whole run.
  expect(payload).toMatchObject({ isChosen: true });
  expect(payload.totalUs).toBeCloseTo(
    payload.statements.reduce((sum, { execUs }) => sum + execUs, 0),
    3,
  );
  const now = (await guest.get(path)).json<{ earlier: { id: number }[]; statements: { key: string }[] }>();
  expect(now).toMatchObject({
    id,
    state: 'waiting',
    isChosen: true,
    earlier: [
      { id, state: 'waiting', statements: 2, indexes: null, requestedBy: 'ada' },
      { state: 'failed', isChosen: false, indexes: null },
    ],
  });
  expect(now.statements.map(({ key }) => key)).toEqual([first?.key, third?.key]);
  const second = top.statements[1]?.key;
  expect((await guest.get(`${path}?key=${first?.key}`)).json()).toMatchObject({ id });
  const others = (await guest.get(`${path}?key=${second}`)).json<{ id: number; earlier: unknown[] }>();
  expect(others.id).toBeLessThan(id);
  expect(others.earlier.length).toBe(1);
  const before = now.earlier[1]?.id;
  expect((await guest.get(`${path}?id=${before}`)).json()).toMatchObject({ id: before, state: 'failed' });
  expect((await guest.get(`${path}?id=999999`)).status).toBe(404);
  const answer = { databases: [{ indexes: [{}, {}] }, { indexes: [{}] }], failures: [] };
  await pem.query(
    `UPDATE pem.command SET done_at = now(), result = '${JSON.stringify({ ok: true, result: answer })}' WHERE id = ${id}`,
  );
  expect((await guest.get(path)).json()).toMatchObject({ state: 'done', earlier: [{ indexes: 3 }, {}] });

  const late = (await ada.send('POST', path, {})).json<{ id: number }>().id;
  await pem.query(`UPDATE pem.command SET created_at = now() - interval '16 min' WHERE id = ${late}`);
  expect((await guest.get(path)).json()).toMatchObject({ id: late, state: 'overdue' });
  expect((await ada.send('POST', path, {})).json<{ id: number }>().id).toBeGreaterThan(late);
});

test('no other door makes such a command', async () => {
  await expect(
    pem.asUser('eve', (client) =>
      client.query(`SELECT pem.send_command(${agentId}, 'advise_indexes', '{"targetId": ${target}}')`),
    ),
  ).rejects.toMatchObject({ code: 'PE022' });
});
