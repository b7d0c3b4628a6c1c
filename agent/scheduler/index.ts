/**
 * The measuring side of the agent, as its main program sees it. In: the definitions that PEM gave (at start, and whenever
 * they change). Out: blocks in the outbox, counts in AgentStats, what is known of each server. Owns the timetable, the
 * collectors and all connections to monitored servers; `stop` ends them all.
 */
import { join } from 'node:path';
import { connect as nativeConnect, type PgConn } from '../../native/index.js';
import type { Conninfo } from '../../src/base/conninfo.js';
import { PemError } from '../../src/base/errors.js';
import type { Log } from '../../src/base/log.js';
import type { AgentDefinitions, ProbeRuntime, ServerTarget } from '../../src/wire/config.js';
import { collectors } from '../collectors/index.js';
import type { TraceReports } from '../link/sync.js';
import type { DurableOutbox } from '../outbox.js';
import { runCollector } from '../probes/collect.js';
import { Emitter } from '../probes/emit.js';
import { ConnectGate, type GateLimits } from '../probes/gate.js';
import { type Connect, linkLimits, ServerLink } from '../probes/link.js';
import { asServerTrouble, ServerProbes } from '../probes/run.js';
import { KnownScopes } from '../probes/scopes.js';
import { Profiler } from '../profiler/index.js';
import type { FollowLimits } from '../profiler/limits.js';
import type { AgentStats } from '../stats.js';
import { type Clock, systemClock } from './clock.js';
import { type Job, type RunContext, type RunResult, Timetable } from './timetable.js';

export interface SchedulerOptions {
  readonly definitions: AgentDefinitions;
  readonly outbox: DurableOutbox;
  readonly stats: AgentStats;
  readonly log: Log;
  /** libpq keywords of agent 1's connection to PEM's database; probes of level 'pem' run over it. */
  readonly masterConninfo?: Conninfo;
  /** Passwords of monitored servers; default: libpq's own search (PGPASSFILE, ~/.pgpass). */
  readonly passfile?: string;
  /**
   * Where the agent keeps what must outlive it; without it a database dropped while it was down stays in latest, and no
   * traces are followed.
   */
  readonly stateDirectory?: string;
  readonly gateLimits?: GateLimits;
  readonly traceLimits?: FollowLimits;
  readonly clock?: Clock;
  readonly connect?: Connect;
}

/** What the agent knows of a monitored server. */
export interface ServerReport {
  readonly targetId: number;
  /** null before the first session. */
  readonly serverVersionNum: number | null;
  /** Decimal text: it does not fit a number; null where the role may not see it. */
  readonly systemIdentifier: string | null;
  /** Why it cannot be reached, null when it can. */
  readonly error: string | null;
}

export interface Scheduler {
  /** Takes over changed definitions without a restart. */
  apply(definitions: AgentDefinitions): void;
  servers(): ServerReport[];
  /** What is to be said of traces. */
  readonly traces: TraceReports;
  /**
   * Runs a task over a connection to a database of a server, in its turn among the three that the agent has there.
   * @throws PemError connections_busy, server_unreachable, what the task throws
   */
  borrow<Result>(
    targetId: number,
    database: string,
    waitMs: number,
    task: (connection: PgConn) => Promise<Result>,
  ): Promise<Result>;
  stop(): Promise<void>;
}

interface Watched {
  readonly target: ServerTarget | null;
  readonly link: ServerLink;
  readonly probes: ServerProbes;
}

const noTraces: TraceReports = { pending: () => [], taken: () => undefined, again: () => undefined };

/** libpq keywords for a database of a monitored server. */
export function serverParams(
  server: ServerTarget,
  database: string | undefined,
  passfile: string | undefined,
): Record<string, string> {
  return {
    ...(server.host === '' ? {} : { host: server.host }),
    port: String(server.port),
    dbname: database ?? server.database,
    user: server.user,
    ...(server.sslmode === '' ? {} : { sslmode: server.sslmode }),
    ...(passfile === undefined ? {} : { passfile }),
    ...sessionParams,
  };
}

const sessionParams = {
  application_name: 'pem-agent',
  options: `-c lock_timeout=${linkLimits.lockMs}`,
  keepalives_idle: '10',
  keepalives_interval: '5',
  keepalives_count: '3',
  tcp_user_timeout: '20000',
};

export function startScheduler(options: SchedulerOptions): Scheduler {
  const { stats, log, outbox } = options;
  const clock = options.clock ?? systemClock;
  const connect = options.connect ?? nativeConnect;
  const emitter = new Emitter(
    outbox,
    clock,
    new KnownScopes(
      options.stateDirectory === undefined ? null : join(options.stateDirectory, 'scopes.json'),
      log,
    ),
  );
  const timetable = new Timetable({ clock, stats, log });
  const profiler =
    options.stateDirectory === undefined
      ? null
      : new Profiler({
          ...{ outbox, clock, stats, log },
          stateDirectory: options.stateDirectory,
          ...(options.traceLimits === undefined ? {} : { limits: options.traceLimits }),
        });
  const servers = new Map<number, Watched>();
  const collected = new Map<string, ReturnType<NonNullable<(typeof collectors)[string]>>>();
  const complained = new Set<string>();
  let master: Watched | null = null;

  const watch = (
    targetId: number,
    target: ServerTarget | null,
    params: (database?: string) => Record<string, string>,
  ): Watched => {
    const link = new ServerLink({
      connect,
      clock,
      gate: new ConnectGate(clock, options.gateLimits),
      params,
      onConnect: () => {
        stats.serverConnects++;
      },
    });
    return { target, link, probes: new ServerProbes(targetId, link, emitter) };
  };

  /** Says once what cannot run, and why. */
  const complain = (targetId: number, probe: string, reason: string): void => {
    const name = `${targetId}/${probe}/${reason}`;
    if (complained.has(name)) return;
    complained.add(name);
    log.warn({ target: targetId, probe, code: 'probe_not_run' }, reason);
  };

  const sqlRun =
    (watched: Watched, probe: ProbeRuntime) =>
    async (context: RunContext): Promise<RunResult> => {
      try {
        return await watched.probes.run(probe, context);
      } catch (error) {
        throw asServerTrouble(error);
      }
    };

  const runOf = (
    definitions: AgentDefinitions,
    targetId: number,
    probe: ProbeRuntime,
  ): Job['run'] | string => {
    if (probe.collector !== 'sql') {
      const make = collectors[probe.name];
      if (make === undefined) return 'this agent has no collector of that name; it may be older than PEM';
      const name = `${targetId}/${probe.name}`;
      const collector = collected.get(name) ?? make({ stats, targetId, wallUs: () => clock.wallUs() });
      collected.set(name, collector);
      return (context) => runCollector(collector, targetId, probe, context, emitter, clock);
    }
    if (probe.level === 'pem') {
      const { masterConninfo } = options;
      if (masterConninfo === undefined) return 'this agent has no duties of agent 1';
      master ??= watch(definitions.hostTarget, null, (database) => ({
        ...masterConninfo,
        ...(database === undefined ? {} : { dbname: database }),
        ...sessionParams,
      }));
      return sqlRun(master, probe);
    }
    const watched = servers.get(targetId);
    return watched === undefined ? 'its server is not among the monitored ones' : sqlRun(watched, probe);
  };

  const apply = (definitions: AgentDefinitions): void => {
    const wanted = new Map(definitions.servers.map((server) => [server.targetId, server]));
    for (const [targetId, watched] of servers) {
      const server = wanted.get(targetId);
      if (server !== undefined && JSON.stringify(server) === JSON.stringify(watched.target)) {
        wanted.delete(targetId);
        continue;
      }
      watched.link.close();
      servers.delete(targetId);
      if (server === undefined) emitter.forget(targetId);
      else emitter.restart(targetId);
    }
    for (const [targetId, server] of wanted)
      servers.set(
        targetId,
        watch(targetId, server, (database) => serverParams(server, database, options.passfile)),
      );
    const jobs: Job[] = [];
    for (const { targetId, probe: name, intervalMs } of definitions.schedule) {
      const probe = definitions.probes[name];
      // Rows of traces come when there are any: agent/profiler.
      if (probe?.collector === 'trace') continue;
      const run = probe === undefined ? 'it has no definition' : runOf(definitions, targetId, probe);
      if (typeof run === 'string') complain(targetId, name, run);
      else jobs.push({ targetId, probe: name, intervalMs, run });
    }
    timetable.update(jobs);
    const linked = [...servers].flatMap(([targetId, { target, link }]) =>
      target === null ? [] : [[targetId, { target, link }] as const],
    );
    profiler?.apply(definitions, new Map(linked));
  };

  apply(options.definitions);
  return {
    apply,
    servers: () =>
      [...servers].map(([targetId, { link }]) => ({
        targetId,
        serverVersionNum: link.serverVersion === 0 ? null : link.serverVersion,
        systemIdentifier: link.systemIdentifier,
        error: link.trouble === '' ? null : link.trouble,
      })),
    traces: profiler ?? noTraces,
    borrow(targetId, database, waitMs, task) {
      const watched = servers.get(targetId);
      return watched === undefined
        ? Promise.reject(
            new PemError('server_unreachable', 'the agent does not monitor this server', 'outside'),
          )
        : watched.link.borrow(database, waitMs, task);
    },
    async stop() {
      await profiler?.stop();
      for (const { link } of servers.values()) link.close();
      master?.link.close();
      await timetable.stop();
      emitter.stop();
    },
  };
}
