/**
 * The functions of the extension sql_profiler, called over one connection. In: ids, positions, options. Out: what the server
 * says, bytes of trace files, or a coded error that tells the operator what to do. Owns nothing: the connection is lent.
 */
import type { PgConn } from '../../native/index.js';
import { errorCode, errorText, PemError } from '../../src/base/errors.js';
import { type LentConnection, linkLimits } from '../probes/link.js';
import type { Position, SlotPosition } from './positions.js';

/** A trace as the server tells of it. */
export interface ServerTrace {
  readonly id: number;
  readonly name: string;
  readonly running: boolean;
  readonly startedUs: number;
  readonly stoppedUs: number | null;
  /** requested, duration_s, max_total_bytes, sql_profiler.max_directory_bytes, restart */
  readonly stopReason: string | null;
  readonly bytes: number;
  readonly rows: number;
  readonly lostRows: number;
  readonly lostReason: string | null;
}

export interface Changed {
  readonly slots: ReadonlyMap<number, Position>;
  /** For the next call on this connection. */
  readonly version: string;
}

export interface ReadRequest {
  readonly slot: number;
  readonly file: number;
  readonly from: number;
  readonly maxBytes: number;
}

/** What a reading gave: `pieces` are views of `stream`, one for each request. */
export interface Reading {
  readonly stream: Buffer;
  readonly pieces: readonly Buffer[];
}

const copyHeaderBytes = 19;
/** One row of a trace file may be as long as that. */
const mostReadBytes = 512 * 1024 * 1024;
const timeoutMs = linkLimits.clusterStatementMs + linkLimits.graceMs;

const us = (column: string): string => `(extract(epoch FROM ${column}) * 1000000)::int8`;

const listSql = `SELECT id, name, state, ${us('started_at')} AS started, ${us('stopped_at')} AS stopped, stop_reason, bytes, rows,
    lost_rows, lost_reason FROM sql_profiler.list() WHERE name LIKE 'pem\\_%' ORDER BY id`;

const numberOrNull = (text: string | null | undefined): number | null => (text == null ? null : Number(text));

/** Whole numbers alone go into statements that take no parameters. */
function whole(value: number): string {
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`not a whole number: ${value}`);
  return String(value);
}

export class ProfilerSession {
  constructor(
    private readonly connection: LentConnection,
    private readonly database: string,
    private readonly role: string,
  ) {}

  get closed(): boolean {
    return this.connection.closed;
  }

  close(): void {
    this.connection.close();
  }

  /** All traces that a PEM has started and this role may see. */
  async list(): Promise<ServerTrace[]> {
    const rows = await this.#query(listSql, []);
    return rows.map((row) => ({
      id: Number(row.id),
      name: row.name ?? '',
      running: row.state === 'running',
      startedUs: Number(row.started),
      stoppedUs: numberOrNull(row.stopped),
      stopReason: row.stop_reason ?? null,
      bytes: Number(row.bytes),
      rows: Number(row.rows),
      lostRows: Number(row.lost_rows),
      lostReason: row.lost_reason ?? null,
    }));
  }

  /** @throws PemError trace_refused where the server does not take the options */
  async start(name: string, options: Readonly<Record<string, unknown>>): Promise<number> {
    const [row] = await this.#query('SELECT sql_profiler.start($1, $2::jsonb) AS id', [
      name,
      JSON.stringify(options),
    ]);
    return Number(row?.id);
  }

  async stop(id: number): Promise<void> {
    await this.#query('SELECT sql_profiler.stop($1::int)', [whole(id)]);
  }

  async drop(id: number): Promise<void> {
    await this.#query('SELECT sql_profiler.drop($1::int)', [whole(id)]);
  }

  /** Slots that have more rows since that version; all of them for a version of another connection. */
  async changed(id: number, version: string): Promise<Changed> {
    const rows = await this.#query(
      'SELECT slot, file, committed_bytes, version FROM sql_profiler.changed($1::int, $2::int8)',
      [whole(id), version],
    );
    return {
      slots: new Map(
        rows.map((row) => [Number(row.slot), { file: Number(row.file), at: Number(row.committed_bytes) }]),
      ),
      version: rows[0]?.version ?? version,
    };
  }

  /** Where each slot ends now, and the rows of all of them up to there. */
  async ends(id: number): Promise<{ slots: SlotPosition[]; rows: number }> {
    const rows = await this.#query(
      'SELECT slot, file, committed_bytes, rows FROM sql_profiler.progress($1::int)',
      [whole(id)],
    );
    return {
      slots: rows.map((row) => [Number(row.slot), Number(row.file), Number(row.committed_bytes)]),
      rows: rows.reduce((sum, row) => sum + Number(row.rows), 0),
    };
  }

  /** Whole rows from each position on. The caller gives the stream's memory back (releaseStream). */
  async read(id: number, requests: readonly ReadRequest[]): Promise<Reading> {
    const values = requests.map(
      ({ slot, file, from, maxBytes }, i) =>
        `(${i}, ${whole(slot)}, ${whole(file)}, ${whole(from)}::int8, ${whole(maxBytes)})`,
    );
    const sql = `COPY (SELECT v.i, sql_profiler.read(${whole(id)}, v.slot, v.file, v.at, v.most)
      FROM (VALUES ${values.join(', ')}) AS v(i, slot, file, at, most)) TO STDOUT (FORMAT binary)`;
    const stream = await this.#run((connection) =>
      connection.copyOutRaw(sql, { timeoutMs, maxBytes: mostReadBytes }),
    );
    return { stream, pieces: piecesOf(stream, requests.length) };
  }

  async #query(sql: string, parameters: readonly string[]): Promise<Record<string, string | null>[]> {
    return (await this.#run((connection) => connection.query(sql, parameters, { timeoutMs }))).rows;
  }

  async #run<Result>(work: (connection: PgConn) => Promise<Result>): Promise<Result> {
    try {
      return await this.connection.run(work);
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** The server's errors in the words of this product; what to do about it is in them. */
  #explain(error: unknown): unknown {
    const code = errorCode(error);
    const text = errorText(error);
    switch (code) {
      // No such schema, function or view.
      case '3F000':
      case '42883':
      case '42P01':
        return new PemError(
          'trace_extension_missing',
          `extension not installed: in database "${this.database}" run CREATE EXTENSION sql_profiler (${text})`,
          'operator',
          { cause: error },
        );
      // Not preloaded, or the library's file is gone.
      case '55000':
      case '58P01':
        return new PemError(
          'trace_not_loaded',
          `not loaded: add sql_profiler to shared_preload_libraries and restart the server (${text})`,
          'operator',
          { cause: error },
        );
      case '42501':
        return new PemError(
          'trace_not_permitted',
          `not permitted: GRANT pg_read_all_stats TO "${this.role}" (pg_monitor has it) (${text})`,
          'operator',
          { cause: error },
        );
      // The session is over, or the server's answer did not come: other sessions fare no better.
      case 'connection_lost':
      case 'query_timeout':
      case '57P01':
      case '57P02':
      case '57P03':
        this.close();
        return new PemError('server_unreachable', text, 'outside', { cause: error });
      case '22023':
        return new PemError('trace_refused', `the server refused the trace: ${text}`, 'operator', {
          cause: error,
        });
      case '53400':
      case '53100':
        return new PemError('trace_no_room', `the server has no room for a trace: ${text}`, 'outside', {
          cause: error,
        });
      default:
        return error;
    }
  }
}

/** The second fields of a PGCOPY stream's rows (i, bytea), by the first. */
function piecesOf(stream: Buffer, count: number): Buffer[] {
  const pieces: Buffer[] = new Array<Buffer>(count).fill(stream.subarray(0, 0));
  for (let at = copyHeaderBytes; stream.readInt16BE(at) === 2; ) {
    const place = stream.readInt32BE(at + 6);
    const length = stream.readInt32BE(at + 10);
    const begin = at + 14;
    const end = begin + Math.max(0, length);
    pieces[place] = stream.subarray(begin, end);
    at = end;
  }
  return pieces;
}
