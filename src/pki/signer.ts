/**
 * The signer (`pem sign`): the one process that holds the authority's key.
 *
 * In: rows of pem.csr without an answer, read as pem_signer over a connection that it opens itself; it listens on
 * nothing. Out: a certificate or the reason of the refusal in the same row, and root.crl beside the authority when
 * an agent was revoked. It never reads a name from a request: the role comes from pem.agent.
 *
 * When PEM's database is away it waits and tries again; stopping ends the round that runs, and an answer is one
 * statement, so a signer killed anywhere leaves a row either answered or still open. Two signers at once are harmless:
 * rows are locked while they are answered.
 */
import { join } from 'node:path';
import type { Conninfo } from '../base/conninfo.js';
import { openPool, type Pool } from '../base/db.js';
import { errorCode, errorText, PemError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import {
  type Authority,
  authorityFiles,
  issueAgentCertificate,
  openAuthority,
  type Revoked,
  revocationList,
  writeWhole,
} from './authority.js';
import { readRequest } from './request.js';

export interface SignerOptions {
  readonly db: Conninfo;
  readonly caDirectory: string;
  readonly log: Log;
  readonly pollMs?: number;
}

export interface Signer {
  /** Ends the running round and closes the connection. */
  stop(): Promise<void>;
}

const quietestMs = 5_000;

/** Starts the rounds; a missing authority or a refused login at the start is thrown. */
export async function runSigner(options: SignerOptions): Promise<Signer> {
  const authority = openAuthority(options.caDirectory);
  const pool = openPool(
    { ...options.db, user: options.db.user ?? 'pem_signer' },
    {
      applicationName: 'pem sign',
      max: 1,
    },
  );
  const pollMs = options.pollMs ?? 200;
  let stopping = false;
  let wake: () => void = () => undefined;
  let written = '';
  let waitMs = pollMs;
  let trouble = '';

  const rounds = (async () => {
    while (!stopping) {
      try {
        await answerRequests(pool, authority, options.log);
        written = await writeRevocations(pool, authority, options.caDirectory, written, options.log);
        if (trouble !== '') options.log.info({ code: 'signer_back' }, 'database is back');
        trouble = '';
        waitMs = pollMs;
      } catch (error) {
        const code = errorCode(error);
        if (trouble !== code)
          options.log.error({ code, error: errorText(error) }, 'cannot reach the requests');
        trouble = code;
        waitMs = Math.min(waitMs * 2, quietestMs);
      }
      if (stopping) break;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  })();

  return {
    async stop() {
      stopping = true;
      wake();
      await rounds;
      await pool.end();
    },
  };
}

async function answerRequests(pool: Pool, authority: Authority, log: Log): Promise<void> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    for (;;) {
      await client.query('BEGIN');
      const open = await client.query<{ id: string; role: string; active: boolean; csr: string }>(
        `SELECT c.id, a.role, a.active, c.csr FROM pem.csr c JOIN pem.agent a ON a.id = c.agent_id
         WHERE c.certificate IS NULL AND c.refused_reason IS NULL
         ORDER BY c.id LIMIT 1 FOR UPDATE OF c SKIP LOCKED`,
      );
      const request = open.rows[0];
      if (request === undefined) {
        await client.query('COMMIT');
        return;
      }
      try {
        if (!request.active) throw new PemError('agent_inactive', 'the agent is not active', 'refused');
        const { publicKeyPem } = readRequest(request.csr);
        const issued = issueAgentCertificate(authority, publicKeyPem, request.role);
        await client.query(
          `UPDATE pem.csr SET certificate = $2, serial = $3, not_after = $4, signed_at = now() WHERE id = $1`,
          [request.id, issued.certificatePem, issued.serial, issued.notAfter],
        );
        log.info(
          { csr: request.id, role: request.role, serial: issued.serial, notAfter: issued.notAfter },
          'certificate signed',
        );
      } catch (error) {
        if (!(error instanceof PemError)) throw error;
        await client.query('UPDATE pem.csr SET refused_reason = $2 WHERE id = $1', [
          request.id,
          `${error.code}: ${error.message}`,
        ]);
        log.warn({ csr: request.id, role: request.role, code: error.code }, 'certificate request refused');
      }
      await client.query('COMMIT');
    }
  } catch (error) {
    await client.query('ROLLBACK').catch((failure: Error) => {
      broken = failure;
    });
    throw error;
  } finally {
    client.release(broken);
  }
}

/** Lists the unexpired certificates of agents that are no longer active; writes the file only when the list changed. */
async function writeRevocations(
  pool: Pool,
  authority: Authority,
  directory: string,
  written: string,
  log: Log,
): Promise<string> {
  const result = await pool.query<{ serial: string; at: Date }>(
    `SELECT c.serial, coalesce(a.revoked_at, c.signed_at) AS at FROM pem.csr c JOIN pem.agent a ON a.id = c.agent_id
     WHERE NOT a.active AND c.serial IS NOT NULL AND c.not_after > now() ORDER BY c.serial`,
  );
  const revoked: Revoked[] = result.rows;
  const list = revoked.map((entry) => entry.serial).join(' ');
  if (list === written) return written;
  const number = Math.floor(Date.now() / 1000);
  writeWhole(join(directory, authorityFiles.revoked), revocationList(authority, revoked, number), 0o644);
  log.info({ revoked: revoked.length }, 'revocation list written');
  return list;
}
