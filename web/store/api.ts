/**
 * Requests to PEM's REST API: JSON and blocks. The cookie is the browser's, the CSRF token is the session's. A refused
 * request becomes an ApiError with the server's code; 401 ends the session in the page.
 */
import { type Block, readBlock } from './blocks.js';

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** What to tell the user of anything that a request threw. */
export const messageOf = (error: unknown): string =>
  error instanceof ApiError ? error.message : String(error);

const base = '/pem/api/v1';
let csrfToken = '';
let onUnauthorized: () => void = () => undefined;

export function setCsrfToken(token: string): void {
  csrfToken = token;
}

export function setUnauthorizedListener(listener: () => void): void {
  onUnauthorized = listener;
}

async function request(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(base + path, { credentials: 'same-origin', ...init });
  } catch {
    throw new ApiError(0, 'unreachable', 'The PEM server does not answer. The page tries again by itself.');
  }
  if (response.ok) return response;
  const body = (await response.json().catch(() => ({}))) as { error?: { code?: string; message?: string } };
  if (response.status === 401 && path !== '/session' && !path.startsWith('/session/')) onUnauthorized();
  throw new ApiError(
    response.status,
    body.error?.code ?? `http_${response.status}`,
    body.error?.message ?? `The server answered ${response.status}.`,
  );
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, {
    headers: { accept: 'application/json' },
    ...(signal ? { signal } : {}),
  });
  return (await response.json()) as T;
}

/** @returns the body, or undefined where the server has nothing to say (204) */
export async function sendJson<T>(
  method: 'POST' | 'PUT' | 'DELETE',
  path: string,
  body?: unknown,
): Promise<T | undefined> {
  const response = await request(path, {
    method,
    headers: { 'content-type': 'application/json', 'x-csrf-token': csrfToken },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return response.status === 204 ? undefined : ((await response.json()) as T);
}

/** A block as it came, and the headers of the answer. */
export async function getBytes(
  path: string,
  signal?: AbortSignal,
): Promise<{ bytes: Uint8Array; headers: Headers }> {
  const response = await request(path, {
    headers: { accept: 'application/x-pem-block' },
    ...(signal ? { signal } : {}),
  });
  return { bytes: new Uint8Array(await response.arrayBuffer()), headers: response.headers };
}

export interface BlockAnswer {
  readonly block: Block;
  /** Width of the buckets the server used, ms; 0 = raw samples. */
  readonly stepMs: number;
  /** How often the probe runs on the target, ms; 0 = not said. */
  readonly intervalMs: number;
  readonly truncated: boolean;
}

export async function getBlock(path: string, signal?: AbortSignal): Promise<BlockAnswer> {
  const { bytes, headers } = await getBytes(path, signal);
  return {
    block: readBlock(bytes),
    stepMs: Number(headers.get('x-pem-step-ms') ?? 0),
    intervalMs: Number(headers.get('x-pem-interval-ms') ?? 0),
    truncated: headers.get('x-pem-truncated') === '1',
  };
}
