/**
 * src/schema/schema.sql is what the migrations and the catalogue make, for people to read and to review; this test holds
 * the two together. `npm run schema:dump` writes the file anew. The text is pg_dump's of one major version.
 */
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findServerBin } from '../../bench/rig/cluster.js';
import { type Pem, startPem } from '../../bench/rig/pem.js';

const run = promisify(execFile);
const major = '15';
const bin = `/usr/lib/postgresql/${major}/bin`;
const file = join(dirname(fileURLToPath(import.meta.url)), 'schema.sql');
let pem: Pem;

beforeAll(async () => {
  pem = await startPem();
});
afterAll(() => pem?.stop());

async function dump(): Promise<string> {
  const where = ['-h', pem.cluster.socketDirectory, '-p', String(pem.port), '-U', 'postgres'];
  const options = { maxBuffer: 16 << 20 };
  const roles = await run(
    join(bin, 'pg_dumpall'),
    [...where, '--roles-only', '--no-role-passwords'],
    options,
  );
  const schema = await run(join(bin, 'pg_dump'), [...where, '--schema-only', 'pem'], options);
  const ofPem = roles.stdout
    .split('\n')
    .filter((line) => /\bpem_/.test(line) && !line.includes('pem_monitor'));
  const kept = schema.stdout
    .split('\n')
    .filter(
      (line) =>
        !/^(--( Dumped| Name: |$| PostgreSQL database dump)|\\(un)?restrict |SET |SELECT pg_catalog\.set_config)/.test(
          line,
        ),
    );
  return [
    `-- Made by "npm run schema:dump": roles and pg_dump --schema-only of PostgreSQL ${major}. Not for editing.`,
    '',
    ...ofPem,
    ...kept,
  ]
    .join('\n')
    .replaceAll(/\n{3,}/g, '\n\n');
}

test.runIf(findServerBin() === bin)('schema.sql is what installation makes', async () => {
  const made = await dump();
  if (process.env.PEM_WRITE_SCHEMA === '1') writeFileSync(file, made);
  expect(made).toBe(readFileSync(file, 'utf8'));
});
