/**
 * Progress of long work on stderr: a line that is written over on a terminal, else a line every few seconds. In: counts so far.
 * Nothing is shown of work that is over within a second, and nothing at all with --quiet.
 */
import { bytes, count, duration, percent, rate } from './format.js';

export interface Done {
  readonly bytes: number;
  readonly rows: number;
}

const terminalMs = 200;
const logMs = 5000;
const silentMs = 1000;

export class Progress {
  readonly #from = performance.now();
  readonly #timer: NodeJS.Timeout | undefined;
  #shown = false;

  /**
   * @param totalBytes 0 where it is not known
   * @param now what is done so far
   */
  constructor(what: string, totalBytes: number, now: () => Done, quiet: boolean) {
    if (quiet) return;
    const terminal = process.stderr.isTTY;
    const show = (): void => {
      const elapsedMs = performance.now() - this.#from;
      if (elapsedMs < silentMs) return;
      const done = now();
      const share = totalBytes > 0 ? Math.min(1, done.bytes / totalBytes) : Number.NaN;
      const left = share > 0.01 ? `, ${duration((elapsedMs * 1000 * (1 - share)) / share)} left` : '';
      const text =
        `${what}: ${Number.isNaN(share) ? '' : `${percent(share)} of ${bytes(totalBytes)}, `}` +
        `${count(done.rows)} rows, ${rate((done.rows / elapsedMs) * 1000)}${left}`;
      process.stderr.write(terminal ? `\r\u001b[K${text}` : `${text}\n`);
      this.#shown = true;
    };
    this.#timer = setInterval(show, terminal ? terminalMs : logMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    if (this.#shown && process.stderr.isTTY) process.stderr.write('\r\u001b[K');
  }
}
