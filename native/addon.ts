/** Loads the addon that native/build.sh made: from the sources' place as well as from dist/. One load per process. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { PemError } from '../src/base/errors.js';

const places = ['./addon/build/Release/pem.node', '../../native/addon/build/Release/pem.node'];
let addon: unknown;

/** The addon's exports; codec.ts and pgconn.ts give them their types. */
export function loadAddon(): unknown {
  if (addon !== undefined) return addon;
  const path = places
    .map((place) => fileURLToPath(new URL(place, import.meta.url)))
    .find((file) => existsSync(file));
  if (path === undefined)
    throw new PemError('addon_missing', 'the native addon is not built: npm run build:native', 'operator');
  addon = createRequire(import.meta.url)(path);
  return addon;
}
