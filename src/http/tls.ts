/**
 * Key and certificate of a server beyond loopback, looked at before the engine gets them: it says of any trouble with them
 * only that it could not start. In: two file names; out: nothing, or an operator's error that names the file and the reason.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { errorText, PemError } from '../base/errors.js';

/**
 * @returns when the certificate ends
 * @throws PemError tls_invalid
 */
export function checkTls(
  tls: { readonly keyFile: string; readonly certFile: string },
  now = new Date(),
): Date {
  const certificate = parsed('--tls-certificate', tls.certFile, (text) => new X509Certificate(text));
  const key: KeyObject = parsed('--tls-key', tls.keyFile, (text) => {
    if (text.includes('ENCRYPTED')) throw new Error('it is encrypted; give a key without a passphrase');
    return createPrivateKey(text);
  });
  if (!certificate.checkPrivateKey(key)) {
    throw invalid(`the key in ${tls.keyFile} is not that of the certificate in ${tls.certFile}`);
  }
  const ends = new Date(certificate.validTo);
  if (ends < now) throw invalid(`the certificate in ${tls.certFile} ended on ${ends.toISOString()}`);
  return ends;
}

function parsed<T>(option: string, file: string, parse: (text: string) => T): T {
  try {
    return parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw invalid(`${option} ${file}: ${errorText(error)}`, error);
  }
}

function invalid(message: string, cause?: unknown): PemError {
  return new PemError('tls_invalid', message, 'operator', { cause });
}
