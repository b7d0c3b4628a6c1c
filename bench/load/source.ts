/** Where the C sources of loads lie: beside this file, or in the tree that dist/ was compiled from. */
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url)).replace(/dist\/$/, '');

/** @param file a file of bench/load/ @returns its path in the sources */
export function loadSource(file: string): string {
  return `${root}bench/load/${file}`;
}
