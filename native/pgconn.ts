/**
 * PgConn: one connection to a server that may be slow, silent or dying, without ever blocking the event loop or libuv's
 * pool on it. In: libpq keywords, SQL, parameters, pieces of a COPY. Out: text results, blocks, PGCOPY streams, PgErrors.
 * It owns the native connection; whoever called `connect` closes it, a forgotten idle one is closed by the collector.
 *
 * 1. Calls run one at a time in the order in which they were made.
 * 2. A call over its time is cancelled from a thread of its own. When that is not answered within `cancelGraceMs`, or
 *    cannot be sent, the connection is closed: the call ends in any case.
 * 3. The next call starts only after an outstanding cancel request is through: it cannot hit the wrong statement.
 * 4. A connection that ends rejects the running and all queued calls with `connection_lost` and tells `onClose` once.
 * 5. Names are resolved here (`dns.lookup`), all their addresses tried in turn; `timeoutMs` covers that too.
 * 6. Passwords reach libpq only; no message holds them.
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { PemError } from '../src/base/errors.js';
import { loadAddon } from './addon.js';
import type { BlockMeta, BlockResult, ColumnSpec } from './codec.js';

export interface ConnectOptions {
  /** libpq keywords. `gssencmode` is `disable` and `client_encoding` is UTF8 unless said otherwise. */
  readonly params: Readonly<Record<string, string>>;
  /** Until the server has accepted the session, name resolution included. */
  readonly timeoutMs: number;
}

export interface FieldDescription {
  readonly name: string;
  readonly typeOid: number;
}

export interface QueryResult {
  readonly rows: Record<string, string | null>[];
  readonly fields: FieldDescription[];
  /** The command tag, for example 'INSERT 0 3'. */
  readonly command: string;
  readonly affected: number;
}

export interface CopyBlockRequest {
  /** COPY (...) TO STDOUT (FORMAT binary) */
  readonly sql: string;
  readonly columns: readonly ColumnSpec[];
  readonly meta: BlockMeta;
  readonly maxValueBytes?: number;
  readonly maxRows?: number;
  readonly timeoutMs?: number;
}

export interface CallOptions {
  readonly timeoutMs?: number;
}

interface ErrorDetails {
  readonly severity?: string;
  readonly detail?: string;
  readonly hint?: string;
}

/**
 * What went wrong with a connection or a call. `code` is the server's SQLSTATE, or one of `connect_timeout`,
 * `connect_failed`, `connection_lost`, `query_timeout`, `wrong_call`.
 */
export class PgError extends Error {
  override readonly name = 'PgError';
  readonly severity?: string;
  readonly detail?: string;
  readonly hint?: string;

  constructor(
    readonly code: string,
    message: string,
    details: ErrorDetails = {},
  ) {
    super(message);
    if (details.severity !== undefined) this.severity = details.severity;
    if (details.detail !== undefined) this.detail = details.detail;
    if (details.hint !== undefined) this.hint = details.hint;
  }
}

interface NativeError extends ErrorDetails {
  readonly code?: string;
  readonly message?: string;
  readonly codec?: boolean;
}

/** pgconn.cc. Methods answer '' or the reason for which nothing was started. */
interface NativeConnection {
  on: (kind: string, a?: unknown, b?: unknown) => void;
  connect(keys: readonly string[], values: readonly string[]): string;
  query(sql: string, params: readonly (string | null | Buffer)[]): string;
  describe(sql: string): string;
  copyOutRaw(sql: string, maxBytes: number, expectedBytes: number, alignAt: number): string;
  copyOutBlock(sql: string, columns: readonly ColumnSpec[], meta: BlockMeta, limits: object): string;
  copyIn(sql: string, pieces: readonly Buffer[]): string;
  cancel(): string;
  finish(): void;
  readonly serverVersion: number;
  readonly backendPid: number;
  readonly usedPassword: boolean;
}

interface Call {
  readonly start: (native: NativeConnection) => string;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly timeoutMs: number | undefined;
  /** Its time is over, a cancel request is on the way. */
  timedOut: boolean;
}

/** How long a cancel request may stay without effect before the connection is closed. */
const cancelGraceMs = 1000;

function refuseNul(text: string, what: string): void {
  if (text.includes('\0')) throw new PgError('wrong_call', `${what} holds a NUL character`);
}

/** A session on a PostgreSQL server; made by `connect`. */
export class PgConn {
  readonly serverVersion: number;
  readonly backendPid: number;
  /** The server asked for the password and was given it; false where it let the connection in by something else. */
  readonly usedPassword: boolean;
  private readonly queue: Call[] = [];
  private running: Call | undefined;
  private deadline: NodeJS.Timeout | undefined;
  private cancelling: { promise: Promise<void>; end: (error: string) => void } | undefined;
  private grace: NodeJS.Timeout | undefined;
  private ended: { error: PgError | null } | undefined;
  private readonly closeListeners: ((error: PgError | null) => void)[] = [];
  private readonly noticeListeners: ((message: string) => void)[] = [];

  /** Takes over a native connection that is ready. Use `connect`. */
  constructor(private readonly native: NativeConnection) {
    this.serverVersion = native.serverVersion;
    this.backendPid = native.backendPid;
    this.usedPassword = native.usedPassword;
    native.on = (kind, a, b) => this.happened(kind, a, b);
  }

  get closed(): boolean {
    return this.ended !== undefined;
  }

  /**
   * Runs SQL; text results. Without parameters it may be several statements, of which the last one's result counts; with
   * parameters ($1, ...) it is one, and a Buffer is a bytea.
   */
  async query(
    sql: string,
    params: readonly (string | null | Buffer)[] = [],
    options: CallOptions = {},
  ): Promise<QueryResult> {
    refuseNul(sql, 'the statement');
    for (const value of params) if (typeof value === 'string') refuseNul(value, 'a parameter');
    return this.call<QueryResult>((native) => native.query(sql, params), options.timeoutMs);
  }

  /** The result's columns of one statement, which is parsed and analysed but not run. Refuses several statements. */
  async describe(sql: string, options: CallOptions = {}): Promise<FieldDescription[]> {
    refuseNul(sql, 'the statement');
    return (await this.call<QueryResult>((native) => native.describe(sql), options.timeoutMs)).fields;
  }

  /** A binary COPY TO STDOUT as a block; rejects with the codec's PemError where a value cannot go into one. */
  async copyOutBlock(request: CopyBlockRequest): Promise<BlockResult> {
    refuseNul(request.sql, 'the statement');
    const { maxValueBytes, maxRows } = request;
    return this.call<BlockResult>(
      (native) => native.copyOutBlock(request.sql, request.columns, request.meta, { maxValueBytes, maxRows }),
      request.timeoutMs,
    );
  }

  /** The whole stream of a COPY TO STDOUT, of whatever format; `wrong_call` where it is more than maxBytes (2 GiB). */
  async copyOutRaw(sql: string, options: CallOptions & { maxBytes?: number } = {}): Promise<Buffer> {
    refuseNul(sql, 'the statement');
    const maxBytes = options.maxBytes ?? 2 ** 31;
    const start = (native: NativeConnection): string => native.copyOutRaw(sql, maxBytes, 0, -1);
    return (await this.call<{ data: Buffer }>(start, options.timeoutMs)).data;
  }

  /**
   * A binary COPY TO STDOUT with its rows set apart: byte `alignAt` of each row lies at a multiple of 8, so that blocks
   * in it are verified and converted where they are. `starts`: where each row begins, the trailer last.
   * `expectedBytes`: memory taken from the start, so that it does not grow step by step.
   */
  async copyOutAligned(
    sql: string,
    alignAt: number,
    options: CallOptions & { expectedBytes?: number } = {},
  ): Promise<{ data: Buffer; starts: Uint32Array }> {
    refuseNul(sql, 'the statement');
    if (!Number.isInteger(alignAt) || alignAt < 0)
      throw new PgError('wrong_call', 'alignAt is a byte of a row');
    const start = (native: NativeConnection): string =>
      native.copyOutRaw(sql, 2 ** 31, options.expectedBytes ?? 0, alignAt);
    return this.call<{ data: Buffer; starts: Uint32Array }>(start, options.timeoutMs);
  }

  /** COPY FROM STDIN of the pieces, which must not be changed meanwhile; the number of rows. */
  async copyIn(sql: string, pieces: readonly Buffer[], options: CallOptions = {}): Promise<number> {
    refuseNul(sql, 'the statement');
    return (await this.call<QueryResult>((native) => native.copyIn(sql, pieces), options.timeoutMs)).affected;
  }

  /** Asks the server to give up what is running. Resolves when the request is through; the call itself then rejects. */
  cancel(): Promise<void> {
    return this.ended === undefined ? this.sendCancel() : Promise.resolve();
  }

  /** Closes at once; running and queued calls reject. */
  close(): void {
    this.end(null, new PgError('connection_lost', 'the connection was closed by its owner'));
  }

  /** Called once at the end: null after `close`, else the reason. At once when that is past already. */
  onClose(listener: (error: PgError | null) => void): void {
    if (this.ended === undefined) this.closeListeners.push(listener);
    else listener(this.ended.error);
  }

  onNotice(listener: (message: string) => void): void {
    this.noticeListeners.push(listener);
  }

  private call<Result>(start: Call['start'], timeoutMs: number | undefined): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      if (this.ended !== undefined) {
        reject(new PgError('connection_lost', this.ended.error?.message ?? 'the connection is closed'));
        return;
      }
      // `start` fixes what the native side answers with: Result.
      this.queue.push({
        start,
        resolve: (result) => resolve(result as Result),
        reject,
        timeoutMs,
        timedOut: false,
      });
      this.next();
    });
  }

  private next(): void {
    while (this.running === undefined && this.cancelling === undefined) {
      const call = this.queue.shift();
      if (call === undefined) return;
      try {
        const reason = call.start(this.native);
        if (reason !== '') throw new PgError('wrong_call', reason);
      } catch (error) {
        call.reject(error);
        continue;
      }
      this.running = call;
      if (call.timeoutMs !== undefined) this.deadline = setTimeout(() => this.overdue(call), call.timeoutMs);
    }
  }

  private overdue(call: Call): void {
    call.timedOut = true;
    this.sendCancel().catch(() => undefined); // the grace timer decides
  }

  private sendCancel(): Promise<void> {
    if (this.cancelling !== undefined) return this.cancelling.promise;
    let end: (error: string) => void = () => undefined;
    const promise = new Promise<void>((resolve, reject) => {
      end = (error) =>
        error === '' ? resolve() : reject(new PgError('connection_lost', `cancel request: ${error}`));
    });
    this.cancelling = { promise, end };
    clearTimeout(this.grace);
    this.grace = setTimeout(() => this.unanswered('not answered'), cancelGraceMs);
    const reason = this.native.cancel();
    if (reason !== '') this.unanswered(reason);
    return promise;
  }

  /** The cancel request did nothing: only closing ends the call. */
  private unanswered(why: string): void {
    const lost = new PgError('connection_lost', `cancel request ${why}; connection closed`);
    if (this.running?.timedOut === true) {
      const { reject, timeoutMs } = this.running;
      this.running = undefined;
      reject(new PgError('query_timeout', `no result within ${timeoutMs} ms; ${lost.message}`));
    }
    this.end(lost, lost);
  }

  private happened(kind: string, a: unknown, b: unknown): void {
    if (kind === 'done') this.done(a as NativeError | null, b);
    else if (kind === 'notice') for (const listener of this.noticeListeners) listener(String(a));
    else if (kind === 'lost') {
      const error = new PgError('connection_lost', String(a) || 'the server closed the connection');
      this.end(error, error);
    } else if (kind === 'stopped') {
      // The block's builder refused the data: the rest of it need not come.
      this.sendCancel().catch(() => undefined);
    } else if (kind === 'cancelled') {
      const cancelling = this.cancelling;
      this.cancelling = undefined;
      if (this.running?.timedOut !== true) clearTimeout(this.grace);
      cancelling?.end(String(a));
      this.next();
    }
  }

  private done(error: NativeError | null, result: unknown): void {
    const call = this.running;
    this.running = undefined;
    clearTimeout(this.deadline);
    if (this.cancelling === undefined) clearTimeout(this.grace);
    if (call !== undefined) {
      if (error === null) call.resolve(result);
      else call.reject(errorOf(error, call));
    }
    this.next();
  }

  private end(reason: PgError | null, forCalls: PgError): void {
    if (this.ended !== undefined) return;
    this.ended = { error: reason };
    this.native.finish();
    clearTimeout(this.deadline);
    clearTimeout(this.grace);
    this.cancelling?.end('');
    this.cancelling = undefined;
    const calls = this.running === undefined ? this.queue.splice(0) : [this.running, ...this.queue.splice(0)];
    this.running = undefined;
    for (const call of calls) call.reject(new PgError(forCalls.code, forCalls.message));
    for (const listener of this.closeListeners.splice(0)) listener(reason);
  }
}

function errorOf(error: NativeError, call: Call): Error {
  const message = error.message ?? 'unknown error';
  if (error.codec === true) return new PemError(error.code ?? 'codec', message, 'corrupt');
  if (call.timedOut && error.code === '57014')
    return new PgError('query_timeout', `no result within ${call.timeoutMs} ms; cancelled`, error);
  return new PgError(error.code ?? 'connection_lost', message, error);
}

/** One libpq entry per address: names become `host` + `hostaddr`, socket directories and addresses stay as they are. */
async function withAddresses(params: Readonly<Record<string, string>>): Promise<Record<string, string>> {
  const host = params.host ?? process.env.PGHOST;
  if (params.hostaddr !== undefined || host === undefined || host === '') return { ...params };
  const names = host.split(',');
  const ports = (params.port ?? process.env.PGPORT ?? '').split(',');
  if (ports.length !== 1 && ports.length !== names.length)
    throw new PgError('connect_failed', `${names.length} hosts but ${ports.length} ports`);
  const entries: { host: string; address: string; port: string }[] = [];
  let failure = '';
  for (const [index, name] of names.entries()) {
    const port = ports[ports.length === 1 ? 0 : index] ?? '';
    if (name === '' || name.startsWith('/') || name.startsWith('@'))
      entries.push({ host: name, address: '', port });
    else if (isIP(name) !== 0) entries.push({ host: name, address: name, port });
    else {
      try {
        for (const found of await lookup(name, { all: true, verbatim: true }))
          entries.push({ host: name, address: found.address, port });
      } catch (error) {
        failure = `host "${name}" cannot be resolved: ${(error as NodeJS.ErrnoException).code ?? 'unknown'}`;
      }
    }
  }
  if (entries.length === 0) throw new PgError('connect_failed', failure);
  return {
    ...params,
    host: entries.map((entry) => entry.host).join(','),
    hostaddr: entries.map((entry) => entry.address).join(','),
    port: entries.map((entry) => entry.port).join(','),
  };
}

/** Opens a connection. Rejects with PgError `connect_timeout` or `connect_failed`; nothing stays open then. */
export async function connect(options: ConnectOptions): Promise<PgConn> {
  if (options.params.service !== undefined)
    throw new PgError('connect_failed', 'service files are not supported: give the host itself');
  for (const [key, value] of Object.entries(options.params)) refuseNul(value, key);
  const { NativeConnection } = loadAddon() as { NativeConnection: new () => NativeConnection };
  const native = new NativeConnection();
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<PgConn>((resolve, reject) => {
      let over = false;
      timer = setTimeout(() => {
        over = true;
        reject(new PgError('connect_timeout', `no session within ${options.timeoutMs} ms`));
      }, options.timeoutMs);
      native.on = (kind, message) => {
        if (kind === 'connected') resolve(new PgConn(native));
        else if (kind === 'failed') reject(new PgError('connect_failed', String(message)));
      };
      withAddresses(options.params)
        .then((addressed) => {
          if (over) return;
          const params = { gssencmode: 'disable', client_encoding: 'UTF8', ...addressed };
          const reason = native.connect(Object.keys(params), Object.values(params));
          if (reason !== '') reject(new PgError('connect_failed', reason));
        })
        .catch(reject);
    });
  } catch (error) {
    native.finish();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
