/**
 * A server that has the extension sql_profiler, without installing anything: a copy of the server's programs in a folder of
 * their own, beside links to its libraries and to its share folder, and among them the extension as it was built now.
 * PostgreSQL finds both relative to its programs, so shared_preload_libraries and CREATE EXTENSION work as in production,
 * with and without root. (Before 18 no setting names another folder for extensions.)
 *
 * In: the folder of a server's programs, its version's headers installed. Out: the folder of the copies. Owner of the
 * copies: the temporary folder; those of other sources are removed when nobody used them for six hours.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { findServerBin } from './cluster.js';

const run = promisify(execFile);
const prefix = 'pemprofiled-';
const keptMs = 6 * 3_600_000;

/** The sources' folder, also when this file runs from dist. */
function sources(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const root = [join(here, '../..'), join(here, '../../..')].find((folder) =>
    existsSync(join(folder, 'profiler-ext/Makefile')),
  );
  if (root === undefined) throw new Error('profiler-ext is not beside this program');
  return join(root, 'profiler-ext');
}

function removeOld(keep: string): void {
  for (const name of readdirSync(tmpdir())) {
    if (!name.startsWith(prefix) || name === keep) continue;
    const folder = join(tmpdir(), name);
    try {
      if (Date.now() - (statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? 0) > keptMs)
        rmSync(folder, { recursive: true, force: true });
    } catch {
      // Another process removes it too.
    }
  }
}

/** Links to all entries of `from`, but those that are put there by us. */
function linkAll(from: string, to: string, except: readonly string[]): void {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from))
    if (!except.includes(name)) symlinkSync(join(from, name), join(to, name));
}

/** Builds of the library for tests: under UBSan, or with calls that fail when a session asks for it. */
export type Variant = 'sanitized' | 'failing';

export async function profiledServer(bin = findServerBin(), variant?: Variant): Promise<string> {
  const extension = sources();
  const major = basename(dirname(bin));
  await run('sh', [join(extension, 'build.sh')], {
    env: { ...process.env, PG_CONFIG: join(bin, 'pg_config'), PROF_VARIANT: variant ?? '' },
    maxBuffer: 16 << 20,
  });
  const built = `pg${major}${variant === undefined ? '' : `-${variant}`}`;
  const library = join(extension, 'build', built, 'sql_profiler.so');
  const script = readdirSync(join(extension, 'sql')).filter((name) => /^sql_profiler--.*\.sql$/.test(name));
  const own = [
    join(extension, 'sql_profiler.control'),
    ...script.map((name) => join(extension, 'sql', name)),
  ];
  const hash = createHash('sha256')
    .update(bin)
    .update(String(statSync(join(bin, 'postgres')).mtimeMs));
  for (const file of [library, ...own]) hash.update(readFileSync(file));
  const name = `${prefix}${hash.digest('hex').slice(0, 16)}`;
  const home = join('usr/lib/postgresql', major);
  const share = join('usr/share/postgresql', major);
  const folder = join(tmpdir(), name);
  const result = join(folder, home, 'bin');
  removeOld(name);
  if (existsSync(folder)) {
    // Others remove what has not been used for long.
    utimesSync(folder, new Date(), new Date());
    return result;
  }

  const making = `${folder}.${process.pid}`;
  const root = join(bin, '../../../../..');
  rmSync(making, { recursive: true, force: true });
  cpSync(bin, join(making, home, 'bin'), { recursive: true, dereference: true });
  linkAll(join(root, home, 'lib'), join(making, home, 'lib'), ['sql_profiler.so']);
  cpSync(library, join(making, home, 'lib/sql_profiler.so'));
  linkAll(join(root, share), join(making, share), ['extension']);
  linkAll(
    join(root, share, 'extension'),
    join(making, share, 'extension'),
    own.map((file) => basename(file)),
  );
  for (const file of own) cpSync(file, join(making, share, 'extension', basename(file)));
  try {
    renameSync(making, folder);
  } catch (error) {
    // Another process was quicker.
    if (!existsSync(folder)) throw error;
    rmSync(making, { recursive: true, force: true });
  }
  return result;
}
