import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { type Pem, startPem } from '../../bench/rig/pem.js';
import { startWeb, type Visitor, type WebRig } from '../../bench/rig/web.js';
import { parseConninfo } from '../base/conninfo.js';
import { runWeb } from './main.js';

let pem: Pem;
let web: WebRig;
let visitor: Visitor;
let password: string;
const folder = mkdtempSync(join(tmpdir(), 'pemhttp-'));
const pages = join(folder, 'web');

beforeAll(async () => {
  mkdirSync(join(pages, 'assets'), { recursive: true });
  writeFileSync(join(pages, 'index.html'), '<!doctype html><title>PEM</title>');
  writeFileSync(join(pages, 'assets/app-0a1b2c3d4e.js'), 'export {};');
  writeFileSync(join(pages, 'assets/app-0a1b2c3d4e.js.gz'), gzipSync('export {};'));
  writeFileSync(join(folder, 'secret.txt'), 'not for the web');
  pem = await startPem();
  password = await pem.addUser('ada');
  web = await startWeb(pem, { webDirectory: pages, hosts: ['pem.example'] });
  visitor = await web.signIn('ada', password);
});
afterAll(async () => {
  await web?.stop();
  await pem?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** The status an upgrade is refused with, the code a socket without a session is closed with, 101 where neither happens. */
function upgrade(headers: Record<string, string>, origin?: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${web.port}/pem/live`, {
      headers,
      ...(origin ? { origin } : {}),
    });
    socket.on('message', () => {
      socket.terminate();
      resolve(101);
    });
    socket.on('close', resolve);
    socket.on('unexpected-response', (_request, response) => {
      resolve(response.statusCode ?? 0);
      response.resume();
      socket.terminate();
    });
    socket.on('error', reject);
  });
}

test('pages: index is never cached, hashed assets for ever, compressed where that is asked for', async () => {
  const index = await web.ask('/');
  expect([index.status, index.headers['cache-control']]).toEqual([200, 'no-cache']);
  expect(index.body.toString()).toContain('<title>PEM</title>');
  const plain = await web.ask('/assets/app-0a1b2c3d4e.js');
  expect(plain.headers['cache-control']).toBe('public, max-age=31536000, immutable');
  expect(plain.body.toString()).toBe('export {};');
  const packed = await web.ask('/assets/app-0a1b2c3d4e.js', { headers: { 'accept-encoding': 'gzip, br' } });
  expect(packed.headers['content-encoding']).toBe('gzip');
  expect(packed.body).toEqual(gzipSync('export {};'));
  const head = await web.ask('/', { method: 'HEAD' });
  expect([head.status, head.body.length, head.headers['content-length']]).toEqual([200, 0, '33']);
});

test.each([
  '/../secret.txt',
  '/..%2fsecret.txt',
  '/assets/../../secret.txt',
  '//secret.txt',
  '/%2e%2e/secret.txt',
])('no path leads out of the pages: %s', async (path) => {
  const answer = await web.ask(path);
  expect(answer.status).toBe(404);
  expect(answer.body.toString()).not.toContain('not for the web');
});

test('every reply carries a strict policy', async () => {
  for (const path of ['/', '/pem/api/v1/session', '/nowhere', '/pem/api/v1/openapi.json']) {
    const { headers } = await web.ask(path);
    const policy = String(headers['content-security-policy']);
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toMatch(/unsafe|\*/);
    expect(headers['x-content-type-options']).toBe('nosniff');
    expect(headers['referrer-policy']).toBe('no-referrer');
  }
});

test('a Host that is not on the list is refused on every road', async () => {
  for (const path of ['/', '/pem/api/v1/session', '/nowhere']) {
    for (const host of [
      'evil.example',
      'evil.example:80',
      'localhost.evil.example',
      'evil.example@localhost',
    ]) {
      const answer = await web.ask(path, { headers: { host, cookie: visitor.cookie } });
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.body.toString()).not.toContain('ada');
    }
  }
  for (const host of ['pem.example', 'PEM.example:8443', 'localhost', `127.0.0.1:${web.port}`, '[::1]:1']) {
    expect((await web.ask('/', { headers: { host } })).status).toBe(200);
  }
  expect(await upgrade({ host: 'evil.example', cookie: visitor.cookie }, 'http://evil.example')).toBe(421);
});

test('a WebSocket comes from our own page, with a session', async () => {
  const own = `http://127.0.0.1:${web.port}`;
  expect(await upgrade({ cookie: visitor.cookie }, own)).toBe(101);
  expect(await upgrade({ cookie: visitor.cookie })).toBe(403);
  expect(await upgrade({ cookie: visitor.cookie }, 'http://evil.example')).toBe(403);
  expect(await upgrade({ cookie: visitor.cookie }, own.replace('http', 'https'))).toBe(403);
  expect(await upgrade({ cookie: visitor.cookie }, 'null')).toBe(403);
  expect(await upgrade({}, own)).toBe(4401);
  expect(await upgrade({ cookie: 'pem_session=nonsense' }, own)).toBe(4401);
  // Beside its path the upgrade is an ordinary request.
  expect((await web.ask('/pem/live')).status).toBe(404);
});

test('what changes something comes from our own page', async () => {
  const body = { username: 'ada', password };
  for (const origin of ['http://evil.example', 'null', `https://127.0.0.1:${web.port}`]) {
    const answer = await web.ask('/pem/api/v1/session', { method: 'POST', body, headers: { origin } });
    expect(answer.status).toBe(403);
    expect(answer.json()).toMatchObject({ error: { code: 'origin_refused' } });
  }
  const origin = `http://127.0.0.1:${web.port}`;
  expect((await web.ask('/pem/api/v1/session', { method: 'POST', body, headers: { origin } })).status).toBe(
    200,
  );
});

test('requests that are too large, said twice, or in another method are refused with a code', async () => {
  const large = await web.ask('/pem/api/v1/session', { method: 'POST', raw: Buffer.alloc(200_000, 32) });
  expect([large.status, large.json<{ error: { code: string } }>().error.code]).toEqual([
    413,
    'body_too_large',
  ]);
  const method = await web.ask('/pem/api/v1/agent', { method: 'DELETE' });
  expect([method.status, method.headers.allow]).toEqual([405, 'GET']);
  const path = await web.ask('/pem/api/v1/probe/%ff', { headers: { cookie: visitor.cookie } });
  expect([path.status, path.json<{ error: { code: string } }>().error.code]).toEqual([400, 'path_invalid']);
});

const listen = { host: '127.0.0.1', port: 0 };
const log = pino({ level: 'silent' });
const options = () => ({ listen, hosts: [], pushDirectory: folder, log });

test('beyond loopback it listens with a certificate only', async () => {
  const db = parseConninfo(pem.conninfo('pem_web'));
  await expect(runWeb({ ...options(), db, listen: { host: '0.0.0.0', port: 0 } })).rejects.toMatchObject({
    code: 'tls_required',
  });
  const keyFile = join(folder, 'web.key');
  const certFile = join(folder, 'web.crt');
  const words = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=pem -keyout ${keyFile} -out ${certFile}`;
  execFileSync('openssl', words.split(' '), { stdio: 'ignore' });
  const server = await runWeb({
    ...options(),
    db,
    listen: { host: '0.0.0.0', port: 0 },
    tls: { keyFile, certFile },
  });
  try {
    const cookie = await new Promise<string>((resolve, reject) => {
      const request = httpsRequest(
        {
          port: server.port,
          host: '127.0.0.1',
          path: '/pem/api/v1/session',
          method: 'POST',
          rejectUnauthorized: false,
        },
        (response) => {
          response.resume();
          resolve(`${response.statusCode} ${response.headers['set-cookie']}`);
        },
      );
      request.on('error', reject);
      request.end(JSON.stringify({ username: 'ada', password }));
    });
    expect(cookie).toMatch(/^200 pem_session=[\w-]{43}; .*HttpOnly; SameSite=Strict; Secure$/);
  } finally {
    await server.stop();
  }
});

test('a superuser is no role for the web server', async () => {
  const db = parseConninfo(pem.conninfo('postgres'));
  await expect(runWeb({ ...options(), db })).rejects.toMatchObject({
    code: 'web_role_super',
    kind: 'operator',
  });
});

test('two web servers do not share a push socket or a port', async () => {
  const db = parseConninfo(pem.conninfo('pem_web'));
  const first = { ...options(), db, pushDirectory: web.pushDirectory };
  await expect(runWeb(first)).rejects.toMatchObject({ code: 'push_socket_taken' });
  const second = { ...options(), db, listen: { host: '127.0.0.1', port: web.port } };
  await expect(runWeb(second)).rejects.toMatchObject({ code: 'listen_failed' });
});

test('a database that lets a random password in stops the start', async () => {
  const open = await startPem({ hba: 'local pem +pem_user trust\n' });
  try {
    await open.addUser('bob');
    const db = parseConninfo(open.conninfo('pem_web'));
    await expect(runWeb({ ...options(), db })).rejects.toMatchObject({
      code: 'sign_in_unsafe',
      kind: 'operator',
    });
  } finally {
    await open.stop();
  }
});
