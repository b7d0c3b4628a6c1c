/**
 * Stands in for the ingester where only the agent's half is tested: takes batches out of the inbox, verifies them, marks
 * them received, remembers their numbered rows. In: PEM's database of a rig. Out: `taken` and what came twice.
 */
import type pg from 'pg';
import { blockFromRows, verifyBatches } from '../../native/index.js';
import type { Pem } from './pem.js';

/** A block with one number: what goes in at the agent in such tests. `ballast` makes it large. */
export function numberedBlock(target: number, n: number, ballast = 0): Buffer {
  return blockFromRows(
    {
      target: BigInt(target),
      probe: 'numbered',
      probeVersion: n,
      kind: 'append',
      recordedAtUs: BigInt(Date.now()) * 1000n,
      intervalUs: 0n,
    },
    [
      { name: 'n', type: 'int8' },
      { name: 'ballast', type: 'text' },
    ],
    [[BigInt(n), 'x'.repeat(ballast)]],
  );
}

interface InboxRow {
  id: string;
  agent_id: number;
  boot: string;
  seq: string;
  batch: Buffer;
}

export class FakeIngest {
  /** Number → how often it was counted as new. */
  taken = new Map<number, number>();
  /** Batches that were in the received set already. */
  duplicates = 0;
  private stopping = false;
  private loop: Promise<void> = Promise.resolve();

  constructor(private readonly pem: Pem) {}

  start(): void {
    this.stopping = false;
    this.loop = this.run();
  }

  async stop(): Promise<void> {
    this.stopping = true;
    await this.loop;
  }

  private async run(): Promise<void> {
    while (!this.stopping) {
      let client: pg.Client | null = null;
      try {
        client = await this.pem.client();
        while (!this.stopping) {
          await this.round(client);
          await new Promise((resolve) => setTimeout(resolve, 30));
        }
      } catch {
        // PostgreSQL is down, which is what such tests do.
        await new Promise((resolve) => setTimeout(resolve, 100));
      } finally {
        await client?.end().catch(() => undefined);
      }
    }
  }

  private async round(client: pg.Client): Promise<void> {
    const fresh: number[] = [];
    let duplicates = 0;
    await client.query('BEGIN');
    const { rows } = await client.query<InboxRow>(
      `DELETE FROM pem_inbox.slot_0 RETURNING id, agent_id, boot, seq, batch`,
    );
    for (const n of [1, 2, 3]) {
      const more = await client.query<InboxRow>(
        `DELETE FROM pem_inbox.slot_${n} RETURNING id, agent_id, boot, seq, batch`,
      );
      rows.push(...more.rows);
    }
    rows.sort((a, b) => Number(a.id) - Number(b.id));
    const infos = await verifyBatches(rows.map((row) => row.batch));
    for (const [at, row] of rows.entries()) {
      const info = infos[at];
      if (info?.error !== undefined) throw new Error(`batch ${row.boot}/${row.seq}: ${info.error.message}`);
      const marked = await client.query(
        `UPDATE pem.received SET ranges = ranges + int8multirange(int8range($3::int8, $3::int8 + 1))
         WHERE agent_id = $1 AND boot = $2 AND NOT ranges @> $3::int8`,
        [row.agent_id, row.boot, row.seq],
      );
      if (marked.rowCount === 0) duplicates += 1;
      else for (const block of info?.blocks ?? []) fresh.push(block.info?.probeVersion ?? -1);
    }
    await client.query('COMMIT');
    this.duplicates += duplicates;
    for (const n of fresh) this.taken.set(n, (this.taken.get(n) ?? 0) + 1);
  }
}
