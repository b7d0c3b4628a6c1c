/**
 * One desk per PEM_HOME: desk.pid holds the pid and start time of the desk that runs. A pid alone is not enough, since a
 * killed desk's number is soon another program's.
 */
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { PemError } from '../../base/errors.js';
import { writeWhole } from '../../pki/authority.js';

/** Takes the lock of a home, made where missing; the returned function lets it go. @throws PemError desk_running */
export function lockHome(directory: string): () => void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const file = join(directory, 'desk.pid');
  const owner = deskOf(file);
  if (owner !== undefined && owner !== process.pid) {
    throw new PemError(
      'desk_running',
      `PEM runs already in ${directory} (process ${owner}); end it with: kill ${owner}`,
      'operator',
    );
  }
  writeWhole(file, `${process.pid} ${startTime(process.pid) ?? ''}\n`, 0o600);
  return () => rmSync(file, { force: true });
}

/** The pid in `file` where that very process still runs. */
function deskOf(file: string): number | undefined {
  try {
    const [pid, started] = readFileSync(file, 'utf8').trim().split(' ');
    return startTime(Number(pid)) === started ? Number(pid) : undefined;
  } catch {
    return undefined;
  }
}

/** Clock ticks between the machine's boot and the process's start: field 22 of its stat line. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in parentheses and may hold anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
