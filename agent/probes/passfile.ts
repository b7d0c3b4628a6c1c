/**
 * Why a monitored server got no password. libpq says "no password supplied" and prints to standard error what it thinks of
 * the password file; people at PEM see the reason alone, so it says what to do. In: the reason, the file's path; out: the
 * reason, explained where it is that one.
 */
import { statSync } from 'node:fs';

export function explainPassword(reason: string, passfile: string | undefined): string {
  if (!reason.includes('no password supplied')) return reason;
  return `${reason.trimEnd()} (${adviceOf(passfile)})`;
}

function adviceOf(passfile: string | undefined): string {
  if (passfile === undefined)
    return 'its password belongs in the file that servers.passfile of agent.toml names';
  try {
    const mode = statSync(passfile).mode & 0o777;
    if ((mode & 0o077) === 0) return `${passfile} has no line for it: host:port:database:user:password`;
    return `${passfile} is not used, others can read it; run on the agent's host: chmod 600 ${passfile}`;
  } catch {
    return `${passfile}, which servers.passfile of agent.toml names, cannot be read`;
  }
}
