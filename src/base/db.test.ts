import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { clientConfig } from './db.js';

test.each(['verify_full', 'REQUIRE', ''])(
  'sslmode "%s" is a mistake, not a connection without TLS',
  (sslmode) => {
    expect(() => clientConfig({ sslmode })).toThrow(
      expect.objectContaining({ code: 'conninfo_syntax', kind: 'operator' }),
    );
  },
);

test('require with an authority checks the chain, as libpq does; without one it checks nothing', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pem-db-'));
  const sslrootcert = join(folder, 'root.crt');
  writeFileSync(sslrootcert, 'x');
  expect(clientConfig({ sslmode: 'require', sslrootcert }).ssl).toMatchObject({ rejectUnauthorized: true });
  expect(clientConfig({ sslmode: 'require' }).ssl).toMatchObject({ rejectUnauthorized: false });
  expect(clientConfig({ sslmode: 'verify-full', sslrootcert }).ssl).not.toHaveProperty('checkServerIdentity');
  expect(clientConfig({}).ssl).toBeUndefined();
  rmSync(folder, { recursive: true });
});
