/** Debian's Chromium, headless, for tests and benchmarks of the UI. It speaks to loopback alone. */
import { type Browser, chromium, type Page } from 'playwright-core';

export async function startBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env.PEM_TEST_CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/**
 * Waits until an expression is true in the page. (The driver's own wait evaluates text inside the page: our CSP forbids it.)
 * @throws with the page's text when it does not become true within `withinMs`
 */
export async function untilInPage(page: Page, expression: string, withinMs = 90_000): Promise<void> {
  const end = Date.now() + withinMs;
  while (!(await page.evaluate(`Boolean(${expression})`))) {
    if (Date.now() > end) {
      const text = String(await page.evaluate(`document.querySelector('main')?.innerText ?? ''`));
      throw new Error(`never true: ${expression}\nat ${page.url()}:\n${text.slice(0, 3000)}`);
    }
    await page.waitForTimeout(100);
  }
}
