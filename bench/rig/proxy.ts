/**
 * A bad network for tests: a TCP listener on 127.0.0.1 in front of a host and port or a unix socket. Modes, switchable at
 * any time and valid for connections that are open and for new ones:
 *   pass        forwards
 *   half-open   accepts, then reads and writes nothing: the peer's buffers fill up
 *   black-hole  accepts, reads everything and forwards nothing
 *   cut         resets (RST) what is open and whatever comes
 * `delayMs` holds each piece back in both directions. `stop` closes all.
 */
import { createConnection, createServer, type Server, type Socket } from 'node:net';

export type ProxyMode = 'pass' | 'half-open' | 'black-hole' | 'cut';

export type ProxyTarget = { readonly host: string; readonly port: number } | { readonly path: string };

interface Pair {
  readonly client: Socket;
  readonly target: Socket;
}

export class TestProxy {
  private readonly pairs = new Set<Pair>();
  private mode: ProxyMode = 'pass';
  private delay = 0;
  /** Connections accepted so far. */
  accepted = 0;
  /** Bytes that went into the black hole. */
  swallowedBytes = 0;

  private constructor(
    private readonly server: Server,
    readonly port: number,
    private readonly target: ProxyTarget,
  ) {
    server.on('connection', (client) => this.accept(client));
  }

  static async start(target: ProxyTarget, mode: ProxyMode = 'pass'): Promise<TestProxy> {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
    const proxy = new TestProxy(server, address.port, target);
    proxy.set(mode);
    return proxy;
  }

  get open(): number {
    return this.pairs.size;
  }

  set(mode: ProxyMode): void {
    this.mode = mode;
    for (const pair of this.pairs) this.apply(pair);
  }

  setDelay(delayMs: number): void {
    this.delay = delayMs;
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const { client, target } of this.pairs) {
      client.destroy();
      target.destroy();
    }
    await closed;
  }

  private accept(client: Socket): void {
    this.accepted += 1;
    const pair: Pair = { client, target: createConnection(this.target) };
    this.pairs.add(pair);
    this.forward(client, pair.target);
    this.forward(pair.target, client);
    for (const [socket, other] of [
      [client, pair.target],
      [pair.target, client],
    ] as const) {
      socket.on('error', () => undefined);
      socket.on('close', () => {
        // While nothing is passed on, an end that is left does not learn that the other one is gone.
        if (other.destroyed) this.pairs.delete(pair);
        if (this.mode === 'pass') setTimeout(() => other.destroy(), this.delay);
        else if (socket === client) other.destroy();
      });
    }
    this.apply(pair);
  }

  private apply({ client, target }: Pair): void {
    if (this.mode === 'cut' || (this.mode === 'pass' && target.destroyed)) {
      client.resetAndDestroy();
      target.destroy(); // a unix socket has no RST
    } else if (this.mode === 'half-open') {
      client.pause();
      target.pause();
    } else {
      client.resume();
      target.resume();
    }
  }

  private forward(from: Socket, to: Socket): void {
    from.on('data', (data) => {
      if (this.mode === 'black-hole') {
        this.swallowedBytes += data.length;
        return;
      }
      if (this.delay > 0) {
        setTimeout(() => {
          if (this.mode === 'pass' && !to.destroyed) to.write(data);
        }, this.delay);
        return;
      }
      if (!to.destroyed && !to.write(data)) {
        from.pause();
        to.once('drain', () => {
          if (this.mode !== 'half-open') from.resume();
        });
      }
    });
    from.on('end', () => {
      if (this.mode === 'pass') setTimeout(() => to.end(), this.delay);
    });
  }
}
