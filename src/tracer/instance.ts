/**
 * Which agent a web server's folder is: its file `instance`, a UUID that PEM knows it by. Apart from the reporter, so that a web
 * server that never traced loads nothing of it.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorCode, PemError } from '../base/errors.js';

const instancePattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Has a web server traced from that folder before? */
export function hasTraced(folder: string): boolean {
  return readInstance(folder) !== null;
}

/** @returns null where it has not. @throws PemError tracer_folder */
export function readInstance(folder: string): string | null {
  let text: string;
  try {
    text = readFileSync(join(folder, 'instance'), 'utf8').trim();
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw folderTrouble(folder, errorCode(error));
  }
  if (instancePattern.test(text)) return text;
  throw folderTrouble(folder, 'its file "instance" holds no identity; remove that folder');
}

function folderTrouble(folder: string, why: string): PemError {
  return new PemError('tracer_folder', `cannot trace from the folder ${folder}: ${why}`, 'operator');
}
