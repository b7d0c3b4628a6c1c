/**
 * Registration of an agent (`pem agent register`). In: PEM's address, the SHA-256 of its CA's certificate, a single-use
 * token. Out: the agent's folder with root.crt, agent.key, agent.crt and agent.toml, all 0600. The private key is made here
 * and never leaves; the token is never written.
 *
 * Steps: fetch the CA's certificate over PostgreSQL's TLS handshake and compare it with the fingerprint; log in as the
 * token's role, trusting that CA alone; hand in the certificate request; wait until the signer has answered. Killed while
 * it waits, the same command with the same token goes on waiting (register.json); everything else begins anew or is refused
 * with the reason.
 */
import { X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls, type DetailedPeerCertificate, type PeerCertificate } from 'node:tls';
import { connect, type PgConn } from '../native/index.js';
import { formatConninfo } from '../src/base/conninfo.js';
import { errorCode, errorText, PemError } from '../src/base/errors.js';
import { configText } from './config.js';
import { hostFacts } from './link/facts.js';
import { writeDurably } from './link/files.js';
import { newKeyAndRequest } from './link/request.js';
import { agentVersion } from './version.js';

export interface RegisterOptions {
  /** host:port of PEM's PostgreSQL. */
  readonly server: string;
  /** `<id>.<secret>`, as `pem token create` printed it. */
  readonly token: string;
  /** SHA-256 of the CA's certificate (DER), hexadecimal, with or without colons. */
  readonly caSha256: string;
  readonly directory: string;
  readonly displayName?: string;
  readonly database?: string;
  /** Also hold the server's certificate against the host's name (sslmode verify-full); default: the CA alone. */
  readonly verifyName?: boolean;
  /** How long to wait for the signer; default 60 s. */
  readonly waitMs?: number;
  readonly progress?: (text: string) => void;
}

export interface Registered {
  readonly agentId: number;
  readonly role: string;
  readonly hostTarget: number;
  readonly directory: string;
}

interface Pending {
  readonly tokenId: string;
  readonly agentId: number;
  readonly role: string;
  readonly csrId: number;
  readonly hostTarget: number;
}

const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
const networkTimeoutMs = 10_000;
const pollMs = 300;

/** Where a token comes from: a file, PEM_TOKEN, or standard input; never the command line, which others can read. */
export function readToken(tokenFile: string | undefined): string {
  const text = tokenFile === undefined ? process.env.PEM_TOKEN : readFileSync(tokenFile, 'utf8');
  return (text ?? readFileSync(0, 'utf8')).trim();
}

/**
 * @throws PemError address_syntax | token_syntax | fingerprint_syntax | agent_exists | server_unreachable | server_no_tls |
 *   ca_not_sent | token_refused | registration_refused | registration_pending
 */
export async function registerAgent(options: RegisterOptions): Promise<Registered> {
  const { host, port } = parseAddress(options.server);
  const [tokenId = '', secret = ''] = options.token.split('.');
  if (!/^[1-9][0-9]*$/.test(tokenId) || secret === '') {
    throw new PemError(
      'token_syntax',
      'a token is <number>.<secret>, as "pem token create" printed it',
      'operator',
    );
  }
  const wanted = options.caSha256.replaceAll(':', '').toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(wanted)) {
    throw new PemError(
      'fingerprint_syntax',
      'the CA fingerprint is 64 hexadecimal digits (SHA-256)',
      'operator',
    );
  }
  const { directory } = options;
  if (existsSync(join(directory, 'agent.toml'))) {
    throw new PemError(
      'agent_exists',
      `${directory} holds a registered agent already; give another --directory, or remove it first`,
      'operator',
    );
  }
  const say = options.progress ?? (() => undefined);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const rootFile = join(directory, 'root.crt');
  writeDurably(rootFile, await fetchAuthority(host, port, wanted));
  say('the server shows the expected CA');

  const verifyName = options.verifyName === true;
  const place = {
    host,
    port: String(port),
    dbname: options.database ?? 'pem',
    sslmode: verifyName ? 'verify-full' : 'verify-ca',
  };
  const connection = await login(place, rootFile, `reg_${tokenId}`, secret);
  try {
    const pending = resume(directory, tokenId) ?? (await handIn(connection, directory, tokenId, options));
    say(`registered as agent ${pending.agentId}; waiting for its certificate`);
    const certificate = await awaitCertificate(connection, pending.csrId, options.waitMs ?? 60_000);
    writeDurably(join(directory, 'agent.crt'), certificate);
    // The configuration last: its presence says that the agent is complete.
    const { agentId, role, hostTarget } = pending;
    writeDurably(
      join(directory, 'agent.toml'),
      configText({ agentId, role, conninfo: formatConninfo(place) }),
    );
    rmSync(join(directory, 'register.json'), { force: true });
    return { agentId, role, hostTarget, directory };
  } finally {
    connection.close();
  }
}

function parseAddress(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port >= 1 && port <= 65_535)) {
    throw new PemError('address_syntax', `"${text}" is not host:port`, 'operator');
  }
  return { host, port };
}

/**
 * The certificate with this SHA-256 out of the chain that the server shows, as PEM text. Nothing else of the handshake is
 * believed: the next connection verifies the server against what was found.
 */
export async function fetchAuthority(host: string, port: number, sha256: string): Promise<string> {
  const socket = connectTcp({ host, port });
  socket.setTimeout(networkTimeoutMs, () =>
    socket.destroy(new Error(`no answer within ${networkTimeoutMs} ms`)),
  );
  try {
    const chain = await handshake(socket, host);
    const found = chain.find(
      (raw) => new X509Certificate(raw).fingerprint256.replaceAll(':', '').toLowerCase() === sha256,
    );
    if (found === undefined) {
      throw new PemError(
        'ca_not_sent',
        `${host}:${port} shows ${chain.length} certificates, none with the SHA-256 given: this is another server, another CA, or its ssl_cert_file lacks the CA's certificate`,
        'operator',
      );
    }
    return new X509Certificate(found).toString();
  } catch (cause) {
    if (cause instanceof PemError) throw cause;
    throw new PemError('server_unreachable', `${host}:${port}: ${errorText(cause)}`, 'operator', { cause });
  } finally {
    socket.destroy();
  }
}

async function handshake(socket: Socket, host: string): Promise<Buffer[]> {
  const answer = await new Promise<Buffer>((resolve, reject) => {
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the server closed the connection')));
    socket.once('connect', () => socket.write(sslRequest));
    socket.once('data', resolve);
  });
  if (answer.length !== 1 || answer[0] !== 0x53) {
    throw new PemError(
      'server_no_tls',
      'the server does not speak TLS (ssl = on in its postgresql.conf)',
      'operator',
    );
  }
  return new Promise<Buffer[]>((resolve, reject) => {
    const tls = connectTls(
      { socket, rejectUnauthorized: false, ...(isIP(host) === 0 ? { servername: host } : {}) },
      () => {
        const chain: Buffer[] = [];
        let next: DetailedPeerCertificate | PeerCertificate | undefined = tls.getPeerCertificate(true);
        while (next?.raw !== undefined && !chain.some((raw) => raw.equals(next?.raw as Buffer))) {
          chain.push(next.raw);
          next = 'issuerCertificate' in next ? next.issuerCertificate : undefined;
        }
        tls.end();
        resolve(chain);
      },
    );
    tls.once('error', reject);
  });
}

async function login(
  place: Readonly<Record<string, string>>,
  rootFile: string,
  user: string,
  password: string,
): Promise<PgConn> {
  try {
    return await connect({
      params: { ...place, sslrootcert: rootFile, user, password, application_name: 'pem-register' },
      timeoutMs: networkTimeoutMs,
    });
  } catch (cause) {
    throw loginError(cause);
  }
}

function loginError(cause: unknown): PemError {
  const refused = /authentication failed|not permitted to log in|does not exist|pg_hba/.test(
    errorText(cause),
  );
  return refused
    ? new PemError(
        'token_refused',
        'PEM refuses the token: it is wrong, used or expired; make a new one',
        'operator',
        { cause },
      )
    : new PemError('server_unreachable', errorText(cause), 'operator', { cause });
}

/** What an earlier call with the same token had handed in. */
function resume(directory: string, tokenId: string): Pending | null {
  try {
    const pending = JSON.parse(readFileSync(join(directory, 'register.json'), 'utf8')) as Pending;
    return pending.tokenId === tokenId && existsSync(join(directory, 'agent.key')) ? pending : null;
  } catch {
    return null;
  }
}

async function handIn(
  connection: PgConn,
  directory: string,
  tokenId: string,
  options: RegisterOptions,
): Promise<Pending> {
  const { keyPem, requestPem } = await newKeyAndRequest(options.displayName ?? 'agent');
  writeDurably(join(directory, 'agent.key'), keyPem);
  const facts = { ...hostFacts(), version: agentVersion(), displayName: options.displayName };
  try {
    const answer = await connection.query(
      'SELECT pem.register($1, $2::jsonb)::text AS reply',
      [requestPem, JSON.stringify(facts)],
      {
        timeoutMs: networkTimeoutMs,
      },
    );
    const reply = JSON.parse(answer.rows[0]?.reply ?? '{}') as Omit<Pending, 'tokenId'>;
    const pending: Pending = {
      tokenId,
      agentId: Number(reply.agentId),
      role: String(reply.role),
      csrId: Number(reply.csrId),
      hostTarget: Number(reply.hostTarget),
    };
    writeDurably(join(directory, 'register.json'), JSON.stringify(pending));
    return pending;
  } catch (cause) {
    throw new PemError('registration_refused', `PEM: ${errorText(cause)} (${errorCode(cause)})`, 'operator', {
      cause,
    });
  }
}

async function awaitCertificate(connection: PgConn, csrId: number, waitMs: number): Promise<string> {
  const endMs = performance.now() + waitMs;
  for (;;) {
    let certificate: string | null | undefined;
    try {
      const answer = await connection.query(
        'SELECT pem.registered_certificate($1) AS certificate',
        [String(csrId)],
        {
          timeoutMs: networkTimeoutMs,
        },
      );
      certificate = answer.rows[0]?.certificate;
    } catch (cause) {
      throw new PemError(
        'registration_refused',
        `PEM: ${errorText(cause)} (${errorCode(cause)})`,
        'operator',
        { cause },
      );
    }
    if (certificate !== null && certificate !== undefined) return certificate;
    if (performance.now() > endMs) {
      throw new PemError(
        'registration_pending',
        'no certificate yet: is the signer running (pem sign)? The same command goes on waiting',
        'operator',
      );
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
