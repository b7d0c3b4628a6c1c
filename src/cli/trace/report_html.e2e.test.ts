import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openContext, startBrowser } from '../../../bench/rig/browser.js';
import { sampleRow, sampleStartUs, writeCsv } from '../../../bench/rig/trace_sample.js';
import { FolderStore } from './folder.js';
import { reportHtml } from './report_html.js';
import { buildReport } from './report_model.js';
import { scanTrace } from './scan.js';

let folder: string;
let browser: Browser;

const markup = '</script><script>document.title="taken"</script>';

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pem-html-'));
  const texts = ['SELECT * FROM customers WHERE id = $1', 'UPDATE stock SET n = n - 1', `SELECT '${markup}'`];
  const rows = Array.from({ length: 600 }, (_, i) =>
    sampleRow(i + 1, {
      end_time: sampleStartUs + i * 100_000,
      query: texts[i % 3] as string,
      query_id: (i % 3) + 1,
      exec_us: [50, 9000, 200][i % 3] as number,
      wal_bytes: i % 3 === 1 ? 100 : 0,
      ...(i % 100 === 2 ? { sqlstate: '23505', error: markup } : {}),
    }),
  );
  writeCsv(join(folder, 'trace'), 3, rows);
  const store = new FolderStore(join(folder, 'trace'));
  const scanned = await scanTrace(store, { filter: {}, top: 10, quiet: true });
  const report = buildReport(scanned, { kind: 'folder', name: 'a trace', filter: {}, madeAt: new Date(0) });
  writeFileSync(join(folder, 'report.html'), reportHtml(report));
  browser = await startBrowser();
});
afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function open(
  width: number,
  colorScheme: 'light' | 'dark',
): Promise<{ page: Page; trouble: string[] }> {
  const context = await openContext(browser, { viewport: { width, height: 900 }, colorScheme });
  const page = await context.newPage();
  const trouble: string[] = [];
  page.on('console', (message) => trouble.push(message.text()));
  page.on('pageerror', (error) => trouble.push(String(error)));
  page.on('request', (request) => {
    if (!request.url().startsWith('file:')) trouble.push(request.url());
  });
  await page.goto(`file://${join(folder, 'report.html')}`);
  return { page, trouble };
}

test('loads nothing, runs nothing of the trace, and fits its window in both schemes', async () => {
  const grounds = new Set<string>();
  for (const width of [1440, 390]) {
    for (const scheme of ['light', 'dark'] as const) {
      const { page, trouble } = await open(width, scheme);
      expect(trouble).toEqual([]);
      expect(await page.title()).toBe('SQL trace report: a trace');
      expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBeLessThanOrEqual(0);
      grounds.add(await page.evaluate('getComputedStyle(document.body).backgroundColor'));
      await page.context().close();
    }
  }
  expect(grounds.size).toBe(2);
});

test('tables sort with the keyboard, and a link opens its statement', async () => {
  const { page } = await open(1440, 'light');
  const table = page.getByRole('region', { name: 'Top statements' }).locator('table');
  const calls = table.getByRole('columnheader', { name: 'mean' });
  await calls.getByRole('button').focus();
  const means = async (): Promise<number[]> => {
    const cells = await table.locator('tbody tr td:nth-child(6)').all();
    return Promise.all(cells.map(async (cell) => Number(await cell.getAttribute('data-v'))));
  };
  await page.keyboard.press('Enter');
  await table.locator('th[aria-sort=descending]', { hasText: 'mean' }).waitFor();
  expect(await means()).toEqual([9000, 200, 50]);
  await page.keyboard.press('Enter');
  await table.locator('th[aria-sort=ascending]', { hasText: 'mean' }).waitFor();
  expect(await means()).toEqual([50, 200, 9000]);
  await table.locator('tbody tr').last().getByRole('link').press('Enter');
  const opened = page.locator('details#s1[open]');
  await opened.waitFor();
  expect(await opened.textContent()).toContain('update stock set n = n - ?');
  // Slowest calls, statements and errors are found without a mouse.
  expect(await page.locator('summary').count()).toBeGreaterThan(10);
  await page.context().close();
});
