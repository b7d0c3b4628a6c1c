/**
 * What an operator does from a shell: users, teams, tokens, monitored servers, revocation, status. Each is one call of a
 * function or view of the schema, which judges who asks; nothing here decides rights.
 */
import { rmSync } from 'node:fs';
import { hostname } from 'node:os';
import type { ClientBase } from 'pg';
import { PemError } from '../base/errors.js';
import { addTeam, addUser, createToken, setPassword, setTeam, type UserLevel } from '../schema/users.js';
import { askPassword, newPassword, readSecret, writeSecret } from './secret.js';

const levels: Readonly<Record<string, UserLevel>> = {
  user: 'pem_user',
  admin: 'pem_admin',
  'super-admin': 'pem_super_admin',
};

export interface UserOptions {
  readonly role: string;
  readonly team: readonly string[];
  readonly passwordFile?: string | undefined;
  readonly passwordOut?: string | undefined;
}

/** Makes a user; teams that do not exist are made. @returns what to tell the operator */
export async function addPemUser(client: ClientBase, name: string, options: UserOptions): Promise<string> {
  const level = levels[options.role];
  if (level === undefined) {
    throw new PemError('user_role', `--role is one of ${Object.keys(levels).join(', ')}`, 'operator');
  }
  await withPassword(name, options, async (password) => {
    await client.query('BEGIN');
    try {
      for (const team of options.team) await ensureTeam(client, team);
      await addUser(client, { name, password, level });
      for (const team of options.team) await setTeam(client, name, team, true);
      await client.query('COMMIT');
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    }
  });
  const where = options.passwordOut === undefined ? '' : `; the password is in ${options.passwordOut}`;
  return `user ${name} made (${options.role}${options.team.length === 0 ? '' : `, ${options.team.join(', ')}`})${where}`;
}

async function ensureTeam(client: ClientBase, team: string): Promise<void> {
  const there = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [team]);
  if (there.rowCount === 0) await addTeam(client, team);
}

/** The password from a file, a new one into a file, or from the terminal. What failed leaves no file behind. */
async function withPassword(
  name: string,
  options: Pick<UserOptions, 'passwordFile' | 'passwordOut'>,
  work: (password: string) => Promise<void>,
): Promise<void> {
  const { passwordFile, passwordOut } = options;
  if (passwordFile !== undefined) {
    const password = readSecret(passwordFile);
    if (passwordOut === undefined) return work(password);
    throw new PemError('option_conflict', 'give --password-file or --password-out, not both', 'operator');
  }
  if (passwordOut === undefined) return work(await askPassword(`password for ${name}`));
  const password = newPassword();
  // The file first: a user whose password nobody knows would be there for good.
  writeSecret(passwordOut, password);
  try {
    await work(password);
  } catch (error) {
    rmSync(passwordOut, { force: true });
    throw error;
  }
}

/** A new password for a user; sessions with the old one end. @returns what to tell the operator */
export async function changePassword(
  client: ClientBase,
  name: string,
  options: Pick<UserOptions, 'passwordFile' | 'passwordOut'>,
): Promise<string> {
  await withPassword(name, options, (password) => setPassword(client, name, password));
  const where = options.passwordOut === undefined ? '' : `; it is in ${options.passwordOut}`;
  return `user ${name} has a new password${where}`;
}

/** Puts a user into a team, which is made where missing, or takes it out. @returns what to tell the operator */
export async function changeTeam(
  client: ClientBase,
  name: string,
  team: string,
  isMember: boolean,
): Promise<string> {
  if (isMember) await ensureTeam(client, team);
  await setTeam(client, name, team, isMember);
  return `user ${name} ${isMember ? `is in team ${team}` : `is no longer in team ${team}`}`;
}

export async function listUsers(client: ClientBase): Promise<string> {
  const result = await client.query<Record<string, unknown>>(
    `SELECT r.rolname AS name,
            CASE WHEN pg_has_role(r.oid, 'pem_super_admin', 'MEMBER') THEN 'super-admin'
                 WHEN pg_has_role(r.oid, 'pem_admin', 'MEMBER') THEN 'admin' ELSE 'user' END AS role,
            coalesce((SELECT string_agg(g.rolname, ', ' ORDER BY g.rolname)
                        FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                        JOIN pg_auth_members t ON t.member = g.oid AND t.roleid = 'pem_team'::regrole
                       WHERE m.member = r.oid), '') AS teams,
            CASE WHEN r.rolcanlogin THEN 'yes' ELSE 'disabled' END AS may_sign_in
       FROM pg_roles r
      WHERE r.rolname !~ '^pem_' AND NOT r.rolsuper
        AND EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                     WHERE m.member = r.oid AND g.rolname IN ('pem_user', 'pem_admin', 'pem_super_admin'))
      ORDER BY 1`,
  );
  return columns(result.rows, 'no users; add one with "pem user add"');
}

export interface TokenOptions {
  readonly owner?: string | undefined;
  readonly team?: string | undefined;
  readonly hours: number;
  readonly out: string;
  /** The host by which this command itself reached PEM's database. */
  readonly reachedBy?: string | undefined;
}

/** Makes a registration token and keeps it in a 0600 file: it is shown nowhere. */
export async function createTokenFile(
  client: ClientBase,
  name: string,
  options: TokenOptions,
): Promise<string> {
  const owner = options.owner ?? (await currentUser(client));
  const token = await createToken(client, {
    displayName: name,
    owner,
    team: options.team,
    ttlSeconds: Math.round(options.hours * 3600),
  });
  writeSecret(options.out, token.token);
  const said = `token ${token.id} for agent "${name}" of ${owner}, good until ${token.expiresAt.toISOString()}, in ${options.out}`;
  return `${said}\n${await registration(client, options)}`;
}

/** What is to be typed on the host that joins. */
async function registration(client: ClientBase, options: TokenOptions): Promise<string> {
  const result = await client.query<{ addresses: string; port: string; sha256: string | null }>(
    `SELECT current_setting('listen_addresses') AS addresses, current_setting('port') AS port,
            (SELECT value FROM pem.config WHERE param = 'ca_sha256') AS sha256`,
  );
  const { addresses = '', port = '', sha256 } = result.rows[0] ?? {};
  const listens = addresses.split(',').map((address) => address.trim());
  const isLocal = listens.every((address) => /^(localhost|127\.[\d.]+|::1|)$/.test(address));
  const by =
    options.reachedBy === undefined || options.reachedBy.startsWith('/') ? hostname() : options.reachedBy;
  return [
    isLocal
      ? "PEM's database listens on this machine alone (listen_addresses; a desk: database_listen in settings.toml). Here:"
      : 'Carry that file to the host, and there:',
    `  pem agent register --server ${isLocal ? '127.0.0.1' : by}:${port} --ca-sha256 ${sha256 ?? '<what pem init says>'} --token-file ${options.out} --directory /var/lib/pem-agent`,
  ].join('\n');
}

async function currentUser(client: ClientBase): Promise<string> {
  const result = await client.query<{ me: string }>('SELECT current_user AS me');
  return result.rows[0]?.me ?? '';
}

export interface ServerOptions {
  readonly agent: number;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly sslmode: string;
  readonly owner?: string | undefined;
  readonly team?: string | undefined;
}

/** @returns the new target's id */
export async function addServer(client: ClientBase, name: string, options: ServerOptions): Promise<number> {
  const result = await client.query<{ id: string }>(
    'SELECT pem.add_server($1, $2, $3, $4, $5, $6, $7, $8, $9) AS id',
    [
      options.agent,
      name,
      options.host,
      options.port,
      options.database,
      options.user,
      options.sslmode,
      options.owner ?? null,
      options.team ?? null,
    ],
  );
  return Number(result.rows[0]?.id);
}

export async function listServers(client: ClientBase): Promise<string> {
  const result = await client.query<Record<string, unknown>>(
    `SELECT target_id, name, host || ':' || port AS address, database, status, agent_id AS agent, owner, team,
            coalesce(error, '') AS error FROM pem.server_status ORDER BY name`,
  );
  return columns(result.rows, 'no monitored servers; add one with "pem monitor add"');
}

/** Agents, servers, ingesters and what waits. */
export async function status(client: ClientBase): Promise<string> {
  const agents = await client.query<Record<string, unknown>>(
    `SELECT agent_id AS agent, display_name AS name, status, date_trunc('second', last_seen)::text AS last_seen, version,
            date_trunc('day', cert_not_after)::date::text AS certificate_until, coalesce(quarantined_reason, '') AS quarantined
     FROM pem.agent_status ORDER BY agent_id`,
  );
  const ingesters = await client.query<Record<string, unknown>>(
    `SELECT name, pid, at > now() - interval '10 s' AS alive, info ->> 'lag_ms' AS lag_ms, info ->> 'rows' AS rows,
            info ->> 'quarantined' AS quarantined FROM pem.ingester ORDER BY name`,
  );
  const inbox = await client.query<Record<string, unknown>>(
    `SELECT batches, pg_size_pretty(bytes) AS bytes, coalesce(oldest_at::text, '') AS oldest FROM pem.inbox_totals()`,
  );
  return [
    'Agents',
    columns(agents.rows, 'none; make a token with "pem token create"'),
    '\nServers',
    await listServers(client),
    '\nIngesters',
    columns(ingesters.rows, 'none runs; start one with "pem ingest"'),
    '\nInbox',
    columns(inbox.rows, ''),
  ].join('\n');
}

/** Agents and monitored servers choose some of these texts: none of them speaks to the operator's terminal. */
function printable(text: string): string {
  return text.replaceAll(/\p{C}/gu, '\u{FFFD}');
}

function columns(rows: readonly Record<string, unknown>[], empty: string): string {
  const first = rows[0];
  if (first === undefined) return empty;
  const names = Object.keys(first);
  const cells = [
    names,
    ...rows.map((row) => names.map((name) => (row[name] === null ? '' : printable(String(row[name]))))),
  ];
  const widths = names.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
