/**
 * Secrets on the command line's edge: never arguments (every user of the host reads those), but a 0600 file, standard
 * input, or a prompt that shows nothing.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { PemError } from '../base/errors.js';

/** 144 random bits as 24 characters that survive a double click. */
export function newPassword(): string {
  return randomBytes(18).toString('base64url').replaceAll('-', 'x').replaceAll('_', 'y');
}

/**
 * Writes a secret into a new file, 0600.
 * @throws PemError file_exists: an existing file may have other readers
 */
export function writeSecret(path: string, secret: string): void {
  mkdirSync(dirname(path), { recursive: true });
  try {
    writeFileSync(path, `${secret}\n`, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw new PemError('file_exists', `${path} exists; remove it or name another file`, 'operator');
  }
}

/** The first line of a file ('-' is standard input). @throws PemError secret_missing | secret_readable */
export function readSecret(path: string): string {
  let text: string;
  try {
    if (path !== '-' && (statSync(path).mode & 0o077) !== 0) {
      throw new PemError(
        'secret_readable',
        `${path} can be read by others; run: chmod 600 ${path}`,
        'operator',
      );
    }
    text = readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    if (error instanceof PemError) throw error;
    throw new PemError('secret_missing', `cannot read ${path}: ${(error as Error).message}`, 'operator', {
      cause: error,
    });
  }
  const secret = text.split('\n')[0]?.trimEnd() ?? '';
  if (secret === '') throw new PemError('secret_missing', `${path} is empty`, 'operator');
  return secret;
}

/** Asks twice at the terminal without showing it. @throws PemError no_terminal | password_mismatch */
export async function askPassword(what: string): Promise<string> {
  if (!process.stdin.isTTY) {
    throw new PemError(
      'no_terminal',
      'no terminal to ask for a password: give --password-file FILE ("-" is standard input) or --password-out FILE',
      'operator',
    );
  }
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: silent, terminal: true });
  try {
    process.stderr.write(`${what}: `);
    const first = await terminal.question('');
    process.stderr.write('\nonce more: ');
    const second = await terminal.question('');
    process.stderr.write('\n');
    if (first !== second) throw new PemError('password_mismatch', 'the two passwords differ', 'operator');
    return first;
  } finally {
    terminal.close();
  }
}
