/**
 * What an operator does from a shell: users, teams, tokens, monitored servers, revocation, status. Each is one call of a
 * function or view of the schema, which judges who asks; nothing here decides rights.
 */
import type { ClientBase } from 'pg';
import { PemError } from '../base/errors.js';
import { addTeam, addUser, createToken, setTeam, type UserLevel } from '../schema/users.js';
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
  let password: string;
  if (options.passwordFile !== undefined) password = readSecret(options.passwordFile);
  else if (options.passwordOut !== undefined) password = newPassword();
  else password = await askPassword(`password for ${name}`);
  if (options.passwordOut !== undefined) writeSecret(options.passwordOut, password);
  await client.query('BEGIN');
  try {
    for (const team of options.team) {
      const there = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [team]);
      if (there.rowCount === 0) await addTeam(client, team);
    }
    await addUser(client, { name, password, level });
    for (const team of options.team) await setTeam(client, name, team, true);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
  const where = options.passwordOut === undefined ? '' : `; the password is in ${options.passwordOut}`;
  return `user ${name} made (${options.role}${options.team.length === 0 ? '' : `, ${options.team.join(', ')}`})${where}`;
}

export interface TokenOptions {
  readonly owner?: string | undefined;
  readonly team?: string | undefined;
  readonly hours: number;
  readonly out: string;
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
  return `token ${token.id} for agent "${name}" of ${owner}, good until ${token.expiresAt.toISOString()}, in ${options.out}`;
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
