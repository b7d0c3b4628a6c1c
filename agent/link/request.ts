/**
 * A key pair and a certificate request, made on the agent's own host; the key never leaves it. RSA, because the signer's
 * library reads no other requests. Loaded only when a certificate is asked for: the library is large.
 */
import { generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';

const generate = promisify(generateKeyPair);
const keyBits = 3072;

export interface KeyAndRequest {
  readonly keyPem: string;
  readonly requestPem: string;
}

/** @param name goes into the subject, which the signer ignores; it helps people who look at the file */
export async function newKeyAndRequest(name: string): Promise<KeyAndRequest> {
  const { default: forge } = await import('node-forge');
  const pair = await generate('rsa', {
    modulusLength: keyBits,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const request = forge.pki.createCertificationRequest();
  request.publicKey = forge.pki.publicKeyFromPem(pair.publicKey);
  request.setSubject([{ name: 'commonName', value: name }]);
  request.sign(forge.pki.privateKeyFromPem(pair.privateKey), forge.md.sha256.create());
  return { keyPem: pair.privateKey, requestPem: forge.pki.certificationRequestToPem(request) };
}
