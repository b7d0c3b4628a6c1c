/**
 * Runs SQL probes on one server. In: a definition and a run's context. Out: blocks in the outbox and what the run cost.
 * Owns what it knows about prepared statements; connections belong to the link, delta memory to the emitter.
 */
import type { PgConn } from '../../native/index.js';
import { errorCode, errorText, PemError } from '../../src/base/errors.js';
import type { ProbeRuntime } from '../../src/wire/config.js';
import type { RunContext, RunResult } from '../scheduler/timetable.js';
import { blockMeta, columnSpecs, type Emitter } from './emit.js';
import { linkLimits, type ServerLink } from './link.js';
import { checkColumns, copyText, explain, sqlFor } from './statement.js';

/** Longest text that travels; a longer one is cut by the codec and counted. */
const maxValueBytes = 16 * 1024;
const maxRows = 1_000_000;

/** Databases one may connect to. */
const databasesSql = `SELECT datname FROM pg_database
 WHERE datallowconn AND NOT datistemplate AND has_database_privilege(oid, 'CONNECT') ORDER BY datname`;

interface Tally {
  ms: number;
  rows: number;
  bytes: number;
  cutValues: number;
}

export class ServerProbes {
  /** COPY texts of statements that were prepared and found right: by version, database, probe and text. */
  private readonly checked = new Map<string, string>();

  constructor(
    private readonly targetId: number,
    private readonly link: ServerLink,
    private readonly emitter: Emitter,
  ) {}

  /** One run of one probe, cluster-wide or in every database. */
  async run(probe: ProbeRuntime, context: RunContext): Promise<RunResult> {
    const tally: Tally = { ms: 0, rows: 0, bytes: 0, cutValues: 0 };
    if (probe.level !== 'database') {
      await this.link.cluster((connection) => this.collect(connection, '', probe, context, undefined, tally));
      return tally;
    }
    const databases = await this.link.cluster((connection) => this.databases(connection, tally));
    this.emitter.dropMissing(probe, this.targetId, databases, context);
    const failures = await this.link.visit(databases, (connection, database) =>
      this.collect(connection, database, probe, context, database, tally),
    );
    const [first] = failures;
    if (first === undefined) return tally;
    const [database, error] = first;
    if (failures.size === databases.length) throw error;
    return {
      ...tally,
      failure: {
        code: errorCode(error),
        message: `${failures.size} of ${databases.length} databases failed; ${database}: ${errorText(error)}`,
      },
    };
  }

  private async databases(connection: PgConn, tally: Tally): Promise<string[]> {
    const begun = performance.now();
    const result = await connection.query(databasesSql, [], {
      timeoutMs: linkLimits.clusterStatementMs + linkLimits.graceMs,
    });
    tally.ms += performance.now() - begun;
    return result.rows.map((row) => row.datname ?? '');
  }

  private async collect(
    connection: PgConn,
    database: string,
    probe: ProbeRuntime,
    context: RunContext,
    scope: string | undefined,
    tally: Tally,
  ): Promise<void> {
    const statementMs =
      probe.level === 'database' ? linkLimits.visitStatementMs : linkLimits.clusterStatementMs;
    const timeoutMs = statementMs + linkLimits.graceMs;
    const begun = performance.now();
    const text = sqlFor(probe, connection.serverVersion);
    const name = [connection.serverVersion, database, probe.name, probe.version, text].join('\0');
    try {
      let sql = this.checked.get(name);
      if (sql === undefined) {
        checkColumns(probe, await connection.describe(text, { timeoutMs }));
        sql = copyText(probe, text);
        this.checked.set(name, sql);
      }
      const meta = blockMeta(this.targetId, probe, context, scope);
      const result = await connection.copyOutBlock({
        sql,
        columns: columnSpecs(probe),
        meta,
        maxValueBytes,
        maxRows,
        timeoutMs,
      });
      tally.ms += performance.now() - begun;
      tally.rows += result.rows;
      tally.cutValues += result.cutValues;
      tally.bytes += await this.emitter.emit(probe, meta, result.block);
    } catch (error) {
      this.checked.delete(name);
      throw explain(probe, error);
    }
  }
}

/** A session's own trouble, as the scheduler should see it: a lost connection is the server's, not the probe's. */
export function asServerTrouble(error: unknown): unknown {
  const code = errorCode(error);
  if (code !== 'connection_lost' && code !== '57P01' && code !== '57P02' && code !== '57P03') return error;
  return new PemError('server_unreachable', errorText(error), 'outside', { cause: error });
}
