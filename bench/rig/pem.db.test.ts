import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Pem, startPem } from './pem.js';

let pem: Pem;
beforeAll(async () => {
  pem = await startPem();
});
afterAll(() => pem?.stop());

test('an agent logs in with its certificate, a user with a password, programs over the socket', async () => {
  await pem.addTeam('crew');
  const password = await pem.addUser('ada', { level: 'pem_admin', teams: ['crew'] });
  const agent = await pem.addAgent({
    name: 'alpha',
    owner: 'ada',
    team: 'crew',
    servers: [{ name: 'main', host: pem.cluster.socketDirectory, port: pem.port }],
  });
  expect(agent.serverTargets).toHaveLength(1);

  const client = await agent.client();
  const boot = '00000000-0000-4000-8000-000000000001';
  const reply = await client.query('SELECT pem.sync($1) AS reply', [{ boots: [boot], version: '0.1.0' }]);
  await client.end();
  expect(reply.rows[0].reply).toMatchObject({
    received: { [boot]: [] },
    config: { agentId: agent.agentId, hostTarget: agent.hostTarget, servers: [{ name: 'main' }] },
  });

  const user = await pem.userClient('ada', password);
  const status = await user.query('SELECT display_name, status FROM pem.agent_status');
  await user.end();
  expect(status.rows).toEqual([{ display_name: 'alpha', status: 'up' }]);
  const seen = await pem.asUser('ada', (opened) => opened.query('SELECT name FROM pem.server_status'));
  expect(seen.rows).toEqual([{ name: 'main' }]);
  await expect(pem.userClient('ada', 'a wrong one')).rejects.toThrow(/password authentication failed/);

  await pem.restart('immediate');
  const again = await pem.query('SELECT count(*)::int AS n FROM pem.agent');
  expect(again.rows).toEqual([{ n: 1 }]);
});
