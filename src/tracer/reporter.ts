/**
 * The web server as an agent of its own, for traces alone: its identity, its spool, its road into PEM's inbox, and the
 * profiler that follows traces. In: the folder, PEM's database as pem_web, the ways to servers. Out: rows in PEM by the road
 * of every agent; what is not there yet is in the spool, or still in the servers' trace files.
 *
 * Owns its folder (0700): `instance` says which agent it is, tracer<N>/ holds spool, positions and definitions. One process
 * at a time; a folder that is lost is a new agent, which finds its traces on the servers by their names and goes on at their
 * ends. On stop what was counted is in the spool; traces go on at their servers.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { configDefaults } from '../../agent/config.js';
import { writeDurably } from '../../agent/link/files.js';
import type { Lender } from '../../agent/probes/link.js';
import { Profiler } from '../../agent/profiler/index.js';
import { type FollowLimits, followLimits } from '../../agent/profiler/limits.js';
import { systemClock } from '../../agent/scheduler/clock.js';
import { lockSpool } from '../../agent/spool/lock.js';
import { agentVersion } from '../../agent/version.js';
import { startWorker, type Worker } from '../../agent/worker.js';
import type { Conninfo } from '../base/conninfo.js';
import type { Pool } from '../base/db.js';
import type { Log } from '../base/log.js';
import type { AgentDefinitions } from '../wire/config.js';
import { readInstance } from './instance.js';

export interface ReporterOptions {
  readonly folder: string;
  /** PEM's database as pem_web. */
  readonly db: Conninfo;
  readonly pool: Pool;
  readonly log: Log;
  readonly limits?: FollowLimits;
  /** The way to a server that PEM has bound to this one. */
  readonly lenderOf: (targetId: number) => Lender;
  /** PEM's definitions changed: the servers that are bound to this one. */
  readonly onTargets: (targets: ReadonlySet<number>) => void;
}

/** Of the agents' defaults: traces are the only thing in it, and the servers keep them meanwhile. */
const spoolBytes = 256 * 1024 * 1024;
const lockWaitSeconds = 5;
const lookMs = 20;

export class Reporter {
  readonly #options: ReporterOptions;
  readonly #unlock: () => void;
  readonly #worker: Worker;
  readonly #profiler: Profiler;
  #definitions: AgentDefinitions | null = null;

  private constructor(
    options: ReporterOptions,
    readonly agentId: number,
    unlock: () => void,
  ) {
    const { log, db } = options;
    this.#options = options;
    this.#unlock = unlock;
    const role = `tracer${agentId}`;
    const folder = join(options.folder, role);
    this.#worker = startWorker({
      config: {
        ...configDefaults,
        folder,
        agentId,
        role,
        pem: { ...db, application_name: 'pem web tracer', options: `-c pem.tracer=${role}` },
        spool: { ...configDefaults.spool, maxBytes: spoolBytes, folder: join(folder, 'spool') },
      },
      version: agentVersion(),
      log,
      certificate: false,
      commandKinds: {},
      traces: {
        pending: () => this.#profiler.pending(),
        taken: (reports) => this.#profiler.taken(reports),
        again: () => this.#profiler.again(),
      },
    });
    const { outbox, stats, definitions } = this.#worker;
    this.#profiler = new Profiler({
      ...{ outbox, stats, log },
      clock: systemClock,
      stateDirectory: join(folder, 'state'),
      limits: options.limits ?? followLimits,
    });
    definitions.onChange((now) => {
      this.#definitions = now;
      options.onTargets(new Set(now.servers.map((server) => server.targetId)));
      this.apply();
    });
  }

  /** @throws PemError tracer_folder | spool_folder | spool_locked; the database's errors */
  static async start(options: ReporterOptions): Promise<Reporter> {
    mkdirSync(options.folder, { recursive: true, mode: 0o700 });
    // Before the identity is used: PEM takes a start for the end of what was before.
    const unlock = lockSpool(options.folder, lockWaitSeconds);
    try {
      const known = readInstance(options.folder);
      const instance = known ?? randomUUID();
      if (known === null) writeDurably(join(options.folder, 'instance'), `${instance}\n`);
      const { rows } = await options.pool.query<{ id: number }>('SELECT pem.be_tracer($1, $2) AS id', [
        instance,
        hostname(),
      ]);
      return new Reporter(options, Number(rows[0]?.id), unlock);
    } catch (error) {
      unlock();
      throw error;
    }
  }

  /** The ways to servers changed. */
  apply(): void {
    const definitions = this.#definitions;
    if (definitions === null) return;
    const servers = definitions.servers.map(
      (target) => [target.targetId, { target, link: this.#options.lenderOf(target.targetId) }] as const,
    );
    this.#profiler.apply(definitions, new Map(servers));
  }

  /** Something was asked of PEM: it is fetched without waiting for its second. */
  syncNow(): void {
    this.#worker.link.syncNow();
  }

  /** Waits until PEM has heard of it: other web servers then know that it is there. @returns false: it has not, within that time */
  async heard(withinMs: number): Promise<boolean> {
    const untilMs = performance.now() + withinMs;
    while (!this.#worker.link.connected && performance.now() < untilMs) await sleep(lookMs);
    return this.#worker.link.connected;
  }

  isBusy(targetId: number): boolean {
    return this.#profiler.isBusy(targetId);
  }

  async stop(): Promise<void> {
    await this.#profiler.stop();
    await this.#worker.stop();
    this.#unlock();
  }
}
