/**
 * The second look at who may see what: every `everyMs` each user with an open socket is asked anew, as that user, for the
 * targets it sees, and each socket's session for its right to log in. In the same read: agents and servers with their
 * states, pushed where they changed.
 *
 * Invariants:
 * 1. What is lost (a team, the right to log in, the session) ends a topic or a socket within `everyMs` and one read.
 * 2. A user whose last good look began more than `maxAgeMs` ago gets nothing until the next one.
 */
import type { Pool } from '../base/db.js';
import { asUser } from '../base/db.js';
import { errorCode, errorText } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { Client, PushHub } from './hub.js';

export interface View {
  readonly targets: ReadonlySet<bigint>;
  readonly agents: readonly { id: number; status: string; lastSeenUs: number | null }[];
  readonly servers: readonly { targetId: number; status: string }[];
}

export interface WatchSource {
  look(username: string): Promise<View>;
  /** Of the given token hashes (base64) those whose session still holds. */
  stillOpen(tokenHashes: readonly Buffer[]): Promise<ReadonlySet<string>>;
}

export interface WatchOptions {
  readonly everyMs?: number;
  readonly maxAgeMs?: number;
  /** Agents' last-seen times alone are pushed no more often than this. */
  readonly lastSeenMs?: number;
}

/** How the database answers the look: one statement as the user. */
export async function lookAs(pool: Pool, username: string): Promise<View> {
  return asUser(pool, username, async (client) => {
    const { rows } = await client.query<{
      targets: string[] | null;
      agents: View['agents'] | null;
      servers: View['servers'] | null;
    }>(
      `SELECT (SELECT array_agg(id::text) FROM pem.target WHERE deleted_at IS NULL) AS targets,
              (SELECT json_agg(json_build_object('id', a.agent_id, 'status', a.status,
                 'lastSeenUs', (extract(epoch FROM a.last_seen) * 1000000)::int8) ORDER BY a.agent_id)
                 FROM pem.agent_status a) AS agents,
              (SELECT json_agg(json_build_object('targetId', s.target_id, 'status', s.status) ORDER BY s.target_id)
                 FROM pem.server_status s) AS servers`,
    );
    const row = rows[0];
    return {
      targets: new Set((row?.targets ?? []).map(BigInt)),
      agents: row?.agents ?? [],
      servers: row?.servers ?? [],
    };
  });
}

interface UserState {
  goodAtMs: number;
  isVerified: boolean;
  message: string;
  states: string;
  sentAtMs: number;
}

export class Watch {
  readonly #hub: PushHub;
  readonly #source: WatchSource;
  readonly #log: Log;
  readonly #everyMs: number;
  readonly #maxAgeMs: number;
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
        message: '',
        states: '',
        sentAtMs: 0,
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
      const view = await this.#source.look(username);
      if (this.#users.get(username) !== state) return;
      state.goodAtMs = beganMs;
      state.isVerified = true;
      this.#prepareFleet(state, view);
      for (const client of this.#clientsOf(username)) {
        this.#hub.setVisible(client, view.targets);
        this.#hub.sendFleet(client, state.message);
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

  #prepareFleet(state: UserState, view: View): void {
    const now = performance.now();
    const states = JSON.stringify([view.agents.map(({ id, status }) => [id, status]), view.servers]);
    if (states === state.states && now - state.sentAtMs < this.#lastSeenMs) return;
    state.states = states;
    state.sentAtMs = now;
    state.message = JSON.stringify({ fleet: { agents: view.agents, servers: view.servers } });
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
