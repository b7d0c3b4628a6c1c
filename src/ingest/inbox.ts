/**
 * The inbox as an ingester reads it: one COPY TO STDOUT BINARY a poll on a connection of its own. In: rows of
 * pem_inbox.slots; out: batches not handed out before. Owns the memory of what was handed out.
 *
 * 1. Ids become visible out of order, so the memory is a set, not a mark; it forgets ids below the oldest row there is.
 * 2. Which ingester reads which agent is only a preference (agent id modulo ingesters): rows of others are adopted when
 *    they are left lying. Locks on pem.received decide, not this.
 * 3. Full: a read stops at `readBytes`; the next one goes on at once.
 */

import type { PgConn } from '../../native/index.js';
import { PemError } from '../base/errors.js';
import { RangeSet } from './ranges.js';
import type { InboxBatch } from './screening.js';

/** Bytes of batches a read hands out at most (and one batch more). */
export const readBytes = 16 * 1024 * 1024;

/** What the last batch of a full read takes beyond, and the frame of the rows; more makes the memory grow. */
const spareBytes = 512 * 1024;

/** And rows: so many are sorted for a read, however long the backlog is. */
const readRows = 4096;

const signature = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1');
/** Signature, flags and the length of an extension that PostgreSQL does not write. */
const headerBytes = 19;

/** Byte of a row at which its batch begins: count of fields, three fields with their lengths, the batch's own length. */
export const batchAt = 38;

/**
 * Rows (id int8, agent_id int4, arrived int8, batch bytea) of a binary COPY. The batches share the stream's memory.
 * `starts`: where rows begin, if they do not follow one another (copyOutAligned).
 */
export function parseInboxStream(stream: Buffer, starts?: Uint32Array): InboxBatch[] {
  const torn = (): never => {
    throw new PemError('inbox_stream', 'the inbox stream is not what was asked for', 'corrupt');
  };
  const signatureAt = starts === undefined ? 0 : (starts[0] ?? 0) - headerBytes;
  if (signatureAt < 0 || stream.length < signatureAt + headerBytes + 2) torn();
  if (!stream.subarray(signatureAt, signatureAt + 11).equals(signature)) torn();
  if (stream.readUInt32BE(signatureAt + 15) !== 0) torn();
  const batches: InboxBatch[] = [];
  let at = signatureAt + headerBytes;
  for (let row = 1; ; row += 1) {
    if (at + 2 > stream.length) torn();
    const fields = stream.readInt16BE(at);
    if (fields === -1) return batches;
    if (fields !== 4 || at + batchAt > stream.length) torn();
    const bytes = stream.readInt32BE(at + 34);
    const end = at + batchAt + bytes;
    if (bytes < 0 || end > stream.length) torn();
    batches.push({
      inboxId: stream.readBigInt64BE(at + 6),
      agentId: stream.readInt32BE(at + 18),
      arrivedUs: stream.readBigInt64BE(at + 26),
      bytes: stream.subarray(at + batchAt, end),
    });
    const next = starts === undefined ? end : (starts[row] ?? 0);
    if (next < end || next - end > 7) torn();
    at = next;
  }
}

/** Batches and the stream whose memory they lie in: released at once when they are done with, or left to the collector. */
export interface InboxRead {
  readonly batches: InboxBatch[];
  readonly stream: Buffer;
}

const finished = `(EXISTS (SELECT FROM pem.received r WHERE r.agent_id = s.agent_id AND r.boot = s.boot AND r.ranges @> s.seq)
  OR EXISTS (SELECT FROM pem.quarantine q WHERE q.inbox_id = s.id))`;

export class Inbox {
  private readonly taken = new RangeSet();
  /** Rows of other ingesters' agents that were left lying. */
  private adopted: bigint[] = [];
  /** Rows that another ingester holds: not read again before the time. */
  private readonly later = new Map<bigint, number>();

  constructor(private readonly connection: PgConn) {}

  /** The next batches, oldest first. `share`: this ingester's place among the running ones. */
  async read(share: { index: number; of: number }, limitBytes = readBytes): Promise<InboxRead> {
    const now = performance.now();
    const waiting = [...this.later].filter(([, until]) => until > now).map(([id]) => id);
    const mine =
      share.of <= 1
        ? 'true'
        : `(s.agent_id % ${share.of} = ${share.index} OR s.id = ANY('{${this.adopted.join(',')}}'::int8[]))`;
    const { data, starts } = await this.connection.copyOutAligned(
      `COPY (SELECT id, agent_id, (extract(epoch FROM arrived_at) * 1000000)::int8, batch FROM (
         SELECT s.id, s.agent_id, s.arrived_at, s.batch, s.bytes, sum(s.bytes) OVER (ORDER BY s.id) AS total
           FROM (SELECT id, agent_id, arrived_at, batch, bytes FROM pem_inbox.slots s
                  WHERE NOT s.id <@ '${this.taken}'::int8multirange AND ${mine}
                    ${waiting.length === 0 ? '' : `AND s.id <> ALL ('{${waiting.join(',')}}'::int8[])`}
                  ORDER BY id LIMIT ${readRows}) AS s) AS q
       WHERE total - bytes < ${limitBytes} ORDER BY id) TO STDOUT (FORMAT binary)`,
      batchAt,
      { expectedBytes: limitBytes >= readBytes ? limitBytes + spareBytes : 0 },
    );
    const batches = parseInboxStream(data, starts);
    for (const batch of batches) {
      this.taken.add(batch.inboxId);
      this.later.delete(batch.inboxId);
    }
    return { batches, stream: data };
  }

  /** Batches that were not ingested after all: they are read again, after `delayMs`. */
  giveBack(batches: readonly InboxBatch[], delayMs: number): void {
    for (const { inboxId } of batches) {
      this.taken.remove(inboxId);
      if (delayMs > 0) this.later.set(inboxId, performance.now() + delayMs);
    }
  }

  /**
   * Looks at rows that this ingester did not read: rows of others' agents that are finished are remembered as done,
   * unfinished ones that lie there for `staleMs` are adopted. At the start (`first`) all finished rows are remembered.
   * Returns what waits.
   */
  async survey(
    share: { index: number; of: number },
    staleMs: number,
    first: boolean,
  ): Promise<{ batches: number; bytes: number }> {
    const { rows } = await this.connection.query(
      `SELECT s.id, ${finished} AS done, s.bytes, s.agent_id % ${share.of} = ${share.index} AS mine,
              s.arrived_at < clock_timestamp() - interval '${staleMs} ms' AS stale
         FROM pem_inbox.slots s WHERE NOT s.id <@ '${this.taken}'::int8multirange`,
    );
    const oldest = await this.connection.query('SELECT min(id) AS id FROM pem_inbox.slots');
    this.adopted = [];
    let batches = 0;
    let bytes = 0;
    for (const row of rows) {
      const id = BigInt(row.id as string);
      // A finished row of our own share may be a copy under another checksum: it is read, not skipped.
      if (row.done === 't' && (first || row.mine !== 't')) this.taken.add(id);
      else if (row.done !== 't') {
        batches += 1;
        bytes += Number(row.bytes);
        if (row.stale === 't' && row.mine !== 't') this.adopted.push(id);
      }
    }
    const lowest = oldest.rows[0]?.id;
    if (lowest === null || lowest === undefined) this.taken.clear();
    else this.taken.dropBelow(BigInt(lowest));
    return { batches, bytes };
  }
}
