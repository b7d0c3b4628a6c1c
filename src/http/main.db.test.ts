import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Pem, startPem } from '../../bench/rig/pem.js';
import { startWeb, type WebRig } from '../../bench/rig/web.js';

let pem: Pem;
let web: WebRig;
let password: string;
let server: number;
beforeAll(async () => {
  pem = await startPem();
  await pem.addTeam('crew');
  password = await pem.addUser('ada', { level: 'pem_admin', teams: ['crew'] });
  const agent = await pem.addAgent({
    name: 'alpha',
    team: 'crew',
    servers: [{ name: 'main', host: pem.cluster.socketDirectory, port: pem.port }],
  });
  server = agent.serverTargets[0] ?? 0;
  web = await startWeb(pem);
});
afterAll(async () => {
  await web?.stop();
  await pem?.stop();
});

test('smoke', async () => {
  const visitor = await web.signIn('ada', password);
  for (const path of ['/session', '/agent', '/server', '/probe', `/latest/${server}/session_info`, '/system', `/probe/config/${server}`, `/history/${server}/session_info?fromUs=0&toUs=1000000`, `/history/${server}/session_info?fromUs=0&toUs=1000000&stepMs=1000`]) {
    const answer = await visitor.get(`/pem/api/v1${path}`, { accept: 'application/json' });
    console.log(path, answer.status, answer.body.toString().slice(0, 300));
  }
  const live = await web.live(visitor);
  live.subscribe(server, 'session_info');
  await live.until(() => live.frames.length === 1 && live.texts.length > 0);
  console.log(live.frames, JSON.stringify(live.texts));
  expect(1).toBe(1);
});
