/**
 * Debian's Chromium, headless, for tests and benchmarks of the UI, and how a test waits for what a page comes to. It speaks to
 * loopback alone. Nothing here says how fast a machine is: a wait ends when what it waits for is there, and gives up after
 * `patienceMs`, which is far longer than any machine takes.
 */
import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
  type Page,
} from 'playwright-core';

export const patienceMs = 90_000;
/** Times of a test file for `vi.setConfig`: several waits, so that the one that failed is what is told. */
export const unhurried = { testTimeout: 4 * patienceMs, hookTimeout: 4 * patienceMs } as const;

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

/** A browser's profile of its own, whose clicks and waits are as patient as ours. */
export async function openContext(
  browser: Browser,
  options?: BrowserContextOptions,
): Promise<BrowserContext> {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(patienceMs);
  context.setDefaultNavigationTimeout(patienceMs);
  return context;
}

/**
 * Waits until an expression is true in the page; one that throws is not true yet. (The driver's own wait evaluates text inside
 * the page: our CSP forbids it.)
 * @throws with the page's text when it does not become true within `withinMs`
 */
export async function untilInPage(page: Page, expression: string, withinMs = patienceMs): Promise<void> {
  const endMs = performance.now() + withinMs;
  let trouble = '';
  for (;;) {
    try {
      if (await page.evaluate(`Boolean(${expression})`)) return;
      trouble = '';
    } catch (error) {
      trouble = String(error);
      if (page.isClosed()) throw error;
    }
    if (performance.now() > endMs) {
      const text = String(await page.evaluate(`document.body?.innerText ?? ''`));
      throw new Error(`never true: ${expression} ${trouble}\nat ${page.url()}:\n${text.slice(0, 3000)}`);
    }
    await page.waitForTimeout(100);
  }
}

/** Goes to another address of the page that is open, and waits until the page has taken it: it hears of it later. */
export async function goToHash(page: Page, hash: string): Promise<void> {
  await page.evaluate(`new Promise((done) => {
    const to = ${JSON.stringify(hash)};
    if (location.hash === to) return done();
    addEventListener('hashchange', () => setTimeout(done), { once: true });
    location.hash = to;
  })`);
}

/** Waits until what was done so far is drawn: two frames of the page. */
export async function untilDrawn(page: Page): Promise<void> {
  await page.evaluate('new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))');
}

/** Waits until this input has the focus: what is typed before then could go elsewhere. */
export const untilFocused = (page: Page, name: string): Promise<void> =>
  untilInPage(page, `document.activeElement?.getAttribute('name') === ${JSON.stringify(name)}`);

/** Presses, drags and lets go over an element that stands still; places are shares of its width and height. */
export async function dragOver(
  page: Page,
  selector: string,
  from: readonly [x: number, y: number],
  to: readonly [x: number, y: number],
): Promise<void> {
  const element = page.locator(selector);
  await element.waitFor();
  const box = await element.boundingBox();
  if (box === null) throw new Error(`${selector} is not on the screen`);
  const place = ([x, y]: readonly [number, number]) => ({ x: box.width * x, y: box.height * y });
  // The driver moves the pointer where the element is when it has stopped moving.
  await element.hover({ position: place(from) });
  await page.mouse.down();
  await element.hover({ position: place([(from[0] + to[0]) / 2, (from[1] + to[1]) / 2]) });
  await element.hover({ position: place(to) });
  await page.mouse.up();
}

/** Presses along the first session's lane until a call is hit, and waits until the call is shown. */
export async function pressLanes(page: Page): Promise<void> {
  const lanes = page.locator('canvas.lanes');
  await lanes.waitFor();
  const box = await lanes.boundingBox();
  if (box === null) throw new Error('no lanes');
  // A press takes the call within three pixels, and a lane has at least one.
  for (let x = box.width * 0.05; x < box.width; x += 5) {
    await lanes.click({ position: { x, y: 14 } });
    await untilDrawn(page);
    // Asked for, or there.
    if ((await page.locator('section[aria-label=Sessions] :is(.empty, .call)').count()) > 0) break;
  }
  await page.waitForSelector('.call header');
}

/** How wide the page is, CSS pixels, once `ready` is true in it and drawn: before its content is there any page is narrow. */
export async function widthWhen(page: Page, ready: string): Promise<number> {
  await untilInPage(page, ready);
  await untilDrawn(page);
  return Number(await page.evaluate('document.scrollingElement.scrollWidth'));
}
