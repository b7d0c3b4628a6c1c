/**
 * How heavy is the page, and how soon does it show something? gzip bytes of the JavaScript and CSS that any page but the
 * profiler's loads (those fetch a chunk of their own when they are opened; its size is a figure), and the time from
 * pressing "Sign in" to the first chart with data, on loopback, in a browser with an empty cache each time.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { atMost, type BenchOptions, type BenchResult, median } from '../report.js';
import { startBrowser } from '../rig/browser.js';
import { startDesk } from '../rig/desk.js';

/** When the first chart was drawn, ms on the page's own clock, or since a mark of ours. */
const chartAt = "performance.getEntriesByName('pem:chart')[0]?.startTime ?? NaN";
const markSubmit =
  "document.querySelector('form').addEventListener('submit', () => performance.mark('bench:submit'), true)";
const submitAt = "performance.getEntriesByName('bench:submit')[0]?.startTime ?? NaN";

export async function run({ quick, progress }: BenchOptions): Promise<BenchResult> {
  const root = fileURLToPath(new URL('../../', import.meta.url)).replace(/dist\/$/, '');
  const sizes = JSON.parse(readFileSync(`${root}/dist/web/sizes.json`, 'utf8')) as {
    gzipBytes: number;
    laterGzipBytes: number;
  };
  progress(`gzip ${sizes.gzipBytes} bytes; starting a desk`);
  const desk = await startDesk();
  const browser = await startBrowser();
  const signInMs: number[] = [];
  const linkMs: number[] = [];
  try {
    const password = readFileSync(join(desk.home, 'secrets/admin-password'), 'utf8').trim();
    // The first samples must be there: an empty panel is no chart.
    await new Promise((resolve) => setTimeout(resolve, 5000));
    const rounds = quick ? 5 : 15;
    for (let round = 0; round < rounds; round += 1) {
      const context = await browser.newContext();
      const page = await context.newPage();
      await page.goto(`${desk.url}/#/agent/1`);
      await page.fill('input[name=username]', 'admin');
      await page.fill('input[name=password]', password);
      await page.evaluate(markSubmit);
      await page.click('button[type=submit]');
      await page.waitForSelector('.plot canvas');
      const ms = Number(await page.evaluate(`(${chartAt}) - (${submitAt})`));
      signInMs.push(ms);
      const opened = await context.newPage();
      await opened.goto(`${desk.url}/#/agent/1`);
      await opened.waitForSelector('.plot canvas');
      linkMs.push(Number(await opened.evaluate(chartAt)));
      progress(
        `round ${round + 1}/${rounds}: sign-in to chart ${ms.toFixed(0)} ms, open page to chart ${linkMs.at(-1)?.toFixed(0)} ms`,
      );
      await context.close();
    }
  } finally {
    await browser.close();
    await desk.stop();
  }
  return {
    figures: {
      gzipBytes: sizes.gzipBytes,
      profilerPagesGzipBytes: sizes.laterGzipBytes,
      signInToChartMedianMs: median(signInMs),
      signInToChartMaxMs: Math.max(...signInMs),
      openToChartMedianMs: median(linkMs),
      rounds: signInMs.length,
    },
    bars: [
      atMost(
        'gzip of the JavaScript and CSS of every page but the profiler’s',
        sizes.gzipBytes,
        60_000,
        'bytes',
      ),
      atMost('sign-in → first live chart drawn, median', median(signInMs), 500, 'ms'),
    ],
  };
}
