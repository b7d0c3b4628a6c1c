/**
 * Logs of a desk: files that are moved aside when they have grown past 8 MB (one old copy is kept), and the desk's own
 * events, one JSON line each in log/desk.log and the same in words at the terminal that started it.
 */
import { copyFileSync, openSync, renameSync, statSync, truncateSync, writeSync } from 'node:fs';
import { type Log, openLog } from '../../base/log.js';

const longestBytes = 8 * 1024 * 1024;

/**
 * Empties a log that has grown too long while its process writes on (it appends, so it goes on at the start), after a copy
 * was taken: a line that comes between the two is lost. A full disk keeps the log as it is.
 * @returns the error that kept it from being moved aside
 */
export function shortenLogFile(path: string): Error | undefined {
  try {
    if (statSync(path).size <= longestBytes) return undefined;
    copyFileSync(path, `${path}.1`);
    truncateSync(path);
    return undefined;
  } catch (error) {
    return error as Error;
  }
}

/** A descriptor to append to; the caller closes it. */
export function openLogFile(path: string): number {
  try {
    if (statSync(path).size > longestBytes) renameSync(path, `${path}.1`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  return openSync(path, 'a', 0o600);
}

export function openDeskLog(path: string): Log {
  const file = openLogFile(path);
  return openLog('desk', {
    write(line: string) {
      writeSync(file, line);
      process.stdout.write(`${inWords(line)}\n`);
    },
  });
}

/** "- message (key value, …)". */
export function inWords(line: string): string {
  const { level, time, name: _name, pid: _pid, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const details = Object.entries(rest).map(
    ([key, value]) => `${key} ${Array.isArray(value) ? value.join(' ') : value}`,
  );
  const warning = Number(level) >= 40 ? `${String(time).slice(11, 19)} ` : '';
  return `- ${warning}${String(msg)}${details.length === 0 ? '' : ` (${details.join(', ')})`}`;
}
