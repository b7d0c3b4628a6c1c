/**
 * Traces of a server over SQL (schema sql_profiler of profiler-ext): listed, found by id or name, followed and read. In: a
 * connection string. Out: what store.ts says. One connection; where it breaks while a trace is followed, the next call opens
 * another, and positions stay what they were: ids and files live through a restart.
 */
import { userInfo } from 'node:os';
import pg from 'pg';
import { type Conninfo, parseConninfo } from '../../base/conninfo.js';
import { clientConfig } from '../../base/db.js';
import { errorCode, errorText, PemError } from '../../base/errors.js';
import type { FollowedStore, SlotPosition, TraceFile, TraceProblem } from './store.js';

/** A row of the view sql_profiler.traces. */
export interface ServerTrace {
  readonly id: number;
  readonly name: string;
  readonly state: 'running' | 'stopped';
  readonly started_at: Date;
  readonly stopped_at: Date | null;
  readonly stop_reason: string | null;
  readonly options: Readonly<Record<string, unknown>>;
  readonly files: number;
  readonly bytes: number;
  readonly rows: number;
  readonly lost_rows: number;
  readonly lost_reason: string | null;
  readonly owner: string;
}

/** Does the environment name a server, as for every client of PostgreSQL? */
export const isServerNamed = (): boolean => process.env.PGHOST !== undefined;

/** @throws PemError option_missing | conninfo_* */
export function tracedServer(db: string | undefined): Conninfo {
  if (db === undefined && !isServerNamed()) {
    throw new PemError(
      'option_missing',
      'which server? Give --db "host=… port=… dbname=…" of the server that is traced',
      'operator',
    );
  }
  const { PGHOST, PGPORT, PGUSER, PGDATABASE } = process.env;
  return {
    ...(PGHOST === undefined ? {} : { host: PGHOST }),
    ...(PGPORT === undefined ? {} : { port: PGPORT }),
    user: PGUSER ?? userInfo().username,
    dbname: PGDATABASE ?? 'postgres',
    ...parseConninfo(db ?? ''),
  };
}

/** @throws PemError server_unreachable, SQL errors */
async function reach(conninfo: Conninfo): Promise<pg.Client> {
  try {
    return await connect(conninfo);
  } catch (error) {
    if (!connectionIsGone(error)) throw error;
    const cause = error instanceof AggregateError ? error.errors[0] : error;
    throw new PemError(
      'server_unreachable',
      `${errorText(cause)}: does a server listen there, and do --db or PGHOST and PGPORT name it?`,
      'outside',
      { cause: error },
    );
  }
}

async function connect(conninfo: Conninfo): Promise<pg.Client> {
  const client = new pg.Client({
    ...clientConfig(conninfo),
    application_name: 'pem trace',
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
  });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** What the server says when the extension is not there, in words that help. */
function explained(error: unknown, conninfo: Conninfo): unknown {
  const code = errorCode(error);
  if (code === '55000') {
    return new PemError(
      'trace_not_loaded',
      `${errorText(error)}: set it in postgresql.conf and restart the server`,
      'operator',
      { cause: error },
    );
  }
  if (code === '3F000' || code === '42883' || code === '42P01') {
    return new PemError(
      'trace_extension_missing',
      `database ${conninfo.dbname ?? ''} has no extension sql_profiler: CREATE EXTENSION sql_profiler there, or name the ` +
        'database that has it with dbname=',
      'operator',
      { cause: error },
    );
  }
  if (code === '42501') {
    return new PemError(
      'trace_not_permitted',
      `${errorText(error)}; the functions are for members of pg_read_all_stats (pg_monitor) and roles with EXECUTE`,
      'operator',
      { cause: error },
    );
  }
  return error;
}

/** Runs `work` on one connection to a traced server. @throws PemError server_unreachable | trace_not_loaded | trace_extension_missing | trace_not_permitted, SQL errors */
export async function withTraced<T>(
  db: string | undefined,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const conninfo = tracedServer(db);
  const client = await reach(conninfo);
  try {
    return await work(client);
  } catch (error) {
    throw explained(error, conninfo);
  } finally {
    await client.end().catch(() => undefined);
  }
}

export async function listTraces(client: pg.Client): Promise<ServerTrace[]> {
  const { rows } = await client.query<Record<keyof ServerTrace, unknown>>(
    'SELECT * FROM sql_profiler.traces ORDER BY id',
  );
  return rows.map(
    (row) =>
      ({
        ...row,
        ...Object.fromEntries(
          ['files', 'bytes', 'rows', 'lost_rows'].map((name) => [name, Number(row[name as 'rows'])]),
        ),
      }) as ServerTrace,
  );
}

/**
 * The trace of that id or name; without one the only one there is, or that runs. Of several of one name the youngest.
 * @throws PemError trace_unknown | trace_which
 */
export async function findTrace(client: pg.Client, wanted: string | undefined): Promise<ServerTrace> {
  const traces = await listTraces(client);
  const names = traces.map(({ id, name, state }) => `${id} "${name}" (${state})`).join(', ');
  const there = traces.length === 0 ? 'the server has none: "pem trace start"' : `there are: ${names}`;
  if (wanted !== undefined) {
    const found =
      traces.find(({ id }) => String(id) === wanted) ?? traces.filter(({ name }) => name === wanted).at(-1);
    if (found !== undefined) return found;
    throw new PemError('trace_unknown', `no trace ${wanted}; ${there}`, 'operator');
  }
  const running = traces.filter(({ state }) => state === 'running');
  const candidates = traces.length === 1 ? traces : running;
  if (candidates.length === 1 && candidates[0] !== undefined) return candidates[0];
  if (traces.length === 0) throw new PemError('trace_unknown', `no trace: ${there}`, 'operator');
  throw new PemError('trace_which', `which trace? Name one by its number; ${there}`, 'operator');
}

export class ServerStore implements FollowedStore {
  readonly kind = 'server';
  readonly problems: readonly TraceProblem[] = [];
  readonly #conninfo: Conninfo;
  #client: pg.Client | undefined;
  #trace: ServerTrace;
  #version = '0';

  private constructor(conninfo: Conninfo, client: pg.Client, trace: ServerTrace) {
    this.#conninfo = conninfo;
    this.#client = client;
    this.#trace = trace;
  }

  /** @throws PemError option_missing | server_unreachable | trace_* | SQL errors */
  static async open(db: string | undefined, wanted: string | undefined): Promise<ServerStore> {
    const conninfo = tracedServer(db);
    const client = await reach(conninfo);
    try {
      return new ServerStore(conninfo, client, await findTrace(client, wanted));
    } catch (error) {
      await client.end().catch(() => undefined);
      throw explained(error, conninfo);
    }
  }

  get trace(): ServerTrace {
    return this.#trace;
  }

  get name(): string {
    return `trace ${this.#trace.id} "${this.#trace.name}" of ${this.#conninfo.host ?? 'the local server'}`;
  }

  async #query<Row extends pg.QueryResultRow>(text: string, values: unknown[]): Promise<Row[]> {
    this.#client ??= await connect(this.#conninfo);
    try {
      return (await this.#client.query<Row>(text, values)).rows;
    } catch (error) {
      if (connectionIsGone(error)) await this.#drop();
      throw explained(error, this.#conninfo);
    }
  }

  async #drop(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    // The next session has told nobody anything yet.
    this.#version = '0';
    await client?.end().catch(() => undefined);
  }

  async list(): Promise<TraceFile[]> {
    const slots = await this.#query<{ slot: number; file: number; committed_bytes: string }>(
      'SELECT slot, file, committed_bytes FROM sql_profiler.progress($1) ORDER BY slot',
      [this.#trace.id],
    );
    return slots.flatMap(({ slot, file, committed_bytes }) =>
      Array.from({ length: file }, (_, i) => ({
        label: `slot ${slot}, file ${i + 1}`,
        slot,
        number: i + 1,
        // What earlier files hold is not told; their rows are read to the end.
        bytes: i + 1 === file ? Number(committed_bytes) : 0,
      })),
    );
  }

  /** The server tells the sum alone: it stands under slot -1. */
  async lostRows(): Promise<ReadonlyMap<number, number>> {
    await this.#refresh();
    return new Map([[-1, this.#trace.lost_rows]]);
  }

  async #refresh(): Promise<void> {
    const [row] = await this.#query<{
      state: 'running' | 'stopped';
      stop_reason: string | null;
      lost_rows: string;
    }>('SELECT state, stop_reason, lost_rows FROM sql_profiler.traces WHERE id = $1', [this.#trace.id]);
    if (row === undefined)
      throw new PemError('trace_unknown', `trace ${this.#trace.id} was dropped`, 'operator');
    this.#trace = { ...this.#trace, ...row, lost_rows: Number(row.lost_rows) };
  }

  source(): undefined {
    return undefined;
  }

  async read(file: Pick<TraceFile, 'slot' | 'number'>, from: number, max: number): Promise<Buffer> {
    const [row] = await this.#query<{ rows: Buffer }>(
      'SELECT sql_profiler.read($1, $2, $3, $4, $5) AS rows',
      [this.#trace.id, file.slot, file.number, from, max],
    );
    return row?.rows ?? Buffer.alloc(0);
  }

  async changed(): Promise<SlotPosition[]> {
    const rows = await this.#query<{ slot: number; file: number; committed_bytes: string; version: string }>(
      'SELECT slot, file, committed_bytes, version FROM sql_profiler.changed($1, $2)',
      [this.#trace.id, this.#version],
    );
    this.#version = rows[0]?.version ?? this.#version;
    return rows.map(({ slot, file, committed_bytes }) => ({ slot, file, bytes: Number(committed_bytes) }));
  }

  async ended(): Promise<string | undefined> {
    await this.#refresh();
    return this.#trace.state === 'running' ? undefined : (this.#trace.stop_reason ?? 'stopped');
  }

  async close(): Promise<void> {
    await this.#drop();
  }
}

/** Is it the way to the server that failed, so that another connection may succeed? */
export function connectionIsGone(error: unknown): boolean {
  const code = errorCode(error);
  return (
    /^(08...|57P0[123]|53300|E[A-Z]+)$/.test(code) ||
    (code === 'internal' &&
      /^(Connection terminated|Client has encountered|timeout expired)/i.test(errorText(error)))
  );
}
