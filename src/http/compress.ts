/**
 * JSON replies of some length, gzipped off the main thread. In: a reply and the request's head; out: the reply, or the same
 * smaller. What is short, of another type, or was encoded already stays as it is.
 */
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import type { HttpReply, RequestHead } from './message.js';

const leastBytes = 16 * 1024;
const deflate = promisify(gzip);

function takesGzip(accept: string | undefined): boolean {
  return (accept ?? '').split(',').some((part) => {
    const [name = '', ...parameters] = part.split(';').map((word) => word.trim().toLowerCase());
    return name === 'gzip' && !parameters.some((word) => /^q=0(\.0*)?$/.test(word));
  });
}

export async function compressed(reply: HttpReply, head: RequestHead): Promise<HttpReply> {
  const { body, headers = {} } = reply;
  const isLongJson =
    body !== undefined &&
    body.length >= leastBytes &&
    headers['content-type']?.startsWith('application/json') === true;
  if (!isLongJson || headers['content-encoding'] !== undefined) return reply;
  const varied = { ...reply, headers: { ...headers, vary: 'accept-encoding' } };
  if (!takesGzip(head.headers.get('accept-encoding'))) return varied;
  const small = await deflate(body, { level: constants.Z_BEST_SPEED });
  return { ...varied, headers: { ...varied.headers, 'content-encoding': 'gzip' }, body: small };
}
