/**
 * Brings blocks into the tables of their probes inside the caller's transaction: history by merged COPYs, latest by
 * stage + MERGE. In: accepted blocks with positions; out: rows per probe, or a StepError that names the probe.
 *
 * 1. One COPY per probe and set of columns, whatever the number of agents; rows in target order (see history/partitions).
 * 2. pem.probe_state is written for all probes at once, before latest: its row locks are taken in one order everywhere.
 */
import { blocksToPgcopy, type PgConn, releaseStream } from '../../native/index.js';
import { quoteName } from '../history/partitions.js';
import type { KnownProbe } from './knowledge.js';
import {
  arrayText,
  comparePart,
  currentBlocks,
  type LatestPart,
  mergeSql,
  type Placed,
  planLatest,
  removeSql,
  stageSql,
  stageTable,
  stateParameters,
  stateSql,
} from './latest.js';

/** What failed belongs to one probe: its blocks are searched for the one that is to blame. */
export class StepError extends Error {
  override readonly name = 'StepError';
  constructor(
    readonly probe: string,
    override readonly cause: unknown,
  ) {
    super(`probe ${probe}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

export interface ProbeCost {
  rows: number;
  /** Time that the connection was busy with the probe. */
  busyUs: number;
}

/** Temporary tables that a connection has; forgotten with it. */
export class Stages {
  private readonly made = new Map<string, string>();

  /** Statement that makes the probe's stage, unless it is there with these columns. */
  missing(probe: KnownProbe): string | undefined {
    const sql = stageSql(probe);
    if (this.made.get(probe.name) === sql) return undefined;
    this.made.set(probe.name, sql);
    return sql;
  }
}

interface Group {
  readonly probe: KnownProbe;
  readonly items: Placed[];
}

/** Blocks by probe and by their columns, each group in target order. */
function groupBlocks(placed: readonly Placed[]): Group[] {
  const groups = new Map<string, Group>();
  for (const item of placed) {
    const { probe, columns } = item.block;
    const key =
      columns === probe.columns
        ? probe.name
        : `${probe.name}\u0000${columns.map((column) => column.name).join('\u0000')}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { probe, items: [item] });
    else group.items.push(item);
  }
  for (const { items } of groups.values()) {
    items.sort((a, b) => {
      const [x, y] = [a.block.info, b.block.info];
      if (x.target !== y.target) return x.target < y.target ? -1 : 1;
      return x.recordedAtUs < y.recordedAtUs ? -1 : x.recordedAtUs > y.recordedAtUs ? 1 : 0;
    });
  }
  return [...groups.values()];
}

interface CopyIn {
  readonly probe: KnownProbe;
  readonly sql: string;
  readonly data: Promise<Buffer>;
}

/** A promise that is awaited later must not end the process meanwhile. */
function started(data: Promise<Buffer>): Promise<Buffer> {
  data.catch(() => undefined);
  return data;
}

function historyCopy({ probe, items }: Group): CopyIn {
  const columns = (items[0] as Placed).block.columns;
  const names = [
    'recorded_at',
    'target_id',
    ...(probe.gone ? ['gone'] : []),
    ...columns.map((c) => quoteName(c.name)),
  ];
  return {
    probe,
    sql: `COPY pemhistory.${quoteName(probe.name)} (${names.join(', ')}) FROM STDIN (FORMAT binary)`,
    data: started(
      blocksToPgcopy(
        items.map((item) => item.block.bytes),
        {
          columns,
          prefix: [
            { kind: 'recorded_at' },
            { kind: 'target' },
            ...(probe.gone ? [{ kind: 'gone' } as const] : []),
          ],
          tombstones: probe.gone ? 'include' : 'skip',
        },
      ),
    ),
  };
}

function stageCopy({ probe, items }: Group, order: ReadonlyMap<Placed, number>): CopyIn {
  const columns = (items[0] as Placed).block.columns;
  const names = [
    'target_id',
    'recorded_at',
    '_arrival',
    '_seq',
    '_mark',
    '_gone',
    ...columns.map((c) => quoteName(c.name)),
  ];
  const numbers = (of: (item: Placed) => bigint) => BigInt64Array.from(items, of);
  return {
    probe,
    sql: `COPY ${stageTable(probe)} (${names.join(', ')}) FROM STDIN (FORMAT binary)`,
    data: started(
      blocksToPgcopy(
        items.map((item) => item.block.bytes),
        {
          columns,
          prefix: [
            { kind: 'target' },
            { kind: 'recorded_at' },
            { kind: 'int8', values: numbers((item) => item.arrival) },
            { kind: 'int8', values: numbers((item) => item.block.seq) },
            {
              kind: 'int8',
              values: numbers((item) =>
                BigInt((order.get(item) ?? 0) * 2 + (item.block.info.kind === 'full' ? 1 : 0)),
              ),
            },
            { kind: 'gone' },
          ],
        },
      ),
    ),
  };
}

export interface ApplyOptions {
  readonly stages: Stages;
  /** A key may stand twice in one block: the last row counts. Slower; used after a cycle failed without it. */
  readonly repeated: boolean;
  readonly costs: Map<string, ProbeCost>;
}

async function step(
  options: ApplyOptions,
  probe: string,
  rows: number,
  work: () => Promise<unknown>,
): Promise<void> {
  const before = performance.now();
  try {
    await work();
  } catch (error) {
    throw new StepError(probe, error);
  }
  const cost = options.costs.get(probe) ?? { rows: 0, busyUs: 0 };
  cost.rows += rows;
  cost.busyUs += Math.round((performance.now() - before) * 1000);
  options.costs.set(probe, cost);
}

async function runCopy(connection: PgConn, copy: CopyIn): Promise<void> {
  const stream = await copy.data;
  await connection.copyIn(copy.sql, [stream]);
  releaseStream(stream);
}

/** Writes positions and answers the parts with what is not late. */
async function lockParts(connection: PgConn, parts: readonly LatestPart[]): Promise<LatestPart[]> {
  const sorted = [...parts].sort(comparePart);
  const { rows } = await connection.query(stateSql, stateParameters(sorted));
  const fulls = new Map<string, { arrival: bigint; seq: bigint }>();
  for (const row of rows) {
    if (row.full_arrival === null || row.full_seq === null) continue;
    fulls.set(`${row.target_id}\u0000${row.probe}\u0000${row.scope}`, {
      arrival: BigInt(row.full_arrival as string),
      seq: BigInt(row.full_seq as string),
    });
  }
  return sorted
    .map((part) => ({
      ...part,
      blocks: currentBlocks(part, fulls.get(`${part.target}\u0000${part.probe}\u0000${part.scope}`)),
    }))
    .filter((part) => part.blocks.length > 0);
}

async function mergeLatest(
  connection: PgConn,
  probe: KnownProbe,
  parts: readonly LatestPart[],
  options: ApplyOptions,
): Promise<void> {
  const order = new Map<Placed, number>();
  const items: Placed[] = [];
  for (const part of parts) {
    for (const item of part.blocks) {
      order.set(item, order.size);
      if (item.block.info.rows > 0) items.push(item);
    }
  }
  const repeated = options.repeated || parts.some((part) => part.blocks.length > 1);
  const copies = groupBlocks(items).map((group) => stageCopy(group, order));
  for (const copy of copies) await runCopy(connection, copy);
  if (copies.length > 0) await connection.query(mergeSql(probe, repeated));
  const full = parts.filter((part) => part.blocks[0]?.block.info.kind === 'full');
  // One row a target: the MERGE has replaced it, only an empty block could leave one behind.
  const removing =
    probe.keys.length > 0 ? full : full.filter((part) => part.blocks[0]?.block.info.rows === 0);
  if (removing.length === 0) return;
  const first = (part: LatestPart): Placed => part.blocks[0] as Placed;
  await connection.query(removeSql(probe), [
    arrayText(removing.map((part) => part.target)),
    arrayText(removing.map((part) => part.scope)),
    arrayText(removing.map((part) => first(part).arrival)),
    arrayText(removing.map((part) => first(part).block.seq)),
  ]);
}

/**
 * History and latest of the blocks, in the transaction that is open on the connection.
 * @throws StepError
 */
export async function applyBlocks(
  connection: PgConn,
  placed: readonly Placed[],
  options: ApplyOptions,
): Promise<void> {
  const copies = groupBlocks(
    placed.filter((item) => item.block.probe.history && item.block.info.rows > 0),
  ).map((group) => ({
    copy: historyCopy(group),
    rows: group.items.reduce((sum, item) => sum + item.block.info.rows, 0),
  }));
  for (const { copy, rows } of copies) {
    await step(options, copy.probe.name, rows, () => runCopy(connection, copy));
  }
  const planned = planLatest(placed);
  if (planned.length === 0) return;
  const parts = await lockParts(connection, planned);
  const byProbe = new Map<string, LatestPart[]>();
  for (const part of parts) {
    const list = byProbe.get(part.probe) ?? [];
    list.push(part);
    byProbe.set(part.probe, list);
  }
  for (const [name, list] of byProbe) {
    const probe = list[0]?.blocks[0]?.block.probe;
    if (probe !== undefined)
      await step(options, name, 0, () => mergeLatest(connection, probe, list, options));
  }
}

/** Makes the stages that the blocks need; before the transaction, so that a rollback does not take them away. */
export async function prepareStages(
  connection: PgConn,
  placed: readonly { readonly probe: KnownProbe }[],
  stages: Stages,
): Promise<void> {
  for (const probe of new Set(placed.map((item) => item.probe))) {
    const sql = probe.latest ? stages.missing(probe) : undefined;
    if (sql !== undefined) await connection.query(sql);
  }
}
