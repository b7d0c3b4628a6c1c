// Builds the UI into dist/web: the script and style sheet of the first load, and chunks that pages load on demand (the SQL
// profiler's), names with their content's hash, each also as .br and .gz. Says the gzip size of the first load, which
// `npm run bench -- ui` holds against its bar, and that of the rest.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const root = dirname(fileURLToPath(import.meta.url));
const out = join(root, '../dist/web');
rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, 'assets'), { recursive: true });

const result = await build({
  entryPoints: { main: join(root, 'main.tsx'), trace: join(root, 'ui/trace.css') },
  bundle: true,
  splitting: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  legalComments: 'none',
  write: false,
  metafile: true,
  outdir: join(out, 'assets'),
  chunkNames: '[name]-[hash]',
  absWorkingDir: join(out, '..'),
  logLevel: 'warning',
});

// What the entry imports at once is part of the first load; what it imports by import() is not.
const outputs = new Map(Object.entries(result.metafile.outputs).map(([path, it]) => [basename(path), it]));
const first = new Set();
const visit = (name) => {
  if (first.has(name)) return;
  first.add(name);
  for (const { path, kind } of outputs.get(name)?.imports ?? []) {
    if (kind === 'import-statement') visit(basename(path));
  }
};
visit('main.js');
first.add('main.css');

let page = readFileSync(join(root, 'index.html'), 'utf8');
const sizes = { gzipBytes: 0, laterGzipBytes: 0 };
const preloads = [];
for (const file of result.outputFiles) {
  const plain = basename(file.path);
  let name = plain;
  // Chunks have esbuild's hash, by which they import each other; what the page names gets its hash here.
  if (/^(main|trace)\.(js|css)$/.test(plain)) {
    const hash = createHash('sha256').update(file.contents).digest('hex').slice(0, 12);
    name = plain.replace('.', `-${hash}.`);
    page = page.replaceAll(`/${plain}`, `/assets/${name}`);
  } else if (first.has(plain)) {
    preloads.push(`    <link rel="modulepreload" href="/assets/${name}" />\n`);
  }
  const path = join(out, 'assets', name);
  const gzip = gzipSync(file.contents, { level: 9 });
  writeFileSync(path, file.contents);
  writeFileSync(`${path}.gz`, gzip);
  writeFileSync(`${path}.br`, brotliCompressSync(file.contents));
  const when = first.has(plain) ? 'first load' : 'on demand';
  sizes[first.has(plain) ? 'gzipBytes' : 'laterGzipBytes'] += gzip.length;
  console.log(`web: assets/${name} ${file.contents.length} bytes, gzip ${gzip.length}, ${when}`);
}
writeFileSync(join(out, 'index.html'), page.replace('    <script', `${preloads.join('')}    <script`));
writeFileSync(join(out, 'sizes.json'), JSON.stringify(sizes));
console.log(`web: JavaScript and CSS of the first load, gzip ${sizes.gzipBytes} bytes`);
