/**
 * What every request must pass before a room sees it, and what every reply carries. Invariants:
 * 1. A request whose Host is not on the list is refused: a page of another name that resolves to us (DNS rebinding)
 *    reads nothing.
 * 2. A request that changes something, and a WebSocket upgrade, comes from our own origin; an upgrade must say so.
 * 3. No reply lets a page run inline script, be framed, or be read by another origin.
 */
import { HttpError, type RequestHead } from './message.js';

/** Allowed hosts: with a port that one, without a port any. */
export class HostList {
  readonly #names = new Set<string>();

  constructor(names: readonly string[]) {
    for (const name of names) this.#names.add(name.toLowerCase());
  }

  allows(host: string): boolean {
    const lower = host.toLowerCase();
    if (this.#names.has(lower)) return true;
    const bare = /^(\[[0-9a-f:.]+\]|[^:]+)(?::\d{1,5})?$/.exec(lower)?.[1];
    return bare !== undefined && this.#names.has(bare);
  }
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** @throws HttpError host_refused */
export function checkHost(head: RequestHead, hosts: HostList): void {
  const host = head.headers.get('host');
  if (host === undefined || !hosts.allows(host)) {
    throw new HttpError(
      421,
      'host_refused',
      'this server does not answer under that name; the operator adds it to the list of hosts (--host)',
    );
  }
}

const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS']);

/** @throws HttpError origin_refused */
export function checkOrigin(head: RequestHead, tls: boolean, upgrade: boolean): void {
  if (!upgrade && safeMethods.has(head.method)) return;
  const origin = head.headers.get('origin');
  // Programs that are not browsers send none; a cookie alone still changes nothing without the CSRF token.
  if (origin === undefined && !upgrade) return;
  const own = `${tls ? 'https' : 'http'}://${head.headers.get('host') ?? ''}`;
  if (origin?.toLowerCase() !== own.toLowerCase()) {
    throw new HttpError(403, 'origin_refused', 'the request comes from a page of another origin');
  }
}

const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** Headers of every reply. */
export function securityHeaders(tls: boolean): Readonly<Record<string, string>> {
  return {
    'content-security-policy': policy,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'permissions-policy': 'camera=(), geolocation=(), microphone=(), payment=(), usb=()',
    'x-frame-options': 'DENY',
    ...(tls ? { 'strict-transport-security': 'max-age=31536000' } : {}),
  };
}
