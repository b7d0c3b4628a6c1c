/**
 * From a clone to a running system: `npm start` and `npm test` begin here, before anything is installed. Plain
 * JavaScript on node: modules alone.
 *
 * In: the words `start` or `test`, and what else is given is passed on. Out: progress lines; then the program's own
 * output and exit status. It checks the machine, says which Debian packages are missing and why, installs them (as root
 * or through `sudo -n`; otherwise prints the command), installs the npm packages of the lock file and builds what
 * changed: each step has a stamp over the content it depends on, so a second start takes seconds.
 *
 * A failure is one paragraph: what is missing and the command that mends it; exit status 1 (yours to mend) or 2 (the
 * world's: network, full disk). Build output is kept in build/setup.log and its end shown on failure.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  appendFileSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const logFile = join(root, 'build/setup.log');
const started = Date.now();
let logStarted = false;

class Stop extends Error {
  constructor(message, status = 1) {
    super(message);
    this.status = status;
  }
}

const say = (text) => process.stdout.write(`${text}\n`);

// --- the machine -----------------------------------------------------------------------------------------------------

function checkMachine() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 11)) {
    throw new Stop(
      `Node ${process.versions.node} is too old: PEM needs 20.11 or newer (https://nodejs.org/en/download)`,
    );
  }
  if (process.platform !== 'linux') {
    throw new Stop(
      `PEM runs on Linux; ${process.platform} is not supported (docs/operations.md lists what is missing)`,
    );
  }
  process.report.excludeNetwork = true;
  if (process.report.getReport().header.glibcVersionRuntime === undefined) {
    throw new Stop(
      'this Node is built for another C library; the web server needs a Node for glibc (Debian, Ubuntu)',
    );
  }
}

function onPath(name) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return statSync(join(folder, name)).isFile();
    } catch {
      return false;
    }
  });
}

function output(command, words) {
  const result = spawnSync(command, words, { encoding: 'utf8' });
  return result.status === 0 ? result.stdout.trim() : '';
}

/** The newest server's program folder from version 15 on: PEM_PGBIN, Debian's folders, pg_config on the PATH. */
function serverBin() {
  const folders = [];
  if (process.env.PEM_PGBIN !== undefined) folders.push(process.env.PEM_PGBIN);
  const debian = '/usr/lib/postgresql';
  if (existsSync(debian)) {
    const majors = readdirSync(debian).map(Number).filter(Number.isInteger);
    folders.push(...majors.sort((a, b) => b - a).map((major) => `${debian}/${major}/bin`));
  }
  if (onPath('pg_config')) folders.push(output('pg_config', ['--bindir']));
  for (const folder of folders) {
    if (!existsSync(join(folder, 'initdb'))) continue;
    if (majorOf(folder) >= 15) return folder;
  }
  return undefined;
}

function majorOf(bin) {
  return Number(/\) (\d+)/.exec(output(join(bin, 'postgres'), ['--version']))?.[1]);
}

function serverMajor() {
  const bin = serverBin();
  return bin === undefined ? undefined : majorOf(bin);
}

function hasHeader(name) {
  const folders = ['/usr/include', '/usr/include/postgresql', '/usr/local/include'];
  if (onPath('pg_config')) folders.push(output('pg_config', ['--includedir']));
  return folders.some((folder) => folder !== '' && existsSync(join(folder, name)));
}

/** Headers of the server that is there; of the one that comes with them otherwise. */
function serverHeaders() {
  const major = serverMajor();
  return `postgresql-server-dev-${major ?? 'all'}`;
}

function hasServerHeaders() {
  const bin = serverBin();
  if (bin === undefined) return false;
  const [headers, makefile] = ['--includedir-server', '--pgxs'].map((what) =>
    output(join(bin, 'pg_config'), [what]),
  );
  return headers !== '' && existsSync(join(headers, 'postgres.h')) && existsSync(makefile);
}

/** hypopg beside the server that tests start; without a server yet there is nothing to put it beside. */
function hasHypopg() {
  const bin = serverBin();
  if (bin === undefined) return true;
  const share = output(join(bin, 'pg_config'), ['--sharedir']) || `/usr/share/postgresql/${majorOf(bin)}`;
  return existsSync(join(share, 'extension/hypopg.control'));
}

function hasSanitizers() {
  if (!onPath('clang')) return false;
  const runtime = output('clang', ['--print-file-name=libclang_rt.fuzzer-x86_64.a']);
  return (
    existsSync(runtime) || existsSync(join(output('clang', ['-print-runtime-dir']), 'libclang_rt.fuzzer.a'))
  );
}

const needs = [
  {
    what: 'C and C++ compiler',
    why: 'builds the native addon and the watchdog',
    packages: ['g++'],
    found: () => onPath('g++') && onPath('cc'),
  },
  { what: 'make', why: 'runs those builds', packages: ['make'], found: () => onPath('make') },
  {
    what: 'Python 3',
    why: 'node-gyp is written in it',
    packages: ['python3'],
    found: () => onPath('python3'),
  },
  {
    what: 'flatc',
    why: "makes the batch format's code",
    packages: ['flatbuffers-compiler'],
    found: () => onPath('flatc'),
  },
  {
    what: 'FlatBuffers headers',
    why: 'the addon reads batches with them',
    packages: ['libflatbuffers-dev'],
    found: () => hasHeader('flatbuffers/flatbuffers.h'),
  },
  {
    what: 'libpq headers',
    why: 'the addon speaks to PostgreSQL with it',
    packages: ['libpq-dev'],
    found: () => hasHeader('libpq-fe.h'),
  },
  {
    what: 'PostgreSQL server, 15 or newer',
    why: 'PEM keeps everything in a private cluster',
    packages: ['postgresql'],
    found: () => serverBin() !== undefined,
  },
  {
    what: 'PostgreSQL server headers',
    why: 'builds the SQL profiler',
    packages: [serverHeaders()],
    found: hasServerHeaders,
  },
  {
    what: 'flock and setpriv',
    why: 'one build at a time; no process outlives PEM',
    packages: ['util-linux'],
    found: () => onPath('flock') && onPath('setpriv'),
  },
];

const testNeeds = [
  {
    what: 'Chromium',
    why: 'the UI is tested in it',
    packages: ['chromium'],
    found: () => onPath('chromium'),
  },
  {
    what: 'clang with its sanitizers',
    why: 'fuzzes the native decoder',
    packages: ['clang', 'libclang-rt-dev'],
    found: hasSanitizers,
  },
  {
    what: 'valgrind',
    why: "counts the profiler's instructions",
    packages: ['valgrind'],
    found: () => onPath('valgrind'),
  },
  {
    what: 'mkfs for btrfs and xfs',
    why: 'the profiler is tried on full disks of each kind, which needs root',
    packages: ['btrfs-progs', 'xfsprogs'],
    found: () =>
      process.getuid() !== 0 || ['btrfs', 'xfs'].every((kind) => existsSync(`/usr/sbin/mkfs.${kind}`)),
  },
  {
    what: 'openssl',
    why: 'a second opinion on our certificates',
    packages: ['openssl'],
    found: () => onPath('openssl'),
  },
  {
    what: 'hypopg',
    why: 'index advice is tested with it; without it those tests are skipped',
    packages: [`postgresql-${serverMajor() ?? 15}-hypopg`],
    found: hasHypopg,
    optional: true,
  },
];

/** An optional package is asked for where it can be had: as root, from sources that know it. */
function canBeHad(need) {
  if (!onPath('apt-cache') || process.getuid() !== 0) return false;
  return need.packages.every((name) => output('apt-cache', ['show', name]) !== '');
}

async function installPackages(all) {
  const missing = all.filter((need) => !need.found() && (need.optional !== true || canBeHad(need)));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.flatMap((need) => need.packages))];
  say('This machine lacks:');
  for (const need of missing) say(`  ${need.what} (${need.packages.join(', ')}): ${need.why}`);
  const install = `apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  if (!onPath('apt-get')) {
    throw new Stop(
      `there is no apt-get here; install the above with this system's own tools, then start again`,
    );
  }
  const asRoot = process.getuid() === 0 ? [] : ['sudo', '-n'];
  if (asRoot.length > 0 && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status !== 0) {
    throw new Stop(
      `neither root nor password-less sudo; run this as root, then start again:\n${debianSetup(packages)}  apt-get update && ${install}`,
    );
  }
  say(`Installing with: ${install}`);
  if (packages.includes('postgresql'))
    say('  (no cluster of the distribution is made and no service is started)');
  const script = [
    'set -e',
    'export DEBIAN_FRONTEND=noninteractive',
    debianSetup(packages),
    // Services must not start because a package came in; a policy that is there already stays.
    'policy=/usr/sbin/policy-rc.d',
    'if [ ! -e $policy ]; then printf "#!/bin/sh\\nexit 101\\n" > $policy; chmod 755 $policy; trap "rm -f $policy" EXIT; fi',
    'apt-get update',
    'known=',
    `for p in ${packages.join(' ')}; do`,
    '  if apt-cache show $p > /dev/null 2>&1; then known="$known $p"',
    // Older releases have the sanitizers in a package that clang brings along.
    '  elif [ $p != libclang-rt-dev ]; then echo "no package $p in this system\'s sources"; exit 100; fi',
    'done',
    'apt-get install -y --no-install-recommends $known',
  ].join('\n');
  await step('system packages', [...asRoot, 'sh', '-c', script], {
    hint: `this did not work: ${install}\nIs there a network, and are the sources in /etc/apt complete?`,
    status: 2,
  });
  const still = all.filter((need) => need.optional !== true && !need.found());
  if (still.length > 0) {
    const names = still.map((need) => need.what).join(', ');
    const older = still.some((need) => need.packages.includes('postgresql'))
      ? "; this release's PostgreSQL is older than 15: add https://apt.postgresql.org (package postgresql-common has its script)"
      : '';
    throw new Stop(`installed, but still missing: ${names}${older}`);
  }
}

/** Keeps Debian from making and starting a cluster of its own on port 5432. */
function debianSetup(packages) {
  if (!packages.includes('postgresql')) return '';
  return 'mkdir -p /etc/postgresql-common/createcluster.d && echo create_main_cluster=false > /etc/postgresql-common/createcluster.d/pem.conf\n';
}

// --- steps -----------------------------------------------------------------------------------------------------------

/** Runs a command with its output in the log; a line at the start, at the end and now and then between. */
async function step(title, [command, ...words], { hint, status = 1, env = {} } = {}) {
  const from = Date.now();
  say(`- ${title} …`);
  if (!logStarted) {
    mkdirSync(dirname(logFile), { recursive: true });
    writeFileSync(logFile, '');
    logStarted = true;
  }
  appendFileSync(logFile, `\n=== ${title}\n`);
  let tail = '';
  const code = await new Promise((resolve) => {
    const child = spawn(command, words, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const keep = (data) => {
      appendFileSync(logFile, data);
      tail = (tail + data.toString()).slice(-6000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    const still = setInterval(() => {
      const line = tail.trimEnd().split('\n').at(-1) ?? '';
      say(`  ${Math.round((Date.now() - from) / 1000)} s: ${line.slice(0, 100)}`);
    }, 15_000);
    child.once('error', (error) => {
      tail += error.message;
      clearInterval(still);
      resolve(127);
    });
    child.once('close', (exit) => {
      clearInterval(still);
      resolve(exit ?? 1);
    });
  });
  if (code !== 0) {
    say(tail.trimEnd().split('\n').slice(-40).join('\n'));
    throw new Stop(
      `${title} failed (all of its output: ${relative(process.cwd(), logFile)})\n${hint ?? ''}`.trimEnd(),
      status,
    );
  }
  say(`  done in ${((Date.now() - from) / 1000).toFixed(1)} s`);
}

/** SHA-256 over names and contents of files and folders; what builds make does not count. */
function contentOf(paths, extra = '') {
  const hash = createHash('sha256').update(extra);
  const visit = (path) => {
    const full = join(root, path);
    if (!existsSync(full)) return;
    if (statSync(full).isDirectory()) {
      for (const name of readdirSync(full).sort()) {
        if (!['build', 'gen', 'node_modules', 'dist', 'results'].includes(name)) visit(join(path, name));
      }
    } else if (!path.endsWith('.o')) {
      hash.update(`${path}\0`).update(readFileSync(full)).update('\0');
    }
  };
  for (const path of paths) visit(path);
  return hash.digest('hex');
}

/** Runs `work` unless `stampFile` holds `stamp` and every one of `results` is there. */
async function unlessDone(stampFile, stamp, results, work) {
  const path = join(root, stampFile);
  const done = existsSync(path) && readFileSync(path, 'utf8') === stamp;
  if (done && results.every((result) => existsSync(join(root, result)))) return;
  await work();
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, stamp);
}

async function installModules() {
  const stamp = contentOf(
    ['package-lock.json', 'package.json'],
    `${process.versions.modules} ${process.arch}`,
  );
  await unlessDone('node_modules/.pem-stamp', stamp, ['node_modules/pg/package.json'], () =>
    step('npm packages (npm ci)', ['npm', 'ci', '--no-audit', '--no-fund'], {
      hint: 'npm ci needs the registry: check the network and "npm config get registry", then start again',
      status: 2,
    }),
  );
  checkWebServerHash();
}

/** The web server's native file is a republication: it must be byte for byte the one that was reviewed. */
function checkWebServerHash() {
  const name = `uws_linux_${process.arch}_${process.versions.modules}.node`;
  const pinned = readFileSync(join(root, 'src/http/uws.sha256'), 'utf8')
    .split('\n')
    .map((line) => line.split(/\s+/))
    .find((words) => words[1] === name)?.[0];
  if (pinned === undefined) {
    throw new Stop(
      `no pinned web server for Node ${process.versions.node} on ${process.arch}: use Node 20, 22 or 24 on x64 or arm64`,
    );
  }
  const file = join(root, 'node_modules/uWebSockets.js', name);
  const found = createHash('sha256').update(readFileSync(file)).digest('hex');
  if (found !== pinned) {
    throw new Stop(
      `${file} has SHA-256 ${found}, pinned is ${pinned}: do not run it; remove node_modules and start again`,
    );
  }
}

async function build() {
  const machine = `${process.versions.modules} ${process.arch} ${output('cc', ['--version']).split('\n')[0]}`;
  // Headers that came with this Node spare node-gyp a download.
  const prefix = dirname(dirname(process.execPath));
  const headers = existsSync(join(prefix, 'include/node/node.h')) ? { npm_config_nodedir: prefix } : {};
  const native = contentOf(['native', 'src/wire', 'package-lock.json'], machine);
  await unlessDone('build/native.stamp', native, ['native/addon/build', 'native/watchdog/build'], () =>
    step('native addon and watchdog', ['npm', 'run', 'build:native'], {
      env: headers,
      hint: "node-gyp takes Node's headers from nodejs.org when they are not beside this Node",
    }),
  );
  const bin = serverBin();
  const major = serverMajor();
  const extension = contentOf(
    ['profiler-ext', 'native/core'],
    `${machine} ${output(join(bin, 'postgres'), ['--version'])}`,
  );
  await unlessDone('build/ext.stamp', extension, [`profiler-ext/build/pg${major}/sql_profiler.so`], () =>
    step('SQL profiler', ['npm', 'run', 'build:ext'], { env: { PG_CONFIG: join(bin, 'pg_config') } }),
  );
  const sources = ['native', 'profiler-ext', 'src', 'agent', 'bench', 'tsconfig.json', 'package-lock.json'];
  await unlessDone('build/ts.stamp', contentOf(sources, native), ['dist/src/cli/pem.js'], () =>
    step('TypeScript', ['npm', 'run', 'build:ts']),
  );
  const page = contentOf(['web', 'src/wire', 'package-lock.json'], native);
  await unlessDone('build/web.stamp', page, ['dist/web/index.html'], () =>
    step('web page', ['npm', 'run', 'build:web']),
  );
}

/** The npm that runs this script: the parent, or the parent of the shell between. */
function npmAbove() {
  let pid = process.ppid;
  for (let steps = 0; steps < 2; steps++) {
    try {
      if (/^npm |npm-cli/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')))
        return pid;
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      pid = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    } catch {
      return undefined;
    }
  }
  return undefined;
}

/** Runs a program in the foreground, passing signals on; resolves with its exit status. */
function foreground(command, words, env = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, words, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
    // When npm is killed for good, nobody would pass a signal on any more.
    const npm = npmAbove();
    if (npm !== undefined)
      setInterval(() => existsSync(`/proc/${npm}`) || child.kill('SIGTERM'), 500).unref();
    child.once('error', () => resolve(127));
    child.once('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 143)));
  });
}

// --- the two commands ------------------------------------------------------------------------------------------------

async function prepare(all) {
  checkMachine();
  await installPackages(all);
  await installModules();
  await build();
}

async function start(words) {
  await prepare(needs);
  say(`Set-up complete after ${((Date.now() - started) / 1000).toFixed(1)} s`);
  // The distribution's own are found by the desk, which knows what version its cluster is of.
  const bin = serverBin();
  const programs = bin === undefined || bin.startsWith('/usr/lib/postgresql/') ? {} : { PEM_PGBIN: bin };
  return foreground(process.execPath, ['dist/src/cli/pem.js', 'desk', ...words], programs);
}

async function test(words) {
  await prepare([...needs, ...testNeeds]);
  const tool = (name) => join(root, 'node_modules/.bin', name);
  const failed = [];
  for (const [title, command] of [
    ['formatting and lint (biome)', [tool('biome'), 'check', '.']],
    ['types (tsc)', [tool('tsc'), '-p', 'tsconfig.json', '--noEmit']],
    ['types of the web page (tsc)', [tool('tsc'), '-p', 'web/tsconfig.json', '--noEmit']],
  ]) {
    try {
      await step(title, command);
    } catch (error) {
      if (!(error instanceof Stop)) throw error;
      failed.push(title);
    }
  }
  const report = join(root, 'build/tests.json');
  rmSync(report, { force: true });
  const status = await foreground(tool('vitest'), [
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
    ...words,
  ]);
  for (const title of failed) say(`failed: ${title}`);
  const counts = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : undefined;
  // A file that does not even load has no tests to count: it counts as one that failed.
  const unloaded = (counts?.testResults ?? []).filter(
    (file) => file.status === 'failed' && file.assertionResults.length === 0,
  ).length;
  const bad = (counts?.numFailedTests ?? 0) + unloaded + failed.length;
  say(`${counts?.numPassedTests ?? 0} passed, ${status !== 0 && bad === 0 ? 1 : bad} failed`);
  return status !== 0 ? status : failed.length > 0 ? 1 : 0;
}

const [mode, ...words] = process.argv.slice(2);
try {
  if (mode !== 'start' && mode !== 'test') throw new Stop('usage: bootstrap.mjs start|test [options]');
  process.exitCode = await (mode === 'start' ? start(words) : test(words));
} catch (error) {
  if (!(error instanceof Stop)) throw error;
  process.stderr.write(`\nPEM: ${error.message}\n`);
  process.exitCode = error.status;
}
// The watch over npm and open signal handlers would keep a finished process alive.
process.exit();
