/**
 * What is set aside: whole batches that cannot be used and single blocks, with the reason. In: faults of a cycle; out:
 * rows of pem.quarantine in the caller's transaction.
 *
 * 1. Every refused batch leaves a row with its inbox_id: that is what lets its slot be emptied.
 * 2. Bounded per agent: payloads up to `heldBytes`; of one cycle at most `rowsPerCycle` rows with payload, further blocks
 *    in one row per code that counts them; `trim` keeps the newest `keptRows`.
 * 3. With several ingesters a refused batch is set aside once: an advisory lock on its inbox id decides.
 */
import type { PgConn } from '../../native/index.js';
import { arrayText } from './latest.js';
import type { Fault, InboxBatch } from './screening.js';

const heldBytes = 16 * 1024 * 1024;
const heldRows = 1000;
const rowsPerCycle = 20;
const keptRows = 5000;
/** First half of the two-key advisory locks on inbox ids. */
const lockClass = 0x70656d;

export interface SetAside {
  readonly agentId: number;
  readonly fault: Fault;
  readonly payload: Buffer;
  /** Present: the whole batch. */
  readonly inboxId?: bigint;
  readonly boot?: string;
  readonly seq?: bigint;
  readonly blockIndex?: number;
  readonly target?: bigint;
  readonly probe?: string;
  readonly probeVersion?: number;
}

/** Text that came from outside, fit for a text column. */
function plain(text: string): string {
  return text.replaceAll('\0', '').slice(0, 500);
}

const optional = (value: bigint | number | undefined): string | null =>
  value === undefined ? null : String(value);

/** Of refused batches those that no other ingester holds or has set aside already. */
export async function claimRefused<Refused extends { readonly inbox: InboxBatch }>(
  connection: PgConn,
  refused: readonly Refused[],
): Promise<Refused[]> {
  if (refused.length === 0) return [];
  const ids = arrayText(refused.map((item) => item.inbox.inboxId));
  const locked = await connection.query(
    `SELECT id FROM unnest($1::bigint[]) AS id WHERE pg_try_advisory_xact_lock(${lockClass}, (id % 2147483647)::int)`,
    [ids],
  );
  const there = await connection.query(
    'SELECT inbox_id FROM pem.quarantine WHERE inbox_id = ANY ($1::bigint[])',
    [ids],
  );
  const free = new Set(locked.rows.map((row) => row.id));
  for (const row of there.rows) free.delete(row.inbox_id as string);
  return refused.filter((item) => free.has(String(item.inbox.inboxId)));
}

/** Writes the rows. */
export async function setAside(connection: PgConn, items: readonly SetAside[]): Promise<void> {
  const perAgent = new Map<number, number>();
  const bare: SetAside[] = [];
  for (const item of items) {
    const count = (perAgent.get(item.agentId) ?? 0) + 1;
    perAgent.set(item.agentId, count);
    if (count > rowsPerCycle) {
      bare.push(item);
      continue;
    }
    await connection.query(
      `INSERT INTO pem.quarantine (agent_id, boot, seq, block_index, target_id, probe, probe_version, code, reason, inbox_id, payload)
       SELECT $1::int, $2::uuid, $3::bigint, $4::int, $5::bigint, $6, $7::int, $8, $9, $10::bigint,
              CASE WHEN held.rows < ${heldRows} AND held.bytes + octet_length($11::bytea) <= ${heldBytes} THEN $11::bytea END
         FROM (SELECT count(*) AS rows, coalesce(sum(octet_length(payload)), 0) AS bytes
                 FROM pem.quarantine WHERE agent_id = $1::int AND payload IS NOT NULL) held`,
      [
        String(item.agentId),
        item.boot ?? null,
        optional(item.seq),
        optional(item.blockIndex),
        optional(item.target),
        item.probe === undefined ? null : plain(item.probe),
        optional(item.probeVersion),
        item.fault.code,
        plain(item.fault.reason),
        optional(item.inboxId),
        item.payload,
      ],
    );
  }
  if (bare.length > 0) await insertBare(connection, bare);
}

/** Blocks beyond the bound are counted in one row per agent and code; batches keep a row each (rule 1). */
async function insertBare(connection: PgConn, items: readonly SetAside[]): Promise<void> {
  const counted = new Map<string, { item: SetAside; count: number }>();
  const bare: SetAside[] = [];
  for (const item of items) {
    if (item.inboxId !== undefined) {
      bare.push(item);
      continue;
    }
    const key = `${item.agentId}:${item.fault.code}`;
    const entry = counted.get(key);
    if (entry === undefined) counted.set(key, { item, count: 1 });
    else entry.count += 1;
  }
  for (const { item, count } of counted.values()) {
    bare.push({
      ...item,
      fault: { ...item.fault, reason: `${count} blocks, one of them: ${item.fault.reason}` },
    });
  }
  await connection.query(
    `INSERT INTO pem.quarantine (agent_id, boot, seq, block_index, code, reason, inbox_id)
     SELECT * FROM unnest($1::int[], $2::uuid[], $3::bigint[], $4::int[], $5::text[], $6::text[], $7::bigint[])`,
    [
      arrayText(bare.map((item) => item.agentId)),
      arrayText(bare.map((item) => item.boot ?? null)),
      arrayText(bare.map((item) => item.seq ?? null)),
      arrayText(bare.map((item) => item.blockIndex ?? null)),
      arrayText(bare.map((item) => item.fault.code)),
      arrayText(bare.map((item) => plain(item.fault.reason))),
      arrayText(bare.map((item) => item.inboxId ?? null)),
    ],
  );
}

/** Drops rows beyond `keptRows` an agent and strays likewise; rows that the inbox still needs stay. */
export async function trim(connection: PgConn): Promise<void> {
  await connection.query(
    `DELETE FROM pem.quarantine WHERE id IN (
       SELECT q.id FROM (SELECT id, inbox_id, row_number() OVER (PARTITION BY agent_id ORDER BY id DESC) AS n FROM pem.quarantine) q
        WHERE q.n > ${keptRows} AND NOT EXISTS (SELECT FROM pem_inbox.slots s WHERE s.id = q.inbox_id))`,
  );
  await connection.query(
    `DELETE FROM pem.stray WHERE ctid IN (
       SELECT s.ctid FROM (SELECT ctid, row_number() OVER (PARTITION BY agent_id ORDER BY at DESC) AS n FROM pem.stray) s
        WHERE s.n > ${keptRows})`,
  );
}
