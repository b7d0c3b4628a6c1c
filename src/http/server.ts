/**
 * The web server's wire: requests and WebSockets in, plain values to the rooms behind, replies out. Invariants:
 * 1. A request is copied out of the engine before the first await; every reply checks that the client is still there.
 * 2. A reply is written corked, in one piece, with the security headers.
 * 3. Host is checked on every request, Origin on every upgrade and every request that changes something.
 * 4. Beyond loopback it listens over TLS only.
 * 5. Long JSON goes out gzipped to who takes it: the lists of a fleet of 2,000 are 2 MB, and 0.1 MB so.
 * Full: bodies over `bodyBytes` get 413, more than `maxInFlight` requests and upgrades at once 503, a WebSocket's backlog over
 * `maxBackpressureBytes` drops the message and tells the room; more than `maxMessageBytes` before its sign-in is read closes it.
 * Stop: the listener closes, then every connection.
 */

import { errorCode, errorText, PemError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { compressed } from './compress.js';
import {
  closeListener,
  createApp,
  type EngineRequest,
  type EngineResponse,
  type EngineSocket,
  type ListenSocket,
  listen,
  localPort,
  type TemplatedApp,
  type us_socket_context_t,
} from './engine.js';
import { checkHost, checkOrigin, HostList, isLoopback, securityHeaders } from './guard.js';
import { errorReply, HttpError, type HttpReply, type RequestHead } from './message.js';
import { type Route, Router } from './router.js';
import { LiveSocket } from './socket.js';
import { checkTls } from './tls.js';

export interface HttpServerOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** Names under which it answers, beside loopback's and the address it listens on. */
  readonly hosts: readonly string[];
  readonly tls?: { readonly keyFile: string; readonly certFile: string };
  readonly log: Log;
  /** What answers where no route does (static files). */
  readonly otherwise?: (head: RequestHead) => HttpReply | undefined;
  readonly bodyBytes?: number;
  readonly maxInFlight?: number;
}

/** A WebSocket endpoint. `T` is what `accept` knows of the client. */
export interface LiveEndpoint<T> {
  readonly path: string;
  readonly maxMessageBytes: number;
  readonly maxBackpressureBytes: number;
  /** @throws HttpError the client's refusal: the socket is closed with 4000 + its status */
  accept(head: RequestHead): Promise<T>;
  opened(socket: LiveSocket<T>): void;
  /** Text as text; a binary message as undefined. */
  message(socket: LiveSocket<T>, text: string | undefined): void;
  /** The backlog was full and a message was thrown away. Called from inside a send or publish: only take note. */
  dropped(socket: LiveSocket<T>): void;
  drained(socket: LiveSocket<T>): void;
  closed(socket: LiveSocket<T>): void;
}

/** A client between its upgrade and the answer who it is; then `socket` is what the rooms know. */
interface Caller<T> {
  ws?: EngineSocket<unknown> | undefined;
  socket?: LiveSocket<T>;
  readonly early: (string | undefined)[];
  earlyBytes: number;
}

const statusTexts: Readonly<Record<number, string>> = {
  200: '200 OK',
  201: '201 Created',
  204: '204 No Content',
  304: '304 Not Modified',
  400: '400 Bad Request',
  401: '401 Unauthorized',
  403: '403 Forbidden',
  404: '404 Not Found',
  405: '405 Method Not Allowed',
  409: '409 Conflict',
  413: '413 Content Too Large',
  421: '421 Misdirected Request',
  422: '422 Unprocessable Content',
  429: '429 Too Many Requests',
  500: '500 Internal Server Error',
  503: '503 Service Unavailable',
};

/** Headers that must not be said twice: two parties could believe different ones. */
const single = new Set(['host', 'origin', 'cookie', 'content-length', 'x-csrf-token', 'x-auth-token']);

export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #app: TemplatedApp;
  readonly #router = new Router();
  readonly #headers: [string, string][];
  readonly #bodyBytes: number;
  readonly #maxInFlight: number;
  #hosts: HostList;
  #listener: ListenSocket | undefined;
  #inFlight = 0;

  /** @throws PemError tls_required | tls_invalid */
  constructor(options: HttpServerOptions) {
    if (!isLoopback(options.listen.host) && options.tls === undefined) {
      throw new PemError(
        'tls_required',
        `listening on ${options.listen.host}, beyond loopback, needs a TLS key and certificate (--tls-key, --tls-certificate)`,
        'operator',
      );
    }
    if (options.tls !== undefined) checkTls(options.tls);
    this.#options = options;
    this.#app = createApp(options.tls);
    this.#headers = Object.entries(securityHeaders(options.tls !== undefined));
    this.#bodyBytes = options.bodyBytes ?? 64 * 1024;
    this.#maxInFlight = options.maxInFlight ?? 512;
    const own = ['localhost', '127.0.0.1', '[::1]', options.listen.host];
    this.#hosts = new HostList([...own, ...options.hosts]);
  }

  get secure(): boolean {
    return this.#options.tls !== undefined;
  }

  route(route: Route): void {
    this.#router.add(route);
  }

  /** Hands a message to every socket of the set; it leaves at the end of the loop's turn. */
  publish(set: string, message: Uint8Array): void {
    this.#app.publish(set, message, true);
  }

  live<T extends object>(endpoint: LiveEndpoint<T>): void {
    this.#app.ws<{ caller: Caller<T> }>(endpoint.path, {
      maxPayloadLength: endpoint.maxMessageBytes,
      maxBackpressure: endpoint.maxBackpressureBytes,
      idleTimeout: 60,
      sendPingsAutomatically: true,
      upgrade: (response, request, context) => this.#upgrade(endpoint, response, request, context),
      open: (ws) => {
        // The engine copies what it was given at the upgrade: hence one object in another.
        ws.getUserData().caller.ws = ws;
      },
      message: (ws, message, isBinary) => {
        const { caller } = ws.getUserData();
        const text = isBinary ? undefined : Buffer.from(message).toString();
        if (caller.socket !== undefined) {
          endpoint.message(caller.socket, text);
          return;
        }
        caller.early.push(text);
        caller.earlyBytes += message.byteLength + 16;
        if (caller.earlyBytes > endpoint.maxMessageBytes)
          ws.end(1008, 'too much before the sign-in was read');
      },
      dropped: (ws) => {
        const { socket } = ws.getUserData().caller;
        if (socket !== undefined) endpoint.dropped(socket);
      },
      drain: (ws) => {
        const { socket } = ws.getUserData().caller;
        if (socket !== undefined) endpoint.drained(socket);
      },
      close: (ws) => {
        const { caller } = ws.getUserData();
        caller.ws = undefined;
        if (caller.socket === undefined) return;
        caller.socket.gone();
        endpoint.closed(caller.socket);
      },
    });
  }

  /**
   * Answers the upgrade at once; who calls is found out behind it. Upgrading after an await, as it was, closes sockets: corked,
   * this engine reads a freed response (uWebSockets issue 1928; one new socket in five on a busy machine), uncorked it
   * writes a warning to stderr each time.
   */
  #upgrade<T extends object>(
    endpoint: LiveEndpoint<T>,
    response: EngineResponse,
    request: EngineRequest,
    context: us_socket_context_t,
  ): void {
    const caller: Caller<T> = { early: [], earlyBytes: 0 };
    let head: RequestHead;
    try {
      head = readHead(request, response);
      checkHost(head, this.#hosts);
      checkOrigin(head, this.secure, true);
      if (this.#inFlight >= this.#maxInFlight) throw busy();
    } catch (error) {
      this.#write(response, this.#failure(error, endpoint.path), false);
      return;
    }
    const key = request.getHeader('sec-websocket-key');
    const protocol = request.getHeader('sec-websocket-protocol');
    const extensions = request.getHeader('sec-websocket-extensions');
    response.upgrade({ caller }, key, protocol, extensions, context);
    this.#inFlight++;
    void this.#admit(endpoint, head, caller).finally(() => {
      this.#inFlight--;
    });
  }

  async #admit<T extends object>(
    endpoint: LiveEndpoint<T>,
    head: RequestHead,
    caller: Caller<T>,
  ): Promise<void> {
    try {
      const data = await endpoint.accept(head);
      if (caller.ws === undefined) return;
      const socket = new LiveSocket(caller.ws, data);
      caller.socket = socket;
      endpoint.opened(socket);
      for (const text of caller.early.splice(0)) if (socket.isOpen) endpoint.message(socket, text);
    } catch (error) {
      const { status } = this.#failure(error, endpoint.path);
      caller.ws?.end(4000 + status, statusTexts[status] ?? '');
    }
  }

  /** @returns the port it listens on */
  async start(): Promise<number> {
    this.#app.any('/*', (response, request) => this.#serve(response, request));
    const { host, port } = this.#options.listen;
    try {
      this.#listener = await listen(this.#app, host, port);
    } catch (error) {
      throw new PemError('listen_failed', `${errorText(error)}; is another server there?`, 'operator', {
        cause: error,
      });
    }
    return localPort(this.#listener);
  }

  stop(): void {
    if (this.#listener !== undefined) closeListener(this.#listener);
    this.#listener = undefined;
    this.#app.close();
  }

  #serve(response: EngineResponse, request: EngineRequest): void {
    let aborted = false;
    response.onAborted(() => {
      aborted = true;
    });
    let isHead = false;
    const finish = (reply: HttpReply, close = false): void => {
      if (!aborted) this.#write(response, reply, isHead, close);
      aborted = true;
    };
    try {
      const head = readHead(request, response);
      isHead = head.method === 'HEAD';
      checkHost(head, this.#hosts);
      checkOrigin(head, this.secure, false);
      const found = this.#router.find(head.method, head.path);
      if (found === undefined) {
        finish(this.#options.otherwise?.(head) ?? errorReply(notFound()));
        return;
      }
      if ('reply' in found) {
        finish(found.reply);
        return;
      }
      if (this.#inFlight >= this.#maxInFlight) throw busy();
      const answer = (body: Buffer): void => {
        this.#inFlight++;
        this.#handle(found.route, { ...head, params: found.params, body })
          .then((reply) => compressed(reply, head))
          .then((reply) => finish(reply))
          .finally(() => {
            this.#inFlight--;
          });
      };
      if (head.method === 'GET' || head.method === 'HEAD') answer(Buffer.alloc(0));
      else this.#readBody(response, answer, finish, () => aborted);
    } catch (error) {
      finish(this.#failure(error, 'request'));
    }
  }

  #readBody(
    response: EngineResponse,
    done: (body: Buffer) => void,
    finish: (reply: HttpReply, close: boolean) => void,
    isAborted: () => boolean,
  ): void {
    const pieces: Buffer[] = [];
    let bytes = 0;
    response.onData((chunk, isLast) => {
      if (isAborted()) return;
      bytes += chunk.byteLength;
      if (bytes > this.#bodyBytes) {
        const message = `a request's body is at most ${this.#bodyBytes} bytes`;
        finish(errorReply(new HttpError(413, 'body_too_large', message)), true);
        return;
      }
      // The engine takes the chunk's memory back when this callback returns.
      pieces.push(Buffer.from(Buffer.from(chunk)));
      if (isLast) done(Buffer.concat(pieces));
    });
  }

  async #handle(route: Route, request: Parameters<Route['handle']>[0]): Promise<HttpReply> {
    try {
      return await route.handle(request);
    } catch (error) {
      return this.#failure(error, `${route.method} ${route.pattern}`);
    }
  }

  #failure(error: unknown, where: string): HttpReply {
    const reply = errorReply(error);
    if (reply.status >= 500) {
      const detail = { code: errorCode(error), error: errorText(error), where };
      // A failure without a code is our own mistake: its stack is what mends it.
      const stack = reply.status === 500 && error instanceof Error ? { stack: error.stack } : {};
      this.#options.log.error({ ...detail, ...stack }, 'request failed');
    }
    return reply;
  }

  #write(response: EngineResponse, reply: HttpReply, isHead: boolean, close = false): void {
    response.cork(() => {
      response.writeStatus(statusTexts[reply.status] ?? String(reply.status));
      for (const [name, value] of this.#headers) response.writeHeader(name, value);
      for (const [name, value] of Object.entries(reply.headers ?? {})) response.writeHeader(name, value);
      if (isHead) response.endWithoutBody(Buffer.byteLength(reply.body ?? ''), close);
      else if (reply.body === undefined) response.endWithoutBody(reply.status === 204 ? undefined : 0, close);
      else response.end(reply.body, close);
    });
  }
}

function busy(): HttpError {
  return new HttpError(503, 'busy', 'too many requests at once');
}

function notFound(): HttpError {
  return new HttpError(
    404,
    'not_found',
    'nothing lives at this path; GET /pem/api/v1/openapi.json lists what does',
  );
}

/** @throws HttpError header_repeated */
function readHead(request: EngineRequest, response: EngineResponse): RequestHead {
  const headers = new Map<string, string>();
  request.forEach((name, value) => {
    if (headers.has(name) && single.has(name)) {
      throw new HttpError(400, 'header_repeated', `the header ${name} is there twice`);
    }
    headers.set(name, value);
  });
  return {
    method: request.getCaseSensitiveMethod().toUpperCase(),
    path: request.getUrl(),
    query: new URLSearchParams(request.getQuery()),
    headers,
    remoteAddress: Buffer.from(response.getRemoteAddressAsText()).toString(),
  };
}
