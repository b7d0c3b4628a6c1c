/**
 * Traces of sql_profiler for tests: a cluster that has it, and all rows of a trace as a reader gets them. In: a cluster.
 * Out: rows by column name. The cluster's owner is the test.
 */
import type pg from 'pg';
import { type Cluster, type ClusterOptions, startCluster } from './cluster.js';
import { profiledServer, type Variant } from './profiled_server.js';

export type TraceRow = Readonly<Record<string, string>> & {
  /** Number of the file it came from. */
  readonly file: string;
};

/**
 * A cluster with the library preloaded and the extension made; of PEM_PROFILED_BIN's major where that is set. Where
 * PEM_SANITIZER_REPORTS names a folder, the library is the sanitized one and writes there what is found: a backend whose end
 * that is, is not always seen as a crash.
 */
export async function startProfiled(options: ClusterOptions & { variant?: Variant } = {}): Promise<Cluster> {
  const sanitized = process.env.PEM_SANITIZER_REPORTS !== undefined;
  const variant = options.variant ?? (sanitized ? 'sanitized' : undefined);
  const bin = await profiledServer(options.bin ?? process.env.PEM_PROFILED_BIN, variant);
  const cluster = await startCluster({
    ...options,
    bin,
    settings: { shared_preload_libraries: "'sql_profiler'", ...options.settings },
  });
  await cluster.query('CREATE EXTENSION sql_profiler');
  return cluster;
}

export async function startTrace(cluster: Cluster, name: string, options: object = {}): Promise<number> {
  const sql = 'SELECT sql_profiler.start($1, $2) AS id';
  return (await cluster.query(sql, [name, JSON.stringify(options)])).rows[0].id;
}

export const stopTrace = (cluster: Cluster, id: number): Promise<pg.QueryResult> =>
  cluster.query('SELECT sql_profiler.stop($1)', [id]);

export interface TraceStatus {
  readonly state: string;
  readonly stop_reason: string | null;
  readonly files: string;
  readonly bytes: string;
  readonly rows: string;
  readonly lost_rows: string;
  readonly lost_reason: string | null;
}

export async function traceStatus(cluster: Cluster, id: number): Promise<TraceStatus> {
  const { rows } = await cluster.query('SELECT * FROM sql_profiler.traces WHERE id = $1', [id]);
  if (rows[0] === undefined) throw new Error(`no trace ${id}`);
  return rows[0];
}

/** RFC 4180, the plain way: records of fields. Throws where the bytes do not end with a record. */
export function parseCsv(text: string): string[][] {
  const records: string[][] = [];
  let record: string[] = [];
  for (let at = 0; at < text.length; ) {
    let value = '';
    if (text[at] === '"') {
      for (;;) {
        const quote = text.indexOf('"', at + 1);
        if (quote < 0) throw new Error('a quoted field does not end');
        value += text.slice(at + 1, quote);
        at = quote + 1;
        if (text[at] !== '"') break;
        value += '"';
      }
    } else {
      const end = /[,\n]/g;
      end.lastIndex = at;
      const found = end.exec(text);
      if (found === null) throw new Error('a record does not end');
      value = text.slice(at, found.index);
      at = found.index;
    }
    record.push(value);
    if (text[at] === '\n') {
      records.push(record);
      record = [];
    } else if (text[at] !== ',') {
      throw new Error(`unexpected ${JSON.stringify(text[at] ?? 'end')} behind a field`);
    }
    at++;
  }
  if (record.length > 0) throw new Error('a record does not end');
  return records;
}

/** One file of a slot through SQL, in pieces of maxBytes. */
export async function readTraceFile(
  client: pg.Client,
  id: number,
  slot: number,
  file: number,
  maxBytes: number,
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let from = 0; ; ) {
    const { rows } = await client.query('SELECT sql_profiler.read($1, $2, $3, $4, $5) AS bytes', [
      ...[id, slot, file, from, maxBytes],
    ]);
    const bytes = rows[0].bytes as Buffer;
    if (bytes.length === 0) return Buffer.concat(pieces);
    pieces.push(bytes);
    from += bytes.length;
  }
}

/** The rows of one file's bytes. */
export function traceRows(bytes: Buffer, file: number): TraceRow[] {
  const [head, ...records] = parseCsv(bytes.toString('utf8'));
  if (head === undefined) return [];
  return records.map((record) => {
    if (record.length !== head.length) throw new Error(`${record.length} fields of ${head.length}`);
    return { ...Object.fromEntries(head.map((name, i) => [name, record[i] ?? ''])), file: String(file) };
  });
}

/** All rows of a trace, by slot and file. */
export async function readTrace(cluster: Cluster, id: number, maxBytes = 1 << 20): Promise<TraceRow[]> {
  const client = await cluster.client();
  try {
    const { rows } = await client.query('SELECT slot, file FROM sql_profiler.progress($1)', [id]);
    const all: TraceRow[] = [];
    for (const { slot, file } of rows)
      for (let n = 1; n <= file; n++)
        for (const row of traceRows(await readTraceFile(client, id, slot, n, maxBytes), n)) all.push(row);
    return all;
  } finally {
    await client.end();
  }
}

/** What rows of one session are sorted by: when they started, were written, ended. */
export type RowOrder = 'serial' | 'line' | 'end_time';

export const sortedRows = (rows: readonly TraceRow[], by: RowOrder): TraceRow[] =>
  [...rows].sort((a, b) => Number(a[by]) - Number(b[by]));

/** Ends a trace and gives its rows in this order. */
export async function endTrace(cluster: Cluster, id: number, by: RowOrder): Promise<TraceRow[]> {
  await stopTrace(cluster, id);
  return sortedRows(await readTrace(cluster, id), by);
}

/** Texts of the rows that hold `part`, in the order of their ends. */
export const queries = (rows: readonly TraceRow[], part: string): string[] =>
  sortedRows(rows, 'end_time')
    .filter((row) => row.query?.includes(part))
    .map((row) => row.query as string);

/** What must hold of any trace's rows: each slot's lines only grow, and no row is there twice. */
export function brokenLines(rows: readonly TraceRow[]): string[] {
  const last = new Map<string, number>();
  const broken: string[] = [];
  for (const row of rows) {
    const slot = row.slot as string;
    const line = Number(row.line);
    if (line <= (last.get(slot) ?? 0)) broken.push(`slot ${slot}: line ${line} after ${last.get(slot)}`);
    last.set(slot, line);
  }
  return broken;
}
