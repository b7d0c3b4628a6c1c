import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { lstatSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type Authority,
  createAuthority,
  fingerprint,
  issueAgentCertificate,
  issueServerCertificate,
  newKeyPair,
  openAuthority,
  revocationList,
  writeWhole,
} from './authority.js';
import { readRequest } from './request.js';

let folder: string;
let authority: Authority;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pem-pki-'));
  authority = await createAuthority(join(folder, 'ca'), 'pem');
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function openssl(...words: string[]): string {
  return execFileSync('openssl', words, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** A request as openssl makes it. */
function request(words: string[], extra: string[] = []): string {
  openssl('genpkey', ...words, '-out', 'request.key');
  return openssl('req', '-new', '-key', 'request.key', '-subj', '/CN=postgres', ...extra);
}

test('the authority is 0600 in a 0700 folder, verifies itself and is found again', () => {
  expect(statSync(join(folder, 'ca')).mode & 0o777).toBe(0o700);
  expect(statSync(join(folder, 'ca/ca.key')).mode & 0o777).toBe(0o600);
  expect(openssl('verify', '-x509_strict', '-CAfile', 'ca/root.crt', 'ca/root.crt')).toContain('OK');
  const text = openssl('x509', '-in', 'ca/root.crt', '-noout', '-text');
  expect(text).toContain('CA:TRUE, pathlen:0');
  expect(text).toContain('Certificate Sign, CRL Sign');
  expect(fingerprint(openAuthority(join(folder, 'ca')).certificatePem)).toBe(
    openssl('x509', '-in', 'ca/root.crt', '-noout', '-fingerprint', '-sha256')
      .replace(/^.*=/, '')
      .replaceAll(':', '')
      .trim()
      .toLowerCase(),
  );
});

test('an authority is made once and a missing one is named', async () => {
  await expect(createAuthority(join(folder, 'ca'), 'pem')).rejects.toMatchObject({ code: 'ca_exists' });
  expect(() => openAuthority(join(folder, 'none'))).toThrow(expect.objectContaining({ code: 'ca_missing' }));
});

test('a server certificate is good for each of its names and for no other', async () => {
  const pair = await newKeyPair();
  const names = ['localhost', '127.0.0.1', '::1', 'db.example'];
  const issued = issueServerCertificate(authority, pair.publicKeyPem, names);
  const path = file('server.crt', issued.certificatePem);
  const verify = (kind: string, name: string): string =>
    openssl('verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', 'ca/root.crt', kind, name, path);
  expect(verify('-verify_hostname', 'localhost')).toContain('OK');
  expect(verify('-verify_hostname', 'db.example')).toContain('OK');
  expect(verify('-verify_ip', '127.0.0.1')).toContain('OK');
  expect(verify('-verify_ip', '::1')).toContain('OK');
  expect(() => verify('-verify_hostname', 'other.example')).toThrow();
  expect(() => openssl('verify', '-purpose', 'sslclient', '-CAfile', 'ca/root.crt', path)).toThrow();
});

test('an agent certificate carries our name and our limits, nothing of the request', () => {
  const { publicKeyPem } = readRequest(
    request(
      ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
      [
        '-addext',
        'basicConstraints=CA:TRUE',
        '-addext',
        'extendedKeyUsage=serverAuth',
        '-addext',
        'subjectAltName=DNS:localhost',
      ],
    ),
  );
  const issued = issueAgentCertificate(authority, publicKeyPem, 'agent7');
  const path = file('agent.crt', issued.certificatePem);
  expect(
    openssl('verify', '-x509_strict', '-purpose', 'sslclient', '-CAfile', 'ca/root.crt', path),
  ).toContain('OK');
  const text = openssl('x509', '-in', path, '-noout', '-text');
  expect(text).toContain('Subject: CN = agent7');
  expect(text).toContain('CA:FALSE');
  expect(text).toContain('TLS Web Client Authentication');
  expect(text).not.toContain('TLS Web Server Authentication');
  expect(text).not.toContain('Subject Alternative Name');
  const certificate = new X509Certificate(issued.certificatePem);
  expect(certificate.serialNumber.toLowerCase()).toBe(issued.serial);
  expect(issued.serial).toMatch(/^[4-7][0-9a-f]{31}$/);
  expect(new Date(certificate.validTo).getTime()).toBe(issued.notAfter.getTime());
  const days = (issued.notAfter.getTime() - Date.now()) / 86_400_000;
  expect(Math.round(days)).toBe(365);
  expect(certificate.publicKey.export({ type: 'spki', format: 'pem' })).toBe(
    publicKeyPem.replaceAll('\r', ''),
  );
});

test('a revoked certificate is refused, the others are not, and the list does not expire before the authority', () => {
  const key = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  }).publicKey;
  const bad = issueAgentCertificate(authority, key, 'agent8');
  const good = issueAgentCertificate(authority, key, 'agent9');
  file('bad.crt', bad.certificatePem);
  file('good.crt', good.certificatePem);
  file('list.crl', revocationList(authority, [{ serial: bad.serial, at: new Date() }], 300));
  const verify = (name: string): string =>
    openssl('verify', '-crl_check', '-CAfile', 'ca/root.crt', '-CRLfile', 'list.crl', name);
  expect(verify('good.crt')).toContain('OK');
  expect(() => verify('bad.crt')).toThrow(/certificate revoked/);
  expect(openssl('crl', '-in', 'list.crl', '-CAfile', 'ca/root.crt', '-noout')).toBe('');
  const until = (words: string[]): number => Date.parse(openssl(...words).replace(/^.*=/, ''));
  expect(until(['crl', '-in', 'list.crl', '-noout', '-nextupdate'])).toBe(
    until(['x509', '-in', 'ca/root.crt', '-noout', '-enddate']),
  );
  // The list that comes with a new authority has no entries.
  expect(openssl('crl', '-in', 'ca/root.crl', '-noout', '-text')).toContain('No Revoked Certificates');
  expect(readFileSync(join(folder, 'ca/root.crl'), 'utf8')).toMatch(/^-----BEGIN X509 CRL-----\n/);
});

test('requests that are weak, foreign, tampered with or no requests at all are refused with a code', () => {
  const refused = (text: string): unknown => {
    try {
      readRequest(text);
    } catch (error) {
      return (error as { code?: unknown }).code;
    }
    return undefined;
  };
  expect(refused('')).toBe('csr_syntax');
  expect(refused('x'.repeat(20_000))).toBe('csr_syntax');
  expect(refused(authority.certificatePem)).toBe('csr_syntax');
  expect(refused(request(['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256']))).toBe('csr_syntax');
  expect(refused(request(['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024']))).toBe('csr_key');
  expect(
    refused(
      request(['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-pkeyopt', 'rsa_keygen_pubexp:3']),
    ),
  ).toBe('csr_key');
  expect(refused(request(['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'], ['-sha1']))).toBe(
    'csr_signature',
  );
  const good = request(['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048']);
  const der = Buffer.from(good.replaceAll(/-----.*-----|\s/g, ''), 'base64');
  // One bit of the common name: the structure stays whole, the signature does not.
  const name = der.indexOf('postgres');
  der[name] = (der[name] as number) ^ 1;
  expect(
    refused(
      `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`,
    ),
  ).toBe('csr_signature');
});

test('a key is not written through a link or into a file that was there', () => {
  const path = join(folder, 'some.key');
  writeFileSync(`${path}.new`, '', { mode: 0o644 });
  writeWhole(path, 'secret', 0o600);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  writeFileSync(join(folder, 'victim'), 'untouched');
  symlinkSync(join(folder, 'victim'), `${path}.new`);
  writeWhole(path, 'another', 0o600);
  expect(readFileSync(join(folder, 'victim'), 'utf8')).toBe('untouched');
  expect([readFileSync(path, 'utf8'), lstatSync(path).isFile()]).toEqual(['another', true]);
});
