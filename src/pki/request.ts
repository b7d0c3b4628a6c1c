/**
 * Certificate requests from outside. In: the text an agent sent. Out: its public key and nothing else; everything the
 * request claims about itself (subject, extensions, attributes) is ignored by the signer.
 *
 * Refused: what is not one request, an unsigned or wrongly signed one (the sender must hold the private key), keys
 * other than RSA of 2048 to 8192 bits with the exponent 65537, digests older than SHA-256. A refusal is a PemError whose
 * text the agent may see.
 */
import forge from 'node-forge';
import { errorText, PemError } from '../base/errors.js';

const mostCharacters = 16_384;
const digests = new Set(['sha256WithRSAEncryption', 'sha384WithRSAEncryption', 'sha512WithRSAEncryption']);

/** @throws PemError csr_syntax | csr_key | csr_signature */
export function readRequest(text: string): { publicKeyPem: string } {
  if (text.length > mostCharacters) {
    throw new PemError(
      'csr_syntax',
      `a certificate request has at most ${mostCharacters} characters`,
      'refused',
    );
  }
  let request: forge.pki.CertificateSigningRequest;
  try {
    request = forge.pki.certificationRequestFromPem(text, true, true);
  } catch (error) {
    throw new PemError(
      'csr_syntax',
      `not a certificate request with an RSA key: ${errorText(error)}`,
      'refused',
      {
        cause: error,
      },
    );
  }
  const key = request.publicKey as forge.pki.rsa.PublicKey;
  const bits = key.n.bitLength();
  if (bits < 2048 || bits > 8192 || key.e.toString(10) !== '65537') {
    throw new PemError(
      'csr_key',
      `the key must be RSA of 2048 to 8192 bits with the exponent 65537, not ${bits} bits with ${key.e.toString(10)}`,
      'refused',
    );
  }
  const digest = forge.pki.oids[request.signatureOid ?? ''];
  if (digest === undefined || !digests.has(digest)) {
    throw new PemError('csr_signature', 'the request must be signed with SHA-256 or better', 'refused');
  }
  let good = false;
  try {
    good = request.verify();
  } catch {
    // A signature that does not even decode is as bad as a wrong one.
  }
  if (!good) {
    throw new PemError('csr_signature', 'the request is not signed by the key it names', 'refused');
  }
  return { publicKeyPem: forge.pki.publicKeyToPem(key) };
}
