/**
 * The cleaning duty: partitions ahead and retention every minute, what is over (sessions, tokens, commands, old
 * quarantine) every five. In: PEM's database as pem_master; out: partitions, deleted rows, log lines. Owns its connection
 * while a pass runs.
 *
 * 1. Passes never overlap; one that fails is logged with its code and tried again at the next turn.
 * 2. Nothing here is urgent: ingesters make a missing partition themselves, and refuse rows that are out of retention.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type PgConn } from '../../../native/index.js';
import type { Conninfo } from '../../../src/base/conninfo.js';
import { errorCode, errorText } from '../../../src/base/errors.js';
import type { Log } from '../../../src/base/log.js';
import { keepPartitions } from '../../../src/history/retention.js';

const partitionsMs = 60_000;
const garbageMs = 300_000;
/** Where locks were in the way. */
const againMs = 5000;

export interface Duty {
  stop(): Promise<void>;
}

/** Starts the duty; the first pass is at once. */
export function startGc(db: Conninfo, log: Log): Duty {
  const end = new AbortController();
  let lastGarbage = Number.NEGATIVE_INFINITY;

  async function pass(connection: PgConn): Promise<number> {
    const upkeep = await keepPartitions(connection, BigInt(Date.now()) * 1000n);
    if (upkeep.made.length + upkeep.removed.length + upkeep.busy.length > 0) log.info(upkeep, 'partitions');
    if (performance.now() - lastGarbage >= garbageMs) {
      const { rows } = await connection.query('SELECT pem.collect_garbage() AS done');
      lastGarbage = performance.now();
      log.info({ done: rows[0]?.done }, 'cleaned');
    }
    return upkeep.busy.length > 0 ? againMs : partitionsMs;
  }

  async function run(): Promise<void> {
    while (!end.signal.aborted) {
      let waitMs = againMs;
      let connection: PgConn | undefined;
      try {
        connection = await connect({
          params: { ...db, application_name: 'pem master gc' },
          timeoutMs: 5000,
        });
        waitMs = await pass(connection);
      } catch (error) {
        log.warn({ code: errorCode(error), reason: errorText(error) }, 'cleaning failed; trying again');
      } finally {
        connection?.close();
      }
      await sleep(waitMs, undefined, { signal: end.signal }).catch(() => undefined);
    }
  }

  const done = run();
  return {
    async stop() {
      end.abort();
      await done;
    },
  };
}
