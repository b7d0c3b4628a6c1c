/** The agent's version: package.json's, found from the sources as well as from dist/. */
import { readFileSync } from 'node:fs';

export function agentVersion(): string {
  for (const place of ['../package.json', '../../package.json']) {
    try {
      const { version } = JSON.parse(readFileSync(new URL(place, import.meta.url), 'utf8')) as {
        version?: unknown;
      };
      if (typeof version === 'string') return version;
    } catch {
      // The other place.
    }
  }
  return 'unknown';
}
