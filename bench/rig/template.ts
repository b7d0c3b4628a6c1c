/**
 * A stopped data directory with PEM installed, made once for each state of schema, catalogue and server version, and
 * copied by every `startPem`. It lies under the temporary folder, named by its hash. vitest calls the default export
 * once a run. Made under another name and renamed: two makers at once are harmless, a killed one leaves a folder that
 * the next maker removes.
 */
import { createHash } from 'node:crypto';
import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { probes } from '../../src/catalog/probes/index.js';
import { installSchema, schemaHash } from '../../src/schema/install.js';
import { makeAuthority } from './certificates.js';
import { findServerBin, serverUser, startCluster } from './cluster.js';

const prefix = 'pemtemplate-';
const keptMs = 3_600_000;

export interface Template {
  /** Stopped data directory. */
  readonly data: string;
  /** Authority and server certificate, see certificates.ts. */
  readonly tls: string;
}

const rigHash = (): string =>
  createHash('sha256')
    .update(schemaHash(probes))
    .update(readFileSync(fileURLToPath(import.meta.url)))
    .update(findServerBin())
    .digest('hex')
    .slice(0, 16);

/** Templates of killed makers, and those of other sources that nobody can be copying any more. */
function removeOld(keep: string): void {
  for (const name of readdirSync(tmpdir())) {
    const match = /^pemtemplate-[0-9a-f]{16}(?:\.(\d+))?$/.exec(name);
    if (match === null || name === keep) continue;
    const maker = match[1];
    const folder = join(tmpdir(), name);
    const deserted =
      maker === undefined
        ? Date.now() - (statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? 0) > keptMs
        : !existsSync(`/proc/${maker}`);
    try {
      if (deserted) rmSync(folder, { recursive: true, force: true });
    } catch {
      // Another maker removes it too.
    }
  }
}

/** The template for the sources as they are, made where it is missing. */
export async function pemTemplate(): Promise<Template> {
  const name = `${prefix}${rigHash()}`;
  const folder = join(tmpdir(), name);
  const template = { data: join(folder, 'data'), tls: join(folder, 'tls') };
  if (existsSync(folder)) {
    // Others remove what has not been used for long.
    utimesSync(folder, new Date(), new Date());
    return template;
  }
  const making = `${folder}.${process.pid}`;
  rmSync(making, { recursive: true, force: true });
  const tls = join(making, 'tls');
  mkdirSync(tls, { recursive: true });
  await makeAuthority(tls);
  const cluster = await startCluster();
  try {
    await cluster.query('CREATE DATABASE pem');
    const client = await cluster.client('pem');
    await installSchema(client, { probes });
    await client.query('CREATE ROLE pem_monitor LOGIN CONNECTION LIMIT 3 IN ROLE pg_monitor');
    await client.query('GRANT CONNECT ON DATABASE pem, postgres, template1 TO pem_monitor');
    await client.end();
    await cluster.halt('fast');
    cpSync(cluster.dataDirectory, join(making, 'data'), { recursive: true, preserveTimestamps: true });
  } finally {
    await cluster.stop();
  }
  const user = serverUser();
  if (user.uid !== undefined && user.gid !== undefined) {
    for (const entry of ['', ...readdirSync(join(making, 'data'), { recursive: true, encoding: 'utf8' })]) {
      chownSync(join(making, 'data', entry), user.uid, user.gid);
    }
    chownSync(making, user.uid, user.gid);
  }
  try {
    renameSync(making, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error;
    rmSync(making, { recursive: true, force: true });
  }
  removeOld(name);
  return template;
}

export default async function setup(): Promise<void> {
  await pemTemplate();
}
