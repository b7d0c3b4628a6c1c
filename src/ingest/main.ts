/**
 * The ingester: batches from the inbox into history and latest, then to the web processes. In: pem_inbox slots of PEM's
 * database as pem_ingest; out: pemhistory, pemdata, pem.received, pem.quarantine, pem.stray, messages on push sockets.
 * Owns its three connections (reads ahead, writes, minds the house), nothing on disk. Any number may run.
 *
 * 1. Nothing is lost by its end anywhere: a batch leaves the inbox only after its transaction (transaction.ts) is
 *    committed, and a batch that comes twice is dropped by the received set.
 * 2. Reading and verifying the next batches goes on beside the transaction; only one transaction is open at a time.
 * 3. A batch or block that cannot be brought in is set aside alone, with its reason; the rest goes on.
 * 4. After an end that was not clean the first batches go one by one, each noted before it is touched: one that ends the
 *    process time and again is set aside unread.
 * 5. Outside trouble (PEM's PostgreSQL away, out of disk, a lock) is counted and waited for, without end. A fault of our
 *    own ends the process.
 * 6. A partition that is missing is made here; where locks do not let it, its batches wait and the others go on.
 * Full: reads stop at 16 MB a cycle, the slots and the agents' spools hold the rest. Stop: the open transaction ends.
 */
import type { Conninfo } from '../base/conninfo.js';
import { errorCode, errorText, PemError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { Counters } from './counters.js';
import { PushLinks } from './push.js';
import { Session } from './session.js';

export interface IngesterOptions {
  readonly db: Conninfo;
  /** Unique among running ingesters; kept over restarts. */
  readonly name: string;
  /** Directory of the web processes' `*.sock`, or one socket. */
  readonly pushSocket?: string;
  readonly log: Log;
}

export interface Ingester {
  /** Ends the open transaction and closes everything. */
  stop(): Promise<void>;
  readonly counters: Counters;
}

const shortestWaitMs = 200;
const longestWaitMs = 5000;

/** Errors that say something about PEM's PostgreSQL or the way to it, and nothing about us. */
export function isOutside(error: unknown): boolean {
  if (error instanceof PemError) return error.kind === 'outside';
  const code = errorCode(error);
  return (
    /^(08|25|28|40|53|55|57|58)...$/.test(code) ||
    ['connection_lost', 'connect_failed', 'connect_timeout', 'query_timeout'].includes(code)
  );
}

/** Starts an ingester. It runs until `stop`. */
export function runIngester(options: IngesterOptions): Ingester {
  const { log } = options;
  const counters = new Counters();
  const push = new PushLinks(options.pushSocket, options.name, log);
  let stopping = false;
  let session: Session | undefined;
  let wake: () => void = () => undefined;

  async function run(): Promise<void> {
    let waitMs = shortestWaitMs;
    let cautious = true;
    while (!stopping) {
      const started = performance.now();
      try {
        session = await Session.open(options, counters, push, cautious);
        cautious = false;
        if (stopping) session.stop();
        await session.run();
      } catch (error) {
        if (!isOutside(error)) throw error;
        counters.outside += 1;
        log.warn(
          { code: errorCode(error), reason: errorText(error) },
          'PEM database is not usable; trying again',
        );
      } finally {
        session?.close();
        session = undefined;
      }
      if (stopping) break;
      waitMs =
        performance.now() - started > longestWaitMs ? shortestWaitMs : Math.min(waitMs * 2, longestWaitMs);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  const done = run().catch((error: unknown) => {
    log.fatal({ code: errorCode(error), reason: errorText(error) }, 'ingester ends');
    setImmediate(() => {
      throw error;
    });
  });

  return {
    counters,
    async stop() {
      stopping = true;
      session?.stop();
      wake();
      await done;
      push.close();
    },
  };
}
