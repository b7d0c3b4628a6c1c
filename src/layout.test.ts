/**
 * The layout as a test: which room may import which (data flows one way), that rooms list all their files, that files
 * stay readable, that every error code is documented. A new room is a line in `rooms`.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Room → rooms it may import besides itself. In reading order: a room imports only rooms above it. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  'src/wire': [],
  // Coded errors are every room's, the page excepted: native code throws them too.
  'src/base/errors.ts': [],
  native: ['src/wire'],
  'profiler-ext': [],
  'src/base': ['src/wire', 'native'],
  // Index advice: asked for by the command line, and of agents.
  'src/advice': ['src/wire', 'src/base', 'native'],
  'src/catalog': ['src/wire', 'src/base'],
  'src/pki': ['src/base'],
  'src/schema': ['src/wire', 'src/base', 'src/catalog'],
  'src/history': ['src/wire', 'src/base', 'native', 'src/catalog'],
  'src/ingest': ['src/wire', 'src/base', 'native', 'src/catalog', 'src/history', 'src/push'],
  'src/push': ['src/wire', 'src/base', 'native', 'src/catalog', 'src/history'],
  'src/http': ['src/base', 'src/wire'],
  'src/auth': ['src/base', 'src/http'],
  'src/rest': [
    'src/wire',
    'src/base',
    'native',
    'src/catalog',
    'src/history',
    'src/push',
    'src/auth',
    'src/http',
    'src/tracer',
  ],
  // Duties of agent 1 are the server's: they may know what agents do not.
  'agent/master': ['src/wire', 'src/base', 'native', 'src/catalog', 'src/history', 'agent'],
  agent: ['src/wire', 'src/base', 'native', 'src/advice', 'agent/master'],
  // Traces of servers without an agent: the web server does what their agent would do.
  'src/tracer': ['src/wire', 'src/base', 'native', 'src/auth', 'src/http', 'agent'],
  'src/cli': [
    'src/wire',
    'src/base',
    'native',
    'src/advice',
    'src/catalog',
    'src/pki',
    'src/schema',
    'agent',
  ],
  web: ['src/wire'],
};

/** The entry of each program: nobody imports one, but the command line and the tests. */
const programs: Readonly<Record<string, readonly string[]>> = {
  'src/http/main.ts': [
    'src/auth',
    'src/rest',
    'src/tracer',
    'src/push',
    'src/history',
    'src/catalog',
    'native',
  ],
  'src/ingest/main.ts': [],
  'src/pki/signer.ts': [],
  'agent/main.ts': [],
  'agent/register.ts': [],
};

/** Packages that one room alone may know. */
const packages: Readonly<Record<string, readonly string[]>> = {
  'uWebSockets.js': ['src/http'],
  'node-forge': ['src/pki', 'agent'],
  commander: ['src/cli'],
  croner: ['src/base'],
  preact: ['web'],
  uplot: ['web'],
};

/** Rooms whose every file stands in their list. */
const lists: Readonly<Record<string, string>> = {
  'src/catalog/probes': 'src/catalog/probes/index.ts',
  'bench/runs': 'bench/main.ts',
};

function files(folder: string, pattern: RegExp): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory())
      return ['gen', 'build', 'node_modules'].includes(entry.name) ? [] : files(path, pattern);
    return pattern.test(entry.name) ? [path] : [];
  });
}

const folders = ['native', 'profiler-ext', 'src', 'agent', 'bench', 'web'];
const isTest = (path: string): boolean => /\.test\.tsx?$/.test(path);
const typescript = folders.flatMap((folder) => files(folder, /\.tsx?$/));
const production = typescript.filter((path) => !isTest(path) && !path.startsWith('bench/'));

function roomOf(path: string): string | undefined {
  return Object.keys(rooms).find((room) => path === room || path.startsWith(`${room}/`));
}

/** Every module specifier of a file: static, dynamic and re-exported. */
function imports(path: string): string[] {
  const text = readFileSync(join(root, path), 'utf8');
  return [...text.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*)'([^']+)'/g)].map((match) => match[1] as string);
}

/** The file a relative specifier names, from the root. */
function target(path: string, specifier: string): string {
  const resolved = relative(root, join(root, dirname(path), specifier)).replace(/\.js$/, '.ts');
  return typescript.includes(resolved) ? resolved : resolved.replace(/\.ts$/, '.tsx');
}

test('every file is in a room, and rooms import only what stands in the table', () => {
  const wrong: string[] = [];
  for (const path of production) {
    const room = roomOf(path);
    if (room === undefined) {
      wrong.push(`${path} is in no room`);
      continue;
    }
    for (const specifier of imports(path)) {
      if (!specifier.startsWith('.')) {
        const only = packages[specifier];
        if (only !== undefined && !only.includes(room))
          wrong.push(`${path} imports the package ${specifier}`);
        continue;
      }
      const imported = target(path, specifier);
      const other = roomOf(imported);
      const errors = room === 'web' ? [] : ['src/base/errors.ts'];
      const allowed = [room, ...errors, ...(rooms[room] ?? []), ...(programs[path] ?? [])];
      const commandLine = room === 'src/cli' && imported in programs;
      if (!commandLine && (other === undefined || !allowed.includes(other)))
        wrong.push(`${path} imports ${imported}`);
    }
  }
  expect(wrong).toEqual([]);
});

test('programs do not import each other', () => {
  const wrong = production.flatMap((path) =>
    imports(path)
      .filter((specifier) => specifier.startsWith('.'))
      .map((specifier) => target(path, specifier))
      .filter((imported) => imported in programs && ![roomOf(imported), 'src/cli'].includes(roomOf(path)))
      .map((imported) => `${path} imports the program ${imported}`),
  );
  expect(wrong).toEqual([]);
});

test('agents never load what belongs to the server, the page nothing of either', () => {
  const reached = (entry: string): Set<string> => {
    const seen = new Set<string>();
    const visit = (path: string): void => {
      if (seen.has(path) || !production.includes(path) || path.startsWith('agent/master/')) return;
      seen.add(path);
      for (const specifier of imports(path)) if (specifier.startsWith('.')) visit(target(path, specifier));
    };
    visit(entry);
    return seen;
  };
  const agent = [...reached('agent/main.ts')];
  expect(agent).toContain('native/index.ts');
  expect(agent.filter((path) => path.startsWith('src/') && !/^src\/(wire|base|advice)\//.test(path))).toEqual(
    [],
  );
  const page = [...reached('web/main.tsx')];
  expect(page.filter((path) => !/^(web|src\/wire)\//.test(path))).toEqual([]);
});

test("a room's list names every file of the room", () => {
  for (const [room, list] of Object.entries(lists)) {
    const listed = imports(list).map((specifier) => target(list, specifier));
    const there = files(room, /\.ts$/).filter((path) => !isTest(path) && path !== list);
    expect(there.filter((path) => !listed.includes(path))).toEqual([]);
  }
});

test('no file has more than 600 lines without saying why it is one piece', () => {
  const sources = folders
    .flatMap((folder) => files(folder, /\.(tsx?|mjs|c|cc|h|sql|css)$/))
    // A dump is made by a program and compared by a test.
    .filter((path) => path !== 'src/schema/schema.sql');
  const long = sources.filter((path) => {
    const text = readFileSync(join(root, path), 'utf8');
    return text.split('\n').length > 600 && !text.slice(0, 3000).includes('one piece');
  });
  expect(long).toEqual([]);
});

test('every file says in its first lines what it is for', () => {
  const silent = production.filter(
    (path) => !/^(#!.*\n)?(\/\*|\/\/|import)/.test(readFileSync(join(root, path), 'utf8')),
  );
  expect(silent).toEqual([]);
});

test('the error codes in the code and in docs/errors.md are the same', () => {
  const inCode = new Set<string>();
  for (const path of production) {
    const text = readFileSync(join(root, path), 'utf8');
    // The first argument may choose between two codes.
    for (const match of text.matchAll(/new (?:PemError\(|HttpError\(\s*\d+,)([^,]*),/g)) {
      for (const code of (match[1] as string).matchAll(/'([a-z][a-z0-9]*_[a-z0-9_]+|busy)'/g)) {
        inCode.add(code[1] as string);
      }
    }
  }
  const alsoIn: readonly [folder: string, pattern: RegExp][] = [
    ['src/push', /\bcode: '([a-z][a-z0-9_]*)', message/g],
    ['native', /^ {2}\| '(codec_[a-z_]+)'/gm],
  ];
  for (const [folder, pattern] of alsoIn) {
    for (const path of production.filter((file) => file.startsWith(`${folder}/`))) {
      for (const match of readFileSync(join(root, path), 'utf8').matchAll(pattern))
        inCode.add(match[1] as string);
    }
  }
  for (const path of files('src/schema', /\.sql$/)) {
    for (const match of readFileSync(join(root, path), 'utf8').matchAll(/'(PE\d{3})'/g))
      inCode.add(match[1] as string);
  }
  const documented = new Set(
    [...readFileSync(join(root, 'docs/errors.md'), 'utf8').matchAll(/^\| `([A-Za-z0-9_]+)` \|/gm)].map(
      (match) => match[1] as string,
    ),
  );
  expect([...inCode].filter((code) => !documented.has(code)).sort()).toEqual([]);
  expect([...documented].filter((code) => !inCode.has(code)).sort()).toEqual([]);
});

test('links between documents lead somewhere', () => {
  const pages = [
    'README.md',
    'CHANGELOG.md',
    ...['docs', ...folders].flatMap((folder) => files(folder, /\.md$/)),
  ];
  const broken = pages.flatMap((page) => {
    const text = readFileSync(join(root, page), 'utf8');
    return [...text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)]
      .map((match) => match[1] as string)
      .filter((link) => !existsSync(join(root, dirname(page), link)))
      .map((link) => `${page}: ${link}`);
  });
  expect(broken).toEqual([]);
});
