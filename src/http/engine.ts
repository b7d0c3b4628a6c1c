/**
 * The engine under the web server. This is the one import of uWebSockets.js: package.json's alias decides which build
 * it is, so that an official build replaces a republished one in one line there.
 */
import engine, {
  type HttpRequest as EngineRequest,
  type HttpResponse as EngineResponse,
  type WebSocket as EngineSocket,
  type TemplatedApp,
  type us_listen_socket,
  type us_socket_context_t,
} from 'uWebSockets.js';

export type { EngineRequest, EngineResponse, EngineSocket, TemplatedApp, us_socket_context_t };
export type ListenSocket = us_listen_socket;

/** An app over TLS where key and certificate are given, else a plain one. */
export function createApp(tls?: { keyFile: string; certFile: string }): TemplatedApp {
  return tls === undefined
    ? engine.App()
    : engine.SSLApp({ key_file_name: tls.keyFile, cert_file_name: tls.certFile });
}

/**
 * Listens on one address. Exclusively: by default two servers could share a port through SO_REUSEPORT and each would
 * get a part of the requests. (The typings
 * know fewer arguments than the engine takes.)
 */
export function listen(app: TemplatedApp, host: string, port: number): Promise<ListenSocket> {
  type Listen = (
    host: string,
    port: number,
    options: number,
    done: (socket: ListenSocket | false) => void,
  ) => void;
  const { LIBUS_LISTEN_EXCLUSIVE_PORT: exclusive } = engine as unknown as {
    LIBUS_LISTEN_EXCLUSIVE_PORT: number;
  };
  return new Promise((resolve, reject) => {
    (app.listen as unknown as Listen).call(app, host, port, exclusive, (socket) => {
      if (socket === false) reject(new Error(`${host} port ${port} cannot be listened on`));
      else resolve(socket);
    });
  });
}

export function localPort(socket: ListenSocket): number {
  return engine.us_socket_local_port(socket as never);
}

export function closeListener(socket: ListenSocket): void {
  engine.us_listen_socket_close(socket);
}
