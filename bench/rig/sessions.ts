/**
 * What the tests of PgConn share: one cluster a file, sessions that are closed after each test, a server that accepts and
 * never answers. Test code only.
 */
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { connect, type PgConn } from '../../native/pgconn.js';
import { type Cluster, startCluster } from './cluster.js';
import { TestProxy } from './proxy.js';

export interface Sessions {
  cluster(): Cluster;
  /** libpq keywords of the cluster's superuser over the socket. */
  params(more?: Record<string, string>): Record<string, string>;
  open(more?: Record<string, string>): Promise<PgConn>;
  /** A proxy before the cluster's socket. */
  proxy(): Promise<TestProxy>;
}

/** To be called at the top of a test file. */
export function sessions(): Sessions {
  let cluster: Cluster;
  const opened: PgConn[] = [];
  beforeAll(async () => {
    cluster = await startCluster({
      tcp: true,
      hba: 'local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n',
    });
    await cluster.query(`create role scram_user login password 'correct horse'`);
  });
  afterAll(async () => {
    await cluster?.stop();
  });
  afterEach(() => {
    for (const conn of opened.splice(0)) conn.close();
  });
  const params = (more: Record<string, string> = {}): Record<string, string> => ({
    host: cluster.socketDirectory,
    port: String(cluster.port),
    user: 'postgres',
    dbname: 'postgres',
    ...more,
  });
  return {
    cluster: () => cluster,
    params,
    async open(more) {
      const conn = await connect({ params: params(more), timeoutMs: 30_000 });
      opened.push(conn);
      return conn;
    },
    proxy: () => TestProxy.start({ path: join(cluster.socketDirectory, `.s.PGSQL.${cluster.port}`) }),
  };
}

/** The error's code, 'no error', or what else came. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'no error';
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}

export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** A server that accepts and never answers. */
export async function silentServer(): Promise<{
  port: number;
  accepted: () => number;
  stop: () => Promise<void>;
}> {
  const clients = new Set<Socket>();
  const server = createServer((client) => {
    clients.add(client);
    client.on('error', () => undefined);
    client.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    port: address.port,
    accepted: () => clients.size,
    stop: async () => {
      for (const client of clients) client.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
