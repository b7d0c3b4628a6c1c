/**
 * Link: the agent's one connection to PEM. In: conninfo, the spool's boots, numbers for pem.sync(). Out: a connection for
 * ship, the received set, definitions, commands, a renewed certificate. It owns the connection; ship borrows it.
 *
 * States. *Connecting*: one attempt at a time, each with a time limit. *Greeting*: connected, the first pem.sync() announces
 * the boots and reads what PEM has; ship has nothing yet. *Up*: ship has the connection; pem.sync() runs once a second
 * behind whatever COPY is under way. *Backing off*: the connection failed or ended; the next attempt waits 0.25 s, doubled
 * up to 15 s, spread at random so that a fleet does not come back as one. A session that was up for a while starts again at
 * the shortest wait. stop() leads out of each of them.
 *
 * 1. At most one connection is open. The second of the role's limit is for the moment when the server has not noticed yet
 *    that the last one is dead.
 * 2. Ship gets a connection only after a pem.sync() on it announced every boot of the spool, oldest first.
 * 3. Any failure of pem.sync() ends the session: half a session (a standby, a revoked right) helps nobody.
 * 4. The received set is taken over whole for every boot announced; a boot missing from the reply has an empty set.
 * 5. Results of commands, and what is to be said of traces, are sent until a pem.sync() that carried them succeeded.
 */
import { errorCode, errorText } from '../../src/base/errors.js';
import type { Log } from '../../src/base/log.js';
import type { Ship, ShipConnection } from '../ship/ship.js';
import type { ReceivedSet } from '../spool/received.js';
import type { Spool } from '../spool/spool.js';
import type { AgentCertificate } from './certificate.js';
import { type CommandKind, commandKinds, runCommand } from './commands.js';
import type { DefinitionsStore } from './definitions.js';
import { hostFacts } from './facts.js';
import {
  type CommandResult,
  parseReply,
  type ServerFacts,
  type SyncReply,
  type SyncRequest,
  type TraceReports,
} from './sync.js';

/** What link needs of a connection; native/pgconn.ts has it. */
export interface LinkConnection extends ShipConnection {
  query(
    sql: string,
    params?: readonly (string | null | Buffer)[],
    options?: { timeoutMs?: number },
  ): Promise<{ rows: Record<string, string | null>[] }>;
  close(): void;
  onClose(listener: (error: Error | null) => void): void;
}

export type Connect = (options: {
  params: Readonly<Record<string, string>>;
  timeoutMs: number;
}) => Promise<LinkConnection>;

export interface LinkOptions {
  readonly params: Readonly<Record<string, string>>;
  readonly connect: Connect;
  readonly spool: Spool;
  readonly received: ReceivedSet;
  readonly ship: Ship;
  readonly definitions: DefinitionsStore;
  /** Null where the agent signs in some other way (tests). */
  readonly certificate: AgentCertificate | null;
  readonly role: string;
  readonly version: string;
  readonly log: Log;
  /** Numbers for agent_heartbeat.info. */
  readonly info: () => Readonly<Record<string, unknown>>;
  readonly servers: () => readonly ServerFacts[];
  readonly traces?: TraceReports;
  readonly commandKinds?: Readonly<Record<string, CommandKind>>;
  readonly syncMs?: number;
  readonly random?: () => number;
}

const connectTimeoutMs = 10_000;
const syncTimeoutMs = 10_000;
const hungrySyncMs = 200;
const shortestBackoffMs = 250;
const longestBackoffMs = 15_000;
/** A session this long counts as good: the next failure starts at the shortest wait again. */
const goodSessionMs = 2_000;
const renewEveryMs = 3_600_000;

export class Link {
  connected = false;
  /** Sessions after the first. */
  reconnects = 0;
  /** PEM's clock minus ours, µs, from the middle of the last pem.sync(); null before the first. */
  clockOffsetUs: number | null = null;
  readonly #options: LinkOptions;
  readonly #random: () => number;
  readonly #host = hostFacts();
  #connection: LinkConnection | null = null;
  #stopping = false;
  #wake: () => void = () => undefined;
  #loop: Promise<void> = Promise.resolve();
  #results: CommandResult[] = [];
  #renewWanted = false;
  #renewedAtMs = Number.NEGATIVE_INFINITY;
  #lastTrouble = '';
  #quarantined: string | null = null;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#random = options.random ?? Math.random;
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Closes the connection and ends; what is not shipped stays in the spool. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#connection?.close();
    this.#wake();
    await this.#loop;
  }

  /** Runs pem.sync() without waiting for its second. */
  syncNow(): void {
    this.#wake();
  }

  async #run(): Promise<void> {
    let backoffMs = shortestBackoffMs;
    let sessions = 0;
    while (!this.#stopping) {
      const startMs = performance.now();
      try {
        const connection = await this.#options.connect({
          params: this.#options.params,
          timeoutMs: connectTimeoutMs,
        });
        if (sessions > 0) this.reconnects += 1;
        sessions += 1;
        await this.#session(connection);
      } catch (error) {
        this.#trouble(error);
      }
      if (this.#stopping) return;
      if (performance.now() - startMs > goodSessionMs) backoffMs = shortestBackoffMs;
      await this.#sleep(backoffMs * (0.5 + this.#random()));
      backoffMs = Math.min(longestBackoffMs, backoffMs * 2);
    }
  }

  async #session(connection: LinkConnection): Promise<void> {
    const { ship, log } = this.#options;
    this.#connection = connection;
    let ended: Error | null = null;
    connection.onClose((error) => {
      ended = error;
      ship.detach();
      this.#wake();
    });
    try {
      this.#options.traces?.again();
      await this.#sync(connection);
      this.connected = true;
      this.#lastTrouble = '';
      log.info({ code: 'pem_connected' }, 'connected to PEM');
      ship.attach(connection);
      while (!this.#stopping && !connection.closed) {
        await this.#sleep(ship.hungry ? hungrySyncMs : (this.#options.syncMs ?? 1000));
        if (this.#stopping || connection.closed) break;
        await this.#sync(connection);
        await this.#renewIfDue(connection);
      }
      if (ended !== null) throw ended;
    } finally {
      this.connected = false;
      this.#connection = null;
      ship.detach();
      connection.close();
    }
  }

  async #sync(connection: LinkConnection): Promise<void> {
    const { spool, definitions } = this.#options;
    const boots = spool.boots();
    const results = this.#results;
    const traces = this.#options.traces?.pending() ?? [];
    const request: SyncRequest = {
      boots,
      version: this.#options.version,
      configVersion: definitions.version,
      info: { ...this.#options.info(), clockOffsetUs: this.clockOffsetUs, host: this.#host },
      commandResults: results,
      servers: this.#options.servers(),
      traces,
    };
    const askedMs = Date.now();
    const answer = await connection.query(
      'SELECT pem.sync($1::jsonb)::text AS reply',
      [JSON.stringify(request)],
      {
        timeoutMs: syncTimeoutMs,
      },
    );
    const answeredMs = Date.now();
    const reply = parseReply(answer.rows[0]?.reply);
    this.#results = this.#results.filter((result) => !results.includes(result));
    this.#options.traces?.taken(traces);
    this.clockOffsetUs = Math.round(reply.nowUs - ((askedMs + answeredMs) / 2) * 1000);
    this.#takeReceived(boots, reply);
    if (reply.quarantined !== this.#quarantined) {
      this.#quarantined = reply.quarantined;
      if (reply.quarantined !== null) {
        const reason = reply.quarantined;
        this.#options.log.error({ code: 'agent_quarantined', reason }, 'PEM has quarantined this agent');
      } else this.#options.ship.resume();
    }
    if (reply.config !== undefined && reply.config !== null) this.#takeDefinitions(reply.config);
    if (reply.certificate !== null) this.#takeCertificate(connection, reply.certificate);
    for (const command of reply.commands) {
      const doors = {
        syncNow: () => this.syncNow(),
        renewCertificate: () => {
          this.#renewWanted = true;
        },
      };
      // Not awaited: a long command must not hold up the next sync.
      void runCommand(command, doors, this.#options.commandKinds ?? commandKinds).then((result) => {
        this.#results.push(result);
        this.syncNow();
      });
    }
  }

  #takeReceived(boots: readonly string[], reply: SyncReply): void {
    const { received, spool, ship } = this.#options;
    let shrank = false;
    for (const boot of boots) shrank = received.replace(boot, reply.received.get(boot) ?? []) || shrank;
    received.keep(new Set(boots));
    if (shrank) spool.receivedShrank();
    ship.settle(shrank);
  }

  #takeDefinitions(config: unknown): void {
    try {
      this.#options.definitions.accept(config);
      this.#options.log.info({ version: this.#options.definitions.version }, 'new definitions from PEM');
    } catch (error) {
      this.#options.log.error(
        { code: errorCode(error), error: errorText(error) },
        'definitions are not used',
      );
    }
  }

  #takeCertificate(connection: LinkConnection, pem: string): void {
    const { certificate, log } = this.#options;
    if (certificate === null || !certificate.install(pem)) return;
    log.info(
      { code: 'certificate_renewed', notAfter: certificate.notAfter.toISOString() },
      'new certificate',
    );
    connection.close(); // The next session uses it.
  }

  async #renewIfDue(connection: LinkConnection): Promise<void> {
    const { certificate, role, log } = this.#options;
    if (certificate === null || connection.closed) return;
    const nowMs = Date.now();
    const due = certificate.isDue(nowMs) && nowMs - this.#renewedAtMs > renewEveryMs;
    if (!due && !this.#renewWanted) return;
    this.#renewedAtMs = nowMs;
    this.#renewWanted = false;
    const request = await certificate.request(role);
    try {
      await connection.query('SELECT pem.renew_certificate($1)', [request], { timeoutMs: syncTimeoutMs });
      log.info({ code: 'certificate_requested' }, 'asked PEM for a new certificate');
    } catch (error) {
      if (connection.closed) throw error;
      log.warn({ code: errorCode(error), error: errorText(error) }, 'PEM refused to renew the certificate');
    }
  }

  /** Says each kind of trouble once until a session is up. */
  #trouble(error: unknown): void {
    const code = errorCode(error);
    if (this.#stopping || code === this.#lastTrouble) return;
    this.#lastTrouble = code;
    this.#options.log.warn(
      { code, error: errorText(error) },
      'no connection to PEM; the spool keeps what is measured',
    );
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
