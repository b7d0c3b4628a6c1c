/** What a trace brought, through the web server, in the user's own role. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Pem, startPem } from '../../bench/rig/pem.js';
import { type MadeTrace, makeTrace } from '../../bench/rig/traced.js';
import { startWeb, type Visitor, type WebRig } from '../../bench/rig/web.js';
import { blockRows, readBlock } from '../wire/index.js';

let pem: Pem;
let web: WebRig;
let ada: Visitor;
let eve: Visitor;
let target: number;
let made: MadeTrace;
let later: MadeTrace;
let nameless: MadeTrace;
let old: MadeTrace;
let base: string;
/** 2026-01-02 10:00 UTC */
const startUs = 1_767_348_000_000_000;

beforeAll(async () => {
  pem = await startPem();
  await pem.addTeam('crew');
  const password = await pem.addUser('ada', { teams: ['crew'] });
  const evesPassword = await pem.addUser('eve');
  const agent = await pem.addAgent({
    name: 'alpha',
    team: 'crew',
    servers: [{ name: 'main', host: 'db', port: 5432 }],
  });
  target = agent.serverTargets[0] ?? 0;
  made = await makeTrace(pem, { target, name: 'first', serverId: 3, startUs, seconds: 300, calls: 3000 });
  later = await makeTrace(pem, {
    target,
    name: 'second',
    serverId: 4,
    startUs,
    seconds: 300,
    calls: 500,
    seed: 2,
    events: false,
    running: true,
  });
  const same = { target, startUs, seconds: 300, calls: 3000 };
  nameless = await makeTrace(pem, { ...same, name: 'third', serverId: 5, queryIds: false });
  old = await makeTrace(pem, { ...same, name: 'fourth', serverId: 6, version1: true });
  await pem.query('ANALYZE');
  web = await startWeb(pem);
  ada = await web.signIn('ada', password);
  eve = await web.signIn('eve', evesPassword);
  base = `/pem/api/v1/traces/${made.id}`;
});
afterAll(async () => {
  await web?.stop();
  await pem?.stop();
});

interface Top {
  measures: string[];
  statements: {
    key: string;
    text: string;
    tag: string;
    queryId: string;
    values: (number | null)[];
    histogram: number[];
    maxUs: number;
  }[];
  allExecUs: number;
  allCalls: number;
  truncated: boolean;
}

async function top(query = ''): Promise<Top> {
  const answer = await ada.get(`${base}/top${query}`);
  expect(answer.status).toBe(200);
  return answer.json<Top>();
}

test('sums per statement are those of the calls, histograms hold each call, unknown is null', async () => {
  const answer = await top();
  const { rows } = await pem.query(
    `SELECT query_id, count(*)::int AS calls, sum(exec_us)::float8 AS us, max(exec_us)::float8 AS most, sum(plan_us)::float8 AS plan
       FROM pemhistory.sql_trace_events WHERE trace = 3 GROUP BY 1 ORDER BY 3 DESC`,
  );
  const at = (name: string): number => answer.measures.indexOf(name);
  expect(answer.statements.map((it) => it.queryId)).toEqual(rows.map((row) => row.query_id));
  answer.statements.forEach((it, index) => {
    expect(it.values[at('calls')]).toBe(rows[index].calls);
    expect(it.values[at('exec_us')]).toBe(rows[index].us);
    expect(it.values[at('plan_us')]).toBe(rows[index].plan);
    expect(it.maxUs).toBe(rows[index].most);
    expect(it.histogram.filter((_, place) => place % 2 === 1).reduce((sum, n) => sum + n, 0)).toBe(
      rows[index].calls,
    );
    expect(it.text).not.toBeNull();
  });
  expect(answer.allCalls).toBe(3000);
  expect(answer.statements.find((it) => it.tag === 'COMMIT')?.values[at('plan_us')]).toBeNull();
  expect(answer.truncated).toBe(false);
});

test('a span counts what ended in it, one statement is found by its key', async () => {
  const whole = await top();
  const half = await top(`?fromUs=${startUs}&toUs=${startUs + 150_000_000}`);
  expect(half.allCalls).toBeGreaterThan(1400);
  expect(half.allCalls).toBeLessThan(1600);
  const key = whole.statements[2]?.key ?? '';
  const one = await top(`?key=${key}`);
  expect(one.statements.map((it) => it.key)).toEqual([key]);
  expect((await top('?key=1')).statements).toEqual([]);
});

interface Series {
  stepMs: number;
  fromUs: number | null;
  measures: string[];
  steps: { atUs: number; values: (number | null)[]; histogram: number[] }[];
}

test('a series adds up to the whole, a run without rows has none', async () => {
  const series = (await ada.get(`${base}/series?stepMs=20000`)).json<Series>();
  const calls = series.measures.indexOf('calls');
  expect(series.stepMs).toBe(20_000);
  expect(series.steps.reduce((sum, step) => sum + (step.values[calls] ?? 0), 0)).toBe(3000);
  expect(
    series.steps.flatMap((step) => step.histogram.filter((_, at) => at % 2 === 1)).reduce((a, b) => a + b),
  ).toBe(3000);
  expect((await ada.get(`${base}/series?stepMs=1000&toUs=32503680000000000`)).status).toBe(400);
  await pem.query(
    `INSERT INTO pem.trace_run SELECT trace_id, 'new', target_id, NULL, '', 'starting', now(), NULL, NULL,
     NULL, 0,0,0,0,0,0,0,0 FROM pem.trace_run WHERE trace_id = $1`,
    [made.id],
  );
  const empty = (await ada.get(`${base}/series?run=new`)).json<Series>();
  expect(empty).toMatchObject({ fromUs: null, steps: [] });
  await pem.query(`DELETE FROM pem.trace_run WHERE run = 'new'`);
});

async function page(query: string): Promise<{ rows: ReturnType<typeof blockRows>; next: string }> {
  const answer = await ada.get(`${base}/events?${query}`);
  expect(answer.status, answer.body.toString().slice(0, 200)).toBe(200);
  return { rows: blockRows(readBlock(answer.body)), next: String(answer.headers['x-pem-next-us']) };
}

test('pages hold each call once, and a page is the same with other columns', async () => {
  const serials: unknown[] = [];
  const pages: { after: number; next: string; count: number }[] = [];
  let after = 0;
  for (;;) {
    const { rows, next } = await page(
      `fields=recorded_at,slot,line,serial,exec_us&limit=700&afterUs=${after}`,
    );
    serials.push(...rows.map((row) => row.serial));
    pages.push({ after, next, count: rows.length });
    if (next === '') break;
    after = Number(next);
  }
  expect(serials.length).toBe(3000);
  expect(new Set(serials).size).toBe(3000);
  expect(pages.length).toBeGreaterThan(3);
  const second = pages[1];
  const again = await page(`fields=serial&afterUs=${second?.after}&endUs=${second?.next}`);
  expect(again.rows.map((row) => row.serial)).toEqual(
    serials.slice(pages[0]?.count, (pages[0]?.count ?? 0) + (second?.count ?? 0)),
  );
  const slow = await page('fields=exec_us&minUs=100000');
  expect(slow.rows.length).toBeGreaterThan(0);
  expect(slow.rows.every((row) => Number(row.exec_us) >= 100_000)).toBe(true);
  const failed = await page('fields=sqlstate&errors=1');
  expect(failed.rows.every((row) => row.sqlstate !== null)).toBe(true);
  expect((await ada.get(`${base}/events?fields=password`)).json().error).toMatchObject({
    code: 'column_unknown',
  });
});

test('a moment with more calls than a page has is one page', async () => {
  const { rows, next } = await page(`fields=serial&limit=1&afterUs=${startUs + 1_000_000}`);
  expect(rows.length).toBeGreaterThan(1);
  expect(Number(next)).toBe(startUs + 1_000_001);
});

interface Calls {
  linked: boolean;
  calls: Record<string, unknown>[];
  states: { sqlstate: string; errors: number }[];
}

test('calls of a statement, of a transaction, by error; chosen ones by key', async () => {
  const key = (await top()).statements[0]?.key;
  const slowest = (await ada.get(`${base}/calls?key=${key}&limit=5`)).json<Calls>();
  const times = slowest.calls.map((call) => Number(call.exec_us));
  expect(times).toEqual([...times].sort((a, b) => b - a));
  expect(times.length).toBe(5);
  const failed = (await ada.get(`${base}/calls?order=errors&limit=1000`)).json<Calls>();
  expect(failed.states.reduce((sum, state) => sum + state.errors, 0)).toBe(failed.calls.length);
  expect(failed.states.map((state) => state.sqlstate)).toContain('23503');
  const first = slowest.calls[0] ?? {};
  const transaction = (
    await ada.get(`${base}/calls?pid=${first.pid}&vxid=${first.vxid}&order=time`)
  ).json<Calls>();
  expect(transaction.calls.map((call) => call.serial)).toContain(first.serial);
  expect(new Set(transaction.calls.map((call) => call.vxid))).toEqual(new Set([first.vxid]));
  const wanted = slowest.calls.map((call) => [call.recorded_at, call.slot, call.line]);
  const answer = await ada.send('POST', `${base}/chosen`, { calls: [...wanted, [startUs, 1, 1]] });
  const { calls } = answer.json<{ calls: ({ query: string } | null)[] }>();
  expect(calls.slice(0, 5)).toEqual(slowest.calls);
  expect(calls[5]).toBeNull();
  expect((await ada.send('POST', `${base}/chosen`, { calls: [[1, 2]] })).status).toBe(400);
});

test('calls are found by words of their texts as they ran, of their parameters, messages and names', async () => {
  const wide = { afterUs: startUs, endUs: startUs + 3_600_000_000 };
  const find = async (
    text: string,
    span = wide,
  ): Promise<{ found: [number, number][]; truncated: boolean }> => {
    const answer = await ada.send('POST', `${base}/find`, { text, ...span });
    expect(answer.status, answer.body.toString().slice(0, 300)).toBe(200);
    return answer.json();
  };
  // What the database holds itself, put back by hand: a row without a text has that of its moment's sample.
  const { rows } = await pem.query(
    `SELECT e.slot, e.line::int, lower(coalesce(e.query, s.query, '') || ' ' || coalesce(e.error, '') || ' ' ||
        coalesce(e.sqlstate, '') || ' ' || coalesce(e.tag, '')) AS words
       FROM pemhistory.sql_trace_events e LEFT JOIN pemhistory.sql_trace_events s ON e.query IS NULL AND s.trace = 3
        AND s.recorded_at = e.recorded_at AND s.fingerprint = e.fingerprint AND s.flags & 262144 <> 0
      WHERE e.trace = 3`,
  );
  expect(rows).toHaveLength(3000);
  const inOrder = (list: [number, number][]): string[] => list.map(String).sort();
  for (const text of ['UPDATE', 'commit', '23503', 'from SELECT', '%', "o'hara"]) {
    const words = text.toLowerCase().split(' ');
    const expected = rows.filter((row) => words.every((word) => row.words.includes(word)));
    expect(inOrder((await find(text)).found), text).toEqual(
      inOrder(expected.map((row) => [row.slot, row.line])),
    );
  }
  expect((await find('UPDATE')).found.length).toBeGreaterThan(100);
  const half = { afterUs: startUs, endUs: startUs + 150_000_000 };
  const [first, second] = [await find('e', half), await find('e', { ...wide, afterUs: half.endUs })];
  expect(inOrder([...first.found, ...second.found])).toEqual(inOrder((await find('e')).found));
  for (const text of ['', '  ', 'a b c d e f g h i'])
    expect((await ada.send('POST', `${base}/find`, { text, ...wide })).status).toBe(400);
  expect((await eve.send('POST', `${base}/find`, { text: 'UPDATE', ...wide })).status).toBe(404);
});

test('a trace of events that were not kept has statements all the same', async () => {
  const id = later.id;
  expect((await ada.get(`/pem/api/v1/traces/${id}/top`)).json<Top>().allCalls).toBe(500);
  const answer = await ada.get(`/pem/api/v1/traces/${id}/calls`);
  expect(answer.json<Calls>().calls).toEqual([]);
});

test('of another team there is nothing, whatever is asked', async () => {
  for (const path of ['top', 'series', 'events?fields=line', 'calls']) {
    const answer = await eve.get(`${base}/${path}`);
    expect(answer.status, path).toBe(404);
    expect(answer.json().error).toMatchObject({ code: 'trace_unknown' });
  }
  expect((await eve.send('POST', `${base}/chosen`, { calls: [[startUs, 1, 1]] })).status).toBe(404);
  expect((await web.ask(`${base}/top`)).status).toBe(401);
});

interface WholeCall {
  readonly [name: string]: unknown;
  readonly recorded_at: number;
  readonly slot: number;
  readonly line: number;
}

test('calls read the same, whether their agent left out what is 0 or repeated, or is of before', async () => {
  const all = async (id: number): Promise<WholeCall[]> =>
    (await ada.get(`/pem/api/v1/traces/${id}/calls?order=time&limit=1000`)).json<{ calls: WholeCall[] }>()
      .calls;
  const bare = (call: WholeCall | null): object => ({ ...call, trace: 0, fingerprint: null });
  const [now, before] = [await all(made.id), await all(old.id)];
  expect(now).toHaveLength(1000);
  expect(now.map(bare)).toEqual(before.map(bare));
  expect(now.every((call) => typeof call.query === 'string' && call.parent === 0)).toBe(true);
  expect(now.some((call) => call.shared_dirtied === 0) && now.some((call) => call.plan_us === null)).toBe(
    true,
  );
  const { rows } = await pem.query(
    'SELECT count(query)::int AS texts, count(parent)::int AS parents FROM pemhistory.sql_trace_events WHERE trace = 3',
  );
  expect(rows[0].parents).toBe(0);
  expect(rows[0].texts).toBeLessThan(2500);
  const wanted = now.slice(0, 300).map((call) => [call.recorded_at, call.slot, call.line]);
  const chosen = (await ada.send('POST', `${base}/chosen`, { calls: wanted })).json<{ calls: WholeCall[] }>();
  expect(chosen.calls).toEqual(now.slice(0, 300));
  const fields = 'serial,database,username,flags,parent,shared_read,query';
  const paged = await page(`fields=${fields}&limit=1000&minUs=200`);
  const asBefore = await ada.get(`/pem/api/v1/traces/${old.id}/events?fields=${fields}&limit=1000&minUs=200`);
  expect(paged.rows.length).toBeGreaterThan(500);
  const inOrder = (rows: ReturnType<typeof blockRows>) =>
    [...rows].sort((a, b) => Number(a.serial) - Number(b.serial));
  expect(inOrder(paged.rows)).toEqual(inOrder(blockRows(readBlock(asBefore.body))));
});

test('a statement without a query id has its calls by its fingerprint; of an agent of before it is said', async () => {
  const { statements, measures } = (await ada.get(`/pem/api/v1/traces/${nameless.id}/top`)).json<Top>();
  expect(new Set(statements.map((it) => it.queryId))).toEqual(new Set(['0']));
  const path = `/pem/api/v1/traces/${nameless.id}/calls`;
  let found = 0;
  for (const it of statements) {
    const answer = (await ada.get(`${path}?key=${it.key}&limit=1000`)).json<Calls>();
    const texts = new Set(answer.calls.map((call) => String(call.query).replace(/\$1|\b\d+\b/g, '?')));
    expect(answer.linked).toBe(true);
    expect(texts).toEqual(new Set([it.text]));
    const calls = Number(it.values[measures.indexOf('calls')]);
    expect(answer.calls).toHaveLength(Math.min(1000, calls));
    const errors = (await ada.get(`${path}?key=${it.key}&order=errors`)).json<Calls>().states;
    expect(errors.reduce((sum, state) => sum + state.errors, 0)).toBe(
      Number(it.values[measures.indexOf('errors')]),
    );
    found += calls;
  }
  expect(found).toBe(3000);
  await pem.query('UPDATE pemhistory.sql_trace_events SET fingerprint = NULL WHERE trace = 5');
  const unknown = (await ada.get(`${path}?key=${statements[0]?.key}`)).json<Calls>();
  expect(unknown).toMatchObject({ linked: false, calls: [] });
});

test('pages lie between the first and the last call, and one that names its end is cut by its limit too', async () => {
  const { fromUs, toUs } = (await ada.get(`${base}/extent`)).json<{ fromUs: number; toUs: number }>();
  const { rows } = await pem.query(
    `SELECT extract(epoch FROM min(recorded_at)) * 1000000 AS first, extract(epoch FROM max(recorded_at)) * 1000000 AS last
       FROM pemhistory.sql_trace_events WHERE trace = 3`,
  );
  expect([fromUs, toUs]).toEqual([Number(rows[0].first), Number(rows[0].last)]);
  const middle = fromUs + 100_000_000;
  const whole = await page(`fields=serial&afterUs=${fromUs}&endUs=${middle}`);
  expect(whole.next).toBe(String(middle));
  const part = await page(`fields=serial&afterUs=${fromUs}&endUs=${middle}&limit=400`);
  expect(part.rows.length).toBeLessThanOrEqual(400);
  const rest = await page(`fields=serial&afterUs=${part.next}&endUs=${middle}`);
  expect([...part.rows, ...rest.rows]).toEqual(whole.rows);
  expect((await ada.get(`/pem/api/v1/traces/${later.id}/extent`)).json()).toMatchObject({ fromUs: null });
  expect((await eve.get(`${base}/extent`)).status).toBe(404);
});
