/**
 * Index advice on the profiler's pages: a real agent asks a real server with a trace and hypopg, a real browser shows what came
 * of it, with and without the extension, with statements that have no plan, and with nobody there to ask.
 */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { commandKinds, runCommand } from '../agent/link/commands.js';
import { AgentHome } from '../bench/rig/agent_home.js';
import {
  goToHash,
  openContext,
  patienceMs,
  startBrowser,
  unhurried,
  untilInPage,
} from '../bench/rig/browser.js';
import type { Cluster } from '../bench/rig/cluster.js';
import { buildPrograms } from '../bench/rig/conservation.js';
import { type Pem, startPem } from '../bench/rig/pem.js';
import { eventually, processes } from '../bench/rig/processes.js';
import { startProfiled } from '../bench/rig/traces.js';
import { monitorName, monitorRole } from '../bench/rig/watched.js';
import { startWeb, type Visitor, type WebRig } from '../bench/rig/web.js';
import { parseConninfo } from '../src/base/conninfo.js';
import { openLog } from '../src/base/log.js';
import { type Ingester, runIngester } from '../src/ingest/main.js';

vi.setConfig(unhurried);
const base = '/pem/api/v1';
const panel = 'section[aria-label="Index advice"]';
const start = `${panel} button.main`;
let pem: Pem;
let traced: Cluster;
let home: AgentHome;
let ingester: Ingester;
let web: WebRig;
let browser: Browser;
let page: Page;
let ada: Visitor;
let target: number;
let trace: number;
let passwords: Record<string, string>;
let hasHypopg = false;
const complaints: string[] = [];

async function signIn(user: string): Promise<Page> {
  const context = await openContext(browser, { viewport: { width: 1440, height: 900 } });
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const opened = await context.newPage();
  opened.on('pageerror', (error) => complaints.push(error.message));
  await opened.goto(`http://127.0.0.1:${web.port}/`);
  await opened.fill('input[name=username]', user);
  await opened.fill('input[name=password]', passwords[user] ?? '');
  await opened.click('button[type=submit]');
  await opened.waitForSelector('.tile');
  return opened;
}

const until = untilInPage;
const textOf = (selector: string): string => `(document.querySelector('${selector}')?.textContent ?? '')`;
const says = (words: string): string => `${textOf(panel)}.includes(${JSON.stringify(words)})`;
const open = (opened: Page, view: string): Promise<void> =>
  goToHash(opened, `#/profiler/${target}/${trace}/${view}`);

/** Presses a button that copies, and reads what it copied once it says so. */
async function copied(button: string): Promise<unknown> {
  await page.click(button);
  await until(page, `${textOf(button)}.includes('copied')`);
  return page.evaluate('navigator.clipboard.readText()');
}

const byCustomer = 'select note from orders where customer_id = ';

beforeAll(async () => {
  await buildPrograms();
  pem = await startPem();
  traced = await startProfiled();
  await traced.query(monitorRole);
  await traced.query('CREATE DATABASE shop');
  await traced.query(
    `CREATE TABLE orders (id int PRIMARY KEY, customer_id int, note text);
     INSERT INTO orders SELECT i, i % 5000, repeat('x', 50) FROM generate_series(1, 60000) i;
     CREATE TABLE hidden (id int); ANALYZE; GRANT SELECT ON orders TO ${monitorName}`,
    [],
    'shop',
  );
  hasHypopg =
    (await traced.query(`SELECT FROM pg_available_extensions WHERE name = 'hypopg'`)).rows.length > 0;
  await pem.addTeam('crew');
  passwords = {
    ada: await pem.addUser('ada', { level: 'pem_super_admin', teams: ['crew'] }),
    bob: await pem.addUser('bob', { teams: ['crew'] }),
  };
  const agent = await pem.addAgent({
    name: 'traced host',
    team: 'crew',
    servers: [{ name: 'traced', host: traced.socketDirectory, port: traced.port }],
  });
  target = agent.serverTargets[0] as number;
  const log = openLog('ingest');
  log.level = 'silent';
  ingester = runIngester({ db: parseConninfo(pem.conninfo('pem_ingest')), name: 'one', log });
  web = await startWeb(pem);
  ada = await web.signIn('ada', passwords.ada ?? '');
  await ada.send('PUT', `${base}/probe/config/${target}/sql_trace_statements`, { intervalMs: 1000 });
  home = AgentHome.make(pem, agent);
  home.start();

  const made = await ada.send('POST', `${base}/traces`, {
    targetId: target,
    name: 'shop statements',
    options: { databases: ['shop'], users: ['postgres'], plan: 'text' },
    start: true,
  });
  trace = made.json<{ id: number }>().id;
  const state = async () => (await ada.get(`${base}/traces/${trace}`)).json<{ state: string }>().state;
  await eventually('the trace runs', async () => (await state()) === 'running', patienceMs);
  const client = await traced.client('shop');
  for (let i = 0; i < 40; i++) await client.query(`${byCustomer}${i}`);
  for (let i = 1; i < 10; i++) await client.query(`select * from orders where id = ${i}`);
  await client.query('select count(*) from hidden');
  await client.end();
  await eventually(
    'the statements are in PEM with their texts',
    async () => {
      const top = (await ada.get(`${base}/traces/${trace}/top`)).json<{ statements?: { text: string }[] }>();
      const texts = (top.statements ?? []).map(({ text }) => text ?? '');
      return ['customer_id', 'hidden', 'where id'].every((word) => texts.some((it) => it.includes(word)));
    },
    patienceMs,
  );
  browser = await startBrowser();
  page = await signIn('ada');
});
afterAll(async () => {
  await browser?.close();
  await home?.remove();
  await web?.stop();
  await ingester?.stop();
  await traced?.stop();
  await pem?.stop();
});

test('without hypopg the panel says what to run, with the commands to copy', async () => {
  await open(page, 'top');
  await until(page, says('Nobody has asked yet'));
  await page.click(start);
  await until(page, says('The extension hypopg is not installed in database shop'));
  await until(page, says('CREATE EXTENSION hypopg;'));
  expect(await page.evaluate(`[...document.querySelectorAll('${panel} .command pre')].length`)).toBe(
    hasHypopg ? 1 : 2,
  );
  expect(await copied(`${panel} .command:last-of-type button`)).toBe('CREATE EXTENSION hypopg;');
});

test('advice for ticked statements, by keyboard: an index with its line, costs, gain and size, said to be an estimate', async ({
  skip,
}) => {
  if (!hasHypopg) skip('hypopg is not installed: apt-get install postgresql-<major>-hypopg');
  await traced.query('CREATE EXTENSION hypopg', [], 'shop');
  const table = 'table[aria-label="Top statements"]';
  const tick = `${table} input[aria-label*="customer_id"]`;
  await page.focus(tick);
  await page.keyboard.press('Space');
  await until(page, `${textOf('.tools .push')}.includes('for 1 chosen')`);
  await page.focus('.tools .push');
  await page.keyboard.press('Enter');
  await until(page, `document.activeElement?.getAttribute('aria-label') === 'Which statements'`);
  await until(page, `document.querySelector('${panel} select').value === 'chosen'`);
  // What a screen reader is told, in order.
  await page.evaluate(`
    window.told = [];
    const live = document.querySelector('${panel} [aria-live=polite]');
    new MutationObserver(() => window.told.push(live.textContent)).observe(live, { subtree: true, childList: true, characterData: true });`);
  await page.keyboard.press('Tab');
  // Held, the agent cannot have answered before the page says that it waits.
  const worker = await eventually('a worker', () => home.workerPid ?? undefined);
  const watchdog = processes().find(({ pid }) => pid === worker)?.parent as number;
  for (const pid of [watchdog, worker]) process.kill(pid, 'SIGSTOP');
  try {
    await page.keyboard.press('Enter');
    const waiting = /about 1 statement|for 1 statement; the agent fetches the request/;
    await until(page, `window.told.some((words) => ${waiting}.test(words))`);
  } finally {
    for (const pid of [worker, watchdog]) process.kill(pid, 'SIGCONT');
  }
  await page.waitForSelector(`${panel} .call pre.sql`);
  await until(page, `window.told.at(-1) === 'Advice is there: 1 index for 1 statement.'`);

  const line = 'CREATE INDEX CONCURRENTLY orders_customer_id_idx ON public.orders (customer_id);';
  expect(await page.textContent(`${panel} pre.sql`)).toBe(line);
  expect(await copied(`${panel} .call header button`)).toBe(line);
  expect(await page.textContent(`${panel} .estimate`)).toMatch(/Estimate.*hypothetical.*Nothing was created/);
  const figures = (await page.textContent(`${panel} .call .figures`)) ?? '';
  expect(figures).toMatch(/Gain, of the statement’s time\d+ %.*Size, about[\d.]+ [KM]iB.*Indexes there now1/);
  const cells = (await page.evaluate(
    `[...document.querySelectorAll('${panel} .call tbody tr:first-child td')].map((it) => it.textContent)`,
  )) as string[];
  const [statement = '', before = '', after = '', gain = ''] = cells;
  expect(statement).toContain('customer_id');
  const number = (text: string): number => Number(text.replaceAll(',', ''));
  expect(number(before)).toBeGreaterThan(5 * number(after));
  expect(Number.parseInt(gain, 10)).toBe(
    Math.round((100 * (number(before) - number(after))) / number(before)),
  );
  // Nothing was created.
  const { rows } = await traced.query(
    `SELECT indexname FROM pg_indexes WHERE tablename = 'orders'`,
    [],
    'shop',
  );
  expect(rows).toEqual([{ indexname: 'orders_pkey' }]);
});

test('one statement’s page: its own advice, none that helps, why it has no plan', async ({ skip }) => {
  if (!hasHypopg) skip('hypopg is not installed');
  await page.click('table[aria-label="Top statements"] a:has-text("customer_id")');
  await until(page, says('This statement: cost'));
  await page.waitForSelector(`${panel} pre.sql`);

  await open(page, 'top');
  await page.click('table[aria-label="Top statements"] a:has-text("where id")');
  await page.waitForSelector('pre.sql:has-text("where id")');
  await page.click(`${start}:has-text("for this statement")`);
  await until(page, says('No index helps'));
  await until(page, says('orders_pkey'));

  await open(page, 'top');
  await page.click('table[aria-label="Top statements"] a:has-text("hidden")');
  await page.waitForSelector('pre.sql:has-text("hidden")');
  await page.click(`${start}:has-text("for this statement")`);
  await until(page, says('This statement could not be planned'));
  const grant = `GRANT SELECT ON hidden TO ${monitorName};`;
  expect(((await page.textContent(`${panel} .command pre`)) ?? '').replaceAll('"', '')).toBe(
    grant.replaceAll('"', ''),
  );
});

test('earlier advice is listed with its time and can be looked at again; who may not ask still reads', async ({
  skip,
}) => {
  if (!hasHypopg) skip('hypopg is not installed');
  const opened = await signIn('bob');
  await open(opened, 'top');
  await until(opened, says('needs the role pem_admin'));
  expect(await opened.locator(start).count()).toBe(0);
  await opened.click(`${panel} summary:has-text("Earlier advice (3)")`);
  await opened.click(`${panel} .earlier li:has-text("1 index for 1 statement chosen") button`);
  await until(opened, says('orders_customer_id_idx'));
  expect(
    await opened.evaluate(
      `document.querySelector('${panel} .earlier [aria-current]').parentElement.textContent`,
    ),
  ).toContain('asked by ada');
  await opened.close();
});

test('the plans of a statement: each once, however its values differ; one is shown, and the new one once the index is there', async () => {
  await open(page, 'top');
  await page.click('table[aria-label="Top statements"] a:has-text("customer_id")');
  const table = 'table[aria-label="Plans of the statement"]';
  const rows = `[...document.querySelectorAll('${table} tbody tr')].map((row) => row.textContent)`;
  await until(page, `${rows}.length === 1 && /Seq Scan on orders\\d+/.test(${rows}[0])`);
  await page.focus(`${table} button.plain`);
  await page.keyboard.press('Enter');
  await until(
    page,
    `/Seq Scan on .*orders.*cost=.*Filter: .*customer_id = \\d+/s.test(${textOf('section[aria-label=Plan] pre')})`,
  );
  await page.waitForSelector(`${table} button.plain[aria-expanded=true]`);

  await traced.query('CREATE INDEX orders_customer_id_idx ON orders (customer_id)', [], 'shop');
  const client = await traced.client('shop');
  for (let i = 0; i < 7; i++) await client.query(`${byCustomer}${i}`);
  await client.end();
  // The page asks once, and calls come over several seconds: all of the new ones must be there.
  await eventually(
    'the second plan with its calls',
    async () => {
      await page.reload();
      await page.waitForSelector(`${table} tbody tr`);
      return page.evaluate(
        `${rows}.length === 2 && [...document.querySelectorAll('${table} tbody tr')].some((row) =>
           row.cells[0].textContent.includes('orders_customer_id_idx') && row.cells[1].textContent === '7')`,
      );
    },
    patienceMs,
  );

  // The first plan is none of the newest 500 calls any more, and there when older ones are looked through.
  const again = await traced.client('shop');
  for (let i = 0; i < 600; i++) await again.query(`${byCustomer}${i % 50}`);
  await again.end();
  await eventually(
    'the newest calls alone',
    async () => {
      await page.reload();
      await page.waitForSelector(`${table} tbody tr`);
      return page.evaluate(`${rows}.length === 1 && ${rows}[0].includes('orders_customer_id_idx')`);
    },
    patienceMs,
  );
  await page.click('button:has-text("Look through older calls")');
  await until(page, `${rows}.length === 2 && ${rows}.some((row) => row.includes('Seq Scan'))`);
  await until(
    page,
    `![...document.querySelectorAll('button')].some((it) => it.textContent === 'Look through older calls')`,
  );
});

test('the server is away: the panel says so; what was asked before stays', async () => {
  await traced.halt('fast');
  await open(page, 'top');
  await page.click(`${start}:not([disabled])`);
  await until(page, says('could not reach database shop'));
  await until(page, says('Ask again when the server answers'));
});

test('an older agent, an agent that is away, and no agent at all', async () => {
  await home.remove();
  const top = (await ada.get(`${base}/traces/${trace}/top`)).json<{
    statements: { key: string; text: string }[];
  }>();
  const keys = top.statements.filter(({ text }) => text.includes('hidden')).map(({ key }) => key);
  const asked = await ada.send('POST', `${base}/traces/${trace}/advice`, { keys });
  const { id } = asked.json<{ id: number }>();
  await page.click('table[aria-label="Top statements"] a:has-text("customer_id")');
  await page.waitForSelector('pre.sql:has-text("customer_id")');
  await page.click(`${start}:has-text("for this statement")`);
  await until(page, says('about other statements of this trace is under way'));
  await open(page, 'top');
  await until(page, `document.querySelector('${start}')?.disabled === true`);
  await until(page, `document.querySelector('${panel} progress') !== null`);
  // What an agent says that has no such command.
  const doors = { syncNow: () => undefined, renewCertificate: () => undefined };
  const { ok, result } = await runCommand({ id, kind: 'advise_indexes', payload: {} }, doors, commandKinds);
  await pem.query('UPDATE pem.command SET done_at = now(), result = $2 WHERE id = $1', [
    id,
    JSON.stringify({ ok, result }),
  ]);
  await until(page, says('The agent is too old for index advice'));

  await pem.query('UPDATE pem.target_agent SET until = now() WHERE target_id = $1 AND until IS NULL', [
    target,
  ]);
  await until(page, says('No agent watches this server'));
  await until(page, `document.querySelector('${start}')?.disabled === true`);
});

test('the page never failed', () => {
  expect(complaints).toEqual([]);
});
