/**
 * PostgreSQL's protocol message by message, for tests that need portals, flushes and silences which no library makes. In:
 * a cluster's socket (trust). Out: what the server answered, as message types. Owner of the connection: the test.
 */
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Cluster } from './cluster.js';

export interface Message {
  readonly type: string;
  readonly body: Buffer;
}

const text = (value: string): Buffer => Buffer.from(`${value}\0`);
const int16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
};
const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
};

function message(type: string, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body]);
}

export const query = (sql: string): Buffer => message('Q', text(sql));
export const parse = (name: string, sql: string): Buffer => message('P', text(name), text(sql), int16(0));
/** All parameters and results as text. */
export const bind = (portal: string, statement: string, values: readonly (string | null)[] = []): Buffer =>
  message(
    'B',
    ...[text(portal), text(statement), int16(0), int16(values.length)],
    ...values.map((value) =>
      value === null ? int32(-1) : Buffer.concat([int32(Buffer.byteLength(value)), Buffer.from(value)]),
    ),
    int16(0),
  );
/** 0 rows: all. */
export const execute = (portal: string, rows = 0): Buffer => message('E', text(portal), int32(rows));
export const closePortal = (portal: string): Buffer => message('C', Buffer.from('P'), text(portal));
export const flush = (): Buffer => message('H');
export const sync = (): Buffer => message('S');
export const terminate = (): Buffer => message('X');

export class WireClient {
  #socket: Socket;
  #bytes = Buffer.alloc(0);
  #waiting: (() => void) | undefined;
  #closed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (data) => {
      this.#bytes = Buffer.concat([this.#bytes, data]);
      this.#waiting?.();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#closed = true;
      this.#waiting?.();
    });
  }

  static async open(cluster: Cluster, application: string, database = 'postgres'): Promise<WireClient> {
    const socket = connect(join(cluster.socketDirectory, `.s.PGSQL.${cluster.port}`));
    const client = new WireClient(socket);
    const settings = ['user', cluster.superuser, 'database', database, 'application_name', application];
    const body = Buffer.concat([int32(196608), ...settings.map(text), Buffer.from('\0')]);
    socket.write(Buffer.concat([int32(body.length + 4), body]));
    await client.until('Z');
    return client;
  }

  send(...messages: Buffer[]): void {
    this.#socket.write(Buffer.concat(messages));
  }

  /** Everything up to the first message of this type; a closed connection ends it too. */
  async until(type: string): Promise<Message[]> {
    const messages: Message[] = [];
    for (;;) {
      while (this.#bytes.length >= 5) {
        const length = this.#bytes.readInt32BE(1) + 1;
        if (this.#bytes.length < length) break;
        messages.push({
          type: this.#bytes.toString('latin1', 0, 1),
          body: this.#bytes.subarray(5, length),
        });
        this.#bytes = this.#bytes.subarray(length);
        if (messages.at(-1)?.type === type) return messages;
      }
      if (this.#closed) return messages;
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
  }

  /** Sends, and waits for the answer to the last Sync or Query. */
  async run(...messages: Buffer[]): Promise<Message[]> {
    this.send(...messages);
    return this.until('Z');
  }

  end(): void {
    this.#socket.end(terminate());
  }
}
