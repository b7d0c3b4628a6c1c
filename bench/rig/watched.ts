/**
 * The runner on one throw-away server, for tests: the role that an administrator makes for the agent and nothing more, the
 * real connections, and runs when the test says so instead of a timetable.
 */
import { Emitter } from '../../agent/probes/emit.js';
import { ConnectGate } from '../../agent/probes/gate.js';
import { ServerLink } from '../../agent/probes/link.js';
import { ServerProbes } from '../../agent/probes/run.js';
import { KnownScopes } from '../../agent/probes/scopes.js';
import { systemClock } from '../../agent/scheduler/clock.js';
import { serverParams } from '../../agent/scheduler/index.js';
import type { RunResult } from '../../agent/scheduler/timetable.js';
import { connect } from '../../native/index.js';
import { probes } from '../../src/catalog/probes/index.js';
import type { ProbeRuntime, ServerTarget } from '../../src/wire/config.js';
import { silentLog } from './clock.js';
import type { Cluster } from './cluster.js';
import { KeptOutbox, readBlock } from './outbox.js';

export const monitorName = 'pem_monitor';
export const monitorRole = `CREATE ROLE ${monitorName} LOGIN CONNECTION LIMIT 3; GRANT pg_monitor TO ${monitorName}`;

/** Probes that run on a monitored server. */
export const serverProbes = probes.filter((probe) => probe.collector === 'sql' && probe.level !== 'pem');

export function watchedTarget(cluster: Cluster, targetId = 2): ServerTarget {
  return {
    targetId,
    name: 'watched',
    host: cluster.socketDirectory,
    port: cluster.port,
    database: 'postgres',
    user: monitorName,
    sslmode: '',
  };
}

export function probeNamed(name: string): ProbeRuntime {
  const found = probes.find((probe) => probe.name === name);
  if (found === undefined) throw new Error(`no probe ${name}`);
  return found;
}

export interface WatchedServer {
  readonly outbox: KeptOutbox;
  readonly link: ServerLink;
  /** The most connections that were open at a time, on this side: there a backend may be on its way out. */
  readonly mostOpen: () => number;
  run(probe: ProbeRuntime): Promise<RunResult>;
  /** Runs a built-in probe; the rows of its blocks, as text. */
  rows(name: string): Promise<Record<string, string | null>[]>;
}

/** The caller closes the link. */
export function watchServer(cluster: Cluster): WatchedServer {
  const outbox = new KeptOutbox();
  const server = watchedTarget(cluster);
  let open = 0;
  let mostOpen = 0;
  const link = new ServerLink({
    connect: async (options) => {
      mostOpen = Math.max(mostOpen, ++open);
      try {
        const connection = await connect(options);
        connection.onClose(() => {
          open -= 1;
        });
        return connection;
      } catch (error) {
        open -= 1;
        throw error;
      }
    },
    clock: systemClock,
    gate: new ConnectGate(systemClock, { connectsPerMinute: 1000, authenticationTimeoutMs: 60_000 }),
    params: (database) => serverParams(server, database, undefined),
    onConnect: () => undefined,
  });
  const running = new ServerProbes(
    server.targetId,
    link,
    new Emitter(outbox, systemClock, new KnownScopes(null, silentLog().log)),
  );
  const run = (probe: ProbeRuntime): Promise<RunResult> =>
    running.run(probe, { recordedAtUs: systemClock.wallUs(), intervalUs: 1_000_000n });
  return {
    outbox,
    link,
    mostOpen: () => mostOpen,
    run,
    async rows(name) {
      await run(probeNamed(name));
      const taken = outbox.take().map(({ block }) => readBlock(cluster, block));
      return (await Promise.all(taken)).flat();
    },
  };
}
