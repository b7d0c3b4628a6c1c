/**
 * What an ingester knows of PEM: probes and their columns, who may report for which target, which partitions exist. Read
 * on a connection of pem_ingest every second and at once when a batch names something unknown; a reading replaces the
 * one before it as a whole, so a cycle sees one state.
 */
import * as v from 'valibot';
import type { ColumnSpec, PgConn } from '../../native/index.js';
import { PemError } from '../base/errors.js';
import { listPartitions, type PartitionWidth } from '../history/partitions.js';
import { columnTypes } from '../wire/config.js';

export interface KnownColumn extends ColumnSpec {
  readonly key: boolean;
}

export interface KnownProbe {
  readonly name: string;
  readonly version: number;
  readonly columns: readonly KnownColumn[];
  readonly keys: readonly KnownColumn[];
  readonly scopeColumn: string | undefined;
  /** Has a table in pemdata. */
  readonly latest: boolean;
  readonly history: boolean;
  /** pemhistory.<name> has the column `gone`. */
  readonly gone: boolean;
  readonly width: PartitionWidth;
  /** The longest retention that any target has: partitions are shared. */
  readonly retentionDays: number;
}

export interface Binding {
  readonly sinceUs: bigint;
  /** undefined: still bound. */
  readonly untilUs: bigint | undefined;
}

export interface Knowledge {
  readonly probes: ReadonlyMap<string, KnownProbe>;
  /** Key: `${agent}:${target}`. */
  readonly bindings: ReadonlyMap<string, readonly Binding[]>;
  /** Attached partitions by probe. */
  readonly partitions: Map<string, Set<string>>;
  /** Changes when probes or bindings do: what was set aside may now be known. */
  readonly fingerprint: string;
}

const definitionSchema = v.object({
  columns: v.array(
    v.object({ name: v.string(), type: v.picklist(columnTypes), role: v.picklist(['key', 'metric']) }),
  ),
  scopeColumn: v.optional(v.string()),
  mode: v.picklist(['full', 'delta', 'append']),
  history: v.boolean(),
  partition: v.picklist(['day', 'month']),
});

/** @throws PemError catalogue_row for a definition that this version cannot read. */
export async function readKnowledge(connection: PgConn): Promise<Knowledge> {
  const probeRows = await connection.query(
    `SELECT p.name, p.version, p.definition::text AS definition,
            greatest(p.retention_days, (SELECT max(c.retention_days) FROM pem.probe_config c WHERE c.probe = p.name)) AS days
       FROM pem.probe p ORDER BY p.name`,
  );
  const probes = new Map<string, KnownProbe>();
  for (const row of probeRows.rows) {
    const name = row.name as string;
    const parsed = v.safeParse(definitionSchema, JSON.parse(row.definition as string));
    if (!parsed.success) {
      throw new PemError(
        'catalogue_row',
        `definition of probe ${name} in pem.probe is not readable`,
        'corrupt',
      );
    }
    const definition = parsed.output;
    const columns = definition.columns.map((column) => ({
      name: column.name,
      type: column.type,
      key: column.role === 'key',
    }));
    probes.set(name, {
      name,
      version: Number(row.version),
      columns,
      keys: columns.filter((column) => column.key),
      scopeColumn: definition.scopeColumn,
      latest: definition.mode !== 'append',
      history: definition.history,
      gone: definition.history && definition.mode === 'delta',
      width: definition.partition,
      retentionDays: Number(row.days),
    });
  }
  const bindingRows = await connection.query(
    `SELECT agent_id, target_id, (extract(epoch FROM since) * 1000000)::int8 AS since,
            (extract(epoch FROM until) * 1000000)::int8 AS until FROM pem.target_agent ORDER BY 1, 2, 3`,
  );
  const bindings = new Map<string, Binding[]>();
  for (const row of bindingRows.rows) {
    const key = `${row.agent_id}:${row.target_id}`;
    const list = bindings.get(key) ?? [];
    list.push({
      sinceUs: BigInt(row.since as string),
      untilUs: row.until === null || row.until === undefined ? undefined : BigInt(row.until),
    });
    bindings.set(key, list);
  }
  return {
    probes,
    bindings,
    partitions: await listPartitions(connection),
    fingerprint: JSON.stringify([probeRows.rows, bindingRows.rows]),
  };
}
