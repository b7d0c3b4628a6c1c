/**
 * A server without an agent in a real browser, from nothing known to a trace that was read: the form, the password, what is
 * said where it fails, leaving. A real server with the extension, a real ingester, no agent.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import {
  goToHash,
  openContext,
  startBrowser,
  unhurried,
  untilFocused,
  untilInPage,
} from '../bench/rig/browser.js';
import type { Cluster } from '../bench/rig/cluster.js';
import { type Pem, startPem } from '../bench/rig/pem.js';
import { startUnmanaged, tracingPassword, tracingRole } from '../bench/rig/unmanaged.js';
import { startWeb, type WebRig } from '../bench/rig/web.js';
import { parseConninfo } from '../src/base/conninfo.js';
import { openLog } from '../src/base/log.js';
import { type Ingester, runIngester } from '../src/ingest/main.js';

vi.setConfig(unhurried);
let pem: Pem;
let traced: Cluster;
let ingester: Ingester;
let web: WebRig;
let browser: Browser;
let page: Page;
const state = mkdtempSync(join(tmpdir(), 'pemunmanaged-'));
const complaints: string[] = [];

const until = (expression: string): Promise<void> => untilInPage(page, expression);
const textOf = (selector: string): string => `(document.querySelector('${selector}')?.textContent ?? '')`;
const table = 'table[aria-label="Servers without agent"]';

/** Pictures for eyes, where somebody asks for them: both widths, both schemes. */
const look = async (name: string): Promise<void> => {
  if (process.env.PEM_SCREENSHOTS === undefined) return;
  for (const width of [1440, 390]) {
    await page.setViewportSize({ width, height: 900 });
    for (const scheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.waitForTimeout(150);
      await page.screenshot({
        path: join(process.env.PEM_SCREENSHOTS, `${name}-${width}-${scheme}.png`),
        fullPage: true,
      });
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1440, height: 900 });
};

beforeAll(async () => {
  pem = await startPem();
  traced = await startUnmanaged();
  const password = await pem.addUser('ada', { level: 'pem_admin' });
  await pem.addUser('bob');
  const log = openLog('ingest');
  log.level = 'silent';
  web = await startWeb(pem, { stateDirectory: state });
  ingester = runIngester({
    db: parseConninfo(pem.conninfo('pem_ingest')),
    name: 'one',
    log,
    pushSocket: web.pushDirectory,
  });
  browser = await startBrowser();
  page = await (await openContext(browser, { viewport: { width: 1440, height: 900 } })).newPage();
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error' && !/4(00|01|04|09|22)/.test(message.text()))
      complaints.push(message.text());
  });
  await page.goto(`http://127.0.0.1:${web.port}/`);
  await page.fill('input[name=username]', 'ada');
  await page.fill('input[name=password]', password);
  await page.click('button[type=submit]');
  await page.waitForSelector('.tile');
});
afterAll(async () => {
  await browser?.close();
  await web?.stop();
  await ingester?.stop();
  await traced?.stop();
  await pem?.stop();
  rmSync(state, { recursive: true, force: true });
});

test('a server is made known by keyboard; what is wrong is said at its field', async () => {
  await goToHash(page, '#/profiler/0');
  const add = page.getByRole('button', { name: 'Add a server without agent' });
  await add.focus();
  await page.keyboard.press('Enter');
  await page.waitForSelector('form[aria-label="New server without agent"]');
  await untilFocused(page, 'name');
  await page.keyboard.type('lonely');
  await page.keyboard.press('Tab');
  await page.keyboard.type('/var/run/postgresql');
  await page.keyboard.press('Enter');
  await until(`${textOf('#wrong-host')}.includes('no path')`);
  await untilFocused(page, 'host');
  expect(await page.getAttribute('input[name=host]', 'aria-describedby')).toBe('wrong-host');
  await page.fill('input[name=host]', '127.0.0.1');
  await page.fill('input[name=port]', String(traced.port));
  await page.fill('input[name=user]', tracingRole);
  await page.selectOption('select[name=sslmode]', 'disable');
  await until(`${textOf('.warn')}.includes('Nothing is encrypted')`);
  // The server's own refusal finds its field, too.
  await page.fill('input[name=team]', 'nowhere');
  await page.keyboard.press('Enter');
  await until(`${textOf('#wrong-team')}.includes('does not exist')`);
  await untilFocused(page, 'team');
  await look('form');
  await page.fill('input[name=team]', '');
  await page.keyboard.press('Enter');
  await until(`${textOf(table)}.includes('nobody is connected')`);
});

test('a wrong password is said, the right one connects; neither stays in the page', async () => {
  await untilFocused(page, 'server-password');
  const field = page.locator('input[name=server-password]');
  expect([await field.getAttribute('type'), await field.getAttribute('autocomplete')]).toEqual([
    'password',
    'off',
  ]);
  await page.keyboard.type('surely not');
  await page.keyboard.press('Enter');
  await until(`${textOf('.connect [role=alert]')}.includes('password authentication failed')`);
  expect(await field.inputValue()).toBe('');
  await look('wrong');
  await untilFocused(page, 'server-password');
  await page.keyboard.type(tracingPassword);
  await page.keyboard.press('Enter');
  await until(`${textOf(table)}.includes('you are connected')`);
  await look('connected');
  const kept = await page.evaluate(
    `document.documentElement.outerHTML + location.href + JSON.stringify({ ...localStorage, ...sessionStorage })`,
  );
  expect(kept).not.toContain(tracingPassword);
});

test('a trace of it is made, read and shown as any other; who leaves cannot stop it', async () => {
  await page.click(`${table} a:has-text("lonely")`);
  await page.waitForSelector('header.title a:has-text("all servers")');
  await page.click('text=New trace');
  // Nobody would be there to start it by itself, or to make room.
  await until(
    `[...document.querySelectorAll('select[name=when] option')].map((option) => option.value).join() === 'now,asked'`,
  );
  expect(await page.locator('input[name=continuous]').count()).toBe(0);
  await page.fill('input[name=name]', 'what it does');
  await page.fill('input[name=users]', 'postgres');
  await page.click('button:has-text("Start trace")');
  await until(`${textOf('h1')} === 'what it does' && ${textOf('.status')}.includes('running')`);
  const client = await traced.client();
  for (let n = 0; n < 60; n++) await client.query(`SELECT ${n} AS looked_at`);
  await client.end();
  await page.click('.actions button:has-text("Stop")');
  await until(`${textOf('.status')}.includes('ended')`);
  await until(`document.body.textContent.toLowerCase().includes('as looked_at')`);
  await look('trace');
  await page.click('header.title a:has-text("lonely")');
  await page.click('button[aria-label="Disconnect from lonely"]');
  await until(`${textOf(table)}.includes('nobody is connected')`);
  await page.click('table[aria-label=Traces] tbody button:has-text("Start")');
  await until(`${textOf('table[aria-label=Traces] [role=alert]')}.includes('connect to it first')`);
  await look('left');
});

test('removed after a second word; the page has nothing to complain of', async () => {
  await page.click('button[aria-label="Remove lonely"]');
  await page.click('button:has-text("Keep")');
  await page.click('button[aria-label="Remove lonely"]');
  await page.click('button:has-text("Remove for good")');
  await goToHash(page, '#/profiler/0');
  await until(`${textOf('section[aria-label="Servers without agent"]')}.includes('None.')`);
  expect(complaints).toEqual([]);
});
