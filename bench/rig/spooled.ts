/**
 * What an agent's spool holds, read as the next start of the agent would read it, and whether PEM's history holds exactly
 * that. For tests of faults: the spool is the oracle, every block in it knows its target, probe, time and rows.
 */
import { nodeFs } from '../../agent/spool/fs.js';
import { ReceivedSet } from '../../agent/spool/received.js';
import { Spool } from '../../agent/spool/spool.js';
import { verifyBatches } from '../../native/index.js';
import type { Pem } from './pem.js';

export interface SpooledBlock {
  /** Boot, seq and place: the same block in the spools of two copies of an agent has the same name. */
  readonly name: string;
  readonly target: bigint;
  readonly probe: string;
  readonly atUs: string;
  readonly rows: number;
}

export interface Spooled {
  readonly blocks: readonly SpooledBlock[];
  readonly batches: number;
  readonly boots: number;
}

/** Reads a spool's folder; the agent must be stopped. @throws where anything in it is damaged */
export async function readSpool(folder: string, agentId: number): Promise<Spooled> {
  const spool = new Spool({
    fs: nodeFs(folder),
    agentId,
    received: new ReceivedSet(),
    maxBytes: 1 << 30,
    maxAgeMs: 1e12,
    report: (problem) => {
      throw problem;
    },
  });
  const cursor = { segment: 0, offset: 0 };
  const blocks: SpooledBlock[] = [];
  let batches = 0;
  for (;;) {
    const read = await spool.read(cursor, () => false, 4 << 20);
    if (read.length === 0) break;
    batches += read.length;
    for (const [at, info] of (await verifyBatches(read.map((batch) => batch.payload))).entries()) {
      if (info.error !== undefined) throw new Error(`the spool holds a bad batch: ${info.error.message}`);
      for (const [index, block] of info.blocks.entries()) {
        if (block.info === undefined) throw new Error(`the spool holds a bad block: ${block.error?.message}`);
        blocks.push({
          name: `${read[at]?.boot}/${read[at]?.seq}/${index}`,
          target: block.info.target,
          probe: block.info.probe,
          atUs: String(block.info.recordedAtUs),
          rows: block.info.rows,
        });
      }
    }
  }
  return { blocks, batches, boots: spool.boots().length - 1 };
}

/**
 * Differences between blocks and history, as text; empty when every block is there exactly once and, with `nothingElse`,
 * history holds nothing besides. Blocks that stand in several spools count once.
 */
export async function compareWithHistory(
  pem: Pem,
  blocks: readonly SpooledBlock[],
  options: { nothingElse: boolean },
): Promise<string[]> {
  const expected = new Map<string, Map<string, number>>();
  for (const block of new Map(blocks.map((item) => [item.name, item])).values()) {
    if (block.rows === 0) continue;
    const of = expected.get(block.probe) ?? new Map<string, number>();
    const place = `${block.target} ${block.atUs}`;
    of.set(place, (of.get(place) ?? 0) + block.rows);
    expected.set(block.probe, of);
  }
  const tables = await pem.query(
    `SELECT name FROM pem.probe WHERE (definition ->> 'history')::bool ORDER BY name`,
  );
  const wrong: string[] = [];
  for (const { name } of tables.rows as { name: string }[]) {
    const wanted = expected.get(name) ?? new Map<string, number>();
    const found = await pem.query(
      `SELECT target_id || ' ' || (extract(epoch FROM recorded_at) * 1000000)::int8 AS place, count(*)::int AS rows
         FROM pemhistory."${name}" GROUP BY target_id, recorded_at`,
    );
    const history = new Map(found.rows.map((row) => [row.place as string, row.rows as number]));
    for (const [place, rows] of wanted) {
      if (history.get(place) !== rows)
        wrong.push(`${name} ${place}: ${rows} rows went in, history has ${history.get(place) ?? 0}`);
      history.delete(place);
    }
    if (!options.nothingElse) continue;
    for (const [place, rows] of history) wrong.push(`${name} ${place}: ${rows} rows that no spool holds`);
  }
  return wrong;
}
