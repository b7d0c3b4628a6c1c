/**
 * What runs, from /proc: tests of process trees look for children by command line and wait for things to become true.
 */
import { readdirSync, readFileSync } from 'node:fs';

export interface RunningProcess {
  readonly pid: number;
  readonly parent: number;
  /** Words of the command line, joined by blanks. */
  readonly command: string;
}

/** All processes that are no zombies. */
export function processes(): RunningProcess[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        if (state === 'Z' || state === 'X') return [];
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        return [{ pid: Number(name), parent: Number(parent), command }];
      } catch {
        // It ended while we looked.
        return [];
      }
    });
}

/** The processes that it started and that have not been waited for. @throws ENOENT where there is no such process */
export function childrenOf(pid: number): number[] {
  return (readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').match(/\d+/g) ?? []).map(Number);
}

/** Repeats `look` until it gives something; @throws with `what` when it does not within `withinMs`. */
export async function eventually<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  withinMs = 120_000,
  everyMs = 100,
): Promise<T> {
  const until = Date.now() + withinMs;
  let trouble = '';
  for (;;) {
    try {
      const found = await look();
      if (found !== undefined && found !== false) return found;
    } catch (error) {
      trouble = error instanceof Error ? `: ${error.message}` : '';
    }
    if (Date.now() > until) throw new Error(`waited in vain for: ${what}${trouble}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
