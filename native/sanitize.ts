/**
 * Compiles native code under ASan and UBSan and runs it, for tests. In: sources. Out: programs in a folder of its own,
 * which its owner removes. Clang where it is there; without it (a desk that only runs the programs) the compiler that
 * builds the addon, and no fuzzing.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const native = fileURLToPath(new URL('.', import.meta.url));
const core = join(native, 'core');

/** Core's sources. */
export const coreSources = readdirSync(core)
  .filter((name) => name.endsWith('.c'))
  .map((name) => join(core, name));

/** Processors that core is built for: the least one, without most of its vectors, and what the addon is built for. */
export const targets: readonly string[] = process.arch === 'x64' ? ['x86-64', 'x86-64-v2'] : ['armv8-a+crc'];

/** Flags of a sanitized build for one of them. */
export const sanitizeFor = (target: string): readonly string[] => [
  ...['-g', '-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'],
  `-march=${target}`,
];

/** The same for what the addon is built for. */
export const sanitize = sanitizeFor(targets.at(-1)!);

export const clang = ['clang-14', 'clang'].find((name) => {
  try {
    execFileSync(name, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
});

export function workFolder(): string {
  return mkdtempSync(join(tmpdir(), 'pem-native-'));
}

/** Runs a program to its end; throws with what it said when it fails. */
export function run(work: string, file: string, options: readonly string[]): void {
  try {
    execFileSync(file, options, { cwd: work, encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    throw new Error(`${message}\n${(stderr ?? '').slice(-4000)}`);
  }
}
