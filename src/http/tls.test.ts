import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeAuthority } from '../../bench/rig/certificates.js';
import { HttpServer } from './server.js';
import { checkTls } from './tls.js';

let folder: string;
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pem-tls-'));
  await makeAuthority(folder);
  writeFileSync(
    at('locked.key'),
    '-----BEGIN ENCRYPTED PRIVATE KEY-----\n-----END ENCRYPTED PRIVATE KEY-----\n',
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('a key and its certificate are taken; what is wrong with others is an operator’s error that names the file', () => {
  const good = { keyFile: at('server.key'), certFile: at('server.crt') };
  expect(checkTls(good).getTime()).toBeGreaterThan(Date.now());
  const trouble: [Partial<typeof good>, RegExp][] = [
    [{ certFile: at('none') }, /--tls-certificate \S+\/none: ENOENT/],
    [{ keyFile: at('none') }, /--tls-key \S+\/none: ENOENT/],
    [{ keyFile: at('server.crt'), certFile: at('server.key') }, /--tls-certificate \S+\/server.key: /],
    [{ keyFile: at('root.crt') }, /--tls-key \S+\/root.crt: /],
    [{ keyFile: at('locked.key') }, /encrypted; give a key without a passphrase/],
    [{ keyFile: at('ca.key') }, /the key in \S+\/ca.key is not that of the certificate/],
  ];
  for (const [change, words] of trouble) {
    const wanted = { code: 'tls_invalid', kind: 'operator', message: expect.stringMatching(words) };
    expect(() => checkTls({ ...good, ...change })).toThrow(expect.objectContaining(wanted));
  }
  expect(() => checkTls(good, new Date('2100-01-01'))).toThrow(/ended on 20/);
});

test('the server itself refuses them before it listens', () => {
  const start = (keyFile: string) =>
    new HttpServer({
      listen: { host: '0.0.0.0', port: 0 },
      hosts: [],
      tls: { keyFile, certFile: at('server.crt') },
      log: pino({ level: 'silent' }),
    });
  expect(() => start(at('ca.key'))).toThrow(expect.objectContaining({ code: 'tls_invalid' }));
  start(at('server.key')).stop();
});
