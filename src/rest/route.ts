/**
 * What a REST route is: path, input, replies and handler in one value, from which the router, the OpenAPI document and
 * the tests are made. Input is parsed by its schema before the handler sees it; refusals name the field.
 */
import * as v from 'valibot';
import type { Gate } from '../auth/gate.js';
import type { Session } from '../auth/sessions.js';
import type { SignIn } from '../auth/sign_in.js';
import type { Pool } from '../base/db.js';
import { errorCode, errorText } from '../base/errors.js';
import type { RoleReader } from '../base/reader.js';
import type { HttpReply, HttpRequest } from '../http/message.js';
import { HttpError } from '../http/message.js';
import type { LatestSource } from '../push/latest.js';
import type { Probes } from '../push/probes.js';
import type { Tracer } from '../tracer/index.js';

/** What the nouns work with. */
export interface RestContext {
  readonly pool: Pool;
  readonly reader: RoleReader;
  readonly probes: Probes;
  readonly latest: LatestSource;
  readonly gate: Gate;
  readonly signIn: SignIn;
  readonly tracer: Tracer;
  /** True under TLS. */
  readonly secure: boolean;
  /** Counters of this web process. */
  webStats(): Promise<Readonly<Record<string, number>>>;
}

type Schema = v.GenericSchema<unknown, unknown>;

export interface ReplyDoc {
  readonly description: string;
  readonly schema?: Schema;
  /** Further bodies beside JSON. */
  readonly media?: readonly string[];
}

export interface Input<P, Q, B> {
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  /** Of the user who asks; routes with access 'public' have none. */
  readonly session: Session;
  readonly request: HttpRequest;
}

export interface RestRoute {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below /pem/api/v1, parameters as {name}. */
  readonly path: string;
  readonly summary: string;
  readonly access: 'public' | 'user';
  readonly params?: Schema;
  readonly query?: Schema;
  readonly body?: Schema;
  readonly replies: Readonly<Record<number, ReplyDoc>>;
  handle(context: RestContext, input: Input<never, never, never>): Promise<HttpReply>;
}

/** Makes a route; the handler's input has the types of the schemas. */
export function route<
  P extends Schema = v.UnknownSchema,
  Q extends Schema = v.UnknownSchema,
  B extends Schema = v.UnknownSchema,
>(definition: {
  method: RestRoute['method'];
  path: string;
  summary: string;
  access?: RestRoute['access'];
  params?: P;
  query?: Q;
  body?: B;
  replies: RestRoute['replies'];
  handle(
    context: RestContext,
    input: Input<v.InferOutput<P>, v.InferOutput<Q>, v.InferOutput<B>>,
  ): Promise<HttpReply>;
}): RestRoute {
  return { access: 'user', ...definition } as RestRoute;
}

/** The session of a public route: nobody. */
export const nobody: Session = { username: '', csrf: '', tokenHash: Buffer.alloc(0) };

/** What is wrong with a field. Of fields that are missing, or unknown, the library speaks in its own terms. */
function reasonOf(issue: v.BaseIssue<unknown>): string {
  if (issue.type === 'strict_object' && issue.path !== undefined) {
    if (issue.expected === 'never') return 'there is no such field here';
    if (issue.received === 'undefined') return 'it is missing';
  }
  return issue.message;
}

/** No text of PostgreSQL has it: the database would refuse it later, in words of its own. */
function hasNul(value: unknown): boolean {
  // Without recursion: a body may be nested as deep as it is long.
  const waiting: unknown[] = [value];
  while (waiting.length > 0) {
    const one = waiting.pop();
    if (typeof one === 'string' && one.includes('\u0000')) return true;
    if (typeof one === 'object' && one !== null)
      for (const [name, inner] of Object.entries(one)) waiting.push(name, inner);
  }
  return false;
}

/** @throws HttpError input_invalid naming place and field */
export function parseInput(schema: Schema | undefined, value: unknown, place: string): unknown {
  if (schema === undefined) return undefined;
  if (hasNul(value)) throw new HttpError(400, 'input_invalid', `${place}: a text holds U+0000`);
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  const field = v.getDotPath(issue);
  throw new HttpError(
    400,
    'input_invalid',
    `${place}${field === null ? '' : ` ${field}`}: ${reasonOf(issue)}`,
  );
}

/** @throws HttpError input_invalid */
export function parseJson(body: Buffer): object {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw new HttpError(400, 'input_invalid', 'the body is not JSON in UTF-8');
  }
  // A list without elements would pass for an object without fields.
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new HttpError(400, 'input_invalid', 'the body is a JSON object');
  }
  return value;
}

/** Query parameters as an object. @throws HttpError input_invalid where one is there twice */
export function queryObject(query: URLSearchParams): Record<string, string> {
  const result: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, value] of query) {
    if (name in result) throw new HttpError(400, 'input_invalid', `query ${name}: it is there twice`);
    result[name] = value;
  }
  return { ...result };
}

/** Refusals of the database's own functions, by SQLSTATE. */
export function refuseFromDatabase(error: unknown): never {
  const code = errorCode(error);
  if (code === 'PE021') throw new HttpError(404, 'target_unknown', errorText(error));
  if (code === 'PE022') throw new HttpError(400, 'input_invalid', errorText(error));
  if (code === 'PE026') throw new HttpError(409, 'server_not_connected', errorText(error));
  if (code === '42501') throw new HttpError(403, 'not_permitted', 'this needs the role pem_admin');
  throw error;
}
