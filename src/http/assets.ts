/**
 * The UI's files, read from dist/web into memory: index.html (never cached), hashed assets (cached for ever), with
 * their .br and .gz beside them where the build made them. Paths are looked up in a table of what is there, so no path
 * of a request ever reaches the file system. A new build is noticed when index.html's change time moves.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { extname, join, relative } from 'node:path';
import { type HttpReply, json, type RequestHead } from './message.js';

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.woff2': 'font/woff2',
  '.json': 'application/json',
  '.webmanifest': 'application/manifest+json',
  '.txt': 'text/plain; charset=utf-8',
};

interface Asset {
  readonly type: string;
  readonly immutable: boolean;
  readonly plain: Buffer;
  readonly br?: Buffer;
  readonly gz?: Buffer;
}

export class Assets {
  readonly #directory: string;
  #assets = new Map<string, Asset>();
  #loadedAtMs = -1;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Files named `name-HASH.ext` or `name.HASH.ext` never change. */
  static isHashed(path: string): boolean {
    return /[-.][0-9A-Za-z_]{8,}\.[a-z0-9]+$/.test(path);
  }

  reply(head: RequestHead): HttpReply | undefined {
    if (head.method !== 'GET' && head.method !== 'HEAD') return undefined;
    this.#refresh();
    const asset = this.#assets.get(head.path === '/' ? '/index.html' : head.path);
    if (asset === undefined) {
      if (head.path !== '/') return undefined;
      const message = 'the pages are not built; run: npm run build:web';
      return json(503, { error: { code: 'ui_not_built', message } });
    }
    const accepts = (head.headers.get('accept-encoding') ?? '')
      .split(',')
      .map((part) => part.split(';')[0]?.trim());
    const encoding =
      asset.br !== undefined && accepts.includes('br')
        ? 'br'
        : asset.gz !== undefined && accepts.includes('gzip')
          ? 'gzip'
          : undefined;
    const body = encoding === 'br' ? asset.br : encoding === 'gzip' ? asset.gz : asset.plain;
    return {
      status: 200,
      headers: {
        'content-type': asset.type,
        'cache-control': asset.immutable ? 'public, max-age=31536000, immutable' : 'no-cache',
        vary: 'accept-encoding',
        ...(encoding === undefined ? {} : { 'content-encoding': encoding }),
      },
      ...(body === undefined ? {} : { body }),
    };
  }

  #refresh(): void {
    let changedMs: number;
    try {
      changedMs = statSync(join(this.#directory, 'index.html')).mtimeMs;
    } catch {
      this.#assets.clear();
      this.#loadedAtMs = -1;
      return;
    }
    if (changedMs === this.#loadedAtMs) return;
    const assets = new Map<string, Asset>();
    for (const entry of readdirSync(this.#directory, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || /\.(br|gz|map)$/.test(entry.name)) continue;
      const file = join(entry.parentPath, entry.name);
      const br = readIfThere(`${file}.br`);
      const gz = readIfThere(`${file}.gz`);
      assets.set(`/${relative(this.#directory, file)}`, {
        type: types[extname(file)] ?? 'application/octet-stream',
        immutable: Assets.isHashed(entry.name),
        plain: readFileSync(file),
        ...(br === undefined ? {} : { br }),
        ...(gz === undefined ? {} : { gz }),
      });
    }
    this.#assets = assets;
    this.#loadedAtMs = changedMs;
  }
}

function readIfThere(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}
