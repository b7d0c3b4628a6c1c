/**
 * The agent's own certificate: when to renew it, and how to put the new one in place. In: the files agent.crt and
 * agent.key, the certificate that PEM signed. Out: a request for pem.renew_certificate(), new files. The new key waits in
 * agent.key.next until its certificate is there.
 *
 * Killed at any point, the next start finds a pair that fits: agent.crt is replaced first and agent.key right after it; in
 * between, agent.crt fits agent.key.next, and the constructor finishes the exchange.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PemError } from '../../src/base/errors.js';
import { syncFolder, writeDurably } from './files.js';
import { newKeyAndRequest } from './request.js';

/** Renewal begins when this share of the certificate's life is left. */
const renewShare = 1 / 3;

export class AgentCertificate {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly #nextKeyFile: string;
  #certificate: X509Certificate;

  /** @throws PemError certificate_missing | certificate_mismatch */
  constructor(folder: string) {
    this.certificateFile = join(folder, 'agent.crt');
    this.keyFile = join(folder, 'agent.key');
    this.#nextKeyFile = `${this.keyFile}.next`;
    try {
      this.#certificate = new X509Certificate(readFileSync(this.certificateFile));
    } catch (cause) {
      throw new PemError(
        'certificate_missing',
        `cannot read ${this.certificateFile}; register this agent with "pem agent register"`,
        'operator',
        { cause },
      );
    }
    if (!this.#fits(this.keyFile)) {
      if (!this.#fits(this.#nextKeyFile)) {
        throw new PemError(
          'certificate_mismatch',
          `${this.certificateFile} and ${this.keyFile} are no pair; register this agent again`,
          'operator',
        );
      }
      this.#swapKey();
    }
  }

  get notAfter(): Date {
    return new Date(this.#certificate.validTo);
  }

  /** True in the last third of the certificate's life. */
  isDue(nowMs: number): boolean {
    const from = Date.parse(this.#certificate.validFrom);
    const to = Date.parse(this.#certificate.validTo);
    return nowMs > to - (to - from) * renewShare;
  }

  /** Makes the next key and a request for it. */
  async request(name: string): Promise<string> {
    const { keyPem, requestPem } = await newKeyAndRequest(name);
    writeDurably(this.#nextKeyFile, keyPem);
    return requestPem;
  }

  /**
   * Puts a signed certificate in place.
   * @returns false when it is the one in use, or fits no key here (an answer to an older request)
   */
  install(certificatePem: string): boolean {
    const fresh = new X509Certificate(certificatePem);
    if (fresh.fingerprint256 === this.#certificate.fingerprint256) return false;
    if (
      !existsSync(this.#nextKeyFile) ||
      !fresh.checkPrivateKey(createPrivateKey(readFileSync(this.#nextKeyFile)))
    ) {
      return false;
    }
    writeDurably(this.certificateFile, certificatePem);
    this.#certificate = fresh;
    this.#swapKey();
    return true;
  }

  #fits(keyFile: string): boolean {
    try {
      return this.#certificate.checkPrivateKey(createPrivateKey(readFileSync(keyFile)));
    } catch {
      return false;
    }
  }

  #swapKey(): void {
    renameSync(this.#nextKeyFile, this.keyFile);
    syncFolder(dirname(this.keyFile));
  }
}
