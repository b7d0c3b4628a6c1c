/**
 * The conversation with a server whose statements are to be helped. In: a connection that is this room's alone while it
 * works, texts that nobody trusts. Out: plans, facts of the catalog, hypothetical indexes; coded errors. Changes nothing:
 *
 * 1. Every call is in a read-only transaction that is rolled back, with statement_timeout and lock_timeout.
 * 2. A text of a trace goes to the server behind EXPLAIN (…) or PREPARE … AS, without ANALYZE, and only after the server has
 *    parsed exactly that as one statement (the extended protocol's Parse takes no second one).
 * 3. While it plans, the server evaluates functions marked IMMUTABLE or STABLE, with the rights of this connection's role.
 *    Roles that could thereby harm the server are refused unless their owner says that he trusts the statements.
 * 4. Hypothetical indexes live in the memory of the session's backend; close() of the connection ends them in any case.
 */
import type { PgConn, QueryResult } from '../../native/index.js';
import { errorCode, errorText, PemError } from '../base/errors.js';
import { type PlanFacts, planFacts } from './plan.js';
import { readingText } from './statement.js';

export type Session = Pick<PgConn, 'query' | 'describe' | 'serverVersion' | 'closed'>;

const limits = { statementMs: 5000, lockMs: 100, graceMs: 3000 } as const;

/** From here on EXPLAIN takes parameters without values. */
const genericPlanSince = 160000;
const oldestSupported = 130000;
const prepared = 'pem_advice';

export interface Explainable {
  readonly text: string;
  readonly hasParameters: boolean;
  readonly searchPath: string;
}

export type Explained =
  | { readonly facts: PlanFacts; readonly text: string; readonly asSelect: boolean }
  | {
      readonly code: 'refused' | 'not_permitted' | 'unknown_object' | 'failed';
      readonly reason: string;
      /** The column or table that there is not. */
      readonly name?: string;
    };

export interface Door {
  readonly database: string;
  readonly role: string;
  /** Version of the extension. */
  readonly hypopg: string;
  /** The schema of its functions, quoted. */
  readonly schema: string;
}

interface AboutRow {
  readonly [column: string]: string | null;
}

const aboutSql = `SELECT pg_catalog.current_database() AS database, current_user AS role, r.rolsuper AS super,
    (SELECT pg_catalog.string_agg(p.rolname, ', ') FROM pg_catalog.pg_roles p
      WHERE p.rolname IN ('pg_execute_server_program', 'pg_write_server_files', 'pg_read_server_files')
        AND pg_catalog.pg_has_role(current_user, p.oid, 'MEMBER')) AS dangerous,
    e.extversion AS hypopg, pg_catalog.quote_ident(n.nspname) AS schema,
    EXISTS (SELECT FROM pg_catalog.pg_available_extensions a WHERE a.name = 'hypopg') AS available
  FROM pg_catalog.pg_roles r
  LEFT JOIN pg_catalog.pg_extension e ON e.extname = 'hypopg'
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
 WHERE r.rolname = current_user`;

/** Later ones win: of the database, of the role, of the role in the database. */
const pathsSql = `SELECT coalesce(r.rolname, '') AS role, pg_catalog.substr(c.setting, 13) AS path
  FROM pg_catalog.pg_db_role_setting s
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
 CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c(setting)
 WHERE c.setting LIKE 'search\\_path=%'
   AND s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
 ORDER BY s.setrole <> 0, s.setdatabase <> 0`;

export class AdviceSession {
  #planned = 0;
  #checked = new Set<string>();
  #defaultPath = '';
  readonly #rolePaths = new Map<string, string>();

  private constructor(
    readonly session: Session,
    readonly door: Door,
  ) {}

  /** Plans asked of the server so far. */
  get plans(): number {
    return this.#planned;
  }

  /** @throws PemError advice_superuser | hypopg_missing | server_version, SQL errors */
  static async open(session: Session, trustStatements: boolean): Promise<AdviceSession> {
    if (session.serverVersion < oldestSupported)
      throw new PemError(
        'server_version',
        `server version ${session.serverVersion} is older than 13`,
        'operator',
      );
    // Before any operator is looked up: whoever owns the database may have put a schema of his first.
    const [before] = await ask(
      session,
      `SELECT pg_catalog.current_setting('search_path') AS path, pg_catalog.set_config('search_path', 'pg_catalog', false)`,
    );
    const [about] = await readOnly(session, () => ask(session, aboutSql));
    if (about === undefined)
      throw new PemError('advice_refused', 'the role of the connection is gone', 'operator');
    refuseDanger(about, trustStatements);
    const database = about.database ?? '';
    if (about.hypopg === null || about.hypopg === undefined)
      throw new PemError('hypopg_missing', howToGetHypopg(session, about), 'operator');
    const found = new AdviceSession(session, {
      database,
      role: about.role ?? '',
      hypopg: about.hypopg,
      schema: about.schema ?? 'public',
    });
    await found.#begin(before?.path ?? '');
    return found;
  }

  async #begin(ownPath: string): Promise<void> {
    const rows = await readOnly(this.session, () => ask(this.session, pathsSql));
    for (const { role, path } of rows) this.#rolePaths.set(role ?? '', path ?? '');
    // What this role alone has set says nothing about others.
    const own = this.#rolePaths.has(this.door.role);
    this.#defaultPath = this.#rolePaths.get('') ?? (own ? '"$user", public' : ownPath);
    const settings = [
      ['plan_cache_mode', 'force_generic_plan'],
      ['statement_timeout', String(limits.statementMs)],
      ['lock_timeout', String(limits.lockMs)],
      ['idle_in_transaction_session_timeout', '30000'],
      ['standard_conforming_strings', 'on'],
      ['default_transaction_read_only', 'on'],
      ['client_min_messages', 'error'],
    ].map(([name, value]) => `pg_catalog.set_config('${name}', '${value}', false)`);
    await ask(this.session, `SELECT ${settings.join(', ')}`);
    await this.#hypopg(`${this.door.schema}.hypopg_reset()`);
  }

  /** What a session of that user has: by the role, the database, the server. */
  searchPathOf(user: string | null): string {
    const path = (user === null ? undefined : this.#rolePaths.get(user)) ?? this.#defaultPath;
    const name = `"${(user ?? this.door.role).replaceAll('"', '""')}"`;
    return path
      .replaceAll('"$user"', () => name)
      .replaceAll(/(^|[\s,])\$user(?=$|[\s,])/g, (_, before) => before + name);
  }

  /** A plan, now; what the server says where there is none. @throws where the connection is lost */
  async explain(statement: Explainable): Promise<Explained> {
    const first = await this.#explain(statement);
    if (!('code' in first) || first.code !== 'not_permitted') return first;
    const reading = readingText(statement.text);
    if (reading === undefined) return first;
    const second = await this.#explain({ ...statement, text: reading });
    if (!('code' in second)) return { ...second, asSelect: true };
    return second.code === 'not_permitted' ? second : first;
  }

  async #explain({ text, hasParameters, searchPath }: Explainable): Promise<Explained> {
    this.#planned++;
    const options = 'FORMAT JSON, VERBOSE';
    const asPrepared = hasParameters && this.session.serverVersion < genericPlanSince;
    const sql = asPrepared
      ? `PREPARE ${prepared} AS ${text}`
      : `EXPLAIN (${options}${hasParameters ? ', GENERIC_PLAN' : ''}) ${text}`;
    try {
      const rows = await readOnly(this.session, async () => {
        await ask(this.session, "SELECT pg_catalog.set_config('search_path', $1, true)", [searchPath]);
        if (!this.#checked.has(sql)) await this.session.describe(sql, { timeoutMs: timeoutMs() });
        this.#checked.add(sql);
        const made = await ask(this.session, sql);
        return asPrepared ? this.#explainPrepared(options) : made;
      });
      return { facts: planFacts(rows[0]?.['QUERY PLAN'] ?? '[]'), text, asSelect: false };
    } catch (error) {
      if (this.session.closed) throw error;
      return this.#why(error);
    } finally {
      // Not undone by a rollback; the plan in it must not outlive the indexes that it was made with.
      if (asPrepared && !this.session.closed) await ask(this.session, 'DEALLOCATE ALL');
    }
  }

  async #explainPrepared(options: string): Promise<AboutRow[]> {
    // There is this one alone; an operator would be looked up in the statement's search_path.
    const [row] = await ask(
      this.session,
      'SELECT pg_catalog.cardinality(parameter_types) AS n FROM pg_catalog.pg_prepared_statements',
    );
    const values = Array.from({ length: Number(row?.n ?? 0) }, () => 'NULL').join(', ');
    return ask(this.session, `EXPLAIN (${options}) EXECUTE ${prepared}${values === '' ? '' : `(${values})`}`);
  }

  #why(error: unknown): Explained {
    const [code, message] = [errorCode(error), errorText(error)];
    if (code === '42601' && /multiple commands/.test(message))
      return { code: 'refused', reason: 'it is several statements' };
    if (code === '42601') return { code: 'refused', reason: `it does not parse: ${message}` };
    if (code === '42501') return { code: 'not_permitted', reason: this.#grantFor(message) };
    if (code === '42703' || code === '42P01') {
      const name = /"([^"]+)"/.exec(message)?.[1];
      return { code: 'unknown_object', reason: message, ...(name === undefined ? {} : { name }) };
    }
    if (/^(42883|3F000|42704)$/.test(code)) return { code: 'unknown_object', reason: message };
    if (code === '55P03') return { code: 'failed', reason: 'a table of it is locked' };
    if (code === '57014')
      return { code: 'failed', reason: `it was not planned within ${limits.statementMs} ms` };
    return { code: 'failed', reason: `${message} (${code})` };
  }

  #grantFor(message: string): string {
    const found = /permission denied for (schema|\w+(?: \w+)?) (.+)$/.exec(message);
    const role = `"${this.door.role.replaceAll('"', '""')}"`;
    const grant =
      found === null
        ? `GRANT SELECT on its tables TO ${role}`
        : found[1] === 'schema'
          ? `GRANT USAGE ON SCHEMA ${found[2]} TO ${role}`
          : found[1] === 'function'
            ? `GRANT EXECUTE ON FUNCTION ${found[2]} TO ${role}`
            : `GRANT SELECT ON ${found[2]} TO ${role}`;
    const all = this.session.serverVersion >= 140000 ? `, or GRANT pg_read_all_data TO ${role} for all` : '';
    return `not permitted (EXPLAIN asks for the rights of the statement): ${message}; ${grant}${all}`;
  }

  /** The table of that name for a session with that search_path. */
  async tableOf(name: string, searchPath: string): Promise<{ schema: string; name: string } | undefined> {
    const found = await readOnly(this.session, async () => {
      const local = "SELECT pg_catalog.set_config('search_path', $1, true)";
      await ask(this.session, local, [searchPath]);
      const [row] = await ask(this.session, 'SELECT pg_catalog.to_regclass($1)::pg_catalog.oid AS oid', [
        name,
      ]);
      await ask(this.session, local, ['pg_catalog']);
      if (row?.oid == null) return [];
      return ask(
        this.session,
        'SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid',
        [row.oid],
      );
    }).catch((error: unknown) => {
      if (this.session.closed) throw error;
      return [];
    });
    const [row] = found;
    return row?.schema == null || row.name == null ? undefined : { schema: row.schema, name: row.name };
  }

  /** A query of ours; its transaction sees the catalog alone. */
  async catalog(sql: string, parameters: readonly string[]): Promise<AboutRow[]> {
    return readOnly(this.session, () => ask(this.session, sql, parameters));
  }

  /** @returns name and oid of the hypothetical index; undefined: the server takes no such index */
  async createHypothetical(sql: string): Promise<{ oid: string; name: string; bytes: number } | undefined> {
    const { schema } = this.door;
    try {
      const rows = await readOnly(this.session, async () => {
        const [made] = await ask(this.session, `SELECT * FROM ${schema}.hypopg_create_index($1)`, [sql]);
        const size = await ask(this.session, `SELECT ${schema}.hypopg_relation_size($1::oid) AS bytes`, [
          made?.indexrelid ?? '0',
        ]);
        return [{ ...made, bytes: size[0]?.bytes ?? '0' }];
      });
      const [row] = rows as AboutRow[];
      if (row?.indexrelid == null) return undefined;
      return { oid: row.indexrelid, name: row.indexname ?? '', bytes: Number(row.bytes) };
    } catch (error) {
      if (this.session.closed) throw error;
      return undefined;
    }
  }

  async dropHypothetical(oid: string): Promise<void> {
    await this.#hypopg(`${this.door.schema}.hypopg_drop_index(${Number(oid)}::oid)`);
  }

  async #hypopg(call: string): Promise<void> {
    await readOnly(this.session, () => ask(this.session, `SELECT ${call}`));
  }
}

const timeoutMs = (): number => limits.statementMs + limits.graceMs;

async function ask(session: Session, sql: string, parameters: readonly string[] = []): Promise<AboutRow[]> {
  const result: QueryResult = await session.query(sql, parameters, { timeoutMs: timeoutMs() });
  return result.rows;
}

async function readOnly<T>(session: Session, work: () => Promise<T>): Promise<T> {
  await ask(session, 'BEGIN TRANSACTION READ ONLY');
  try {
    await ask(
      session,
      `SELECT pg_catalog.set_config('statement_timeout', '${limits.statementMs}', true), pg_catalog.set_config('lock_timeout', '${limits.lockMs}', true)`,
    );
    return await work();
  } finally {
    if (!session.closed) await ask(session, 'ROLLBACK');
  }
}

function refuseDanger(about: AboutRow, trusted: boolean): void {
  if (trusted || (about.super !== 't' && about.dangerous == null)) return;
  const what = about.super === 't' ? 'a superuser' : `a member of ${about.dangerous}`;
  throw new PemError(
    'advice_superuser',
    `${about.role} is ${what}: while it plans, the server evaluates functions that are marked IMMUTABLE or STABLE, and whoever ` +
      'wrote a statement of the trace may have written one. Use a role with less (GRANT pg_read_all_data, or SELECT on the ' +
      'tables), or say --trust-statements where everybody who may connect to this database is trusted',
    'operator',
  );
}

function howToGetHypopg(session: Session, about: AboutRow): string {
  const major = Math.trunc(session.serverVersion / 10_000);
  const create = `CREATE EXTENSION hypopg in database "${about.database}"`;
  if (about.available === 't')
    return `index advice needs the extension hypopg, which this server has, but not the database: ${create}`;
  return (
    `index advice needs the extension hypopg, which this server has not got: install it (Debian and Ubuntu: apt-get install ` +
    `postgresql-${major}-hypopg; else https://github.com/HypoPG/hypopg), then ${create}; no restart is needed`
  );
}
