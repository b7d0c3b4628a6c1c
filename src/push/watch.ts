/**
 * The second look at who may see what: every `everyMs` each user with an open socket is asked anew, as that user, for the
 * targets it sees, and each socket's session for its right to log in. Every `fleetMs` the same read brings agents and
 * servers with their states: with 2,000 of each it costs 50 ms of the database's time, the look alone 3. What changed is
 * pushed by itself, the whole every `lastSeenMs`.
 *
 * Invariants:
 * 1. What is lost (a team, the right to log in, the session) ends a topic or a socket within `everyMs` and one read.
 * 2. A user whose last good look began more than `maxAgeMs` ago gets nothing until the next one.
 * 3. A socket gets the whole first, then each change; one that missed a change gets the whole again.
 */
import type { Pool } from '../base/db.js';
import { asUser } from '../base/db.js';
import { errorCode, errorText } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { Client, FleetNews, PushHub } from './hub.js';

export interface FleetStates {
  readonly agents: readonly { id: number; status: string; lastSeenUs: number | null }[];
  /** `error`: why its agent cannot watch a server, where it says so. */
  readonly servers: readonly { targetId: number; status: string; error?: string }[];
}

export interface View {
  readonly targets: ReadonlySet<bigint>;
  /** Only where it was asked for. */
  readonly fleet?: FleetStates | undefined;
}

export interface WatchSource {
  look(username: string, withFleet: boolean): Promise<View>;
  /** Of the given token hashes (base64) those whose session still holds. */
  stillOpen(tokenHashes: readonly Buffer[]): Promise<ReadonlySet<string>>;
}

export interface WatchOptions {
  readonly everyMs?: number;
  readonly maxAgeMs?: number;
  /** States of agents and servers are read no more often than this. */
  readonly fleetMs?: number;
  /** Agents' last-seen times alone are pushed no more often than this. */
  readonly lastSeenMs?: number;
}

/** How the database answers the look: one statement as the user. */
export async function lookAs(pool: Pool, username: string, withFleet: boolean): Promise<View> {
  return asUser(pool, username, async (client) => {
    const targets = '(SELECT array_agg(id::text) FROM pem.target WHERE deleted_at IS NULL) AS targets';
    const fleet = `(SELECT json_agg(json_build_object('id', a.agent_id, 'status', a.status,
                 'lastSeenUs', (extract(epoch FROM a.last_seen) * 1000000)::int8) ORDER BY a.agent_id)
                 FROM pem.agent_status a) AS agents,
              (SELECT json_agg(json_strip_nulls(json_build_object('targetId', s.target_id, 'status', s.status,
                 'error', left(s.error, 300))) ORDER BY s.target_id) FROM pem.server_status s) AS servers`;
    const { rows } = await client.query<{
      targets: string[] | null;
      agents?: FleetStates['agents'] | null;
      servers?: FleetStates['servers'] | null;
    }>(withFleet ? `SELECT ${targets}, ${fleet}` : `SELECT ${targets}`);
    const row = rows[0];
    return {
      targets: new Set((row?.targets ?? []).map(BigInt)),
      fleet: withFleet ? { agents: row?.agents ?? [], servers: row?.servers ?? [] } : undefined,
    };
  });
}

interface UserState {
  goodAtMs: number;
  isVerified: boolean;
  fleet: FleetStates | undefined;
  fleetAtMs: number;
  news: FleetNews | undefined;
  wholeAtMs: number;
}

/** What differs: agents by status, servers by status or reason. Undefined: one is gone, the whole says so. */
function changesOf(before: FleetStates, after: FleetStates): FleetStates | undefined {
  const agents = new Map(before.agents.map((agent) => [agent.id, agent.status]));
  const servers = new Map(before.servers.map((server) => [server.targetId, server]));
  const changes = {
    agents: after.agents.filter(({ id, status }) => agents.get(id) !== status),
    servers: after.servers.filter(({ targetId, status, error }) => {
      const old = servers.get(targetId);
      return old?.status !== status || old.error !== error;
    }),
  };
  for (const agent of after.agents) agents.delete(agent.id);
  for (const server of after.servers) servers.delete(server.targetId);
  return agents.size + servers.size > 0 ? undefined : changes;
}

export class Watch {
  readonly #hub: PushHub;
  readonly #source: WatchSource;
  readonly #log: Log;
  readonly #everyMs: number;
  readonly #maxAgeMs: number;
  readonly #fleetMs: number;
  readonly #lastSeenMs: number;
  readonly #tokens = new Map<Client, Buffer>();
  readonly #users = new Map<string, UserState>();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(hub: PushHub, source: WatchSource, log: Log, options: WatchOptions = {}) {
    this.#hub = hub;
    this.#source = source;
    this.#log = log;
    this.#everyMs = options.everyMs ?? 700;
    this.#maxAgeMs = options.maxAgeMs ?? 1_900;
    this.#fleetMs = options.fleetMs ?? 1_000;
    this.#lastSeenMs = options.lastSeenMs ?? 5_000;
  }

  start(): void {
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** A socket opened; it gets the fleet at once. */
  add(client: Client, tokenHash: Buffer): void {
    this.#tokens.set(client, tokenHash);
    if (!this.#users.has(client.username)) {
      const now = performance.now();
      this.#users.set(client.username, {
        goodAtMs: now,
        isVerified: true,
        fleet: undefined,
        fleetAtMs: 0,
        news: undefined,
        wholeAtMs: 0,
      });
    }
    // A user who could not be verified in time stays so on a new socket.
    if (this.#users.get(client.username)?.isVerified === false) this.#hub.setVisible(client, undefined);
    void this.#lookAt(client.username);
  }

  remove(client: Client): void {
    this.#tokens.delete(client);
    for (const other of this.#tokens.keys()) if (other.username === client.username) return;
    this.#users.delete(client.username);
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      void this.#round().finally(() => this.#schedule());
    }, this.#everyMs);
  }

  async #round(): Promise<void> {
    // Nobody waits for a look that hangs: who is not verified in time gets nothing.
    this.#expire();
    const looks = [this.#checkSessions(), ...[...this.#users.keys()].map((name) => this.#lookAt(name))];
    const patience = new Promise<void>((resolve) => {
      setTimeout(resolve, this.#everyMs).unref();
    });
    await Promise.race([Promise.all(looks), patience]);
    this.#expire();
  }

  async #checkSessions(): Promise<void> {
    if (this.#tokens.size === 0) return;
    // Those of now: a socket that opens while the answer is under way was not asked about.
    const asked = [...this.#tokens];
    try {
      const open = await this.#source.stillOpen(asked.map(([, hash]) => hash));
      for (const [client, hash] of asked) {
        if (this.#tokens.has(client) && !open.has(hash.toString('base64')))
          client.socket.close(4401, 'session ended');
      }
    } catch (error) {
      this.#log.warn({ code: errorCode(error), error: errorText(error) }, 'sessions could not be read');
    }
  }

  readonly #looking = new Set<string>();

  async #lookAt(username: string): Promise<void> {
    const state = this.#users.get(username);
    if (state === undefined || this.#looking.has(username)) return;
    this.#looking.add(username);
    const beganMs = performance.now();
    try {
      const withFleet = state.fleet === undefined || beganMs - state.fleetAtMs >= this.#fleetMs;
      const view = await this.#source.look(username, withFleet);
      if (this.#users.get(username) !== state) return;
      state.goodAtMs = beganMs;
      state.isVerified = true;
      if (view.fleet !== undefined) {
        state.fleetAtMs = beganMs;
        this.#prepareFleet(state, view.fleet);
      }
      for (const client of this.#clientsOf(username)) {
        this.#hub.setVisible(client, view.targets);
        if (state.news !== undefined) this.#hub.sendFleet(client, state.news);
      }
    } catch (error) {
      this.#log.warn(
        { code: errorCode(error), error: errorText(error) },
        'what a user sees could not be read',
      );
    } finally {
      this.#looking.delete(username);
    }
  }

  #prepareFleet(state: UserState, fleet: FleetStates): void {
    const now = performance.now();
    const changes = state.fleet === undefined ? undefined : changesOf(state.fleet, fleet);
    const isWhole = changes === undefined || now - state.wholeAtMs >= this.#lastSeenMs;
    state.fleet = fleet;
    if (!isWhole && changes.agents.length + changes.servers.length === 0) return;
    if (isWhole) state.wholeAtMs = now;
    let whole: string | undefined;
    state.news = {
      version: (state.news?.version ?? 0) + 1,
      whole: () => {
        whole ??= JSON.stringify({ fleet: { whole: true, ...fleet } });
        return whole;
      },
      change: isWhole ? undefined : JSON.stringify({ fleet: changes }),
    };
  }

  #expire(): void {
    const now = performance.now();
    for (const [username, state] of this.#users) {
      if (!state.isVerified || now - state.goodAtMs <= this.#maxAgeMs) continue;
      state.isVerified = false;
      for (const client of this.#clientsOf(username)) this.#hub.setVisible(client, undefined);
    }
  }

  #clientsOf(username: string): Client[] {
    return [...this.#tokens.keys()].filter((client) => client.username === username);
  }
}
