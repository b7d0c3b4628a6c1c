/**
 * Who is connected to which server without an agent, and by what password: the one place where those passwords are. In:
 * connections as users make and leave them. Out: for each server the password its link uses, and who may act. Memory only;
 * nothing of it is written, logged or sent anywhere.
 *
 * A connection is of one web session. Several sessions may be connected to one server, each by a password of its own: the
 * link uses the eldest's, and the next one's when that one leaves. Full: `limits` say how much, the newcomer is refused.
 */
import { HttpError } from '../http/message.js';

export interface Holder {
  readonly session: string;
  readonly username: string;
  readonly sinceMs: number;
  readonly password: string;
}

export const connectionLimits = { servers: 16, sessionsPerServer: 16 } as const;

export class Connections {
  readonly #servers = new Map<number, Holder[]>();

  get targets(): readonly number[] {
    return [...this.#servers.keys()];
  }

  get sessions(): readonly string[] {
    return [...new Set([...this.#servers.values()].flat().map((holder) => holder.session))];
  }

  /** The eldest first; none where nobody is connected. */
  of(targetId: number): readonly Holder[] {
    return this.#servers.get(targetId) ?? [];
  }

  has(targetId: number, session: string): boolean {
    return this.of(targetId).some((holder) => holder.session === session);
  }

  /** @throws HttpError tracer_full where one more would be too many */
  checkRoom(targetId: number, session: string): void {
    const there = this.of(targetId);
    if (there.length === 0 && this.#servers.size >= connectionLimits.servers)
      throw new HttpError(
        409,
        'tracer_full',
        `this web server is connected to ${connectionLimits.servers} servers already; disconnect one`,
      );
    if (there.length >= connectionLimits.sessionsPerServer && !this.has(targetId, session))
      throw new HttpError(
        409,
        'tracer_full',
        `${connectionLimits.sessionsPerServer} sessions are connected to this server already`,
      );
  }

  /** One that was there for the session is replaced. */
  add(targetId: number, holder: Holder): void {
    const others = this.of(targetId).filter(({ session }) => session !== holder.session);
    this.#servers.set(targetId, [...others, holder]);
  }

  /** @returns whom it forgot */
  remove(targetId: number, isLeaving: (holder: Holder) => boolean): readonly Holder[] {
    const there = this.of(targetId);
    const left = there.filter(isLeaving);
    const staying = there.filter((holder) => !left.includes(holder));
    if (staying.length === 0) this.#servers.delete(targetId);
    else this.#servers.set(targetId, staying);
    return left;
  }
}
