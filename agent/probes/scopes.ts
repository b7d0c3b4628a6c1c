/**
 * Which databases of which server the agent has reported on, also before its last start: a database that was dropped while
 * the agent was down must be said to be gone all the same. In: scopes as they are sent, scopes that exist now. Out: those
 * that went. Owns one small file, replaced as a whole; without one (or with a damaged one) it knows this process only.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { errorText } from '../../src/base/errors.js';
import type { Log } from '../../src/base/log.js';

/** Scopes that went are kept to say it again after a loss; of more than this many the oldest are forgotten. */
const mostGone = 1000;

type State = 'present' | 'gone' | 'to say';

export class KnownScopes {
  /** By target and probe, then by scope, oldest change first. */
  private readonly known = new Map<string, Map<string, State>>();

  constructor(
    private readonly file: string | null,
    private readonly log: Log,
  ) {
    if (file === null) return;
    try {
      const kept = JSON.parse(readFileSync(file, 'utf8')) as Record<string, readonly string[]>;
      for (const [name, scopes] of Object.entries(kept))
        this.known.set(name, new Map(scopes.map((scope) => [String(scope), 'present'])));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      this.known.clear();
      log.warn({ file, code: 'scopes_file', reason: errorText(error) }, 'known databases are not readable');
    }
  }

  /** These exist now. Returns those that were sent once, are not among them, and have not been said to be gone. */
  update(targetId: number, probe: string, present: readonly string[]): string[] {
    const name = `${targetId}/${probe}`;
    const scopes = this.known.get(name) ?? new Map<string, State>();
    this.known.set(name, scopes);
    const now = new Set(present);
    let changed = false;
    const went: string[] = [];
    for (const [scope, state] of scopes) {
      if (now.has(scope) || state === 'gone') continue;
      scopes.delete(scope);
      scopes.set(scope, 'gone');
      went.push(scope);
      changed = true;
    }
    for (const scope of now) {
      if (scopes.get(scope) === 'present') continue;
      scopes.delete(scope);
      scopes.set(scope, 'present');
      changed = true;
    }
    let tooMany = [...scopes.values()].filter((state) => state !== 'present').length - mostGone;
    for (const [scope, state] of scopes) {
      if (tooMany <= 0) break;
      if (state === 'present') continue;
      scopes.delete(scope);
      tooMany--;
    }
    if (changed) this.save();
    return went;
  }

  /** Something was lost on its way: what went is to be said again. */
  lost(): void {
    for (const scopes of this.known.values())
      for (const [scope, state] of scopes) if (state === 'gone') scopes.set(scope, 'to say');
  }

  forget(targetId: number): void {
    for (const name of this.known.keys()) if (name.startsWith(`${targetId}/`)) this.known.delete(name);
    this.save();
  }

  /** All are kept, the gone ones too: the next start says once more that they are. */
  private save(): void {
    if (this.file === null) return;
    const text = JSON.stringify(
      Object.fromEntries([...this.known].map(([name, scopes]) => [name, [...scopes.keys()]])),
    );
    try {
      writeFileSync(`${this.file}.new`, text, { mode: 0o600 });
      renameSync(`${this.file}.new`, this.file);
    } catch (error) {
      this.log.warn(
        { file: this.file, code: 'scopes_file', reason: errorText(error) },
        'known databases not kept',
      );
    }
  }
}
