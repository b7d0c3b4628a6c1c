/**
 * The unix socket on which ingesters hand over what they have committed. Any number may connect; each is a link of its
 * own. A link that ends, says it lost something, or sends nonsense is `lost`: topics start anew from the database.
 * The socket file is 0600 and removed at stop.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { errorCode, errorText, PemError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { type CommitEntry, decodeCommit, MessageReader, messageKind } from './commit.js';

export interface LinkEvents {
  /** Called once per commit. */
  commit(entries: readonly CommitEntry[]): void;
  lost(reason: string): void;
  /** A link began: what its ingester committed before was not handed over. */
  joined(name: string): void;
}

export class IngestLink {
  readonly #path: string;
  readonly #events: LinkEvents;
  readonly #log: Log;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;

  constructor(directory: string, events: LinkEvents, log: Log) {
    this.#path = join(directory, 'push.sock');
    this.#events = events;
    this.#log = log;
  }

  /** @throws PemError push_socket_taken | push_socket_failed */
  async start(): Promise<void> {
    if (await answers(this.#path)) {
      const message = `another web server listens on ${this.#path}; give this one a directory of its own`;
      throw new PemError('push_socket_taken', message, 'operator');
    }
    rmSync(this.#path, { force: true });
    // Made where it is missing: listen() would call it "permission denied".
    try {
      mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    } catch (error) {
      const message = `${dirname(this.#path)} cannot be made: ${errorText(error)}`;
      throw new PemError('push_socket_failed', message, 'operator', { cause: error });
    }
    const server = createServer((socket) => this.#serve(socket));
    // The file is made by listen(), before its callback: only the mask makes it 0600 from its first moment.
    const mask = process.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(this.#path, resolve);
      });
    } catch (error) {
      const message = `${this.#path} cannot be listened on: ${errorText(error)}`;
      throw new PemError('push_socket_failed', message, 'operator', { cause: error });
    } finally {
      process.umask(mask);
    }
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.#sockets) socket.destroy();
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  get links(): number {
    return this.#sockets.size;
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    const reader = new MessageReader();
    let name = 'ingester';
    let reason = 'the link ended';
    socket.on('data', (chunk) => {
      try {
        reader.push(chunk, (kind, payload) => {
          if (kind === messageKind.commit) this.#events.commit(decodeCommit(payload));
          else if (kind === messageKind.lost) this.#events.lost(`${name} dropped messages`);
          else if (kind === messageKind.hello) {
            name = payload.toString('utf8', 0, 64);
            this.#events.joined(name);
          }
          // Kinds of a newer ingester are skipped.
        });
      } catch (error) {
        reason = errorText(error);
        this.#log.error(
          { code: errorCode(error), error: reason, ingester: name },
          'link of an ingester ended',
        );
        socket.destroy();
      }
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      if (this.#server !== undefined) this.#events.lost(`${name}: ${reason}`);
    });
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = dial(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
