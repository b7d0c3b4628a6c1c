/**
 * A throw-away authority for rigs, made with the openssl program: P-256 keys, certificates for a week. Out: PEM files,
 * keys 0600. The product's own authority is src/pki; a rig does not depend on it so that each can fail alone.
 */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

async function openssl(folder: string, ...parameters: string[]): Promise<string> {
  return (await run('openssl', parameters, { cwd: folder })).stdout;
}

async function newKey(folder: string, file: string): Promise<void> {
  await openssl(folder, 'genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', file);
}

/** Makes ca.key and root.crt, server.key and server.crt (for localhost and 127.0.0.1), agent.key in `folder`. */
export async function makeAuthority(folder: string): Promise<void> {
  writeFileSync(
    join(folder, 'server.ext'),
    'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n',
  );
  writeFileSync(join(folder, 'agent.ext'), 'extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n');
  for (const file of ['ca.key', 'server.key', 'agent.key']) await newKey(folder, file);
  await openssl(
    folder,
    'req',
    '-x509',
    '-new',
    '-key',
    'ca.key',
    '-subj',
    '/CN=PEM rig',
    '-days',
    '7',
    '-out',
    'root.crt',
  );
  await openssl(folder, 'req', '-new', '-key', 'server.key', '-subj', '/CN=localhost', '-out', 'server.csr');
  await sign(folder, 'server', 'server.ext', 'server.crt');
}

async function sign(folder: string, name: string, extensions: string, out: string): Promise<void> {
  await openssl(
    folder,
    ...['x509', '-req', '-in', `${name}.csr`, '-CA', 'root.crt', '-CAkey', 'ca.key', '-days', '7'],
    ...['-set_serial', String(Date.now() * 1000 + Math.floor(Math.random() * 1000))],
    ...['-extfile', extensions, '-out', out],
  );
}

/** Makes <role>.csr and <role>.crt for the rig's shared agent key; @returns both as text. */
export async function makeAgentCertificate(folder: string, role: string): Promise<{ certificate: string }> {
  await openssl(folder, 'req', '-new', '-key', 'agent.key', '-subj', `/CN=${role}`, '-out', `${role}.csr`);
  await sign(folder, role, 'agent.ext', `${role}.crt`);
  return { certificate: join(folder, `${role}.crt`) };
}
