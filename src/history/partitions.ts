/**
 * History's partitions: their names and bounds, and the one place that holds the statements which make and remove them.
 * In: a connection of a member of pem_history, probe, time; out: partitions of pemhistory.<probe> in pempart. Time is µs
 * since 1970 UTC; bounds are written with +00.
 *
 * 1. A partition is made by CREATE TABLE (LIKE) + ATTACH: neither waits for readers nor makes anybody wait (CREATE ..
 *    PARTITION OF behind a 5 s reader stalled ingest for 3.9 s).
 * 2. It is removed by DETACH CONCURRENTLY + DROP, never by DELETE. A detach that was cut off is finished the next time.
 *    A parent has at most one detach pending: the next removal waits for it.
 * 3. Every statement has lock_timeout 50 ms. 'busy' means: nothing was changed, come again.
 * 4. There is no default partition: rows without a partition do not reach history (src/ingest counts them as stray).
 * 5. Two sessions that make the same partition at once are both right: the second finds it made.
 *
 * The index of a history table is btree (target_id, recorded_at), made by syncCatalogue. Measured on PostgreSQL 15.18,
 * 10,000 rows of 12 columns a COPY, 200 targets, server CPU per row and time to read one minute of one target out of
 * 1.5 M rows: no index 0.76 µs and 65 ms; BRIN (target_id, recorded_at), 2 pages a range, autosummarize 1.0 µs and 5 ms,
 * growing with the partition since the whole BRIN is read each time; btree (recorded_at, target_id) 1.35 µs and 3.2 ms,
 * growing with the number of targets; btree (target_id, recorded_at) 1.6 µs and 0.45 ms, growing with the answer alone.
 * Rows of a merged COPY are in target order: unordered, the same read takes 5.1 ms (3,011 pages instead of 119).
 */
import { PgError } from '../../native/index.js';

export type PartitionWidth = 'day' | 'month';

/** What this file needs of a connection; PgConn is one. */
export interface Session {
  query(sql: string): Promise<{ rows: Record<string, string | null>[] }>;
}

export interface Bounds {
  readonly fromUs: bigint;
  readonly toUs: bigint;
}

const dayUs = 86_400_000_000n;

function floorDiv(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  return value % by < 0n ? quotient - 1n : quotient;
}

/** Bounds of the partition that holds a time. The time must be within JavaScript's dates (years ±271,821). */
export function partitionBounds(width: PartitionWidth, atUs: bigint): Bounds {
  const day = floorDiv(atUs, dayUs);
  if (width === 'day') return { fromUs: day * dayUs, toUs: (day + 1n) * dayUs };
  const date = new Date(Number(day) * 86_400_000);
  const from = Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1);
  const to = Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1);
  return { fromUs: BigInt(from) * 1000n, toUs: BigInt(to) * 1000n };
}

/** `<probe>_yyyymmdd` or `<probe>_yyyymm`. */
export function partitionName(probe: string, width: PartitionWidth, bounds: Bounds): string {
  const text = new Date(Number(bounds.fromUs / 1000n)).toISOString();
  return `${probe}_${text.slice(0, 4)}${text.slice(5, 7)}${width === 'day' ? text.slice(8, 10) : ''}`;
}

/** Bounds from a partition's name; undefined when it is not one of the probe. */
export function parsePartitionName(
  probe: string,
  name: string,
): { width: PartitionWidth; bounds: Bounds } | undefined {
  const match = name.startsWith(`${probe}_`)
    ? /^(\d{4})(\d{2})(\d{2})?$/.exec(name.slice(probe.length + 1))
    : null;
  if (match === null) return undefined;
  const width = match[3] === undefined ? 'month' : 'day';
  const start = Date.UTC(Number(match[1]), Number(match[2]) - 1, Number(match[3] ?? '1'));
  return { width, bounds: partitionBounds(width, BigInt(start) * 1000n) };
}

/** '2026-01-31 00:00:00+00' */
function boundText(us: bigint): string {
  return `${new Date(Number(us / 1000n)).toISOString().slice(0, 19).replace('T', ' ')}+00`;
}

/** An identifier in double quotes. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

const lockTimeout = "SET LOCAL lock_timeout = '50ms'";
// 55P03 lock_not_available, 40P01 deadlock, 42P07 and 42710: another session made it first, 42P17: it overlaps.
const busyCodes: ReadonlySet<string> = new Set(['55P03', '40P01']);
const madeCodes: ReadonlySet<string> = new Set(['42P07', '42710', '42P17', '23505']);

function codeOf(error: unknown): string {
  return error instanceof PgError ? error.code : '';
}

/** Attached partitions of every probe, by probe. Those being detached are not in it. */
export async function listPartitions(session: Session): Promise<Map<string, Set<string>>> {
  const { rows } = await session.query(
    `SELECT p.relname AS probe, c.relname AS partition FROM pg_catalog.pg_inherits i
       JOIN pg_catalog.pg_class p ON p.oid = i.inhparent JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
      WHERE p.relnamespace = 'pemhistory'::regnamespace AND p.relkind = 'p' AND NOT i.inhdetachpending`,
  );
  const result = new Map<string, Set<string>>();
  for (const row of rows) {
    const names = result.get(row.probe as string) ?? new Set<string>();
    names.add(row.partition as string);
    result.set(row.probe as string, names);
  }
  return result;
}

/** Makes the partition that holds a time. A table of that name that is not attached (a cut-off detach) is dropped. */
export async function makePartition(
  session: Session,
  probe: string,
  width: PartitionWidth,
  atUs: bigint,
): Promise<'made' | 'there' | 'busy'> {
  const bounds = partitionBounds(width, atUs);
  const name = partitionName(probe, width, bounds);
  const parent = `pemhistory.${quoteName(probe)}`;
  const child = `pempart.${quoteName(name)}`;
  const { rows } = await session.query(
    `SELECT i.inhdetachpending AS pending FROM pg_catalog.pg_class c
       LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
      WHERE c.relnamespace = 'pempart'::regnamespace AND c.relname = '${name.replaceAll("'", "''")}'`,
  );
  if (rows[0] !== undefined) {
    if (rows[0].pending === 'f') return 'there';
    if ((await removePartition(session, probe, name)) === 'busy') return 'busy';
  }
  try {
    // One message, so one implicit transaction: callers share the connection, and a statement of theirs that came between
    // BEGIN and COMMIT would run in the other role, or abort the two statements unseen.
    await session.query(
      `${lockTimeout}; SET LOCAL ROLE pem_history;
       CREATE TABLE ${child} (LIKE ${parent} INCLUDING ALL);
       ALTER TABLE ${parent} ATTACH PARTITION ${child}
         FOR VALUES FROM ('${boundText(bounds.fromUs)}') TO ('${boundText(bounds.toUs)}')`,
    );
    return 'made';
  } catch (error) {
    if (madeCodes.has(codeOf(error))) return 'there';
    if (busyCodes.has(codeOf(error))) return 'busy';
    throw error;
  }
}

/**
 * Takes a partition out of history and drops it. With a reader in the way the detach stays pending: new queries do not
 * see the partition any more, and the next call finishes it.
 */
export async function removePartition(
  session: Session,
  probe: string,
  name: string,
): Promise<'removed' | 'busy'> {
  const parent = `pemhistory.${quoteName(probe)}`;
  const child = `pempart.${quoteName(name)}`;
  try {
    await session.query("SET lock_timeout = '50ms'");
    const { rows } = await session.query(
      `SELECT i.inhdetachpending AS pending FROM pg_catalog.pg_inherits i
        WHERE i.inhrelid = pg_catalog.to_regclass('${child.replaceAll("'", "''")}')`,
    );
    // Not in one message with others: DETACH CONCURRENTLY cannot run in a transaction block.
    if (rows[0]?.pending === 'f') {
      await session.query(`ALTER TABLE ${parent} DETACH PARTITION ${child} CONCURRENTLY`);
    } else if (rows[0]?.pending === 't') {
      await session.query(`ALTER TABLE ${parent} DETACH PARTITION ${child} FINALIZE`);
    }
    await session.query(`DROP TABLE IF EXISTS ${child}`);
    return 'removed';
  } catch (error) {
    // 55006: a cursor of ours; 55000: another partition of the probe is being detached.
    if (busyCodes.has(codeOf(error)) || codeOf(error) === '55006' || codeOf(error) === '55000') return 'busy';
    throw error;
  } finally {
    await session.query('RESET lock_timeout').catch(() => undefined);
  }
}
