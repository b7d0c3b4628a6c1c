/**
 * A fleet without agents: numbered batches put through the real door (COPY pem.inbox as agent<N>). For tests and
 * benchmarks of the server's side. In: a rig's PEM; out: batches in the inbox. Owns its connection.
 */
import { randomUUID } from 'node:crypto';
import { type ColumnSpec, connect, encodeBatch, type PgConn } from '../../native/index.js';
import { parseConninfo } from '../../src/base/conninfo.js';
import type { ProbeDefinition } from '../../src/catalog/types.js';
import { syncCatalogue } from '../../src/schema/catalogue.js';
import type { Pem } from '../rig/pem.js';

/** PGCOPY of rows with one bytea column. */
export function pgcopyOfBatches(batches: readonly Buffer[]): Buffer {
  const parts: Buffer[] = [Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1')];
  for (const batch of batches) {
    const head = Buffer.alloc(6);
    head.writeInt16BE(1, 0);
    head.writeInt32BE(batch.length, 2);
    parts.push(head, batch);
  }
  parts.push(Buffer.from([0xff, 0xff]));
  return Buffer.concat(parts);
}

/** One worker start of one agent. */
export class FleetAgent {
  boot: string = randomUUID();
  seq = 0n;

  constructor(
    readonly agentId: number,
    /** Its host and its servers. */
    readonly targets: readonly number[],
    private readonly fleet: Fleet,
  ) {}

  get target(): bigint {
    return BigInt(this.targets[0] as number);
  }

  /** The next batch; not sent. */
  batch(blocks: readonly Buffer[]): Buffer {
    this.seq += 1n;
    return encodeBatch(
      { agentId: this.agentId, boot: this.boot, seq: this.seq, createdAtUs: BigInt(Date.now()) * 1000n },
      blocks,
    );
  }

  /** A new boot, announced as pem.sync does. */
  async reboot(): Promise<void> {
    this.boot = randomUUID();
    this.seq = 0n;
    await this.fleet.announce(this);
  }

  send(...batches: Buffer[]): Promise<void> {
    return this.fleet.send(this.agentId, batches);
  }
}

export class Fleet {
  private constructor(
    private readonly pem: Pem,
    private connection: PgConn,
  ) {}

  static async open(pem: Pem): Promise<Fleet> {
    return new Fleet(pem, await Fleet.connect(pem));
  }

  private static connect(pem: Pem): Promise<PgConn> {
    return connect({ params: parseConninfo(pem.conninfo()), timeoutMs: 60_000 });
  }

  /** Agents with their boots announced. */
  async add(count: number, prefix = 'host'): Promise<FleetAgent[]> {
    const made: FleetAgent[] = [];
    for (let i = 0; i < count; i += 1) {
      const { rows } = await this.connection.query(
        `WITH t AS (INSERT INTO pem.target (kind, name, owner) VALUES ('host', $1, 'postgres') RETURNING id)
         INSERT INTO pem.agent (role, display_name, host_target_id)
         SELECT 'pending' || id, $1, id FROM t RETURNING id, host_target_id`,
        [`${prefix}${i}`],
      );
      const id = Number(rows[0]?.id);
      const target = Number(rows[0]?.host_target_id);
      await this.connection.query(
        `UPDATE pem.agent SET role = 'agent' || id WHERE id = ${id};
         INSERT INTO pem.target_agent (target_id, agent_id) VALUES (${target}, ${id});
         INSERT INTO pem.host (target_id, hostname) VALUES (${target}, 'rig');
         DO $$ BEGIN IF to_regrole('agent${id}') IS NULL THEN CREATE ROLE agent${id} LOGIN IN ROLE pem_agent; END IF; END $$`,
      );
      const agent = new FleetAgent(id, [target], this);
      await this.announce(agent);
      made.push(agent);
    }
    return made;
  }

  async announce(agent: FleetAgent): Promise<void> {
    await this.connection.query(
      'INSERT INTO pem.received (agent_id, boot) VALUES ($1::int, $2::uuid) ON CONFLICT DO NOTHING',
      [String(agent.agentId), agent.boot],
    );
  }

  /** COPY as the agent. Throws what PostgreSQL says. */
  async send(agentId: number, batches: readonly Buffer[]): Promise<void> {
    if (this.connection.closed) this.connection = await Fleet.connect(this.pem);
    await this.connection.query(`SET SESSION AUTHORIZATION agent${agentId}`);
    try {
      await this.connection.copyIn('COPY pem.inbox (batch) FROM STDIN (FORMAT binary)', [
        pgcopyOfBatches(batches),
      ]);
    } finally {
      if (!this.connection.closed) await this.connection.query('RESET SESSION AUTHORIZATION');
    }
  }

  /** Batches of several agents that become visible at once. */
  async sendTogether(batches: readonly { agentId: number; batch: Buffer }[]): Promise<void> {
    await this.connection.query('BEGIN');
    for (const { agentId, batch } of batches) await this.send(agentId, [batch]);
    await this.connection.query('COMMIT');
  }

  close(): void {
    this.connection.close();
  }
}

/** Adds probes to the catalogue of a rig's PEM, beside those that are there. */
export async function addProbes(
  pem: Pem,
  all: readonly ProbeDefinition[],
  extra: readonly ProbeDefinition[],
): Promise<void> {
  const client = await pem.client();
  try {
    await syncCatalogue(client, [...all, ...extra]);
  } finally {
    await client.end();
  }
}

/** Columns of a probe as the codec wants them. */
export function specs(probe: ProbeDefinition): ColumnSpec[] {
  return probe.columns.map(({ name, type }) => ({ name, type }));
}
