/**
 * Hands committed blocks to the web processes. In: the blocks of a commit; out: messages (format: src/push/FORMAT.md) on
 * unix sockets `*.sock` of a directory, one per web process, which listens. Owns its connections.
 *
 * 1. Only what is committed is sent, in the order of commits.
 * 2. A web process that does not read costs `bufferBytes` at most: then messages are dropped, and when the socket takes
 *    data again the first message is `lost`.
 * 3. Nothing here delays ingest: no waiting, no retry of a message. Stop: connections are closed, nothing is flushed.
 */
import { readdirSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Log } from '../base/log.js';
import type { Placed } from './latest.js';

const bufferBytes = 16 * 1024 * 1024;
const scanMs = 500;
/** A message is cut before these; the format counts blocks in 16 bits. */
const messageBlocks = 4096;
const messageBytes = 4 * 1024 * 1024;

const kinds = { hello: 1, commit: 2, lost: 3 } as const;

function message(kind: number, parts: readonly Buffer[]): Buffer[] {
  const length = parts.reduce((sum, part) => sum + part.length, 1);
  const head = Buffer.alloc(5);
  head.writeUInt32LE(length, 0);
  head.writeUInt8(kind, 4);
  return [head, ...parts];
}

/** The commit messages of some blocks, each as pieces to write. */
export function commitMessages(placed: readonly Placed[]): Buffer[][] {
  const messages: Buffer[][] = [];
  let parts: Buffer[] = [];
  let count = 0;
  let bytes = 0;
  const close = (): void => {
    if (count === 0) return;
    const head = Buffer.alloc(2);
    head.writeUInt16LE(count, 0);
    messages.push(message(kinds.commit, [head, ...parts]));
    parts = [];
    count = 0;
    bytes = 0;
  };
  for (const { block } of placed) {
    const head = Buffer.alloc(32);
    head.writeUInt32LE(block.bytes.length, 0);
    head.writeUInt32LE(block.agentId, 4);
    head.write(block.boot.replaceAll('-', ''), 8, 'hex');
    head.writeBigUInt64LE(block.seq, 24);
    parts.push(head, block.bytes);
    count += 1;
    bytes += block.bytes.length;
    if (count >= messageBlocks || bytes >= messageBytes) close();
  }
  close();
  return messages;
}

interface Link {
  readonly socket: Socket;
  ready: boolean;
  lost: boolean;
}

export class PushLinks {
  private readonly links = new Map<string, Link>();
  private readonly timer: NodeJS.Timeout | undefined;
  dropped = 0;

  /** @param path a directory of sockets, or one socket; undefined: nobody listens */
  constructor(
    private readonly path: string | undefined,
    private readonly name: string,
    private readonly log: Log,
  ) {
    if (path === undefined) return;
    this.scan();
    this.timer = setInterval(() => this.scan(), scanMs);
    this.timer.unref();
  }

  private sockets(): string[] {
    const path = this.path as string;
    try {
      if (!statSync(path).isDirectory()) return [path];
      return readdirSync(path)
        .filter((entry) => entry.endsWith('.sock'))
        .map((entry) => join(path, entry));
    } catch {
      return [];
    }
  }

  private scan(): void {
    for (const path of this.sockets()) if (!this.links.has(path)) this.open(path);
  }

  private open(path: string): void {
    const socket = connect(path);
    const link: Link = { socket, ready: false, lost: false };
    this.links.set(path, link);
    socket.on('connect', () => {
      link.ready = true;
      this.log.info({ path }, 'web process connected');
      socket.write(Buffer.concat(message(kinds.hello, [Buffer.from(this.name)])));
    });
    socket.on('drain', () => {
      if (!link.lost) return;
      link.lost = false;
      socket.write(Buffer.concat(message(kinds.lost, [])));
    });
    socket.on('error', () => undefined); // 'close' follows; the next scan tries again
    socket.on('close', () => this.links.delete(path));
    socket.resume();
  }

  /** Sends the blocks of one commit to every web process. Resolves when nobody reads their bytes any longer. */
  async publish(placed: readonly Placed[]): Promise<void> {
    if (placed.length === 0 || this.links.size === 0) return;
    const messages = commitMessages(placed);
    const written: Promise<void>[] = [];
    for (const link of this.links.values()) {
      if (!link.ready) continue;
      for (const parts of messages) {
        if (link.lost || link.socket.writableLength > bufferBytes) {
          link.lost = true;
          this.dropped += 1;
          continue;
        }
        link.socket.cork();
        for (const part of parts.slice(0, -1)) link.socket.write(part);
        // Called in any case: written, or given up with the socket.
        written.push(new Promise((resolve) => link.socket.write(parts.at(-1) as Buffer, () => resolve())));
        link.socket.uncork();
      }
    }
    await Promise.all(written);
  }

  get connected(): number {
    return [...this.links.values()].filter((link) => link.ready).length;
  }

  close(): void {
    clearInterval(this.timer);
    for (const link of this.links.values()) link.socket.destroy();
    this.links.clear();
  }
}
