// Builds the UI into dist/web: one script, one style sheet, names with their content's hash, each also as .br and .gz.
// Says the gzip size, which `npm run bench -- ui` holds against its bar.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const root = dirname(fileURLToPath(import.meta.url));
const out = join(root, '../dist/web');
rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, 'assets'), { recursive: true });

const result = await build({
  entryPoints: { main: join(root, 'main.tsx') },
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  legalComments: 'none',
  write: false,
  outdir: out,
  logLevel: 'warning',
});

let page = readFileSync(join(root, 'index.html'), 'utf8');
let total = 0;
for (const file of result.outputFiles) {
  const kind = file.path.endsWith('.css') ? 'css' : 'js';
  const hash = createHash('sha256').update(file.contents).digest('hex').slice(0, 12);
  const name = `assets/main-${hash}.${kind}`;
  const gzip = gzipSync(file.contents, { level: 9 });
  writeFileSync(join(out, name), file.contents);
  writeFileSync(join(out, `${name}.gz`), gzip);
  writeFileSync(join(out, `${name}.br`), brotliCompressSync(file.contents));
  page = page.replaceAll(`/main.${kind}`, `/${name}`);
  total += gzip.length;
  console.log(`web: ${name} ${file.contents.length} bytes, gzip ${gzip.length}`);
}
writeFileSync(join(out, 'index.html'), page);
writeFileSync(join(out, 'sizes.json'), JSON.stringify({ gzipBytes: total }));
console.log(`web: all JavaScript and CSS, gzip ${total} bytes`);
