/**
 * Requests and replies as the rooms behind the web server see them: plain values, copied out of the engine before the
 * first await (its request object lives only inside its callback).
 */
import { errorCode, errorText, PemError } from '../base/errors.js';

export interface RequestHead {
  /** Upper case. */
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly remoteAddress: string;
}

export interface HttpRequest extends RequestHead {
  readonly params: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export interface HttpReply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** A refusal with its HTTP status: the error that rooms throw to answer something other than 500. */
export class HttpError extends PemError {
  constructor(
    readonly status: number,
    code: string,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(code, message, 'refused');
  }
}

export function json(
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): HttpReply {
  return {
    status,
    headers: { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store', ...headers },
    body: JSON.stringify(value),
  };
}

/** SQLSTATE classes that mean "the database is away or busy", not "we made a mistake". */
const outsideStates = /^(08|53|57P|40|55P03|57014)/;
const outsideErrnos = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
  'ETIMEDOUT',
  'connection_lost',
  'connect_failed',
  'connect_timeout',
  'query_timeout',
]);

/** True where the database cannot be reached or gave up: the client should try again. */
export function isOutside(error: unknown): boolean {
  const code = errorCode(error);
  if (outsideErrnos.has(code) || outsideStates.test(code)) return true;
  return (
    error instanceof Error &&
    /Connection terminated|timeout exceeded when trying to connect/.test(error.message)
  );
}

/** The reply to anything thrown. What is not a coded refusal says nothing of the inside. */
export function errorReply(error: unknown): HttpReply {
  if (error instanceof HttpError) {
    return json(error.status, { error: { code: error.code, message: error.message } }, error.headers);
  }
  if (error instanceof PemError && error.kind === 'refused') {
    return json(400, { error: { code: error.code, message: errorText(error) } });
  }
  if (isOutside(error)) {
    const message = "PEM's database does not answer at the moment; try again in a few seconds";
    return json(503, { error: { code: 'database_unavailable', message } }, { 'retry-after': '2' });
  }
  return json(500, { error: { code: 'internal', message: 'the server failed; its log says why' } });
}
