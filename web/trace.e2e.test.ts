/** The profiler's pages in a real browser over a trace that is in PEM's database: what a DBA does with it, also by keyboard. */
import { readFileSync } from 'node:fs';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import {
  dragOver,
  goToHash,
  openContext,
  patienceMs,
  pressLanes,
  startBrowser,
  unhurried,
  untilDrawn,
  untilFocused,
  untilInPage,
  widthWhen,
} from '../bench/rig/browser.js';
import { type Pem, startPem } from '../bench/rig/pem.js';
import { eventually } from '../bench/rig/processes.js';
import { type MadeTrace, makeTrace } from '../bench/rig/traced.js';
import { FakeIngester, startWeb, type WebRig } from '../bench/rig/web.js';
import { blockFromRows } from '../native/index.js';

vi.setConfig(unhurried);
let pem: Pem;
let web: WebRig;
let browser: Browser;
let context: BrowserContext;
let page: Page;
let agentId: number;
let target: number;
let first: MadeTrace;
let second: MadeTrace;
let nameless: MadeTrace;
let passwords: Record<string, string>;
const complaints: string[] = [];
const calls = 12_000;

const open = (path: string): Promise<void> => goToHash(page, `#/profiler/${path}`);

async function signIn(opened: Page, user: string): Promise<void> {
  opened.on('pageerror', (error) => complaints.push(error.message));
  opened.on('console', (message) => {
    // Questions that are refused on purpose are logged by the browser itself.
    if (message.type() === 'error' && !/40[01346]/.test(message.text())) complaints.push(message.text());
  });
  await opened.goto(`http://127.0.0.1:${web.port}/`);
  await opened.fill('input[name=username]', user);
  await opened.fill('input[name=password]', passwords[user] ?? '');
  await opened.click('button[type=submit]');
  await opened.waitForSelector('.tile');
}

const until = untilInPage;
const textOf = (selector: string): string => `(document.querySelector('${selector}')?.textContent ?? '')`;

beforeAll(async () => {
  pem = await startPem();
  await pem.addTeam('crew');
  passwords = {
    ada: await pem.addUser('ada', { level: 'pem_admin', teams: ['crew'] }),
    bob: await pem.addUser('bob', { teams: ['crew'] }),
    eve: await pem.addUser('eve'),
  };
  const agent = await pem.addAgent({
    name: 'alpha',
    team: 'crew',
    servers: [{ name: 'shop-db', host: '10.0.0.5', port: 5432 }],
  });
  agentId = agent.agentId;
  target = agent.serverTargets[0] ?? 0;
  const nowUs = Math.floor(Date.now() / 10_000) * 10_000_000;
  first = await makeTrace(pem, {
    target,
    name: 'before',
    serverId: 3,
    startUs: nowUs - 900_000_000,
    seconds: 600,
    calls,
  });
  second = await makeTrace(pem, {
    target,
    name: 'after',
    serverId: 4,
    startUs: nowUs - 300_000_000,
    seconds: 290,
    calls: 2000,
    seed: 2,
    slower: 0.5,
    running: true,
  });
  nameless = await makeTrace(pem, {
    target,
    name: 'without query ids',
    serverId: 5,
    startUs: nowUs - 300_000_000,
    seconds: 200,
    calls: 2000,
    queryIds: false,
  });
  web = await startWeb(pem);
  browser = await startBrowser();
  context = await openContext(browser, { viewport: { width: 1440, height: 900 }, acceptDownloads: true });
  page = await context.newPage();
  await signIn(page, 'ada');
});
afterAll(async () => {
  await browser?.close();
  await web?.stop();
  await pem?.stop();
});

test("the profiler's pages are no part of the first load, and come when somebody goes there", async () => {
  const scripts =
    "performance.getEntriesByType('resource').map((it) => it.name).filter((it) => /assets/.test(it))";
  const before = (await page.evaluate(scripts)) as string[];
  expect(before.some((name) => /trace-/.test(name))).toBe(false);
  await page.click('a:has-text("Profiler")');
  await page.waitForSelector('table[aria-label=Traces] tbody tr');
  // What was fetched is listed when all of it has come.
  await until(page, `${scripts}.filter((name) => /trace-/.test(name)).length === 2`);
});

test('a trace is made by the form: what is wrong is said at its field, then it is asked of the agent', async () => {
  await open(String(target));
  await page.click('text=New trace');
  await page.fill('input[name=leastMs]', 'soon');
  await page.click('button:has-text("Start trace")');
  await page.waitForSelector('#wrong-name');
  await page.waitForSelector('#wrong-leastMs');
  await untilFocused(page, 'name');
  await page.fill('input[name=leastMs]', '5');
  await page.fill('input[name=databases]', 'shop, billing');
  // The server's own refusal finds its field, too.
  await page.fill('input[name=name]', 'before');
  await page.click('button:has-text("Start trace")');
  await until(page, `${textOf('#wrong-name')}.includes('there is a trace')`);
  await untilFocused(page, 'name');
  await page.fill('input[name=name]', 'slow ones');
  await page.click('button:has-text("Start trace")');
  await until(page, `${textOf('h1')} === 'slow ones' && ${textOf('.status')}.includes('start asked for')`);
  const made = await pem.query(`SELECT options, request, duration_s FROM pem.trace WHERE name = 'slow ones'`);
  expect(made.rows[0]).toMatchObject({
    options: { databases: ['shop', 'billing'], min_duration_us: 5000 },
    request: 'start',
    duration_s: 600,
  });
  await until(page, `${textOf('.banner')}.includes('told to start when it answers')`);
});

test('stop and delete are asked for; deletion only after a second word', async () => {
  await page.click('.actions button:has-text("Stop")');
  await until(page, `${textOf('.status')}.includes('stop asked for')`);
  await page.click('.actions button:has-text("Delete")');
  await page.click('.actions button:has-text("Keep")');
  await page.click('.actions button:has-text("Delete")');
  await page.click('.actions button:has-text("Delete for good")');
  await page.waitForSelector('table[aria-label=Traces]');
  await until(page, `!${textOf('table[aria-label=Traces]')}.includes('slow ones')`);
});

test('top statements: share of the load, any measure, find, columns kept', async () => {
  await open(`${target}/${first.id}/top`);
  const table = 'table[aria-label="Top statements"]';
  await page.waitForSelector(`${table} tbody a`);
  const firstRow = textOf(`${table} tbody tr`);
  await until(page, `/SELECT.* %.*(s|ms).*blocks/.test(${firstRow})`);
  await page.selectOption('select[aria-label="Order by"]', 'calls');
  await until(page, `${firstRow}.includes('FROM product WHERE id')`);
  // By keyboard: the title of a column is a button.
  await page.focus(`${table} th:nth-child(6) button`);
  await page.keyboard.press('Enter');
  await until(page, `document.querySelector('${table} th:nth-child(6)').ariaSort === 'descending'`);
  await page.fill('input[aria-label="Find statements"]', 'billing for update');
  await until(page, `document.querySelectorAll('${table} tbody tr').length === 1`);
  await page.fill('input[aria-label="Find statements"]', 'no such thing');
  await until(page, `document.body.textContent.includes('No statement contains')`);
  await page.click('summary:has-text("Columns")');
  await page.check('label:has-text("p99") input');
  await page.reload();
  await page.waitForSelector(`${table} th:has-text("p99")`);
});

test('one statement: text, distribution, figures over time, slowest and failed calls with their errors', async () => {
  await page.fill('input[aria-label="Find statements"]', 'insert order_line');
  await until(page, `document.querySelectorAll('table[aria-label="Top statements"] tbody tr').length === 1`);
  await page.click('table[aria-label="Top statements"] tbody a');
  await page.waitForSelector('.distribution rect');
  await page.waitForSelector('section[aria-label=Latency] canvas');
  await until(page, `${textOf('pre.sql')}.startsWith('INSERT INTO order_line')`);
  await page.click('button:has-text("failed")');
  await until(page, `${textOf('table[aria-label="Errors by SQLSTATE"]')}.includes('23503')`);
  await page.click('button:has-text("slowest")');
  await page.click('table[aria-label="Calls of the statement"] button.plain');
  await until(page, `/INSERT.*ended/.test(${textOf('.call header')})`);
});

test('a transaction: its calls in order, time in and between them', async () => {
  await page.click('text=Its transaction');
  await page.waitForSelector('table[aria-label="Calls of the transaction in order"] tbody tr');
  await until(page, `${textOf('section[aria-label=Transaction]')}.includes('Between calls')`);
});

test('brushing the heat map, by mouse and by keyboard, is in the address and filters the other views', async () => {
  await open(`${target}/${first.id}/timeline`);
  await page.waitForSelector('canvas.lanes');
  await dragOver(page, 'canvas.heat', [0.3, 0.1], [0.5, 0.43]);
  await page.waitForSelector('.selection');
  expect(await page.evaluate('location.hash')).toMatch(/from=\d+.*to=\d+.*least=\d+.*most=\d+/);
  await page.click('.tabs a:has-text("Calls")');
  await until(page, `/[\\d.]+( k)? of 12 k calls/.test(${textOf('section[aria-label=Calls] .note')})`);
  await page.click('text=Clear selection');
  await until(page, `${textOf('section[aria-label=Calls] .note')} === '12 k calls'`);
  await page.click('.tabs a:has-text("Time line")');
  await page.waitForSelector('canvas.heat');
  await page.focus('canvas.heat');
  for (const key of ['ArrowLeft', 'Shift+ArrowLeft', 'Shift+ArrowUp']) await page.keyboard.press(key);
  await until(page, `/calls/.test(${textOf('.says')})`);
  await page.keyboard.press('Enter');
  await page.waitForSelector('.selection');
  await page.click('text=Clear selection');
  await page.waitForSelector('.selection', { state: 'detached' });
});

test('a statement without a query id lists its calls all the same', async () => {
  await open(`${target}/${nameless.id}/top`);
  await page.click('table[aria-label="Top statements"] tbody a');
  await page.waitForSelector('table[aria-label="Calls of the statement"] button.plain');
  await page.click('table[aria-label="Calls of the statement"] button.plain');
  await until(
    page,
    `/^Statement/.test(${textOf('.call h3:nth-of-type(1)')}) || ${textOf('.call pre')}.length > 10`,
  );
  await open(`${target}/${first.id}/timeline`);
});

test('a lane shows the call that was pressed', async () => {
  await pressLanes(page);
});

test('calls: sorted, filtered, found, scrolled to the end by key, read whole', async () => {
  await open(`${target}/${first.id}/calls`);
  await until(page, `${textOf('section[aria-label=Calls] .note')} === '12 k calls'`);
  await page.click('.vhead button:has-text("Time")');
  await page.waitForSelector('.vhead [aria-sort=descending]:has-text("Time")');
  await until(
    page,
    `/ s/.test(${textOf('.vrow span:nth-child(2)')}) || /\\d{3} ms/.test(${textOf('.vrow span:nth-child(2)')})`,
  );
  await page.focus('.vbox');
  await page.keyboard.press('End');
  await until(page, `document.querySelector('.vrow:last-child').ariaRowIndex === '${calls + 1}'`);
  await page.keyboard.press('Enter');
  await page.waitForSelector('.call pre');
  await page.selectOption('select[aria-label=User]', 'biller');
  await page.check('.tools label:has-text("failed") input');
  await until(page, `/55P03/.test(${textOf('.vrow')})`);
  await page.fill('input[aria-label="Find calls"]', 'nothing like it');
  await until(page, `document.body.textContent.includes('No call passes the filters')`);
  await page.fill('input[aria-label="Find calls"]', '');
  await until(page, `/55P03/.test(${textOf('.vrow')})`);
});

test('what is filtered is downloaded with its texts, as CSV and as JSON', async () => {
  const shown = Number(await page.getAttribute('.vbox', 'aria-rowcount')) - 1;
  const lines: string[] = [];
  for (const format of ['CSV', 'JSON']) {
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.click(`.download button:has-text("${format}")`),
    ]);
    lines.push(readFileSync(await download.path(), 'utf8').trimEnd());
    await page.waitForSelector('.download button:has-text("CSV")');
  }
  const [csv = '', json = ''] = lines;
  expect(csv.split('\n')[0]).toMatch(/^recorded_at,trace,line,end_time,exec_us,/);
  expect(csv.split('\n').length).toBe(shown + 1);
  const rows = json.split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(rows.length).toBe(shown);
  expect(rows.every((row) => row.username === 'biller' && row.sqlstate === '55P03')).toBe(true);
  expect(rows[0]?.query).toMatch(/^SELECT balance/);
});

/** Opens the calls of the first trace, its pages again and again until there are so many rows. */
async function openMany(many: Page, rows: number): Promise<void> {
  await many.evaluate(`
    const real = window.fetch;
    let kept; let pages = 0;
    window.fetch = async (url, init) => {
      if (!/\\/events\\?/.test(String(url))) return real(url, init);
      kept ??= await real(url, init).then((it) => it.arrayBuffer());
      pages += 1;
      return new Response(kept.slice(0), { headers: { 'x-pem-next-us': pages * ${calls} < ${rows} ? '1' : '' } });
    };`);
  await goToHash(many, `#/profiler/${target}/${first.id}/calls`);
  await many.waitForSelector('.vrow');
  await until(
    many,
    `document.querySelector('progress') === null && document.querySelector('.vbox').ariaRowCount > ${rows}`,
    3 * patienceMs,
  );
  await many.click('.vhead button:has-text("Time")');
  await many.waitForSelector('.vhead [aria-sort=descending]:has-text("Time")');
  await untilDrawn(many);
}

/** By wheel, which goes by rows although the bar is shorter than the rows, and by the bar. */
async function scrollThrough(many: Page, rows: number): Promise<void> {
  const row = `Number(document.querySelector('.vrow').ariaRowIndex)`;
  await many.hover('.vbox');
  for (let turn = 0; turn < 40; turn += 1) await many.mouse.wheel(0, 130);
  await until(many, `${row} >= 190`);
  expect(Number(await many.evaluate(row))).toBeLessThan(1000);
  await many.evaluate(`document.querySelector('.vbox').scrollTop = 2_000_000`);
  await until(many, `${row} > ${0.4 * rows}`);
}

test('five million calls are there to scroll', async () => {
  const many = await context.newPage();
  await many.goto(`http://127.0.0.1:${web.port}/#/profiler/${target}`);
  await many.waitForSelector('table[aria-label=Traces] tbody tr');
  await openMany(many, 5e6);
  expect(await many.evaluate(textOf('section[aria-label=Calls] .note'))).toMatch(/^5(\.00)? M calls/);
  await scrollThrough(many, 5e6);
  await many.close();
});

test('scrolling goes through the rows on the screen, sorting through all', async () => {
  const many = await context.newPage();
  // How often each piece of code ran says it on any machine; what ran before it is counted is not counted any more.
  const counter = await context.newCDPSession(many);
  await counter.send('Profiler.enable');
  await counter.send('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  const busiest = async (): Promise<number> => {
    const { result } = await counter.send('Profiler.takePreciseCoverage');
    const pieces = result.flatMap(({ functions }) => functions.flatMap(({ ranges }) => ranges));
    return pieces.reduce((most, { count }) => Math.max(most, count), 0);
  };
  await many.goto(`http://127.0.0.1:${web.port}/#/profiler/${target}`);
  await many.waitForSelector('table[aria-label=Traces] tbody tr');
  const rows = 5e5;
  await openMany(many, rows);
  expect(await busiest()).toBeGreaterThan(rows);
  await scrollThrough(many, rows);
  expect(await busiest()).toBeLessThan(rows);
  await many.click('.vhead button:has-text("Ended")');
  await many.waitForSelector('.vhead [aria-sort=ascending]:has-text("Ended")');
  expect(await busiest()).toBeGreaterThan(rows);
  await many.close();
});

test('the live tail: calls as they are committed, frozen, paused, found', async () => {
  const ingester = await FakeIngester.start(pem, web.pushDirectory);
  const boot = '00000000-0000-4000-8000-0000000000aa';
  let seq = 0n;
  const columns = [
    { name: 'trace', type: 'int4' },
    { name: 'line', type: 'int8' },
    { name: 'end_time', type: 'timestamptz' },
    { name: 'exec_us', type: 'int8' },
    { name: 'pid', type: 'int4' },
    { name: 'slot', type: 'int4' },
    { name: 'database', type: 'name' },
    { name: 'username', type: 'name' },
    { name: 'tag', type: 'text' },
    { name: 'sqlstate', type: 'text' },
    { name: 'query', type: 'text' },
  ] as const;
  const send = async (text: string): Promise<void> => {
    seq += 1n;
    const nowUs = Date.now() * 1000;
    const block = blockFromRows(
      {
        target: BigInt(target),
        probe: 'sql_trace_events',
        probeVersion: 1,
        kind: 'append',
        recordedAtUs: BigInt(nowUs),
        intervalUs: 1_000_000n,
      },
      columns,
      [4, 99].map((trace) => [
        trace,
        seq,
        nowUs,
        1234n,
        4100,
        3,
        'shop',
        'web',
        'SELECT',
        null,
        `${text} of ${trace}`,
      ]),
    );
    await ingester.commit(agentId, boot, seq, [
      { target, probe: 'sql_trace_events', block, isFull: false, apply: [] },
    ]);
  };
  await open(`${target}/${second.id}/live`);
  await page.waitForSelector('section[aria-label="Live tail"]');
  await until(page, `document.body.textContent.includes('Waiting for the next call')`);
  const table = textOf('table[aria-label="Live tail"]');
  /** Sends until one arrives: what is sent before the subscription is there never does. */
  const arrives = (text: string): Promise<unknown> =>
    eventually(
      `${text} in the tail`,
      async () => {
        await send(text);
        return page.evaluate(`${table}.includes(${JSON.stringify(text)})`);
      },
      patienceMs,
    );
  await arrives('SELECT early');
  await send('SELECT seen');
  await until(page, `${table}.includes('SELECT seen of 4')`);
  expect(await page.evaluate(`${table}.includes('of 99')`)).toBe(false);
  await page.click('button:has-text("Freeze")');
  await page.waitForSelector('button:has-text("Go on (0 new)")');
  await send('SELECT frozen');
  await page.waitForSelector('button:has-text("Go on (1 new)")');
  expect(await page.evaluate(`${table}.includes('frozen')`)).toBe(false);
  await page.click('button:has-text("Go on")');
  await until(page, `${table}.includes('SELECT frozen')`);
  await page.fill('input[aria-label="Find in the live tail"]', 'seen');
  await until(page, `document.querySelectorAll('table[aria-label="Live tail"] tbody tr').length === 1`);
  await page.fill('input[aria-label="Find in the live tail"]', '');
  await page.click('button:has-text("Pause")');
  await page.waitForSelector('button:has-text("Resume")');
  // Whoever else follows the topic has it: the page got it, too, or never will.
  const other = await web.live(await web.signIn('ada', passwords.ada ?? ''));
  other.subscribe(target, 'sql_trace_events');
  await other.until(() => other.frames.some(({ kind }) => kind === 'snapshot'), patienceMs);
  await send('SELECT missed');
  await other.until(() => other.frames.some(({ kind }) => kind === 'blocks'), patienceMs);
  other.close();
  await page.click('button:has-text("Resume")');
  await arrives('SELECT again');
  expect(await page.evaluate(`${table}.includes('missed')`)).toBe(false);
  // An ingester that is gone may have taken calls with it: the view says that some were missed.
  ingester.unlink();
  await until(page, `document.body.textContent.includes('Calls were missed here')`);
  await ingester.stop();
});

test('two traces side by side', async () => {
  await open(`${target}/${second.id}/compare?with=${first.id}`);
  await page.waitForSelector('table[aria-label="Statements of two runs"] tbody a');
  await until(page, `/▼ 0\\.[34567]\\d?×/.test(${textOf('table[aria-label="Statements of two runs"]')})`);
});

test('long names and filters leave the buttons on the screen', async () => {
  await pem.query(`UPDATE pem.trace SET name = $1, options = $2 WHERE id = $3`, [
    `the name of a trace that says all ${'without_a_space_'.repeat(10)}`,
    { databases: Array.from({ length: 20 }, (_, n) => `warehouse_of_region_${n}`) },
    nameless.id,
  ]);
  await open('0');
  const actions = 'table[aria-label=Traces] tbody tr:has(a[title*="that says all"]) .actions';
  await page.waitForSelector(actions);
  const edges = `(() => { const it = document.querySelector('${actions}').getBoundingClientRect(); return [it.right, it.height]; })()`;
  const [right, height] = (await page.evaluate(edges)) as [number, number];
  expect(right).toBeLessThanOrEqual(1440 - 24);
  expect(height).toBeLessThan(48);
});

test('what many traces of a fleet wait for fills no screen', async () => {
  const { rows } = await pem.query(
    `SELECT pem.create_trace($1, 'waits ' || n, '{}', NULL, NULL, true, 100, false, false)::int AS id
       FROM generate_series(1, 7) n`,
    [target],
  );
  const made = rows.map((row) => row.id as number);
  await pem.query(
    `UPDATE pem.trace SET state = 'blocked', code = 'trace_extension_missing', error = 'there is no extension' WHERE id = ANY($1)`,
    [made],
  );
  await open('0');
  await until(page, `document.querySelectorAll('main > p.warn').length === 6`);
  await until(page, `${textOf('main > p.warn:last-of-type')}.includes('2 more are in trouble')`);
  await pem.query('DELETE FROM pem.trace WHERE id = ANY($1)', [made]);
});

test('who may not manage sees no buttons, who may not see is told so', async () => {
  for (const [user, sees] of [
    ['bob', true],
    ['eve', false],
  ] as const) {
    const other = await openContext(browser);
    const visitor = await other.newPage();
    await signIn(visitor, user);
    await visitor.goto(`http://127.0.0.1:${web.port}/#/profiler/${target}/${first.id}/top`);
    if (sees) {
      await visitor.waitForSelector('table[aria-label="Top statements"] tbody a');
      expect(await visitor.locator('.actions').count()).toBe(0);
    } else await until(visitor, `document.body.textContent.includes('There is no trace ${first.id}')`);
    await other.close();
  }
});

test('on a phone nothing is wider than the screen, and no page ever complained', async () => {
  const phone = await context.newPage();
  await phone.setViewportSize({ width: 390, height: 844 });
  const there = (selector: string): string => `document.querySelector('${selector}') !== null`;
  for (const [view, ready] of [
    ['top', there('table[aria-label="Top statements"] tbody a')],
    ['timeline', `${there('canvas.heat')} && ${there('canvas.lanes')}`],
    ['calls', there('.vrow')],
    ['live', there('section[aria-label="Live tail"] .tools')],
    [`compare?with=${second.id}`, there('table[aria-label="Statements of two runs"] tbody tr')],
  ] as const) {
    await phone.goto(`http://127.0.0.1:${web.port}/#/profiler/${target}/${first.id}/${view}`);
    expect(await widthWhen(phone, ready), view).toBeLessThanOrEqual(390);
  }
  await phone.goto(`http://127.0.0.1:${web.port}/#/profiler/${target}/${nameless.id}/top`);
  const long = `${there('table[aria-label="Top statements"] tbody a')} && ${textOf('h1')}.includes('without_a_space')`;
  expect(await widthWhen(phone, long), 'a long name').toBeLessThanOrEqual(390);
  await phone.close();
  expect(complaints).toEqual([]);
});
