/**
 * PEM's certificate authority: its key and certificate in one folder, certificates for the database's TLS and for
 * agents, and the revocation list.
 *
 * In: names and public keys that the caller vouches for. Out: PEM texts. Owner of the folder is the signer (and `pem
 * init`, which makes it): 0700, the key 0600, nobody else reads it. Keys are made by node:crypto; node-forge builds and
 * signs the structures, which is why the keys are RSA (it signs nothing else).
 *
 * Invariants:
 * 1. A certificate's subject and extensions are ours; nothing of a request but its public key is taken.
 * 2. An agent's certificate is CA:FALSE and clientAuth only; the server's is CA:FALSE and serverAuth only.
 * 3. Serial numbers are 128 random bits, positive, never reused.
 * 4. The revocation list is valid as long as the authority itself: an expired list would lock every agent out.
 */
import { generateKeyPair, randomBytes, sign, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import forge from 'node-forge';
import { PemError } from '../base/errors.js';

const { asn1, pki } = forge;
const generate = promisify(generateKeyPair);

const keyBits = 3072;
const authorityYears = 10;
const serverDays = 5 * 365;
const agentDays = 365;
const dayMs = 86_400_000;
/** Clocks of a fleet differ: a certificate is valid from a little before it is made. */
const backdateMs = 3_600_000;

export interface Authority {
  readonly certificatePem: string;
  readonly certificate: forge.pki.Certificate;
  readonly keyPem: string;
  readonly key: forge.pki.rsa.PrivateKey;
}

export interface Issued {
  readonly certificatePem: string;
  /** Lower-case hexadecimal, as openssl prints it without colons. */
  readonly serial: string;
  readonly notAfter: Date;
}

export interface Revoked {
  readonly serial: string;
  readonly at: Date;
}

export const authorityFiles = { key: 'ca.key', certificate: 'root.crt', revoked: 'root.crl' } as const;

/** A new RSA key pair as PEM texts. */
export async function newKeyPair(): Promise<{ privateKeyPem: string; publicKeyPem: string }> {
  const pair = await generate('rsa', {
    modulusLength: keyBits,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  return { privateKeyPem: pair.privateKey, publicKeyPem: pair.publicKey };
}

/** Writes the whole file or nothing: a reader never sees half of a key. */
export function writeWhole(path: string, text: string, mode: number): void {
  const fresh = `${path}.new`;
  // Whatever lies there, a link or a file with other readers, is not written to.
  rmSync(fresh, { force: true });
  writeFileSync(fresh, text, { mode, flag: 'wx' });
  renameSync(fresh, path);
}

/**
 * Makes the authority in `directory` (created 0700), with an empty revocation list.
 * @throws PemError ca_exists where there is one already
 */
export async function createAuthority(directory: string, name: string): Promise<Authority> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const keyFile = join(directory, authorityFiles.key);
  if (existsSync(keyFile)) {
    throw new PemError(
      'ca_exists',
      `${keyFile} exists; an authority is made once, agents trust it for its life`,
      'operator',
    );
  }
  const pair = await newKeyPair();
  const key = pki.privateKeyFromPem(pair.privateKeyPem);
  const certificate = pki.createCertificate();
  certificate.publicKey = pki.publicKeyFromPem(pair.publicKeyPem);
  certificate.serialNumber = newSerial();
  const from = new Date(Date.now() - backdateMs);
  certificate.validity.notBefore = from;
  certificate.validity.notAfter = new Date(
    Date.UTC(from.getUTCFullYear() + authorityYears, from.getUTCMonth(), from.getUTCDate()),
  );
  // The random part keeps two authorities apart in a folder that trusts both.
  const subject = [{ name: 'commonName', value: `${name} CA ${randomBytes(4).toString('hex')}` }];
  certificate.setSubject(subject);
  certificate.setIssuer(subject);
  certificate.setExtensions([
    { name: 'basicConstraints', cA: true, pathLenConstraint: 0, critical: true },
    { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    { name: 'subjectKeyIdentifier' },
  ]);
  certificate.sign(key, forge.md.sha256.create());
  const authority: Authority = {
    certificatePem: pki.certificateToPem(certificate),
    certificate,
    keyPem: pair.privateKeyPem,
    key,
  };
  writeWhole(join(directory, authorityFiles.certificate), authority.certificatePem, 0o644);
  writeWhole(join(directory, authorityFiles.revoked), revocationList(authority, []), 0o644);
  // The key last: its presence says that the authority is complete.
  writeWhole(keyFile, pair.privateKeyPem, 0o600);
  return authority;
}

/** @throws PemError ca_missing | ca_unreadable */
export function openAuthority(directory: string): Authority {
  let keyPem: string;
  let certificatePem: string;
  try {
    keyPem = readFileSync(join(directory, authorityFiles.key), 'utf8');
    certificatePem = readFileSync(join(directory, authorityFiles.certificate), 'utf8');
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new PemError(
      missing ? 'ca_missing' : 'ca_unreadable',
      missing
        ? `no authority in ${directory}; make one with "pem init --ca ${directory}"`
        : `cannot read the authority in ${directory}: ${(error as Error).message}`,
      'operator',
      { cause: error },
    );
  }
  return {
    certificatePem,
    certificate: pki.certificateFromPem(certificatePem),
    keyPem,
    key: pki.privateKeyFromPem(keyPem),
  };
}

/** SHA-256 of a certificate's DER, lower-case hexadecimal: what `--ca-sha256` takes. */
export function fingerprint(certificatePem: string): string {
  return new X509Certificate(certificatePem).fingerprint256.replaceAll(':', '').toLowerCase();
}

/** A certificate for the database's TLS, good for every name and address given. */
export function issueServerCertificate(
  authority: Authority,
  publicKeyPem: string,
  names: readonly string[],
): Issued {
  const first = names[0];
  if (first === undefined)
    throw new PemError('certificate_names', 'a server certificate needs a name', 'operator');
  return issue(authority, publicKeyPem, first, serverDays, [
    { name: 'extKeyUsage', serverAuth: true },
    {
      name: 'subjectAltName',
      altNames: names.map((name) => (isAddress(name) ? { type: 7, ip: name } : { type: 2, value: name })),
    },
  ]);
}

/** An agent's certificate: its role is the common name, and it is good for nothing but logging in. */
export function issueAgentCertificate(authority: Authority, publicKeyPem: string, role: string): Issued {
  if (!/^agent[1-9][0-9]*$/.test(role)) throw new Error(`not an agent's role: ${role}`);
  return issue(authority, publicKeyPem, role, agentDays, [{ name: 'extKeyUsage', clientAuth: true }]);
}

function issue(
  authority: Authority,
  publicKeyPem: string,
  commonName: string,
  days: number,
  extensions: object[],
): Issued {
  const certificate = pki.createCertificate();
  certificate.publicKey = pki.publicKeyFromPem(publicKeyPem);
  const serial = newSerial();
  certificate.serialNumber = serial;
  const now = Date.now();
  const notAfter = new Date(Math.min(now + days * dayMs, authority.certificate.validity.notAfter.getTime()));
  notAfter.setUTCMilliseconds(0);
  certificate.validity.notBefore = new Date(now - backdateMs);
  certificate.validity.notAfter = notAfter;
  certificate.setSubject([{ name: 'commonName', value: commonName }]);
  certificate.setIssuer(authority.certificate.subject.attributes);
  certificate.setExtensions([
    { name: 'basicConstraints', cA: false, critical: true },
    { name: 'keyUsage', digitalSignature: true, keyEncipherment: true, critical: true },
    ...extensions,
    { name: 'subjectKeyIdentifier' },
    {
      name: 'authorityKeyIdentifier',
      keyIdentifier: authority.certificate.generateSubjectKeyIdentifier().getBytes(),
    },
  ]);
  certificate.sign(authority.key, forge.md.sha256.create());
  return { certificatePem: pki.certificateToPem(certificate), serial, notAfter };
}

/**
 * The list of revoked certificates (RFC 5280, version 2), valid until the authority ends. node-forge has no such
 * structure, so it is put together from its ASN.1 parts.
 */
export function revocationList(authority: Authority, revoked: readonly Revoked[], number = 1): string {
  const { Class, Type } = asn1;
  const sequence = (...value: forge.asn1.Asn1[]): forge.asn1.Asn1 =>
    asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, value);
  const time = (date: Date): forge.asn1.Asn1 =>
    date.getUTCFullYear() < 2050
      ? asn1.create(Class.UNIVERSAL, Type.UTCTIME, false, asn1.dateToUtcTime(date))
      : asn1.create(Class.UNIVERSAL, Type.GENERALIZEDTIME, false, asn1.dateToGeneralizedTime(date));
  const integer = (hex: string): forge.asn1.Asn1 =>
    asn1.create(Class.UNIVERSAL, Type.INTEGER, false, forge.util.hexToBytes(hex));
  const oid = (text: string): forge.asn1.Asn1 =>
    asn1.create(Class.UNIVERSAL, Type.OID, false, asn1.oidToDer(text).getBytes());
  const octets = (bytes: string): forge.asn1.Asn1 =>
    asn1.create(Class.UNIVERSAL, Type.OCTETSTRING, false, bytes);
  const algorithm = sequence(
    oid(pki.oids.sha256WithRSAEncryption as string),
    asn1.create(Class.UNIVERSAL, Type.NULL, false, ''),
  );
  const crlNumber = sequence(
    oid('2.5.29.20'),
    octets(asn1.toDer(integer(evenHex(number.toString(16)))).getBytes()),
  );
  const keyIdentifier = asn1.create(
    Class.CONTEXT_SPECIFIC,
    0,
    false,
    authority.certificate.generateSubjectKeyIdentifier().getBytes(),
  );
  const authorityKey = sequence(oid('2.5.29.35'), octets(asn1.toDer(sequence(keyIdentifier)).getBytes()));
  const list = sequence(
    asn1.create(Class.UNIVERSAL, Type.INTEGER, false, asn1.integerToDer(1).getBytes()),
    algorithm,
    pki.distinguishedNameToAsn1(authority.certificate.subject),
    time(new Date(Date.now() - backdateMs)),
    time(authority.certificate.validity.notAfter),
    // An empty list of entries must be left out, not empty (RFC 5280, 5.1.2.6).
    ...(revoked.length === 0
      ? []
      : [sequence(...revoked.map((entry) => sequence(integer(evenHex(entry.serial)), time(entry.at))))]),
    asn1.create(Class.CONTEXT_SPECIFIC, 0, true, [sequence(crlNumber, authorityKey)]),
  );
  const signature = sign('sha256', Buffer.from(asn1.toDer(list).getBytes(), 'latin1'), authority.keyPem);
  const signed = sequence(
    list,
    algorithm,
    asn1.create(Class.UNIVERSAL, Type.BITSTRING, false, `\0${signature.toString('latin1')}`),
  );
  const body = Buffer.from(asn1.toDer(signed).getBytes(), 'latin1').toString('base64');
  return `-----BEGIN X509 CRL-----\n${body.replaceAll(/.{64}/g, '$&\n').trimEnd()}\n-----END X509 CRL-----\n`;
}

/** 128 random bits whose first is 0 (DER integers are signed) and whose first byte is not 0 (no byte is dropped). */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] as number) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

function evenHex(hex: string): string {
  const even = hex.length % 2 === 0 ? hex : `0${hex}`;
  return Number.parseInt(even.slice(0, 2), 16) >= 0x80 ? `00${even}` : even;
}

function isAddress(name: string): boolean {
  return /^[0-9.]+$/.test(name) || name.includes(':');
}
