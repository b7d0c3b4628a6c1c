/**
 * PEM's database for tests and benchmarks: a throw-away cluster with TLS, the access rules of production, schema and
 * catalogue installed, and agents that went through registration. In production programs come in by peer on the socket;
 * a rig runs as one user, so there and only there the socket trusts superuser and programs.
 */
import { chmodSync, chownSync, copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { formatConninfo } from '../../src/base/conninfo.js';
import { addTeam, addUser, createToken, type UserLevel } from '../../src/schema/users.js';
import { makeAgentCertificate } from './certificates.js';
import { type Cluster, serverUser, startCluster } from './cluster.js';
import { pemTemplate } from './template.js';

const hba = `
local   all  postgres                                        trust
local   pem  pem_ingest,pem_web,pem_master,pem_signer        trust
local   all  pem_monitor                                     trust
local   pem  +pem_user                                       scram-sha-256
hostssl pem  +pem_agent               127.0.0.1/32           cert
hostssl pem  +pem_registering         127.0.0.1/32           scram-sha-256
hostssl pem  +pem_user                127.0.0.1/32           scram-sha-256
`;

export type Program = 'postgres' | 'pem_ingest' | 'pem_web' | 'pem_master' | 'pem_signer' | 'pem_monitor';

export interface RigServer {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly database?: string;
  readonly user?: string;
}

export interface AgentOptions {
  readonly name: string;
  readonly owner?: string;
  readonly team?: string;
  readonly servers?: readonly RigServer[];
}

export interface RigAgent {
  readonly agentId: number;
  readonly role: string;
  readonly hostTarget: number;
  /** Targets of `servers`, in their order. */
  readonly serverTargets: readonly number[];
  /** Client certificate, shared key and root.crt. */
  readonly certificate: string;
  readonly key: string;
  readonly rootCertificate: string;
  /** libpq connection string (verify-ca), without a password. */
  readonly conninfo: string;
  /** A connected `pg` client in the agent's role; the caller ends it. */
  client(): Promise<pg.Client>;
}

export interface Pem {
  readonly cluster: Cluster;
  readonly port: number;
  /** Folder with root.crt, server.crt, ca.key and the agents' files. */
  readonly tls: string;
  /** Connection string of a program over the socket. */
  conninfo(program?: Program): string;
  /** A connected client of a program (default superuser); the caller ends it. */
  client(program?: Program): Promise<pg.Client>;
  /** One statement as superuser. */
  query(sql: string, parameters?: unknown[]): Promise<pg.QueryResult>;
  addAgent(options: AgentOptions): Promise<RigAgent>;
  addTeam(name: string): Promise<void>;
  /** @returns the password */
  addUser(name: string, options?: { level?: UserLevel; teams?: readonly string[] }): Promise<string>;
  /** A connected client of a user, over TLS with the password that `addUser` returned. */
  userClient(name: string, password: string): Promise<pg.Client>;
  /** Work in the role of a user as the web programs do it: pem_web, SET LOCAL ROLE. */
  asUser<T>(name: string, work: (client: pg.Client) => Promise<T>): Promise<T>;
  /** Stops (default fast) and starts again. */
  restart(mode?: 'fast' | 'immediate'): Promise<void>;
  stop(): Promise<void>;
}

export interface PemOptions {
  /** Extra lines of postgresql.conf. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Extra lines before the rig's own in pg_hba.conf. */
  readonly hba?: string;
  /** Where the cluster's folder is made; default: the system's temporary folder. */
  readonly parent?: string;
  /** Called with the data directory before the first start. */
  readonly prepare?: (dataDirectory: string) => void;
}

function copyTls(from: string, to: string, dataDirectory: string): void {
  mkdirSync(to, { mode: 0o755, recursive: true });
  for (const file of ['ca.key', 'root.crt', 'server.crt', 'server.key', 'agent.key', 'agent.ext']) {
    copyFileSync(join(from, file), join(to, file));
    if (file.endsWith('.key')) chmodSync(join(to, file), 0o600);
  }
  const user = serverUser();
  for (const file of ['root.crt', 'server.crt', 'server.key']) {
    copyFileSync(join(from, file), join(dataDirectory, file));
    if (user.uid !== undefined && user.gid !== undefined)
      chownSync(join(dataDirectory, file), user.uid, user.gid);
    chmodSync(join(dataDirectory, file), 0o600);
  }
}

const numbered = (row: { id: string } | undefined): number => Number(row?.id);

/** Starts PEM's database; `stop` removes everything. */
export async function startPem(options: PemOptions = {}): Promise<Pem> {
  const template = await pemTemplate();
  let tls = '';
  const cluster = await startCluster({
    template: template.data,
    ...(options.parent === undefined ? {} : { parent: options.parent }),
    tcp: true,
    hba: `${options.hba ?? ''}${hba}`,
    settings: {
      ssl: 'on',
      ssl_cert_file: "'server.crt'",
      ssl_key_file: "'server.key'",
      ssl_ca_file: "'root.crt'",
      max_connections: '300',
      ...options.settings,
    },
    prepare(dataDirectory) {
      tls = join(dataDirectory, '../tls');
      copyTls(template.tls, tls, dataDirectory);
      options.prepare?.(dataDirectory);
    },
  });

  const connect = async (config: pg.ClientConfig): Promise<pg.Client> => {
    const opened = new pg.Client(config);
    opened.on('error', () => undefined);
    await opened.connect();
    return opened;
  };
  const client = (program: Program = 'postgres'): Promise<pg.Client> =>
    connect({ host: cluster.socketDirectory, port: cluster.port, user: program, database: 'pem' });
  const superuser = async <T>(work: (opened: pg.Client) => Promise<T>): Promise<T> => {
    const opened = await client();
    try {
      return await work(opened);
    } finally {
      await opened.end();
    }
  };
  const rootCertificate = join(tls, 'root.crt');
  const key = join(tls, 'agent.key');

  async function addServers(
    opened: pg.Client,
    agentId: number,
    agent: AgentOptions,
  ): Promise<readonly number[]> {
    const made: number[] = [];
    for (const server of agent.servers ?? []) {
      const result = await opened.query<{ id: string }>(
        `SELECT pem.add_server($1, $2, $3, $4, $5, $6, 'prefer', $7, $8) AS id`,
        [
          agentId,
          server.name,
          server.host,
          server.port,
          server.database ?? 'postgres',
          server.user ?? 'pem_monitor',
          agent.owner ?? 'postgres',
          agent.team ?? null,
        ],
      );
      made.push(numbered(result.rows[0]));
    }
    return made;
  }

  const pem: Pem = {
    cluster,
    port: cluster.port,
    tls,
    conninfo: (program = 'postgres') =>
      formatConninfo({
        host: cluster.socketDirectory,
        port: String(cluster.port),
        dbname: 'pem',
        user: program,
      }),
    client,
    query: (sql, parameters) => cluster.query(sql, parameters, 'pem'),
    addAgent: (agent) =>
      superuser(async (opened) => {
        const token = await createToken(opened, {
          displayName: agent.name,
          owner: agent.owner ?? 'postgres',
          team: agent.team,
          ttlSeconds: 600,
        });
        await opened.query(`SET SESSION AUTHORIZATION ${token.role}`);
        const result = await opened.query<{
          facts: { agentId: number; role: string; csrId: number; hostTarget: number };
        }>('SELECT pem.register($1, $2) AS facts', [
          '-----BEGIN CERTIFICATE REQUEST-----\nsigned by the rig\n-----END CERTIFICATE REQUEST-----\n',
          { version: '0.1.0', hostname: agent.name, os: 'Linux', cpus: 2, memoryBytes: 4294967296 },
        ]);
        await opened.query('RESET SESSION AUTHORIZATION');
        const facts = result.rows[0]?.facts;
        if (facts === undefined) throw new Error('pem.register returned nothing');
        const { certificate } = await makeAgentCertificate(tls, facts.role);
        await opened.query(
          `UPDATE pem.csr SET certificate = $2, serial = $3, not_after = now() + interval '7 days', signed_at = now(),
             delivered_at = now() WHERE id = $1`,
          [facts.csrId, readFileSync(certificate, 'utf8'), `rig-${facts.csrId}`],
        );
        const config: pg.ClientConfig = {
          host: '127.0.0.1',
          port: cluster.port,
          user: facts.role,
          database: 'pem',
          ssl: {
            ca: readFileSync(rootCertificate),
            cert: readFileSync(certificate),
            key: readFileSync(key),
          },
        };
        return {
          agentId: facts.agentId,
          role: facts.role,
          hostTarget: facts.hostTarget,
          serverTargets: await addServers(opened, facts.agentId, agent),
          certificate,
          key,
          rootCertificate,
          conninfo: formatConninfo({
            host: '127.0.0.1',
            port: String(cluster.port),
            dbname: 'pem',
            user: facts.role,
            sslmode: 'verify-ca',
            sslrootcert: rootCertificate,
            sslcert: certificate,
            sslkey: key,
          }),
          client: () => connect(config),
        };
      }),
    addTeam: (name) => superuser((opened) => addTeam(opened, name)),
    addUser: (name, user = {}) =>
      superuser(async (opened) => {
        const password = `secret of ${name}`;
        await addUser(opened, { name, password, level: user.level ?? 'pem_user', teams: user.teams ?? [] });
        return password;
      }),
    userClient: (name, password) =>
      connect({
        host: '127.0.0.1',
        port: cluster.port,
        user: name,
        password,
        database: 'pem',
        ssl: { ca: readFileSync(rootCertificate) },
      }),
    async asUser(name, work) {
      const opened = await client('pem_web');
      try {
        await opened.query('BEGIN');
        await opened.query(`SET LOCAL ROLE ${opened.escapeIdentifier(name)}`);
        return await work(opened);
      } finally {
        await opened.end();
      }
    },
    async restart(mode = 'fast') {
      await cluster.halt(mode);
      await cluster.start();
    },
    stop: () => cluster.stop(),
  };
  return pem;
}
