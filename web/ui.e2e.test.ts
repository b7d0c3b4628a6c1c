/** The UI in a real browser against a whole PEM: what a person does first, with the keyboard, in the dark and on a phone. */
import { execFileSync } from 'node:child_process';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { openContext, startBrowser, unhurried, untilInPage, widthWhen } from '../bench/rig/browser.js';
import { type Desk, startDesk } from '../bench/rig/desk.js';

vi.setConfig(unhurried);
let desk: Desk;
let browser: Browser;
let context: BrowserContext;
let page: Page;
const complaints: string[] = [];

function watch(opened: Page): Page {
  opened.on('pageerror', (error) => complaints.push(error.message));
  opened.on('console', (message) => {
    // The first question, "who am I", is answered 401 before sign-in: the browser logs that by itself.
    if (message.type() === 'error' && !message.text().includes('401')) complaints.push(message.text());
  });
  return opened;
}

const until = untilInPage;

beforeAll(async () => {
  desk = await startDesk();
  browser = await startBrowser();
  context = await openContext(browser, { viewport: { width: 1440, height: 900 } });
  page = watch(await context.newPage());
});

afterAll(async () => {
  await browser?.close();
  await desk?.stop();
});

test('the printed link signs in once, and leaves the address bar', async () => {
  await page.goto(`${desk.url}/#signin=${desk.signInToken}`);
  await page.waitForSelector('.tile');
  expect(await page.evaluate('location.href')).not.toContain(desk.signInToken);
  const other = await openContext(browser);
  const again = watch(await other.newPage());
  await again.goto(`${desk.url}/#signin=${desk.signInToken}`);
  await again.waitForSelector('input[name=password]');
  await until(again, "document.querySelector('[role=alert]').textContent.trim() !== ''");
  await other.close();
});

test('a wrong password is refused in words, and the page stays', async () => {
  const other = await openContext(browser);
  const stranger = watch(await other.newPage());
  await stranger.goto(desk.url);
  await stranger.fill('input[name=username]', 'admin');
  await stranger.fill('input[name=password]', 'not the password');
  await stranger.click('button[type=submit]');
  await until(stranger, "document.querySelector('[role=alert]').textContent.trim() !== ''");
  expect(await stranger.isVisible('input[name=password]')).toBe(true);
  await other.close();
});

test('the fleet shows agent and server up, with live figures', async () => {
  await page.waitForSelector('table[aria-label="PostgreSQL servers"] .status.up');
  await page.waitForSelector('table[aria-label="Agents"] .status.up');
  await page.waitForSelector('table[aria-label="Agents"] meter');
  await until(
    page,
    `/tx\\/s/.test(document.querySelector('table[aria-label="PostgreSQL servers"]').textContent)`,
  );
});

test('the agent page draws charts that move by themselves', async () => {
  await page.click('table[aria-label="Agents"] a');
  await page.waitForSelector('section[aria-label=CPU] canvas');
  expect(await page.evaluate('location.hash')).toContain('#/agent/1');
  const label = `document.querySelector('section[aria-label="Load average"] .plot').getAttribute('aria-label')`;
  const samples = `performance.getEntriesByName('pem:chart').length`;
  expect(await page.evaluate(samples)).toBe(1);
  await until(page, `/1 min [\\d.]+/.test(${label})`);
  const pixels = `document.querySelector('section[aria-label=CPU] canvas').toDataURL()`;
  const before = await page.evaluate(pixels);
  await until(page, `${pixels} !== ${JSON.stringify(before)}`);
});

test('the server page shows sessions, databases, tables and settings', async () => {
  await page.goto(`${desk.url}/#/server/2`);
  await page.waitForSelector('section[aria-label=Sessions] canvas');
  for (const [table, text, typed] of [
    ['Sessions now', 'pem_ingest', 'ingest'],
    ['Databases', 'template1', ''],
    ['Tables', 'pem.agent', 'agent'],
    ['Settings that differ from the default', 'cluster_name', 'cluster'],
  ] as const) {
    // Which of many rows are on a table's first page changes with time.
    const filter = page.locator(`input[aria-label="Filter ${table}"]`);
    if (typed !== '') await filter.fill(typed);
    await until(
      page,
      `document.querySelector('table[aria-label="${table}"] tbody').textContent.includes('${text}')`,
    );
    if (typed === '') continue;
    await filter.fill('');
    await filter.blur();
  }
});

test('"/" leads to the filter, arrow keys move one cursor over all charts, the range is in the address', async () => {
  await page.keyboard.press('/');
  await until(page, `document.activeElement.getAttribute('aria-label') === 'Filter Sessions now'`);
  await page.keyboard.type('no such session');
  await until(page, `document.body.textContent.includes('Nothing here contains')`);
  await page.fill('input[aria-label="Filter Sessions now"]', '');
  // Keys move over samples: both charts must have some.
  for (const chart of ['Transactions', 'Sessions'])
    await page.waitForSelector(`section[aria-label=${chart}] canvas`);
  await page.focus('section[aria-label=Transactions] .plot');
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('ArrowLeft');
  await until(
    page,
    `document.querySelector('section[aria-label=Transactions] .moment').textContent !== '' &&
     document.querySelector('section[aria-label=Sessions] .moment').textContent !== ''`,
  );
  await page.click('nav[aria-label="Time range"] button:has-text("1 h")');
  await until(page, `location.hash.includes('range=1h')`);
  await page.reload();
  await page.waitForSelector('button[aria-pressed=true]:has-text("1 h")');
});

test('on a phone nothing is wider than the screen', async () => {
  const phone = watch(await context.newPage());
  await phone.setViewportSize({ width: 390, height: 844 });
  const there = (selector: string): string => `document.querySelector('${selector}') !== null`;
  for (const [address, ready] of [
    ['#/', there('table[aria-label="Agents"] meter')],
    [
      '#/agent/1',
      `${there('section[aria-label=CPU] canvas')} && ${there('table[aria-label="File systems"] td')}`,
    ],
    [
      '#/server/2',
      `${there('section[aria-label=Sessions] canvas')} && ${there('table[aria-label="Sessions now"] td')}`,
    ],
    ['#/system', there('section[aria-label="Ingest lag"] canvas')],
  ] as const) {
    await phone.goto(`${desk.url}/${address}`);
    expect(await widthWhen(phone, ready), address).toBeLessThanOrEqual(390);
  }
  await phone.close();
});

test('the system page shows lag, spool and cost per probe', async () => {
  await page.goto(`${desk.url}/#/system`);
  await page.waitForSelector('section[aria-label="Ingest lag"] canvas');
  await until(
    page,
    `document.querySelector('table[aria-label="Cost per probe of PEM"] tbody').textContent.includes('session_info')`,
  );
  await until(
    page,
    `/desk.*ms/.test(document.querySelector('table[aria-label="Ingesters"] tbody')?.textContent ?? '')`,
  );
  await until(
    page,
    `/desk.*up.*[KM]iB/.test(document.querySelector('table[aria-label="Agents by backlog"] tbody')?.textContent ?? '')`,
  );
});

test('an agent that stops is shown down without a reload, and up again', async () => {
  await page.goto(`${desk.url}/#/`);
  await page.waitForSelector('table[aria-label="Agents"] .status.up');
  const watchdog = execFileSync('pgrep', ['-f', `pem-watchdog.*${desk.home}`])
    .toString()
    .trim()
    .split('\n');
  const worker = execFileSync('pgrep', ['-P', watchdog[0] as string])
    .toString()
    .trim()
    .split('\n');
  for (const pid of [...watchdog, ...worker]) process.kill(Number(pid), 'SIGSTOP');
  try {
    await page.waitForSelector('table[aria-label="Agents"] .status.down');
  } finally {
    for (const pid of [...worker, ...watchdog]) process.kill(Number(pid), 'SIGCONT');
  }
  await page.waitForSelector('table[aria-label="Agents"] .status.up');
});

test('an object that is not there is said to be, and the page never complained', async () => {
  await page.goto(`${desk.url}/#/server/999`);
  await until(page, `document.body.textContent.includes('There is no server 999')`);
  expect(complaints).toEqual([]);
});
