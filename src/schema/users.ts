/**
 * People, teams and tokens: what `pem user add`, `pem token create` and the web's administration call. In: a connection
 * of a super administrator (users, teams) or an administrator (tokens), or a superuser's at installation, and secrets;
 * out: roles. Secrets leave this process as SCRAM verifiers only.
 */
import { randomBytes } from 'node:crypto';
import type { ClientBase } from 'pg';
import { PemError } from '../base/errors.js';
import { scramVerifier } from './scram.js';

export type UserLevel = 'pem_user' | 'pem_admin' | 'pem_super_admin';

export interface NewUser {
  readonly name: string;
  readonly password: string;
  readonly level: UserLevel;
  /** Existing teams to join. */
  readonly teams?: readonly string[];
}

const shortestPassword = 8;

/**
 * Makes a login role that is a member of `level` and that pem_web may act as; never a superuser.
 * @throws PemError password_short; errors of PostgreSQL: 42710 the role exists, PE012 reserved name
 */
export async function addUser(client: ClientBase, user: NewUser): Promise<void> {
  checkPassword(user.password);
  await client.query('SELECT pem.create_user($1, $2, $3)', [
    user.name,
    user.level,
    scramVerifier(user.password),
  ]);
  for (const team of user.teams ?? []) await setTeam(client, user.name, team, true);
}

/** A new password; sessions with the old one end. @throws PemError password_short; PE012 no user of PEM */
export async function setPassword(client: ClientBase, name: string, password: string): Promise<void> {
  checkPassword(password);
  await client.query('SELECT pem.set_password($1, $2)', [name, scramVerifier(password)]);
}

/** Takes the right to sign in, and the sessions; or gives it back. @throws PE012 no user of PEM */
export async function setSignIn(client: ClientBase, name: string, isAllowed: boolean): Promise<void> {
  await client.query(isAllowed ? 'SELECT pem.enable_user($1)' : 'SELECT pem.disable_user($1)', [name]);
}

function checkPassword(password: string): void {
  if (password.length < shortestPassword) {
    throw new PemError('password_short', `a password has at least ${shortestPassword} characters`, 'refused');
  }
}

/** Makes a team: a role that cannot log in; hosts and servers name it, users join it. */
export async function addTeam(client: ClientBase, team: string): Promise<void> {
  await client.query('SELECT pem.create_team($1)', [team]);
}

/** Takes effect in the user's next transaction. */
export async function setTeam(
  client: ClientBase,
  user: string,
  team: string,
  joined: boolean,
): Promise<void> {
  await client.query('SELECT pem.set_team($1, $2, $3)', [user, team, joined]);
}

export interface NewToken {
  readonly displayName: string;
  readonly owner: string;
  readonly team?: string | undefined;
  readonly ttlSeconds: number;
}

export interface Token {
  readonly id: number;
  /** PostgreSQL role that registers with the secret as its password. */
  readonly role: string;
  readonly secret: string;
  /** `<id>.<secret>`: what a person carries to the agent's host. Shown once, stored nowhere. */
  readonly token: string;
  readonly expiresAt: Date;
}

/** Makes a single-use registration token. */
export async function createToken(client: ClientBase, wanted: NewToken): Promise<Token> {
  const secret = randomBytes(24).toString('base64url');
  const result = await client.query<{ id: string; role: string; expires_at: Date }>(
    `SELECT id, role, expires_at FROM pem.create_token($1, $2, $3, make_interval(secs => $4), $5)`,
    [wanted.displayName, wanted.owner, wanted.team ?? null, wanted.ttlSeconds, scramVerifier(secret)],
  );
  const row = result.rows[0];
  if (row === undefined) throw new Error('pem.create_token returned no row');
  return {
    id: Number(row.id),
    role: row.role,
    secret,
    token: `${row.id}.${secret}`,
    expiresAt: row.expires_at,
  };
}
