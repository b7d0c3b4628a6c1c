/**
 * The profiler as a user has it, nothing made up: a browser at a real PEM, a real agent, a PostgreSQL with sql_profiler, and
 * a workload whose statements are counted by itself. What the pages say is held against those counts, also after the agent's
 * worker was killed, the traced server and PEM's database crashed, and while nobody answers.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
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
import { eventually } from '../bench/rig/processes.js';
import {
  addRan,
  longText,
  makeShop,
  type Ran,
  runShop,
  shopDatabase,
  strangeName,
} from '../bench/rig/shop_workload.js';
import { startTraceRoad, type TraceRoad } from '../bench/rig/trace_road.js';
import { parseCsv } from '../bench/rig/traces.js';

vi.setConfig(unhurried);
let road: TraceRoad;
let browser: Browser;
let context: BrowserContext;
let page: Page;
let passwords: Record<string, string>;
/** The trace that most tests look at, and what ran under it. */
let trace = 0;
let ran: Ran[] = [];
const complaints: string[] = [];

interface Run {
  readonly run: string;
  readonly serverId: number;
  readonly state: string;
  readonly stopReason: string | null;
  readonly rowsRead: number;
  readonly eventsSent: number;
  readonly eventsDropped: number;
  readonly rowsSkipped: number;
  readonly repeatedRows: number;
  readonly serverRows: number | null;
  readonly serverLostRows: number | null;
}
interface Traced {
  readonly id: number;
  readonly name: string;
  readonly state: string;
  readonly error: string | null;
  readonly options: Record<string, unknown>;
  readonly runs: readonly Run[];
}

const at = (path: string): string => `http://127.0.0.1:${road.web.port}${path}`;
const open = (path: string): Promise<void> => goToHash(page, `#/profiler/${path}`);
const until = (expression: string): Promise<void> => untilInPage(page, expression);
const textOf = (selector: string): string =>
  `(document.querySelector(${JSON.stringify(selector)})?.textContent ?? '')`;
const topTable = 'table[aria-label="Top statements"]';
const tailTable = 'table[aria-label="Live tail"]';

/** What PEM says of a trace, asked with the browser's own session. */
async function told(id = trace): Promise<Traced> {
  const answer = await context.request.get(at(`/pem/api/v1/traces/${id}`));
  if (!answer.ok()) throw new Error(`${answer.status()} ${await answer.text()}`);
  return (await answer.json()) as Traced;
}

async function comes(what: string, holds: (said: Traced) => boolean, id = trace): Promise<Traced> {
  let last: Traced | undefined;
  return eventually(
    what,
    async () => {
      last = await told(id).catch(() => undefined);
      return last !== undefined && holds(last) ? last : false;
    },
    patienceMs,
  ).catch((error: unknown) => {
    throw new Error(`${error}\n${JSON.stringify(last)}\n${road.home.log.slice(-3000)}`);
  });
}

async function signIn(opened: Page, user: string): Promise<void> {
  opened.on('pageerror', (error) => complaints.push(error.message));
  opened.on('console', (message) => {
    // Questions that are refused, and those that nobody answers while a database is away, are logged by the browser itself.
    if (message.type() === 'error' && !/40[01346]|503/.test(message.text())) complaints.push(message.text());
  });
  await opened.goto(at('/'));
  await opened.fill('input[name=username]', user);
  await opened.fill('input[name=password]', passwords[user] ?? '');
  await opened.click('button[type=submit]');
  await opened.waitForSelector('.tile');
}

/** Waits until PEM has every call that the server has written: views that ask once must find them. */
async function allArrived(rows?: number): Promise<void> {
  await eventually(
    'every call in PEM',
    async () => {
      const written =
        rows ??
        (await road.traced.query('SELECT sum(rows)::int AS rows FROM sql_profiler.traces')).rows[0].rows;
      const { rows: here } = await road.pem.query(
        'SELECT count(*)::int AS n FROM pemhistory.sql_trace_events',
      );
      return here[0].n === written;
    },
    patienceMs,
  );
}

/** The one statement that has these words is found and its page opened. */
async function openStatement(words: string): Promise<void> {
  await page.fill('input[aria-label="Find statements"]', words);
  await until(`document.querySelectorAll('${topTable} tbody tr').length === 1`);
  await page.click(`${topTable} tbody a`);
}

/** Calls and errors of the rows of Top statements that have these words, one level, added up. */
const shownSums = (words: string, nested: boolean): string => `(() => {
  const heads = [...document.querySelectorAll('${topTable} thead th')].map((it) => it.textContent.replace(/ [▾▴]$/, ''));
  const column = (name) => heads.indexOf(name);
  const sums = [0, 0];
  for (const row of document.querySelectorAll('${topTable} tbody tr')) {
    const cells = [...row.cells].map((it) => it.textContent);
    const level = column('Level') < 0 ? 'top' : cells[column('Level')];
    const text = cells[0].toLowerCase();
    if (level !== '${nested ? 'nested' : 'top'}' || !${JSON.stringify(words.split(' '))}.every((it) => text.includes(it))) continue;
    sums[0] += Number(cells[column('Calls')]);
    sums[1] += Number(cells[column('Errors')]);
  }
  return sums.join('/');
})()`;

/** Waits until the page, by itself, shows each statement as often as it ran. */
async function showsAll(expected: readonly Ran[]): Promise<void> {
  await page.waitForSelector('input[aria-label="Find statements"]');
  for (const { words, nested, calls, errors } of expected) {
    await page.fill('input[aria-label="Find statements"]', words);
    await until(`${shownSums(words, nested)} === '${calls}/${errors}'`).catch(async (error: unknown) => {
      throw new Error(
        `${words}: shown ${await page.evaluate(shownSums(words, nested))}, ran ${calls}/${errors}\n${error}`,
      );
    });
  }
  await page.fill('input[aria-label="Find statements"]', '');
}

/** A number as the page writes it. */
const shown = (value: number): string =>
  value < 1000 ? String(value) : `${(value / 1000).toFixed(value < 10_000 ? 2 : value < 100_000 ? 1 : 0)} k`;

beforeAll(async () => {
  road = await startTraceRoad('crew');
  await makeShop(road.traced);
  passwords = {
    ada: await road.pem.addUser('ada', { level: 'pem_admin', teams: ['crew'] }),
    bob: await road.pem.addUser('bob', { teams: ['crew'] }),
    eve: await road.pem.addUser('eve', { level: 'pem_admin' }),
  };
  browser = await startBrowser();
  context = await openContext(browser, { viewport: { width: 1440, height: 900 }, acceptDownloads: true });
  page = await context.newPage();
  await signIn(page, 'ada');
});
afterAll(async () => {
  await browser?.close();
  await road?.stop();
});

test('a trace is started by the form: the agent runs it with its filters, and its cost is on the page', async () => {
  await page.click('a:has-text("Profiler")');
  await until(`${textOf('table[aria-label=Traces] + .empty')}.includes('No trace yet')`);
  await open(String(road.target));
  await page.click('text=New trace');
  await page.fill('input[name=name]', 'laden');
  await page.fill('input[name=databases]', shopDatabase);
  await page.fill('input[name=users]', 'postgres');
  await page.fill('input[name=clients]', '[local]');
  await page.fill('input[name=totalMib]', '64');
  await page.fill('input[name=fileMib]', '0.25');
  await page.fill('input[name=minutes]', '30');
  await page.click('summary:has-text("What is kept")');
  await page.fill('input[name=eventsPerS]', '100000');
  await page.check('input[name=params]');
  await page.click('button:has-text("Start trace")');
  await until(`${textOf('h1')} === 'laden' && ${textOf('.banner')} !== ''`);
  await until(`${textOf('.status')}.includes('running')`);
  trace = Number(/profiler\/\d+\/(\d+)/.exec(page.url())?.[1]);
  const said = await told();
  expect(said.options).toMatchObject({ databases: [shopDatabase], max_total_bytes: 64 << 20, params: true });
  expect(said.runs).toMatchObject([{ run: 'm1', state: 'running' }]);
  for (const title of ['Rows', 'Rows now', 'On the server’s disk', 'Lost rows', 'PEM is behind'])
    expect(await page.textContent(`.banner dt:text-is("${title}") + dd`)).not.toBe('');
});

test('the live tail: what runs is there, what the filters leave out is not; freeze, find, pause', async () => {
  await page.click('.tabs a:has-text("Live")');
  await until(`document.body.textContent.includes('Waiting for the next call')`);
  const client = await road.traced.client(shopDatabase);
  const elsewhere = await road.traced.client('postgres');
  try {
    // The subscription is under way: the first that arrives ends the wait.
    await eventually(
      'a call in the tail',
      async () => {
        await client.query(`SELECT 'early bird'`);
        return (await page.locator(tailTable).count()) > 0;
      },
      patienceMs,
    );
    const table = textOf(tailTable);
    await elsewhere.query(`SELECT 'of another database'`);
    await client.query(`SELECT 'grüße 🐘'`);
    await until(`${table}.includes("SELECT 'grüße 🐘'")`);
    expect(await page.evaluate(`${table}.includes('another database')`)).toBe(false);
    await page.click('button:has-text("Freeze")');
    await page.waitForSelector('button:has-text("Go on (")');
    await client.query(`SELECT 'while frozen'`);
    await until(`/Go on \\([1-9]\\d* new\\)/.test(document.body.textContent)`);
    expect(await page.evaluate(`${table}.includes('while frozen')`)).toBe(false);
    await page.click('button:has-text("Go on")');
    await until(`${table}.includes('while frozen')`);
    await client.query('SELECT 1 % 0').catch(() => undefined);
    await until(`${table}.includes('22012 division by zero')`);
    await page.fill('input[aria-label="Find in the live tail"]', 'GRÜSSE 🐘');
    await page.fill('input[aria-label="Find in the live tail"]', 'GRÜßE 🐘');
    await until(`document.querySelectorAll('${tailTable} tbody tr').length === 1`);
    await page.click(`${tailTable} button.plain`);
    await until(`${textOf('.call')}.includes("SELECT 'grüße 🐘'")`);
    await page.click('button[aria-label="Close the call"]');
    await page.fill('input[aria-label="Find in the live tail"]', '');
    await page.click('button:has-text("Pause")');
    await page.waitForSelector('button:has-text("Resume")');
    // Whoever else follows the topic has it: the page got it, too, or never will.
    const other = await road.web.live(await road.web.signIn('ada', passwords.ada ?? ''));
    other.subscribe(road.target, 'sql_trace_events');
    await other.until(() => other.frames.some(({ kind }) => kind === 'snapshot'), patienceMs);
    await client.query(`SELECT 'while paused'`);
    const holds = (bytes: Buffer): boolean => bytes.includes('while paused');
    await other.until(
      () => other.frames.some(({ kind, blocks }) => kind === 'blocks' && blocks.some(holds)),
      patienceMs,
    );
    other.close();
    await page.click('button:has-text("Resume")');
    await eventually(
      'the tail goes on',
      async () => {
        await client.query(`SELECT 'again'`);
        return page.evaluate(`${table}.includes("SELECT 'again'")`);
      },
      patienceMs,
    );
    expect(await page.evaluate(`${table}.includes('while paused')`)).toBe(false);
  } finally {
    await client.end();
    await elsewhere.end();
  }
});

test('top statements come by themselves, as often as they ran, though the worker is killed under them', async () => {
  await page.click('.tabs a:has-text("Top statements")');
  const pid = await eventually('a worker', () => road.home.workerPid ?? undefined);
  const running = runShop(road.traced, 30, 60);
  process.kill(pid, 'SIGKILL');
  const first = await running;
  await eventually('another worker', () => (road.home.workerPid ?? pid) !== pid);
  const second = await runShop(road.traced, 10, 40);
  ran = addRan(first, second);
  await showsAll(ran);
});

test('a statement: its text, distribution and failed calls; a transaction that rolled back', async () => {
  await allArrived();
  await openStatement('insert into kunde 23514');
  await page.waitForSelector('.distribution rect');
  await page.waitForSelector('section[aria-label=Latency] canvas');
  await until(`/insert into kunde\\(größe, name\\)/.test(${textOf('pre.sql')})`);
  await until(`${textOf('.distribution .legend')}.includes('calls')`);
  await page.click('button:has-text("failed")');
  await until(
    `/23514.*40.*violates check constraint/.test(${textOf('table[aria-label="Errors by SQLSTATE"]')})`,
  );
  await page.click('.tabs a:has-text("Top statements")');
  await openStatement('update kunde');
  await page.click('table[aria-label="Calls of the statement"] button.plain');
  await until(`${textOf('.call')}.includes("name || '!'")`);
  await page.click('text=Its transaction');
  const rows = 'table[aria-label="Calls of the transaction in order"] tbody tr';
  await until(`document.querySelectorAll('${rows}').length === 3`);
  expect(
    await page.evaluate(
      `[...document.querySelectorAll('${rows}')].map((it) => it.cells[2].textContent.split(' ')[0])`,
    ),
  ).toEqual(['BEGIN', 'UPDATE', 'ROLLBACK']);
});

test('the heat map and the lanes: a brush chooses calls, a press on a lane shows one', async () => {
  await page.click('.tabs a:has-text("Time line")');
  await page.waitForSelector('canvas.lanes');
  await page.focus('canvas.heat');
  for (const key of ['ArrowLeft', 'Shift+ArrowLeft', 'Shift+ArrowUp', 'Shift+ArrowUp'])
    await page.keyboard.press(key);
  await page.keyboard.press('Enter');
  await page.waitForSelector('.selection');
  expect(await page.evaluate('location.hash')).toMatch(/from=\d+.*to=\d+/);
  await page.click('text=Clear selection');
  await page.waitForSelector('.selection', { state: 'detached' });
  await dragOver(page, 'canvas.heat', [0.06, 0.05], [0.99, 0.7]);
  await page.waitForSelector('.selection');
  await page.click('.tabs a:has-text("Calls")');
  await until(`/^[\\d.]+( k)? of [\\d.]+( k)? calls$/.test(${textOf('section[aria-label=Calls] .note')})`);
  await page.click('text=Clear selection');
  await page.waitForSelector('.selection', { state: 'detached' });
  await page.click('.tabs a:has-text("Time line")');
  await pressLanes(page);
});

test('the traced server crashes: the page says so, the trace goes on, the counts are whole', async () => {
  await page.click('.tabs a:has-text("Top statements")');
  await road.traced.halt('immediate');
  try {
    await until(
      `${textOf('.status')}.includes('blocked') && /connect|server/.test(${textOf('.banner .warn')})`,
    );
    // What cannot run now can be given up.
    await page.waitForSelector('.actions button:has-text("Stop")');
  } finally {
    await road.traced.start();
  }
  await until(`${textOf('.status')}.includes('running')`);
  expect((await told()).runs).toHaveLength(1);
  ran = addRan(ran, await runShop(road.traced, 5, 20));
  await showsAll(ran);
});

test("PEM's database crashes: the page keeps what it has, says so, and goes on", async () => {
  await road.pem.cluster.halt('immediate');
  try {
    const client = await road.traced.client(shopDatabase);
    await client.query(`SELECT 'unseen by PEM' AS kept_for_later`);
    await client.end();
    await until(`${textOf('main > .warn')}.includes('What is shown may be old')`);
    await page.waitForSelector(`${topTable} tbody tr`);
  } finally {
    await road.pem.cluster.start();
  }
  await until(`${textOf('main > .warn')} === ''`);
  await showsAll([{ words: 'kept_for_later', nested: false, calls: 1, errors: 0 }]);
});

test('the agent is away: the page says so, and what is asked for meanwhile is done when it is back', async () => {
  await road.home.stop();
  await until(
    `${textOf('.status')}.includes('when last heard of') && /agent’s state is (down|unknown)/.test(${textOf('.banner')})`,
  );
  await page.click('.actions button:has-text("Stop")');
  await until(
    `${textOf('.status')}.includes('stop asked for') && /told to stop when it answers/.test(${textOf('.banner')})`,
  );
  ran = addRan(ran, await runShop(road.traced, 3, 10));
  road.home.start();
  const said = await comes('over', ({ runs }) => runs[0]?.state === 'ended');
  const [run] = said.runs as [Run];
  expect(run).toMatchObject({
    stopReason: 'requested',
    rowsSkipped: 0,
    repeatedRows: 0,
    eventsDropped: 0,
    serverLostRows: 0,
  });
  expect([run.rowsRead, run.eventsSent]).toEqual([run.serverRows, run.serverRows]);
  await until(`${textOf('.status')}.includes('ended')`);
  await showsAll(ran);
});

test('all calls of the run are there, and downloaded whole: strange names, long texts, implicit ends', async () => {
  const rows = (await told()).runs[0]?.serverRows ?? 0;
  await allArrived(rows);
  await page.click('.tabs a:has-text("Calls")');
  await page.waitForSelector('section[aria-label=Calls]');
  await page.reload();
  await until(`${textOf('section[aria-label=Calls] .note')} === '${shown(rows)} calls'`);
  await until(`Number(document.querySelector('.vbox').ariaRowCount) - 1 === ${rows}`);
  const files: string[] = [];
  for (const format of ['CSV', 'JSON']) {
    const [download] = await Promise.all([
      page.waitForEvent('download', { timeout: 2 * patienceMs }),
      page.click(`.download button:has-text("${format}")`),
    ]);
    files.push(readFileSync(await download.path(), 'utf8'));
    await page.waitForSelector('.download button:has-text("CSV")');
  }
  const [head = [], ...records] = parseCsv(files[0] ?? '');
  const lines = (files[1] ?? '')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect([records.length, lines.length]).toEqual([rows, rows]);
  expect(new Set(lines.map(({ slot, line }) => `${slot}/${line}`)).size).toBe(rows);
  const column = (name: string): number => head.indexOf(name);
  const longs = records.filter((record) => record[column('query')] === longText(3));
  expect(longs.length).toBeGreaterThanOrEqual(4);
  expect(lines.filter(({ query }) => query === longText(3)).length).toBe(longs.length);
  const named = lines.filter(
    ({ params }) => typeof params === 'string' && params.includes(strangeName.replaceAll("'", "''")),
  );
  const inserts = ran.find(({ words }) => words === 'insert into kunde') as Ran;
  expect(named.length).toBe(inserts.calls - inserts.errors);
  const failed = lines.filter(({ sqlstate }) => sqlstate !== null);
  expect(failed.length).toBeGreaterThanOrEqual(ran.reduce((sum, { errors }) => sum + errors, 0));
  await page.selectOption('select[aria-label=Command]', 'COMMIT');
  // Written COMMITs are among them, and their order within a moment is nobody's promise.
  await until(
    `(() => {
        const box = document.querySelector('.vbox');
        const rows = [...document.querySelectorAll('.vrow')];
        if (rows.some((row) => row.textContent.includes('(implicit)'))) return true;
        const isEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 1;
        box.scrollTop = isEnd ? 0 : box.scrollTop + box.clientHeight / 2;
        return false;
      })()`,
  );
  await page.selectOption('select[aria-label=Command]', { index: 0 });
  await page.fill('input[aria-label="Find calls"]', strangeName);
  await until(`document.body.textContent.includes('without constants and comments')`);
  // Parameters alone have it.
  await page.fill('input[aria-label="Find calls"]', 'żółć 中文 ZO');
  await page.check('label:has-text("in texts as they ran") input');
  await until(`${textOf('section[aria-label=Calls] .note')}.startsWith('${named.length} of ')`);
  await page.uncheck('label:has-text("in texts as they ran") input');
  // Texts that the server gives no query id.
  await page.fill('input[aria-label="Find calls"]', 'selekt nothing');
  const misspelt = lines.filter(({ query }) => query === 'SELEKT nothing').length;
  expect(misspelt).toBeGreaterThan(0);
  await until(`${textOf('section[aria-label=Calls] .note')}.startsWith('${misspelt} of ')`);
  await page.fill('input[aria-label="Find calls"]', 'declare cursor for');
  // The commands, and the queries of their cursors, whose text is the same.
  const declared = lines.filter(({ query }) => /^DECLARE .* CURSOR FOR /.test(String(query))).length;
  expect(declared).toBeGreaterThan(ran.find(({ words }) => words.startsWith('declare'))?.calls ?? 0);
  await until(`${textOf('section[aria-label=Calls] .note')}.startsWith('${declared} of ')`);
});

test('a second run is compared with the first', async () => {
  await page.click('.actions button:has-text("Start")');
  const said = await comes('a second run', ({ runs }) => runs.length === 2 && runs[0]?.state === 'running');
  expect(said.runs[0]?.run).not.toBe(said.runs[1]?.run);
  const client = await road.traced.client(shopDatabase);
  for (let n = 0; n < 20; n += 1) await client.query('SELECT many_branches(9)');
  await client.query('SELECT count(*) AS new_here FROM kunde');
  await client.end();
  await page.click('.actions button:has-text("Stop")');
  await comes('over', ({ runs }) => runs[0]?.state === 'ended');
  await open(`${road.target}/${trace}/compare?run=${said.runs[0]?.run}`);
  const table = textOf('table[aria-label="Statements of two runs"]');
  await until(
    `/many_branches/.test(${table}) && /new_here.*new, /.test(${table}) && /gone, was/.test(${table})`,
  );
});

test('schedules: what is wrong with one is said at its field; once, in a few seconds, runs by itself', async () => {
  await open(String(road.target));
  await page.click('text=New trace');
  await page.fill('input[name=name]', 'scheduled');
  await page.selectOption('select[name=when]', 'cron');
  const go = 'button:has-text("Make trace")';
  for (const [cron, says] of [
    ['* * *', 'Five fields'],
    ['99 * * * *', '99'],
    ['0 0 x * *', 'x'],
  ] as const) {
    await page.fill('input[name=cron]', cron);
    await page.click(go);
    await until(`${textOf('#wrong-cron')}.includes('${says}')`);
    await untilFocused(page, 'cron');
  }
  await page.fill('input[name=cron]', '30 2 * * 1-5');
  await page.fill('input[name=timezone]', 'Mars/Base');
  await page.click(go);
  await until(`${textOf('#wrong-timezone')} !== ''`);
  await untilFocused(page, 'timezone');
  await page.selectOption('select[name=when]', 'once');
  await page.fill('input[name=onceAt]', '2001-01-01T00:00');
  await page.click(go);
  await until(`${textOf('#wrong-onceAt')}.includes('over')`);
  await untilFocused(page, 'onceAt');
  await page.fill('input[name=minutes]', '0.05');
  // It must still be ahead when it is sent, however slowly this is typed.
  for (let aheadMs = 3000; ; aheadMs *= 3) {
    const soon = await page.evaluate(`(() => {
        const at = new Date(Date.now() + ${aheadMs});
        return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
      })()`);
    await page.fill('input[name=onceAt]', String(soon));
    const isMade = `${textOf('h1')} === 'scheduled'`;
    const isOver = `${textOf('#wrong-onceAt')}.includes('over')`;
    await page.click(go);
    await untilDrawn(page);
    await until(`${isMade} || ${isOver}`);
    if (await page.evaluate(isMade)) break;
    expect(aheadMs).toBeLessThan(60_000);
  }
  const id = Number(/profiler\/\d+\/(\d+)/.exec(page.url())?.[1]);
  const said = await comes('a run by itself', ({ runs }) => runs[0]?.state === 'ended', id);
  expect(said.runs).toMatchObject([{ stopReason: 'duration_s', repeatedRows: 0 }]);
  await until(`${textOf('.status')}.includes('ended')`);
});

test('another team sees nothing of it; who only watches has no buttons', async () => {
  for (const [user, sees] of [
    ['bob', true],
    ['eve', false],
  ] as const) {
    const other = await openContext(browser);
    const visitor = await other.newPage();
    await signIn(visitor, user);
    await visitor.goto(at('/#/profiler/0'));
    await untilInPage(
      visitor,
      `document.body.textContent.includes('${sees ? 'laden' : 'You see no server that could be traced'}')`,
    );
    expect(await visitor.locator('.actions').count()).toBe(0);
    await visitor.goto(at(`/#/profiler/${road.target}/${trace}/top`));
    await untilInPage(
      visitor,
      sees
        ? `document.querySelector('${topTable} tbody a') !== null`
        : `document.body.textContent.includes('There is no trace ${trace} that you may see')`,
    );
    for (const path of ['', '/top', '/series', '/calls', '/events'])
      expect((await other.request.get(at(`/pem/api/v1/traces/${trace}${path}`))).ok(), path).toBe(sees);
    await other.close();
  }
});

test('on a phone nothing is wider than the screen, in any view', async () => {
  const phone = await context.newPage();
  await phone.setViewportSize({ width: 390, height: 844 });
  const there = (selector: string): string => `document.querySelector(${JSON.stringify(selector)}) !== null`;
  for (const [view, ready] of [
    ['top', there(`${topTable} tbody a`)],
    ['timeline', `${there('canvas.heat')} && ${there('canvas.lanes')}`],
    ['calls', there('.vrow')],
    ['live', there('section[aria-label="Live tail"] .tools')],
    ['compare', there('table[aria-label="Statements of two runs"] tbody tr')],
  ] as const) {
    await phone.goto(at(`/#/profiler/${road.target}/${trace}/${view}`));
    await untilInPage(phone, ready);
    const columns = phone.locator('details.choice > summary');
    if ((await columns.count()) > 0) await columns.click();
    expect(await widthWhen(phone, ready), view).toBeLessThanOrEqual(390);
  }
  await phone.close();
});

test('deleted: gone from the page, and nothing of it is left at the server', async () => {
  await open(String(road.target));
  for (const name of ['laden', 'scheduled']) {
    await page.click(`.actions button[aria-label="Delete ${name}"]`);
    await page.click('.actions button:has-text("Delete for good")');
    await until(`!${textOf('table[aria-label=Traces] tbody')}.includes('${name}')`);
  }
  await eventually(
    'no trace at the server',
    async () => (await road.traced.query('SELECT FROM sql_profiler.traces')).rowCount === 0,
  );
  const left = readdirSync(join(road.traced.dataDirectory, 'sql_profiler'));
  expect(left.filter((name) => /^pgsql_tmp_\d+$/.test(name))).toEqual([]);
  expect((await road.pem.query('SELECT code, reason FROM pem.quarantine')).rows).toEqual([]);
  expect(complaints).toEqual([]);
});
