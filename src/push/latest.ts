/**
 * Latest rows of one (target, probe) as one full block, read in the user's own role, with what that read covers: all
 * statements run in one transaction and see one snapshot. Serves the live topics' snapshots and GET /latest.
 */
import { blockFromRows } from '../../native/index.js';
import { quoteName, type RoleReader } from '../base/reader.js';
import type { Probes } from './probes.js';
import { type Mark, parseMultirange, ReceivedSet } from './received.js';
import type { Snapshot } from './topic.js';

/** A block of latest holds at most so many rows; more are an error of its own, not a cut picture. */
const maxRows = 500_000;

export interface Latest extends Snapshot {
  readonly recordedAtUs: bigint;
}

export class LatestSource {
  readonly #reader: RoleReader;
  readonly #probes: Probes;

  constructor(reader: RoleReader, probes: Probes) {
    this.#reader = reader;
    this.#probes = probes;
  }

  /** Undefined where the user does not see the target or there is no such probe. */
  async read(username: string, target: bigint, probe: string): Promise<Latest | undefined> {
    const definition = await this.#probes.find(probe);
    if (definition === undefined) return undefined;
    return this.#reader.read(username, async (conn) => {
      const head = await conn.query(
        `SELECT s.scope, s.arrival, s.seq, s.full_arrival, s.full_seq,
                (extract(epoch FROM s.recorded_at) * 1000000)::int8 AS at_us, c.interval_ms
           FROM pem.target t
           LEFT JOIN pem.probe_state s ON s.target_id = t.id AND s.probe = $2
           LEFT JOIN pem.probe_config c ON c.target_id = t.id AND c.probe = $2
          WHERE t.id = $1 AND t.deleted_at IS NULL`,
        [String(target), probe],
      );
      const first = head.rows[0];
      if (first === undefined) return undefined;
      const received = new ReceivedSet();
      const sets = await conn.query(
        `SELECT agent_id, boot, arrival, ranges FROM pem.received
          WHERE agent_id IN (SELECT a.agent_id FROM pem.target_agent a WHERE a.target_id = $1)
          ORDER BY arrival DESC LIMIT 1000`,
        [String(target)],
      );
      for (const row of sets.rows.reverse()) {
        received.add(Number(row.agent_id), row.boot!, BigInt(row.arrival!), parseMultirange(row.ranges!));
      }
      const { marks, recordedAtUs } = readMarks(head.rows);
      const meta = {
        target,
        probe,
        probeVersion: definition.version,
        kind: 'full' as const,
        recordedAtUs,
        intervalUs: BigInt(first.interval_ms ?? definition.intervalMs) * 1000n,
      };
      const columns = definition.columns.map(({ name, type }) => ({ name, type }));
      // Events have no latest image: their snapshot is empty.
      if (definition.mode === 'append') {
        return { block: blockFromRows(meta, columns, []), received, marks, recordedAtUs };
      }
      const keys = definition.columns
        .filter((column) => column.role === 'key')
        .map((column) => quoteName(column.name));
      const order = keys.length === 0 ? '' : ` ORDER BY ${keys.join(', ')}`;
      const list = columns.map((column) => quoteName(column.name)).join(', ');
      const sql = `COPY (SELECT ${list} FROM pemdata.${quoteName(probe)} WHERE target_id = ${target}${order}) TO STDOUT (FORMAT binary)`;
      const { block } = await conn.copyOutBlock({ sql, columns, meta, maxRows });
      return { block, received, marks, recordedAtUs };
    });
  }
}

function readMarks(rows: readonly Record<string, string | null>[]): {
  marks: Map<string, Mark>;
  recordedAtUs: bigint;
} {
  const marks = new Map<string, Mark>();
  let recordedAtUs = 0n;
  for (const row of rows) {
    if (typeof row.scope !== 'string') continue;
    const atUs = BigInt(row.at_us!);
    if (atUs > recordedAtUs) recordedAtUs = atUs;
    const full =
      row.full_arrival === null || row.full_seq === null
        ? undefined
        : { arrival: BigInt(row.full_arrival!), seq: BigInt(row.full_seq!) };
    marks.set(row.scope, { newest: { arrival: BigInt(row.arrival!), seq: BigInt(row.seq!) }, full });
  }
  return { marks, recordedAtUs };
}
