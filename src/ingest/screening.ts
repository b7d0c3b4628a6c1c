/**
 * What becomes of each block before a transaction begins. In: verified batches, knowledge, the time; out: a verdict per
 * block. Pure: touches no database.
 *
 * 1. A batch counts only for the agent that PostgreSQL authenticated; its envelope must name the same one.
 * 2. A block counts only for a target that its agent is bound to, or was bound to when the block was recorded.
 * 3. A block of an older version (fewer columns) is taken, the missing columns are NULL. A block that the catalogue does
 *    not know yet (probe, column) is set aside and retried when it does. No other column set is taken.
 * 4. A time out of retention or in the future makes the block a stray, counted, in neither history nor latest.
 */
import type { BatchEnvelope, BatchInfo, BlockInfo } from '../../native/index.js';
import { type Bounds, partitionBounds, partitionName } from '../history/partitions.js';
import type { Knowledge, KnownColumn, KnownProbe } from './knowledge.js';

/** One row of the inbox. */
export interface InboxBatch {
  readonly inboxId: bigint;
  /** The agent PostgreSQL authenticated. */
  readonly agentId: number;
  readonly arrivedUs: bigint;
  readonly bytes: Buffer;
}

export interface Fault {
  readonly code: string;
  readonly reason: string;
}

export interface Block {
  readonly agentId: number;
  readonly boot: string;
  readonly seq: bigint;
  readonly index: number;
  readonly bytes: Buffer;
  readonly info: BlockInfo;
  readonly probe: KnownProbe;
  /** The block's columns in its own order. */
  readonly columns: readonly KnownColumn[];
  /** Partition that the rows go to; undefined where the probe has no history. */
  readonly partition: string | undefined;
}

export type Verdict =
  | { readonly kind: 'take'; readonly block: Block }
  | { readonly kind: 'stray'; readonly reason: 'expired' | 'future'; readonly info: BlockInfo }
  | {
      readonly kind: 'quarantine';
      readonly fault: Fault;
      readonly index: number;
      readonly bytes: Buffer;
      readonly info: BlockInfo | undefined;
    };

/** A batch with a usable envelope. */
export interface Batch {
  readonly inbox: InboxBatch;
  readonly envelope: BatchEnvelope;
  readonly crc: number;
  readonly verdicts: readonly Verdict[];
}

export type Screened =
  | { readonly kind: 'batch'; readonly batch: Batch }
  | { readonly kind: 'refused'; readonly inbox: InboxBatch; readonly fault: Fault };

/** Codes that a newer catalogue may heal. */
export const retriedCodes: readonly string[] = ['unknown_probe', 'unknown_column', 'unknown_target'];

/** How far an agent's clock may run ahead. */
const futureUs = 3_600_000_000n;
/** How long after the end of a binding the old agent's rows are still its own: clocks differ. */
const bindingSlackUs = 60_000_000n;
const dayUs = 86_400_000_000n;

function bound(knowledge: Knowledge, agentId: number, info: BlockInfo): boolean {
  const list = knowledge.bindings.get(`${agentId}:${info.target}`) ?? [];
  return list.some(
    (binding) => binding.untilUs === undefined || info.recordedAtUs <= binding.untilUs + bindingSlackUs,
  );
}

function matchColumns(probe: KnownProbe, info: BlockInfo): readonly KnownColumn[] | Fault {
  // The usual block has the catalogue's columns in its order.
  if (
    info.columns.length === probe.columns.length &&
    info.columns.every((column, i) => {
      const known = probe.columns[i];
      return known !== undefined && known.name === column.name && known.type === column.type;
    })
  ) {
    return probe.columns;
  }
  const columns: KnownColumn[] = [];
  for (const column of info.columns) {
    const known = probe.columns.find((candidate) => candidate.name === column.name);
    if (known === undefined || known.type !== column.type) {
      return {
        code: 'unknown_column',
        reason: `column ${column.name} ${column.type} of ${probe.name} version ${info.probeVersion} is not in the catalogue (version ${probe.version})`,
      };
    }
    if (columns.includes(known)) {
      return { code: 'duplicate_column', reason: `column ${column.name} stands twice` };
    }
    columns.push(known);
  }
  const missing = probe.keys.find((key) => !columns.includes(key));
  if (missing !== undefined) return { code: 'missing_key', reason: `key column ${missing.name} is missing` };
  return columns;
}

/** The partition of the block before, by probe: nearly always that of the next one too. */
const lastPartition = new WeakMap<KnownProbe, { readonly bounds: Bounds; readonly name: string }>();

function partitionOf(probe: KnownProbe, atUs: bigint): string {
  const last = lastPartition.get(probe);
  if (last !== undefined && atUs >= last.bounds.fromUs && atUs < last.bounds.toUs) return last.name;
  const bounds = partitionBounds(probe.width, atUs);
  const name = partitionName(probe.name, probe.width, bounds);
  lastPartition.set(probe, { bounds, name });
  return name;
}

/** The verdict on one block. */
export function judgeBlock(
  source: { agentId: number; boot: string; seq: bigint; index: number; bytes: Buffer; info: BlockInfo },
  knowledge: Knowledge,
  nowUs: bigint,
): Verdict {
  const { info, index, bytes } = source;
  const setAside = (code: string, reason: string): Verdict => ({
    kind: 'quarantine',
    fault: { code, reason },
    index,
    bytes,
    info,
  });
  if (!bound(knowledge, source.agentId, info)) {
    return setAside('unknown_target', `agent ${source.agentId} may not report for target ${info.target}`);
  }
  const probe = knowledge.probes.get(info.probe);
  if (probe === undefined) {
    return setAside(
      'unknown_probe',
      `probe ${info.probe} version ${info.probeVersion} is not in the catalogue`,
    );
  }
  const columns = matchColumns(probe, info);
  if ('code' in columns) return { kind: 'quarantine', fault: columns, index, bytes, info };
  if (info.kind !== 'append' && (info.scope ?? '') !== '' && probe.scopeColumn === undefined) {
    return setAside('unknown_scope', `probe ${info.probe} has no scope, the block has "${info.scope}"`);
  }
  if (info.kind !== 'append' && (info.scope ?? '') === '' && probe.scopeColumn !== undefined) {
    return setAside('missing_scope', `a block of probe ${info.probe} needs a scope (${probe.scopeColumn})`);
  }
  if (info.recordedAtUs > nowUs + futureUs) return { kind: 'stray', reason: 'future', info };
  // Partitions are dropped as a whole, so what counts is the end of the one that would hold the rows.
  const oldestUs = nowUs - BigInt(probe.retentionDays) * dayUs;
  if (info.recordedAtUs < oldestUs) return { kind: 'stray', reason: 'expired', info };
  const partition = probe.history ? partitionOf(probe, info.recordedAtUs) : undefined;
  return { kind: 'take', block: { ...source, probe, columns, partition } };
}

/** Verdicts on a batch of the inbox. */
export function screenBatch(
  inbox: InboxBatch,
  info: BatchInfo,
  knowledge: Knowledge,
  nowUs: bigint,
): Screened {
  const { envelope, crc } = info;
  if (envelope === undefined || crc === undefined || info.error !== undefined) {
    return {
      kind: 'refused',
      inbox,
      fault: { code: info.error?.code ?? 'batch_malformed', reason: info.error?.message ?? 'no envelope' },
    };
  }
  if (envelope.agentId !== inbox.agentId) {
    return {
      kind: 'refused',
      inbox,
      fault: {
        code: 'agent_mismatch',
        reason: `agent ${inbox.agentId} sent a batch that names agent ${envelope.agentId}`,
      },
    };
  }
  const verdicts = info.blocks.map((block, index): Verdict => {
    if (block.info === undefined || block.error !== undefined) {
      return {
        kind: 'quarantine',
        fault: {
          code: block.error?.code ?? 'block_malformed',
          reason: block.error?.message ?? 'no block',
        },
        index,
        bytes: block.bytes,
        info: block.info,
      };
    }
    return judgeBlock(
      {
        agentId: inbox.agentId,
        boot: envelope.boot,
        seq: envelope.seq,
        index,
        bytes: block.bytes,
        info: block.info,
      },
      knowledge,
      nowUs,
    );
  });
  return { kind: 'batch', batch: { inbox, envelope, crc, verdicts } };
}
