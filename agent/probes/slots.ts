/**
 * Turns for the connections to one server beside the kept one. In: who wants a connection. Out: leave to have one, in the order
 * in which it was asked for. Pure state: who has a slot gives it back by calling what it was given, once or oftener. Who waits
 * leaves the line by its signal; nothing else ends a wait.
 */
export type Release = () => void;

interface Waiting {
  readonly grant: () => void;
}

export class Slots {
  private free: number;
  private readonly line: Waiting[] = [];

  constructor(count: number) {
    this.free = count;
  }

  /** Somebody waits for a slot. */
  get wanted(): boolean {
    return this.line.length > 0;
  }

  get isFull(): boolean {
    return this.free === 0;
  }

  /** @throws the signal's reason where it is aborted before there is a slot */
  take(signal: AbortSignal): Promise<Release> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.free > 0) {
      this.free--;
      return Promise.resolve(this.releaseOnce());
    }
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.line.splice(this.line.indexOf(waiting), 1);
        reject(signal.reason);
      };
      const waiting: Waiting = {
        grant: () => {
          signal.removeEventListener('abort', leave);
          resolve(this.releaseOnce());
        },
      };
      this.line.push(waiting);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  private releaseOnce(): Release {
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const next = this.line.shift();
      if (next === undefined) this.free++;
      else next.grant();
    };
  }
}
