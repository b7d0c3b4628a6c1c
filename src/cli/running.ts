/**
 * Long-running programs from the command line: start, then wait for SIGTERM or SIGINT, then stop in order. A second signal
 * while it stops is ignored: every program bounds its own stop, and a supervisor kills what does not.
 */
import type { Log } from '../base/log.js';

export interface Running {
  stop(): Promise<void>;
}

/** Resolves when the program was asked to end and has ended. */
export async function untilAsked(program: Running, log: Log): Promise<void> {
  const signal = await new Promise<string>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  process.on('SIGTERM', () => undefined);
  process.on('SIGINT', () => undefined);
  log.info({ signal }, 'stopping');
  await program.stop();
  log.info('stopped');
}
