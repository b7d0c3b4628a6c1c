/**
 * What history should have: partitions ahead of time, none beyond retention. In: a connection of a member of pem_history
 * that may read pem.probe and pem.probe_config; out: partitions made and removed. One pass; agent 1 repeats it.
 *
 * 1. A partition is removed when its end is older than the longest retention that any target has for the probe: rows of
 *    targets with a shorter one go with it, never by DELETE.
 * 2. What locks do not allow now is left for the next pass and reported as busy; one busy probe holds up no other.
 * 3. Names decide, not attachment: what a removal that was cut off left in pempart goes with the next pass.
 */
import {
  listPartitions,
  makePartition,
  type PartitionWidth,
  parsePartitionName,
  partitionBounds,
  partitionName,
  removePartition,
  type Session,
} from './partitions.js';

const dayUs = 86_400_000_000n;
/** Partitions ahead of the present one. */
const ahead: Readonly<Record<PartitionWidth, number>> = { day: 3, month: 2 };

export interface Upkeep {
  readonly made: readonly string[];
  readonly removed: readonly string[];
  readonly busy: readonly string[];
}

interface ProbeRow {
  readonly name: string;
  readonly width: PartitionWidth;
  readonly retentionDays: number;
}

async function readProbes(session: Session): Promise<ProbeRow[]> {
  const { rows } = await session.query(
    `SELECT p.name, p.definition ->> 'partition' AS width,
            greatest(p.retention_days, (SELECT max(c.retention_days) FROM pem.probe_config c WHERE c.probe = p.name)) AS days
       FROM pem.probe p WHERE (p.definition ->> 'history')::boolean ORDER BY p.name`,
  );
  return rows.map((row) => ({
    name: row.name as string,
    width: row.width === 'month' ? 'month' : 'day',
    retentionDays: Number(row.days),
  }));
}

/** Names of tables in pempart, attached or not; those being detached first: a parent can have only one of them. */
async function readTables(session: Session): Promise<string[]> {
  const { rows } = await session.query(
    `SELECT c.relname AS name FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
      WHERE c.relnamespace = 'pempart'::regnamespace AND c.relkind = 'r' AND c.relname ~ '_[0-9]{6}([0-9]{2})?$'
      ORDER BY i.inhdetachpending DESC NULLS LAST, c.relname`,
  );
  return rows.map((row) => row.name as string);
}

/** One pass over all probes. */
export async function keepPartitions(session: Session, nowUs: bigint): Promise<Upkeep> {
  const made: string[] = [];
  const removed: string[] = [];
  const busy: string[] = [];
  const probes = await readProbes(session);
  const attached = await listPartitions(session);
  const tables = await readTables(session);
  for (const probe of probes) {
    const there = attached.get(probe.name) ?? new Set<string>();
    let bounds = partitionBounds(probe.width, nowUs);
    for (let i = 0; i <= ahead[probe.width]; i += 1) {
      const name = partitionName(probe.name, probe.width, bounds);
      if (!there.has(name)) {
        const result = await makePartition(session, probe.name, probe.width, bounds.fromUs);
        if (result === 'busy') busy.push(name);
        else if (result === 'made') made.push(name);
      }
      bounds = partitionBounds(probe.width, bounds.toUs);
    }
    const oldestUs = nowUs - BigInt(probe.retentionDays) * dayUs;
    for (const name of tables) {
      const parsed = parsePartitionName(probe.name, name);
      if (parsed === undefined || parsed.width !== probe.width) continue;
      if (parsed.bounds.toUs > oldestUs) continue;
      if ((await removePartition(session, probe.name, name)) === 'busy') {
        busy.push(name);
        break; // the others of this probe have to wait for it
      }
      removed.push(name);
    }
  }
  return { made, removed, busy };
}
