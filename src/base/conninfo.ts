/**
 * libpq's keyword/value connection strings ("host=/run/pem port=5500 dbname=pem"), parsed by the rules of libpq's
 * manual (34.1.1.1): single quotes, backslash escapes, spaces around '='. A password in one is refused: it would stand
 * in process arguments; it belongs in PGPASSFILE.
 */
import { PemError } from './errors.js';

export type Conninfo = Readonly<Record<string, string>>;

/** @throws PemError conninfo_syntax | conninfo_password */
export function parseConninfo(text: string): Conninfo {
  // Nothing of it is repeated: it may hold a password.
  if (/^\s*\w+:\/\//.test(text)) {
    throw new PemError(
      'conninfo_syntax',
      'a connection URI is not taken here: write "host=… port=… dbname=… user=…"',
      'operator',
    );
  }
  const result: Record<string, string> = {};
  const pattern = /\s*([a-zA-Z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?=\s|$)/gy;
  let end = 0;
  for (;;) {
    const match = pattern.exec(text);
    if (match === null) break;
    end = pattern.lastIndex;
    const value = (match[2] ?? match[3] ?? '').replaceAll(/\\(.)/gs, '$1');
    result[match[1] as string] = value;
  }
  if (text.slice(end).trim() !== '') {
    throw new PemError(
      'conninfo_syntax',
      `connection string is not "keyword=value …" from character ${end + 1} on`,
      'operator',
    );
  }
  if ('password' in result) {
    throw new PemError(
      'conninfo_password',
      'a password does not belong in a connection string; put it into a 0600 file and name it in PGPASSFILE',
      'operator',
    );
  }
  return result;
}

/** The inverse, every value quoted. */
export function formatConninfo(parts: Conninfo): string {
  return Object.entries(parts)
    .map(([key, value]) => `${key}='${value.replaceAll(/(['\\])/g, '\\$1')}'`)
    .join(' ');
}
