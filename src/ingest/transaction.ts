/**
 * The ingest transaction. In: screened batches, a connection; out: what was committed, what is left to others. Owns
 * nothing: the inbox row, the received set and the tables change in one transaction or not at all.
 *
 * 1. It first takes the pem.received rows of its agents, (agent, boot) order, FOR UPDATE SKIP LOCKED: ownership, fence
 *    and duplicate check in one. What another ingester holds is left to it.
 * 2. A batch is in history exactly if (boot, seq) is in `ranges`: both are written here, with synchronous_commit on.
 * 3. A (boot, seq) that is in the set is a duplicate and dropped; under another checksum it is a clone's: set aside, and
 *    its agent quarantined.
 * 4. Every batch that this transaction finishes is in the received set or in pem.quarantine by inbox_id, so its slot can
 *    be emptied.
 * 5. A failure rolls all of it back; the same batches can be given in again.
 */
import type { PgConn } from '../../native/index.js';
import { type ApplyOptions, applyBlocks, type ProbeCost, prepareStages, type Stages } from './apply.js';
import { arrayText, type Placed } from './latest.js';
import { claimRefused, type SetAside, setAside } from './quarantine.js';
import { RangeSet } from './ranges.js';
import type { Batch, Block, Fault, InboxBatch, Verdict } from './screening.js';

/** Batches of one boot whose checksums are remembered. */
const ringLength = 64;
/** More holes than a healthy spool can make: each is one range of `ranges`. */
const mostRanges = 4096;

export interface Refused {
  readonly inbox: InboxBatch;
  readonly fault: Fault;
}

export interface CycleInput {
  readonly batches: readonly Batch[];
  readonly refused: readonly Refused[];
  /** Blocks found to blame for failed COPYs, by `blockKey`. */
  readonly faults: ReadonlyMap<string, Fault>;
  readonly repeated: boolean;
  readonly stages: Stages;
}

export interface CycleResult {
  /** In history and latest now, oldest first. */
  readonly committed: readonly Placed[];
  /** Another ingester holds their agent, or their boot is not known yet. */
  readonly left: readonly InboxBatch[];
  readonly unknownBoots: readonly { readonly agentId: number; readonly boot: string }[];
  readonly finished: readonly InboxBatch[];
  readonly batches: number;
  readonly rows: number;
  readonly bytes: number;
  readonly duplicates: number;
  readonly cloned: number;
  readonly quarantined: number;
  readonly stray: number;
  readonly costs: ReadonlyMap<string, ProbeCost>;
}

interface Boot {
  readonly agentId: number;
  readonly boot: string;
  readonly arrival: bigint;
  readonly ranges: RangeSet;
  /** The last checksums by seq; read only where a batch comes twice. */
  known: Map<bigint, number> | undefined;
  /** What this cycle adds. */
  readonly seqs: bigint[];
  readonly crcs: number[];
  readonly added: RangeSet;
  batches: number;
  rows: number;
  bytes: number;
}

export function blockKey(block: Pick<Block, 'boot' | 'seq' | 'index'>): string {
  return `${block.boot}:${block.seq}:${block.index}`;
}

const bootKey = (agentId: number, boot: string): string => `${agentId}:${boot}`;

function parseNumbers(text: string | null | undefined): string[] {
  return text === null || text === undefined || text === '{}' ? [] : text.slice(1, -1).split(',');
}

/** Rule 1. */
async function takeBoots(connection: PgConn, batches: readonly Batch[]): Promise<Map<string, Boot>> {
  const wanted = new Map(batches.map(({ envelope }) => [bootKey(envelope.agentId, envelope.boot), envelope]));
  const { rows } = await connection.query(
    `SELECT r.agent_id, r.boot, r.arrival, r.ranges
       FROM unnest($1::int[], $2::uuid[]) AS w(agent_id, boot) JOIN pem.received r USING (agent_id, boot)
      ORDER BY r.agent_id, r.boot FOR UPDATE OF r SKIP LOCKED`,
    [
      arrayText([...wanted.values()].map((envelope) => envelope.agentId)),
      arrayText([...wanted.values()].map((envelope) => envelope.boot)),
    ],
  );
  const boots = new Map<string, Boot>();
  for (const row of rows) {
    const agentId = Number(row.agent_id);
    const boot = row.boot as string;
    boots.set(bootKey(agentId, boot), {
      agentId,
      boot,
      arrival: BigInt(row.arrival as string),
      ranges: RangeSet.parse(row.ranges as string),
      known: undefined,
      seqs: [],
      crcs: [],
      added: new RangeSet(),
      batches: 0,
      rows: 0,
      bytes: 0,
    });
  }
  return boots;
}

/** Checksums of the boots that have a batch coming again. */
async function readChecksums(
  connection: PgConn,
  batches: readonly Batch[],
  boots: ReadonlyMap<string, Boot>,
): Promise<void> {
  const again = new Set<Boot>();
  for (const { envelope } of batches) {
    const boot = boots.get(bootKey(envelope.agentId, envelope.boot));
    if (boot?.ranges.has(envelope.seq) === true) again.add(boot);
  }
  for (const boot of again) {
    const { rows } = await connection.query(
      'SELECT recent_seq, recent_crc FROM pem.received WHERE agent_id = $1::int AND boot = $2::uuid',
      [String(boot.agentId), boot.boot],
    );
    const crcs = parseNumbers(rows[0]?.recent_crc);
    boot.known = new Map(parseNumbers(rows[0]?.recent_seq).map((seq, i) => [BigInt(seq), Number(crcs[i])]));
  }
}

async function unknownBoots(
  connection: PgConn,
  batches: readonly Batch[],
): Promise<{ agentId: number; boot: string }[]> {
  if (batches.length === 0) return [];
  const { rows } = await connection.query(
    `SELECT DISTINCT w.agent_id, w.boot FROM unnest($1::int[], $2::uuid[]) AS w(agent_id, boot)
      WHERE NOT EXISTS (SELECT FROM pem.received r WHERE r.agent_id = w.agent_id AND r.boot = w.boot)`,
    [
      arrayText(batches.map(({ envelope }) => envelope.agentId)),
      arrayText(batches.map(({ envelope }) => envelope.boot)),
    ],
  );
  return rows.map((row) => ({ agentId: Number(row.agent_id), boot: row.boot as string }));
}

type Standing = 'new' | 'duplicate' | 'cloned' | 'scattered';

/** Rule 3; a new batch is noted in the boot. */
function standing(boot: Boot, batch: Batch): Standing {
  const { seq } = batch.envelope;
  if (boot.ranges.has(seq)) {
    const at = boot.seqs.lastIndexOf(seq);
    const crc = at >= 0 ? boot.crcs[at] : boot.known?.get(seq);
    return crc !== undefined && crc !== batch.crc ? 'cloned' : 'duplicate';
  }
  boot.ranges.add(seq);
  if (boot.ranges.size > mostRanges) {
    boot.ranges.remove(seq);
    return 'scattered';
  }
  boot.added.add(seq);
  boot.seqs.push(seq);
  boot.crcs.push(batch.crc);
  boot.batches += 1;
  boot.bytes += batch.inbox.bytes.length;
  return 'new';
}

async function updateReceived(connection: PgConn, boots: readonly Boot[]): Promise<void> {
  if (boots.length === 0) return;
  await connection.query(
    `UPDATE pem.received r SET ranges = r.ranges + n.added::int8multirange,
            recent_seq = (r.recent_seq || n.seqs::bigint[])[greatest(1, cardinality(r.recent_seq) + n.batches::int - ${ringLength - 1}):],
            recent_crc = (r.recent_crc || n.crcs::bigint[])[greatest(1, cardinality(r.recent_crc) + n.batches::int - ${ringLength - 1}):],
            last_at = clock_timestamp(),
            batches = r.batches + n.batches, rows = r.rows + n.rows, bytes = r.bytes + n.bytes
       FROM unnest($1::int[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[])
         AS n(agent_id, boot, added, seqs, crcs, batches, rows, bytes)
      WHERE r.agent_id = n.agent_id AND r.boot = n.boot`,
    [
      arrayText(boots.map((boot) => boot.agentId)),
      arrayText(boots.map((boot) => boot.boot)),
      arrayText(boots.map((boot) => boot.added.toString())),
      arrayText(boots.map((boot) => arrayText(boot.seqs))),
      arrayText(boots.map((boot) => arrayText(boot.crcs))),
      arrayText(boots.map((boot) => boot.batches)),
      arrayText(boots.map((boot) => boot.rows)),
      arrayText(boots.map((boot) => boot.bytes)),
    ],
  );
}

export interface Stray {
  readonly agentId: number;
  readonly boot: string;
  readonly seq: bigint;
  readonly verdict: Extract<Verdict, { kind: 'stray' }>;
}

/** One row per agent, boot, target, probe and reason of a cycle. Returns the number of rows that are lost to history. */
export async function countStrays(connection: PgConn, strays: readonly Stray[]): Promise<number> {
  const merged = new Map<string, { stray: Stray; rows: number }>();
  for (const stray of strays) {
    const { info, reason } = stray.verdict;
    const key = [stray.agentId, stray.boot, info.target, info.probe, reason].join('\u0000');
    const entry = merged.get(key) ?? { stray, rows: 0 };
    merged.set(key, { stray, rows: entry.rows + info.rows });
  }
  const items = [...merged.values()];
  if (items.length === 0) return 0;
  await connection.query(
    `INSERT INTO pem.stray (agent_id, boot, seq, target_id, probe, reason, rows, recorded_at)
     SELECT agent_id, boot, seq, target_id, probe, reason, rows,
            CASE WHEN us = 9223372036854775807 THEN 'infinity' WHEN us < -62135596800000000 THEN '-infinity'
                 WHEN us > 9224318015999000000 THEN 'infinity'
                 ELSE timestamptz 'epoch' + us * interval '1 us' END
       FROM unnest($1::int[], $2::uuid[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::int[], $8::bigint[])
         AS n(agent_id, boot, seq, target_id, probe, reason, rows, us)`,
    [
      arrayText(items.map(({ stray }) => stray.agentId)),
      arrayText(items.map(({ stray }) => stray.boot)),
      arrayText(items.map(({ stray }) => stray.seq)),
      arrayText(items.map(({ stray }) => stray.verdict.info.target)),
      arrayText(items.map(({ stray }) => stray.verdict.info.probe)),
      arrayText(items.map(({ stray }) => stray.verdict.reason)),
      arrayText(items.map(({ rows }) => rows)),
      arrayText(items.map(({ stray }) => stray.verdict.info.recordedAtUs)),
    ],
  );
  return items.reduce((sum, item) => sum + item.rows, 0);
}

function blockAside(batch: Batch, fault: Fault, verdict: Extract<Verdict, { kind: 'quarantine' }>): SetAside {
  const { envelope } = batch;
  return {
    agentId: envelope.agentId,
    boot: envelope.boot,
    seq: envelope.seq,
    blockIndex: verdict.index,
    fault,
    payload: verdict.bytes,
    ...(verdict.info === undefined
      ? {}
      : { target: verdict.info.target, probe: verdict.info.probe, probeVersion: verdict.info.probeVersion }),
  };
}

/** Sorts the batches of the boots that are ours into what is written. */
function sortOut(input: CycleInput, boots: ReadonlyMap<string, Boot>) {
  const placed: Placed[] = [];
  const aside: SetAside[] = [];
  const strays: Stray[] = [];
  const clones = new Map<number, string>();
  const finished: InboxBatch[] = [];
  const left: Batch[] = [];
  let duplicates = 0;
  for (const batch of input.batches) {
    const { envelope, inbox } = batch;
    const boot = boots.get(bootKey(envelope.agentId, envelope.boot));
    if (boot === undefined) {
      left.push(batch);
      continue;
    }
    finished.push(inbox);
    const where = standing(boot, batch);
    if (where === 'duplicate') duplicates += 1;
    if (where === 'cloned' || where === 'scattered') {
      const reason =
        where === 'cloned'
          ? `boot ${envelope.boot} sent seq ${envelope.seq} with two different contents`
          : `boot ${envelope.boot} has more than ${mostRanges} holes`;
      if (where === 'cloned') clones.set(envelope.agentId, `cloned: ${reason}`);
      aside.push({
        agentId: envelope.agentId,
        boot: envelope.boot,
        seq: envelope.seq,
        inboxId: inbox.inboxId,
        fault: { code: where, reason },
        payload: inbox.bytes,
      });
    }
    if (where !== 'new') continue;
    for (const verdict of batch.verdicts) {
      if (verdict.kind === 'stray') {
        strays.push({ agentId: envelope.agentId, boot: envelope.boot, seq: envelope.seq, verdict });
      } else if (verdict.kind === 'quarantine') aside.push(blockAside(batch, verdict.fault, verdict));
      else {
        const { block } = verdict;
        const fault = input.faults.size === 0 ? undefined : input.faults.get(blockKey(block));
        if (fault !== undefined) {
          aside.push(blockAside(batch, fault, { kind: 'quarantine', fault, ...block }));
          continue;
        }
        placed.push({ block, arrival: boot.arrival });
        boot.rows += block.info.rows;
      }
    }
  }
  return { placed, aside, strays, clones, finished, left, duplicates };
}

/** Runs one transaction over the batches. Throws what PostgreSQL says, with the transaction rolled back. */
export async function runCycle(connection: PgConn, input: CycleInput): Promise<CycleResult> {
  const costs = new Map<string, ProbeCost>();
  const apply: ApplyOptions = {
    stages: input.stages,
    repeated: input.repeated,
    costs,
  };
  const taken = input.batches.flatMap((batch) =>
    batch.verdicts.flatMap((verdict) => (verdict.kind === 'take' ? [verdict.block] : [])),
  );
  await prepareStages(connection, taken, input.stages);
  await connection.query('BEGIN; SET LOCAL synchronous_commit = on');
  try {
    const boots =
      input.batches.length === 0 ? new Map<string, Boot>() : await takeBoots(connection, input.batches);
    await readChecksums(connection, input.batches, boots);
    const sorted = sortOut(input, boots);
    const unknown = await unknownBoots(connection, sorted.left);
    await applyBlocks(connection, sorted.placed, apply);
    const refused = await claimRefused(connection, input.refused);
    const aside = [
      ...sorted.aside,
      ...refused.map(({ inbox, fault }) => ({
        agentId: inbox.agentId,
        inboxId: inbox.inboxId,
        fault,
        payload: inbox.bytes,
      })),
    ];
    await setAside(connection, aside);
    for (const [agentId, reason] of sorted.clones) {
      await connection.query('SELECT pem.quarantine_agent($1::int, $2)', [String(agentId), reason]);
    }
    const stray = await countStrays(connection, sorted.strays);
    const written = [...boots.values()].filter((boot) => boot.batches > 0);
    await updateReceived(connection, written);
    await connection.query('COMMIT');
    return {
      committed: sorted.placed,
      left: sorted.left.map((batch) => batch.inbox),
      unknownBoots: unknown,
      finished: [...sorted.finished, ...input.refused.map(({ inbox }) => inbox)],
      batches: written.reduce((sum, boot) => sum + boot.batches, 0),
      rows: written.reduce((sum, boot) => sum + boot.rows, 0),
      bytes: written.reduce((sum, boot) => sum + boot.bytes, 0),
      duplicates: sorted.duplicates,
      cloned: sorted.clones.size,
      quarantined: aside.length,
      stray,
      costs,
    };
  } catch (error) {
    await connection.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}
