/**
 * One WebSocket as the rooms see it. It outlives its connection: after the close every call is harmless, so that a
 * reader that was waiting for the database need not ask first.
 */
import type { EngineSocket } from './engine.js';

export type SendResult = 'sent' | 'queued' | 'dropped' | 'closed';

export class LiveSocket<T> {
  #ws: EngineSocket<unknown> | undefined;
  readonly data: T;

  constructor(ws: EngineSocket<unknown>, data: T) {
    this.#ws = ws;
    this.data = data;
  }

  get isOpen(): boolean {
    return this.#ws !== undefined;
  }

  /** Bytes that wait for the client to take them. */
  get backlogBytes(): number {
    return this.#ws?.getBufferedAmount() ?? 0;
  }

  send(message: string | Uint8Array): SendResult {
    if (this.#ws === undefined) return 'closed';
    const result = this.#ws.send(message, typeof message !== 'string');
    return result === 1 ? 'sent' : result === 0 ? 'queued' : 'dropped';
  }

  subscribe(set: string): void {
    this.#ws?.subscribe(set);
  }

  unsubscribe(set: string): void {
    this.#ws?.unsubscribe(set);
  }

  /** @param code WebSocket close code @param reason for the client's eyes */
  close(code: number, reason: string): void {
    this.#ws?.end(code, reason);
  }

  /** The engine closed it. */
  gone(): void {
    this.#ws = undefined;
  }
}
