/**
 * Brings back blocks that were set aside because the catalogue did not know their probe or column, or nobody was bound to
 * their target. In: held rows of pem.quarantine; out: their rows in history and latest, the row marked 'retried', in one
 * transaction. A block whose time has come and gone meanwhile is counted as stray.
 *
 * 1. The row's lock and its state 'held' decide: with any number of ingesters a block is brought back once.
 * 2. The bytes are verified again: what is in the quarantine is still from outside.
 */
import { encodeBatch, type PgConn, verifyBatches } from '../../native/index.js';
import { applyBlocks, prepareStages, type Stages } from './apply.js';
import { isDataError, serverError } from './blame.js';
import { parseInboxStream } from './inbox.js';
import type { Knowledge } from './knowledge.js';
import { arrayText, type Placed } from './latest.js';
import { judgeBlock, retriedCodes } from './screening.js';
import { countStrays, type Stray } from './transaction.js';

/** Blocks of one attempt. */
const most = 200;

interface Held {
  readonly id: bigint;
  readonly placed?: Placed;
  readonly stray?: Stray;
}

async function readHeld(connection: PgConn, knowledge: Knowledge, after: bigint, nowUs: bigint) {
  const stream = await connection.copyOutRaw(
    `COPY (SELECT id, agent_id, seq, payload FROM pem.quarantine
            WHERE state = 'held' AND code = ANY ('${arrayText([...retriedCodes])}') AND payload IS NOT NULL AND seq IS NOT NULL
              AND id > ${after} ORDER BY id LIMIT ${most}) TO STDOUT (FORMAT binary)`,
  );
  const rows = parseInboxStream(stream);
  const { rows: places } = await connection.query(
    `SELECT q.id, q.boot, q.block_index, r.arrival FROM pem.quarantine q JOIN pem.received r USING (agent_id, boot)
      WHERE q.id = ANY ($1::bigint[])`,
    [arrayText(rows.map((row) => row.inboxId))],
  );
  const byId = new Map(places.map((row) => [BigInt(row.id as string), row]));
  const held: Held[] = [];
  for (const row of rows) {
    const place = byId.get(row.inboxId);
    if (place === undefined) continue;
    const seq = row.arrivedUs; // the third column
    const boot = place.boot as string;
    const [batch] = await verifyBatches([
      encodeBatch({ agentId: row.agentId, boot, seq, createdAtUs: 0n }, [row.bytes]),
    ]);
    const info = batch?.blocks[0]?.info;
    if (info === undefined || batch?.blocks[0]?.error !== undefined) continue;
    const index = Number(place.block_index);
    const source = { agentId: row.agentId, boot, seq, index, bytes: row.bytes, info };
    const verdict = judgeBlock(source, knowledge, nowUs);
    if (verdict.kind === 'take') {
      held.push({
        id: row.inboxId,
        placed: { block: verdict.block, arrival: BigInt(place.arrival as string) },
      });
    } else if (verdict.kind === 'stray') {
      held.push({ id: row.inboxId, stray: { agentId: row.agentId, boot, seq, verdict } });
    }
  }
  return { held, last: rows.at(-1)?.inboxId };
}

/**
 * Tries every held block once.
 * @param ensure makes the partitions that blocks need
 * @returns what was committed
 */
export async function retryHeld(
  connection: PgConn,
  knowledge: Knowledge,
  stages: Stages,
  nowUs: bigint,
  ensure: (placed: readonly Placed[]) => Promise<ReadonlySet<string>>,
): Promise<Placed[]> {
  const committed: Placed[] = [];
  let after = 0n;
  for (;;) {
    const { held, last } = await readHeld(connection, knowledge, after, nowUs);
    if (last === undefined) return committed;
    after = last;
    const busy = await ensure(held.flatMap((item) => (item.placed === undefined ? [] : [item.placed])));
    const ready = held.filter((item) => !busy.has(item.placed?.block.partition ?? ''));
    try {
      committed.push(...(await bringBack(connection, ready, stages)));
    } catch (error) {
      if (!isDataError(error)) throw error;
      for (const item of ready) committed.push(...(await bringBackAlone(connection, item, stages)));
    }
  }
}

/** One transaction over held blocks. */
async function bringBack(connection: PgConn, held: readonly Held[], stages: Stages): Promise<Placed[]> {
  if (held.length === 0) return [];
  await prepareStages(
    connection,
    held.flatMap((item) => (item.placed === undefined ? [] : [item.placed.block])),
    stages,
  );
  await connection.query('BEGIN; SET LOCAL synchronous_commit = on');
  try {
    const { rows } = await connection.query(
      `UPDATE pem.quarantine SET state = 'retried', payload = NULL
        WHERE id = ANY ($1::bigint[]) AND state = 'held' RETURNING id`,
      [arrayText(held.map((item) => item.id))],
    );
    const won = new Set(rows.map((row) => row.id));
    const mine = held.filter((item) => won.has(String(item.id)));
    const placed = mine.flatMap((item) => (item.placed === undefined ? [] : [item.placed]));
    await applyBlocks(connection, placed, { stages, repeated: true, costs: new Map() });
    await countStrays(
      connection,
      mine.flatMap((item) => (item.stray === undefined ? [] : [item.stray])),
    );
    await connection.query('COMMIT');
    return placed;
  } catch (error) {
    await connection.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/** A block that PostgreSQL refuses is not tried again. */
async function bringBackAlone(connection: PgConn, item: Held, stages: Stages): Promise<Placed[]> {
  try {
    return await bringBack(connection, [item], stages);
  } catch (error) {
    const reason = serverError(error);
    if (reason === undefined || !isDataError(error)) throw error;
    await connection.query(
      "UPDATE pem.quarantine SET code = 'copy_failed', reason = $2 WHERE id = $1::bigint",
      [String(item.id), `${reason.code}: ${reason.message}`.slice(0, 500)],
    );
    return [];
  }
}
