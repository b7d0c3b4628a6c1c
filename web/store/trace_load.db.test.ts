/** Calls loaded by the page's own code from a real web server: each once, however they lie, also when it is stopped between. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Pem, startPem } from '../../bench/rig/pem.js';
import { type MadeTrace, makeTrace } from '../../bench/rig/traced.js';
import { startWeb, type Visitor, type WebRig } from '../../bench/rig/web.js';
import { Loading } from './trace_load.js';

let pem: Pem;
let web: WebRig;
let ada: Visitor;
let made: MadeTrace;
let target: number;
const calls = 3000;
const browser = { fetch: globalThis.fetch, requestAnimationFrame: globalThis.requestAnimationFrame };
/** Pages asked for, and how many at once. */
let asked = 0;
let open = 0;
let mostOpen = 0;

beforeAll(async () => {
  pem = await startPem();
  await pem.addTeam('crew');
  const password = await pem.addUser('ada', { teams: ['crew'] });
  const agent = await pem.addAgent({
    name: 'alpha',
    team: 'crew',
    servers: [{ name: 'main', host: 'db', port: 5432 }],
  });
  target = agent.serverTargets[0] ?? 0;
  const startUs = 1_767_348_000_000_000;
  made = await makeTrace(pem, { target, name: 'first', serverId: 3, startUs, seconds: 300, calls });
  web = await startWeb(pem);
  ada = await web.signIn('ada', password);
  // What a browser adds to a request of the page: the server's address and the cookie.
  globalThis.fetch = async (path, init) => {
    const isPage = String(path).includes('/events?');
    asked += isPage ? 1 : 0;
    open += isPage ? 1 : 0;
    mostOpen = Math.max(mostOpen, open);
    try {
      return await browser.fetch(`http://127.0.0.1:${web.port}${String(path)}`, {
        ...init,
        headers: { ...(init?.headers as Record<string, string>), cookie: ada.cookie },
      });
    } finally {
      open -= isPage ? 1 : 0;
    }
  };
  globalThis.requestAnimationFrame = (frame) => Number(setTimeout(() => frame(performance.now()), 16));
});
afterAll(async () => {
  Object.assign(globalThis, browser);
  await web?.stop();
  await pem?.stop();
});

const ended = (loading: Loading): Promise<void> =>
  new Promise((resolve) => {
    const look = (): void => {
      if (loading.state !== 'loading') resolve();
    };
    loading.progressWatchers.add(look);
    look();
  });

/** Each call by what names it, and how often it is there. */
function named(loading: Loading): Map<string, number> {
  const counts = new Map<string, number>();
  const { rows } = loading;
  for (let row = 0; row < rows.count; row += 1) {
    const name = `${rows.recordedUs(row)}/${rows.small.slot[row]}/${rows.numbers.line[row]}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

const cases: [what: string, expected: number, pageRows: number][] = [
  ['in as many pages as it has rows for', calls, 200],
  ['where nobody knew how many there are', 0, 200],
  ['where the spans hold many more than was thought', 100, 20],
  ['where most spans are empty, and others one moment too large', 1200, 2],
];
test.each(cases)('each call once, %s', async (_what, expected, pageRows) => {
  mostOpen = 0;
  const loading = new Loading(made.id, made.run, expected, pageRows);
  loading.more();
  await ended(loading);
  expect(loading.error).toBe('');
  expect(loading.state).toBe('done');
  const counts = named(loading);
  expect(loading.rows.count).toBe(calls);
  expect(counts.size).toBe(calls);
  expect(mostOpen).toBeLessThanOrEqual(4);
});

test('stopped, and gone on with where it stood; what came since is asked for alone', async () => {
  const loading = new Loading(made.id, made.run, calls, 100);
  loading.more();
  const stop = (): void => {
    if (loading.rows.count > 1000) loading.stop();
  };
  loading.progressWatchers.add(stop);
  await ended(loading);
  expect(loading.state).toBe('stopped');
  expect(loading.rows.count).toBeLessThan(calls);
  loading.progressWatchers.delete(stop);
  loading.more();
  await ended(loading);
  expect([loading.state, loading.rows.count, named(loading).size]).toEqual(['done', calls, calls]);
  asked = 0;
  loading.more();
  await ended(loading);
  expect([loading.state, loading.rows.count, asked]).toEqual(['done', calls, 0]);
  await pem.query(
    `INSERT INTO pemhistory.sql_trace_events (recorded_at, target_id, trace, slot, line, end_time)
     SELECT max(recorded_at) + interval '1 second', $1, 3, 3, 1000000, now() FROM pemhistory.sql_trace_events`,
    [target],
  );
  loading.more();
  await ended(loading);
  expect([loading.state, loading.rows.count, asked]).toEqual(['done', calls + 1, 1]);
});

test('a run that is not to be seen fails with the reason', async () => {
  const loading = new Loading(made.id, 'no such run', 10);
  loading.more();
  await ended(loading);
  expect(loading.state).toBe('failed');
  expect(loading.error).toContain('no run');
});
