import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Pem, startPem } from '../../bench/rig/pem.js';
import { startWeb, type WebRig } from '../../bench/rig/web.js';
import { parseConninfo } from '../base/conninfo.js';
import { SignIn } from './sign_in.js';

let pem: Pem;
let web: WebRig;
let password: string;
const sessionPath = '/pem/api/v1/session';

beforeAll(async () => {
  pem = await startPem();
  password = await pem.addUser('ada', { level: 'pem_admin' });
  await pem.query(`CREATE ROLE stranger LOGIN PASSWORD 'pw of stranger'`);
  await pem.query(`GRANT CONNECT ON DATABASE pem TO stranger`);
  await pem.query(`CREATE ROLE chief SUPERUSER LOGIN PASSWORD 'pw of chief'`);
  await pem.query('GRANT pem_user TO chief');
  web = await startWeb(pem);
});
afterAll(async () => {
  await web?.stop();
  await pem?.stop();
});

const enter = (username: unknown, pass: unknown, rig = web) =>
  rig.ask(sessionPath, { method: 'POST', body: { username, password: pass } });
const codeOf = (answer: { json<T>(): T }): string => answer.json<{ error: { code: string } }>().error.code;

test('a user signs in; the cookie is out of scripts’ reach; only a hash is stored', async () => {
  const answer = await enter('ada', password);
  expect(answer.status).toBe(200);
  expect(answer.json()).toMatchObject({
    user: 'ada',
    roles: expect.arrayContaining(['pem_admin', 'pem_user']),
  });
  const cookie = String(answer.headers['set-cookie']);
  expect(cookie).toMatch(/^pem_session=[\w-]{43}; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Strict$/);
  const token = cookie.slice('pem_session='.length, cookie.indexOf(';'));
  const { rows } = await pem.query('SELECT * FROM pem.web_session WHERE token_hash = $1', [
    createHash('sha256').update(token).digest(),
  ]);
  expect(rows).toHaveLength(1);
  expect(JSON.stringify(rows)).not.toContain(token);
});

test('wrong name and wrong password look the same', async () => {
  const wrong = [await enter('ada', 'wrong'), await enter('nobody', 'wrong'), await enter('ada', '')];
  for (const answer of wrong)
    expect([answer.status, answer.body.toString()]).toEqual([401, wrong[0]?.body.toString()]);
  expect(wrong.every((answer) => answer.headers['set-cookie'] === undefined)).toBe(true);
});

test('superusers, strangers, agents and PEM’s programs do not sign in', async () => {
  const chief = await enter('chief', 'pw of chief');
  const stranger = await enter('stranger', 'pw of stranger');
  expect([chief.status, stranger.status]).toEqual([403, 401]);
  expect(codeOf(chief)).toBe('sign_in_superuser');
  for (const name of ['postgres', 'pem_web', 'pem_ingest', 'pem_owner', 'pem_user', 'agent1']) {
    expect((await enter(name, 'anything')).status).toBeGreaterThanOrEqual(401);
  }
});

test.each([
  ['no JSON', '{'],
  ['a list', '[]'],
  ['numbers', '{"username":1,"password":2}'],
  ['a NUL', '{"username":"a\\u0000b","password":"x"}'],
  ['more fields', '{"username":"ada","password":"x","role":"postgres"}'],
  ['a name of libpq', '{"username":"ada dbname=postgres","password":"x"}'],
  ['no UTF-8', Buffer.from([0x22, 0xff, 0x22])],
])('a body with %s is refused', async (_what, raw) => {
  const answer = await web.ask(sessionPath, { method: 'POST', raw });
  expect([400, 401]).toContain(answer.status);
});

test('what changes something needs the CSRF token of the same session', async () => {
  const one = await web.signIn('ada', password);
  const two = await web.signIn('ada', password);
  const tokens: Record<string, string>[] = [
    {},
    { 'x-csrf-token': '' },
    { 'x-csrf-token': two.csrf },
    { 'x-csrf-token': 'x'.repeat(32) },
  ];
  for (const headers of tokens) {
    const answer = await web.ask(sessionPath, {
      method: 'DELETE',
      headers: { cookie: one.cookie, ...headers },
    });
    expect([answer.status, codeOf(answer)]).toEqual([403, 'csrf_missing']);
  }
  expect((await one.get(sessionPath)).status).toBe(200);
  const out = await one.send('DELETE', sessionPath);
  expect([out.status, out.headers['set-cookie']]).toEqual([204, [expect.stringContaining('Max-Age=0')]]);
  expect((await one.get(sessionPath)).status).toBe(401);
  expect((await two.get(sessionPath)).status).toBe(200);
});

test('a session survives a restart of the web server', async () => {
  const visitor = await web.signIn('ada', password);
  await web.restart();
  const again = await visitor.get(sessionPath);
  expect(again.status).toBe(200);
  expect(again.json()).toMatchObject({ user: 'ada', csrf: visitor.csrf });
});

test('a one-time link works once, for its time, for a user', async () => {
  const makeLink = async (username: string, seconds: number): Promise<string> => {
    const token = randomBytes(32).toString('base64url');
    await pem.query(`INSERT INTO pem.one_time_link VALUES ($1, $2, now() + make_interval(secs => $3))`, [
      createHash('sha256').update(token).digest(),
      username,
      seconds,
    ]);
    return token;
  };
  const follow = (token: string) => web.ask(`${sessionPath}/link`, { method: 'POST', body: { token } });
  const link = await makeLink('ada', 600);
  const answers = await Promise.all([follow(link), follow(link), follow(link)]);
  expect(answers.map((answer) => answer.status).sort()).toEqual([200, 401, 401]);
  expect((await follow(await makeLink('ada', -1))).status).toBe(401);
  expect((await follow(await makeLink('chief', 600))).status).toBe(401);
  expect((await follow(await makeLink('stranger', 600))).status).toBe(401);
  expect((await follow('nonsense')).status).toBe(401);
});

test('a program’s token serves in its header alone, a cookie’s in the cookie alone', async () => {
  const made = await web.ask('/pem/api/v1/token/', { method: 'POST', body: { username: 'ada', password } });
  expect(made.status).toBe(201);
  const token = String(made.headers['x-subject-token']);
  const withToken = (path: string) => web.ask(path, { headers: { 'x-auth-token': token } });
  expect((await withToken('/pem/api/v1/agent')).status).toBe(200);
  expect((await web.ask('/pem/api/v1/agent', { headers: { cookie: `pem_session=${token}` } })).status).toBe(
    401,
  );
  const visitor = await web.signIn('ada', password);
  const stolen = visitor.cookie.slice('pem_session='.length);
  expect((await web.ask('/pem/api/v1/agent', { headers: { 'x-auth-token': stolen } })).status).toBe(401);
  await pem.query(`UPDATE pem.web_session SET expires_at = now() WHERE csrf = ''`);
  await web.restart();
  expect((await withToken('/pem/api/v1/agent')).status).toBe(401);
});

test('attempts run out for a name and for an address, and say when to come back', async () => {
  const strict = await startWeb(pem, {
    throttle: { perUser: { capacity: 3, refillMs: 60_000 }, perAddress: { capacity: 6, refillMs: 60_000 } },
  });
  try {
    const tries: number[] = [];
    for (let i = 0; i < 4; i++) tries.push((await enter('ada', 'wrong', strict)).status);
    expect(tries).toEqual([401, 401, 401, 429]);
    const right = await enter('ada', password, strict);
    expect([right.status, codeOf(right)]).toEqual([429, 'too_many_attempts']);
    expect(Number(right.headers['retry-after'])).toBeGreaterThan(0);
    expect((await enter('other', 'wrong', strict)).status).toBe(401);
    expect((await enter('third', 'wrong', strict)).status).toBe(429);
    const link = await strict.ask(`${sessionPath}/link`, { method: 'POST', body: { token: 'guess' } });
    expect(link.status).toBe(429);
  } finally {
    await strict.stop();
  }
});

/** Asks until the session is refused: within the second that a look may be old. */
async function untilRefused(get: () => Promise<{ status: number }>): Promise<void> {
  while ((await get()).status !== 401) await new Promise((resolve) => setTimeout(resolve, 50));
}

test.each([
  ['NOLOGIN', 'ALTER ROLE bob NOLOGIN', 'ALTER ROLE bob LOGIN'],
  ['a date that is past', `ALTER ROLE bob VALID UNTIL '2020-01-01'`, `ALTER ROLE bob VALID UNTIL 'infinity'`],
  ['no pem_user any more', 'REVOKE pem_user FROM bob', 'GRANT pem_user TO bob'],
  ['a superuser', 'ALTER ROLE bob SUPERUSER', 'ALTER ROLE bob NOSUPERUSER'],
])('the right to log in is read again: %s ends session and socket', async (_what, take, give) => {
  const exists = await pem.query(`SELECT FROM pg_roles WHERE rolname = 'bob'`);
  const secret = exists.rowCount === 0 ? await pem.addUser('bob') : 'secret of bob';
  const visitor = await web.signIn('bob', secret);
  const live = await web.live(visitor);
  await pem.query(take);
  try {
    await live.until(() => live.closeCode !== undefined);
    expect(live.closeCode).toBe(4401);
    await untilRefused(() => visitor.get('/pem/api/v1/agent'));
    expect((await enter('bob', secret)).status).toBeGreaterThanOrEqual(401);
  } finally {
    await pem.query(give);
  }
});

test('the database away is 503 with a code, and over when it is back', async () => {
  const visitor = await web.signIn('ada', password);
  await pem.cluster.halt('immediate');
  const answer = await visitor.get('/pem/api/v1/agent');
  expect([answer.status, codeOf(answer)]).toEqual([503, 'database_unavailable']);
  expect((await enter('ada', password)).status).toBe(503);
  await pem.cluster.start();
  for (;;) {
    const back = await visitor.get('/pem/api/v1/agent');
    if (back.status === 200) break;
    expect(back.status).toBe(503);
  }
});

test('a refusal waits for its time, whether the name is unknown or the password wrong; a success does not', async () => {
  const waits: number[] = [];
  let release = (): void => undefined;
  const signIn = new SignIn({
    conninfo: parseConninfo(pem.conninfo('pem_web')),
    pause: (ms) => {
      waits.push(ms);
      return new Promise<void>((resolve) => {
        release = resolve;
      });
    },
  });
  for (const name of ['ada', 'nobody at all']) {
    let isAnswered = false;
    const before = waits.length;
    const refused = signIn.check(name, 'wrong', '10.0.0.1').catch((error: unknown) => {
      isAnswered = true;
      return error;
    });
    while (waits.length === before) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(isAnswered).toBe(false);
    release();
    expect(await refused).toMatchObject({ status: 401, code: 'sign_in_failed' });
  }
  expect(await signIn.check('ada', password, '10.0.0.1')).toBe('ada');
  expect(waits).toHaveLength(2);
});

test('an address without attempts uses up nobody’s name; another host of its /64 has none either', () => {
  const signIn = new SignIn({
    conninfo: {},
    perUser: { capacity: 3, refillMs: 60_000 },
    perAddress: { capacity: 2, refillMs: 60_000 },
  });
  const attacker = '2001:0db8:0000:0000:0000:0000:0000:000';
  for (const host of [1, 2]) signIn.attempt(`${attacker}${host}`, 'guess');
  for (const host of [3, 4, 5, 6, 7]) {
    expect(() => signIn.attempt(`${attacker}${host}`, 'ada')).toThrow('too many sign-in attempts');
  }
  for (const host of [1, 2, 3]) signIn.attempt(`10.0.0.${host}`, 'ada');
  expect(() => signIn.attempt('10.0.0.4', 'ada')).toThrow('too many sign-in attempts');
});
