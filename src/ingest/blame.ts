/**
 * Which block is to blame when a merged COPY or MERGE fails although every block passed verification. In: the blocks of
 * one probe; out: the few that fail, with PostgreSQL's reason. Every trial is rolled back.
 *
 * 1. The set is halved until a block fails alone: about 2 log2(n) trials for each.
 * 2. Where two halves pass and the whole does not, the last block of the whole is set aside: each round ends with fewer.
 * 3. Outside trouble during a trial is thrown, never blamed on a block.
 */
import { type PgConn, PgError } from '../../native/index.js';
import { type ApplyOptions, applyBlocks, type Stages, StepError } from './apply.js';
import type { Placed } from './latest.js';
import type { Fault } from './screening.js';

/** The server's error under a StepError, if it is one. */
export function serverError(error: unknown): PgError | undefined {
  const inner = error instanceof StepError ? error.cause : error;
  return inner instanceof PgError ? inner : undefined;
}

/** A file of the cluster in a message, whatever language the message is in. */
const clusterFile = /"(base|global|pg_[a-z_]+)\//;

/**
 * True where the data or the statement is to blame: doing the same again fails again. Everything else (connection,
 * shutdown, locks, resources, read-only standby, damaged tables) is outside trouble.
 */
export function isDataError(error: unknown): boolean {
  const { code = '', message = '' } = serverError(error) ?? {};
  // An errno that PostgreSQL has no code for, as EDQUOT has none in 15, comes as an internal error about a file.
  if (code === 'XX000') return !clusterFile.test(message);
  return /^(0A|21|22|23|42|44|54|P0)...$/.test(code);
}

async function trial(
  connection: PgConn,
  placed: readonly Placed[],
  stages: Stages,
): Promise<PgError | undefined> {
  const options: ApplyOptions = { stages, repeated: true, costs: new Map() };
  await connection.query('BEGIN');
  try {
    await applyBlocks(connection, placed, options);
    return undefined;
  } catch (error) {
    const reason = serverError(error);
    if (reason === undefined || !isDataError(error)) throw error;
    return reason;
  } finally {
    await connection.query('ROLLBACK').catch(() => undefined);
  }
}

async function search(
  connection: PgConn,
  placed: readonly Placed[],
  reason: PgError,
  stages: Stages,
  found: Map<Placed, Fault>,
): Promise<void> {
  if (placed.length <= 1) {
    for (const item of placed)
      found.set(item, { code: 'copy_failed', reason: `${reason.code}: ${reason.message}` });
    return;
  }
  const middle = placed.length >> 1;
  const before = found.size;
  for (const half of [placed.slice(0, middle), placed.slice(middle)]) {
    const failed = await trial(connection, half, stages);
    if (failed !== undefined) await search(connection, half, failed, stages, found);
  }
  if (found.size === before) {
    found.set(placed.at(-1) as Placed, {
      code: 'copy_failed',
      reason: `together with others, ${reason.code}: ${reason.message}`,
    });
  }
}

/** The blocks to set aside; empty when the whole set passes now. */
export async function findFaults(
  connection: PgConn,
  placed: readonly Placed[],
  stages: Stages,
): Promise<Map<Placed, Fault>> {
  const found = new Map<Placed, Fault>();
  const failed = await trial(connection, placed, stages);
  if (failed !== undefined) await search(connection, placed, failed, stages, found);
  return found;
}
