/**
 * The far side of the door for tests: keeps what the measuring side hands over, says when something is lost, and reads
 * blocks back through a real server, so that what a test compares went the same way as in production.
 */
import type { DurableOutbox } from '../../agent/outbox.js';
import { type BlockInfo, blockInfo, blocksToPgcopy, connect } from '../../native/index.js';
import type { Cluster } from './cluster.js';

export class KeptOutbox implements DurableOutbox {
  readonly blocks: { info: BlockInfo; block: Buffer }[] = [];
  readonly boot = '00000000-0000-4000-8000-000000000001';
  /** So many commits fail. */
  failures = 0;
  /** What backlogShare answers. */
  share = 0;
  private committed = 0;
  private readonly listeners = new Set<() => void>();

  put(blocks: readonly Buffer[]): void {
    for (const block of blocks) this.blocks.push({ info: blockInfo(block), block });
  }

  commit(blocks: readonly Buffer[], writing: (boot: string, seq: number) => void): boolean {
    this.committed += 1;
    writing(this.boot, this.committed);
    if (this.failures > 0) {
      this.failures -= 1;
      throw new Error('a commit that fails');
    }
    this.put(blocks);
    return true;
  }

  has(boot: string, seq: number): boolean {
    return boot === this.boot && seq <= this.committed;
  }

  backlogShare(): number {
    return this.share;
  }

  onLoss(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  lose(): void {
    for (const listener of this.listeners) listener();
  }

  /** Everything put since the last call. */
  take(): { info: BlockInfo; block: Buffer }[] {
    return this.blocks.splice(0);
  }
}

/** A block's rows as text by column name, read back by COPY into a table of a real server. */
export async function readBlock(cluster: Cluster, block: Buffer): Promise<Record<string, string | null>[]> {
  const { columns } = blockInfo(block);
  const connection = await connect({
    params: {
      host: cluster.socketDirectory,
      port: String(cluster.port),
      user: 'postgres',
      dbname: 'postgres',
    },
    timeoutMs: 10_000,
  });
  try {
    const list = columns.map((column) => `"${column.name}" ${column.type}`).join(', ');
    await connection.query(`CREATE TEMP TABLE got (${list})`);
    await connection.copyIn('COPY got FROM STDIN (FORMAT binary)', [
      await blocksToPgcopy([block], { columns, prefix: [] }),
    ]);
    return (await connection.query('SELECT * FROM got')).rows;
  } finally {
    connection.close();
  }
}
