/**
 * Servers of other majors for tests, on Debian: unpacked from the distribution's packages into a folder of their own, without
 * root and without touching what is installed. In: a major. Out: the folder of its programs, or the reason why there is
 * none. Owner of the folders ($PEM_MAJORS_DIR, else pem-majors in the temporary folder): whoever keeps them; they are made
 * once, used by many runs, and may be deleted at any time. They must not be moved: the programs name their loader by path.
 */
import { execFile } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { errorText } from '../../src/base/errors.js';

const run = promisify(execFile);

/** The suites that carry each major; 14 and 16 are in none. */
const suites: Readonly<Record<number, readonly string[]>> = {
  13: ['bullseye'],
  15: ['bookworm'],
  17: ['trixie'],
  18: ['forky', 'sid'],
};

/** Suites whose C library is older than that of any Debian this runs on: the machine's own is used. */
const olderThanMachine = new Set(['bullseye']);
const machineLibraries = /^(libc6|libstdc\+\+6|libgcc-s1|libcrypt1|gcc-\d+-base)$/;
const wanted = /^(lib.*|postgresql-\d+|postgresql-client-\d+|zlib1g)$/;
/** Only just-in-time compilation needs them; they are most of the download. */
const unwanted = /^(libllvm\d+|libclang.*)$/;

export type Major = { readonly bin: string } | { readonly reason: string };

interface Apt {
  readonly folder: string;
  readonly environment: NodeJS.ProcessEnv;
}

/** The mirror that the machine's own apt uses. */
function mirror(): string {
  const files = ['/etc/apt/sources.list'];
  const parts = '/etc/apt/sources.list.d';
  if (existsSync(parts)) files.push(...readdirSync(parts).map((file) => join(parts, file)));
  for (const file of files) {
    if (!existsSync(file)) continue;
    const found = /^(?:deb(?: \[[^\]]*\])? |URIs: *)(\S+\/debian)\/?(?: |$)/m.exec(
      readFileSync(file, 'utf8'),
    );
    if (found?.[1] !== undefined) return found[1];
  }
  throw new Error('apt names no Debian mirror');
}

/** An apt of its own: own lists, own cache, nothing taken as installed. */
async function openApt(folder: string, suite: string): Promise<Apt> {
  for (const part of ['state/lists/partial', 'cache/archives/partial', 'debs'])
    mkdirSync(join(folder, part), { recursive: true });
  writeFileSync(join(folder, 'sources.list'), `deb ${mirror()} ${suite} main\n`);
  writeFileSync(
    join(folder, 'apt.conf'),
    [
      `Dir::State "${folder}/state";`,
      'Dir::State::status "/dev/null";',
      `Dir::Cache "${folder}/cache";`,
      `Dir::Etc::sourcelist "${folder}/sources.list";`,
      'Dir::Etc::sourceparts "/dev/null";',
      'APT::Install-Recommends "false";',
      'APT::Sandbox::User "";',
      'Acquire::Check-Valid-Until "false";',
      'Acquire::Languages "none";',
    ].join('\n'),
  );
  const environment = { ...process.env, APT_CONFIG: join(folder, 'apt.conf') };
  await run('apt-get', ['-q', 'update'], { env: environment, timeout: 120_000 });
  return { folder, environment };
}

async function download(apt: Apt, packages: readonly string[]): Promise<void> {
  const options = { env: apt.environment, cwd: join(apt.folder, 'debs'), timeout: 300_000 };
  await run('apt-get', ['-q', 'download', ...packages], options);
}

async function unpack(apt: Apt, target: string): Promise<void> {
  const debs = join(apt.folder, 'debs');
  for (const deb of readdirSync(debs)) await run('dpkg', ['-x', join(debs, deb), target]);
}

/** `patchelf`, itself only downloaded and unpacked. */
async function patchelf(root: string): Promise<string> {
  const folder = join(root, 'patchelf');
  const program = join(folder, 'usr/bin/patchelf');
  if (!existsSync(program)) {
    const codename = /^VERSION_CODENAME=(\w+)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
    const apt = await openApt(join(folder, 'apt'), codename ?? 'bookworm');
    await download(apt, ['patchelf']);
    await unpack(apt, folder);
    rmSync(apt.folder, { recursive: true });
  }
  return program;
}

async function make(root: string, folder: string, major: number, suite: string): Promise<void> {
  const patch = await patchelf(root);
  const apt = await openApt(join(folder, 'apt'), suite);
  const { stdout } = await run('apt-get', ['install', '--print-uris', '-qq', '-y', `postgresql-${major}`], {
    env: apt.environment,
    maxBuffer: 16 << 20,
  });
  const packages = [...stdout.matchAll(/^'[^']+' ([^_ ]+)_/gm)]
    .map((match) => decodeURIComponent(match[1] ?? ''))
    .filter((name) => wanted.test(name) && !unwanted.test(name))
    .filter((name) => !olderThanMachine.has(suite) || !machineLibraries.test(name));
  await download(apt, packages);
  await unpack(apt, folder);
  rmSync(apt.folder, { recursive: true });

  const home = join(folder, 'usr/lib/postgresql', String(major));
  rmSync(join(home, 'lib/llvmjit.so'), { force: true });
  const architectures = readdirSync(join(folder, 'usr/lib')).filter((name) => name.endsWith('-linux-gnu'));
  const libraries = architectures.flatMap((name) => [
    join(folder, 'usr/lib', name),
    join(folder, 'lib', name),
  ]);
  const loader = libraries
    .filter((path) => existsSync(path))
    .flatMap((path) =>
      readdirSync(path)
        .filter((name) => /^ld-linux-.*\.so\.\d+$/.test(name))
        .map((name) => join(path, name)),
    )[0];
  const interpreter = loader === undefined ? [] : ['--set-interpreter', loader];
  for (const program of readdirSync(join(home, 'bin'))) {
    const file = join(home, 'bin', program);
    if (readFileSync(file).subarray(1, 4).toString() !== 'ELF') continue;
    await run(patch, [...interpreter, '--force-rpath', '--set-rpath', libraries.join(':'), file]);
  }
  await run(join(home, 'bin/postgres'), ['--version']);
}

/** Headers and makefiles for extensions, beside the programs of a folder that is ready. */
async function addHeaders(root: string, folder: string, major: number, suite: string): Promise<void> {
  const home = join(folder, 'usr/lib/postgresql', String(major));
  const apt = await openApt(join(folder, 'apt'), suite);
  await download(apt, [`postgresql-server-dev-${major}`]);
  await unpack(apt, folder);
  rmSync(apt.folder, { recursive: true });
  const makefile = join(home, 'lib/pgxs/src/Makefile.global');
  // The machine's compiler may be older than the one that this major was built with.
  const text = readFileSync(makefile, 'utf8')
    .replace(/^with_llvm\s*=.*$/m, 'with_llvm = no')
    .replaceAll(' -Wmissing-variable-declarations', '');
  writeFileSync(makefile, text);
  // Its C library, which the programs run on, has what this machine's headers may lack: let PostgreSQL's declare it.
  const server = join(folder, 'usr/include/postgresql', String(major), 'server');
  for (const name of ['pg_config.h', 'pg_config_x86_64.h']
    .map((file) => join(server, file))
    .filter(existsSync)) {
    const declared = /^#define (HAVE_DECL_STRLC(?:PY|AT)) 1$/gm;
    writeFileSync(name, readFileSync(name, 'utf8').replace(declared, '#define $1 0'));
  }
  // 13 names /usr whatever folder it lies in.
  const config = join(home, 'bin/pg_config');
  const { stdout } = await run(config, ['--pgxs']);
  if (stdout.startsWith(root)) return;
  renameSync(config, `${config}.bin`);
  writeFileSync(config, `#!/bin/sh\n"$0.bin" "$@" | sed 's#\\(^\\|[ =]\\)/usr/#\\1${folder}/usr/#g'\n`, {
    mode: 0o755,
  });
}

/** Waits for the folder of a process that makes the same, and takes over from one that died. */
async function takeLock(lock: string): Promise<void> {
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    try {
      process.kill(Number(readFileSync(lock, 'utf8')), 0);
      await sleep(200);
    } catch (error) {
      // Where it is gone already, the next one may be another's.
      if ((error as NodeJS.ErrnoException).code === 'ESRCH') rmSync(lock, { force: true });
    }
  }
}

const rootFolder = (): string => process.env.PEM_MAJORS_DIR ?? join(tmpdir(), 'pem-majors');

/** Does work under the lock of a major, unless `ready` is there by then; the reason why it failed, or null. */
async function prepare(
  major: number,
  ready: string,
  work: () => Promise<string | null>,
): Promise<string | null> {
  const root = rootFolder();
  const lock = join(root, `${major}.lock`);
  try {
    mkdirSync(root, { recursive: true });
    chmodSync(root, 0o755);
    await takeLock(lock);
    return existsSync(ready) ? null : await work();
  } catch (error) {
    return errorText(error);
  } finally {
    rmSync(lock, { force: true });
  }
}

/** The folder of the programs of a major: the installed one, the unpacked one, or one unpacked now (some ten seconds). */
export async function findMajor(major: number): Promise<Major> {
  const installed = `/usr/lib/postgresql/${major}/bin`;
  if (existsSync(join(installed, 'postgres'))) return { bin: installed };
  const root = rootFolder();
  const folder = join(root, String(major));
  const bin = join(folder, 'usr/lib/postgresql', String(major), 'bin');
  const ready = join(folder, 'ready');
  if (existsSync(ready)) return { bin };
  const failure = await prepare(major, ready, async () => {
    let reason = `PostgreSQL ${major} is in no Debian suite`;
    for (const suite of suites[major] ?? []) {
      try {
        rmSync(folder, { recursive: true, force: true });
        mkdirSync(folder, { mode: 0o755 });
        await make(root, folder, major, suite);
        writeFileSync(ready, suite);
        return null;
      } catch (error) {
        reason = `PostgreSQL ${major} could not be unpacked from ${suite}: ${errorText(error).slice(0, 400)}`;
      }
    }
    return reason;
  });
  return failure === null ? { bin } : { reason: failure };
}

/** The same with what extensions are built with, for a major that is unpacked; an installed one must have it. */
export async function findMajorWithHeaders(major: number): Promise<Major> {
  const found = await findMajor(major);
  if ('reason' in found) return found;
  const folder = join(found.bin, '../../../../..');
  if (folder === '/') {
    const makefile = join(found.bin, '../lib/pgxs/src/makefiles/pgxs.mk');
    return existsSync(makefile) ? found : { reason: `postgresql-server-dev-${major} is not installed` };
  }
  const ready = join(folder, 'ready-headers');
  if (existsSync(ready)) return found;
  const failure = await prepare(major, ready, async () => {
    await addHeaders(rootFolder(), folder, major, readFileSync(join(folder, 'ready'), 'utf8'));
    writeFileSync(ready, '');
    return null;
  });
  return failure === null ? found : { reason: `headers of PostgreSQL ${major}: ${failure.slice(0, 400)}` };
}
