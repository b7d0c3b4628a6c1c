/**
 * `pem init`: everything on an existing PostgreSQL: database, roles, schema, authority, certificate of the server and the
 * first administrator. Repeatable; what is there is left as it is. It needs a superuser once; nothing later does.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import type { Conninfo } from '../base/conninfo.js';
import { PemError } from '../base/errors.js';
import { probes } from '../catalog/probes/index.js';
import {
  authorityFiles,
  createAuthority,
  fingerprint,
  issueServerCertificate,
  newKeyPair,
  openAuthority,
  writeWhole,
} from '../pki/authority.js';
import { installSchema } from '../schema/install.js';
import { addUser } from '../schema/users.js';
import { withClient } from './connect.js';
import { newPassword, writeSecret } from './secret.js';

/** Makes the authority where there is none; the fingerprint is what agents are given. */
export async function ensureAuthority(directory: string): Promise<{ made: boolean; fingerprint: string }> {
  const made = !existsSync(join(directory, authorityFiles.key));
  const authority = made ? await createAuthority(directory, 'pem') : openAuthority(directory);
  return { made, fingerprint: fingerprint(authority.certificatePem) };
}

/** Leaves the authority's fingerprint in the database, for "pem token create" to say. */
export async function noteAuthority(superuser: Conninfo, sha256: string): Promise<void> {
  await withClient(superuser, (client) =>
    client.query(
      `INSERT INTO pem.config VALUES ('ca_sha256', $1)
       ON CONFLICT (param) DO UPDATE SET value = excluded.value WHERE config.value <> excluded.value`,
      [sha256],
    ),
  );
}

/** Writes server.key, server.crt and root.crt for PostgreSQL; an existing certificate is kept. */
export async function ensureServerCertificate(
  caDirectory: string,
  directory: string,
  names: readonly string[],
): Promise<boolean> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const file = join(directory, 'server.crt');
  if (existsSync(file)) return false;
  const authority = openAuthority(caDirectory);
  const pair = await newKeyPair();
  const issued = issueServerCertificate(authority, pair.publicKeyPem, [...new Set(names)]);
  writeWhole(join(directory, 'server.key'), pair.privateKeyPem, 0o600);
  writeWhole(join(directory, 'root.crt'), authority.certificatePem, 0o644);
  // With the authority's own certificate: registering agents find it in the handshake by its fingerprint.
  writeWhole(file, `${issued.certificatePem}${authority.certificatePem}`, 0o644);
  return true;
}

/** Makes the database where it is missing, and the schema in it. */
export async function ensureDatabase(superuser: Conninfo): Promise<readonly string[]> {
  const name = superuser.dbname ?? 'pem';
  await withClient({ ...superuser, dbname: 'postgres' }, async (client) => {
    const role = await client.query<{ rolsuper: boolean }>(
      'SELECT rolsuper FROM pg_roles WHERE rolname = current_user',
    );
    if (role.rows[0]?.rolsuper !== true) {
      throw new PemError(
        'not_superuser',
        `making PEM's roles needs a superuser once, and ${superuser.user ?? 'this role'} is none; give --db "… user=postgres"`,
        'operator',
      );
    }
    const there = await client.query('SELECT FROM pg_database WHERE datname = $1', [name]);
    if (there.rowCount === 0) {
      await client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)} TEMPLATE template0 ENCODING 'UTF8'`);
    }
  });
  return withClient({ ...superuser, dbname: name }, async (client) => {
    const result = await installSchema(client, { probes });
    return result.migrations;
  });
}

/** Makes the first super administrator with a random password in a 0600 file, where there is no super administrator. */
export async function ensureAdministrator(superuser: Conninfo, name: string, file: string): Promise<boolean> {
  return withClient(superuser, async (client) => {
    const members = await client.query(
      `SELECT FROM pg_auth_members WHERE roleid = 'pem_super_admin'::regrole AND member <> 'pem_registrar'::regrole`,
    );
    if (members.rowCount !== 0) return false;
    const password = newPassword();
    // The file first: a user whose password nobody knows would be there for good.
    writeSecret(file, password);
    await addUser(client, { name, password, level: 'pem_super_admin' });
    return true;
  });
}
