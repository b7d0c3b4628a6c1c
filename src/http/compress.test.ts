import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { compressed } from './compress.js';
import { json, type RequestHead } from './message.js';

const head = (accept?: string): RequestHead => ({
  method: 'GET',
  path: '/',
  query: new URLSearchParams(),
  headers: new Map(accept === undefined ? [] : [['accept-encoding', accept]]),
  remoteAddress: '127.0.0.1',
});
const long = json(200, { rows: Array.from({ length: 2000 }, (_, i) => `host${i}`) });

test('long JSON is gzipped for who takes it, and is the same inside', async () => {
  const reply = await compressed(long, head('br, gzip;q=0.5'));
  expect(reply.headers).toMatchObject({
    ...long.headers,
    'content-encoding': 'gzip',
    vary: 'accept-encoding',
  });
  expect(gunzipSync(reply.body as Uint8Array).toString()).toBe(long.body);
  expect((reply.body as Uint8Array).length).toBeLessThan((long.body as string).length / 2);
});

test('who does not take it, what is short and what is no JSON stay as they are', async () => {
  for (const accept of [undefined, 'br', 'gzip;q=0', 'gzip; q=0.0', 'xgzip']) {
    expect((await compressed(long, head(accept))).body).toBe(long.body);
  }
  const short = json(200, { a: 1 });
  expect(await compressed(short, head('gzip'))).toBe(short);
  const block = {
    status: 200,
    headers: { 'content-type': 'application/x-pem-block' },
    body: new Uint8Array(99_999),
  };
  expect(await compressed(block, head('gzip'))).toBe(block);
  expect(await compressed({ status: 204 }, head('gzip'))).toEqual({ status: 204 });
});
