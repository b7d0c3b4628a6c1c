/**
 * Follows a trace: what its slots have committed since the last look, as pieces of CSV that begin with a row. In: a store. Out:
 * pieces in the order of slots, whose positions the caller moves on by what it used. A position is a file and a byte in it, so
 * that rotation, a restart of the server and a lost connection change nothing. Full: pieces come at the caller's pace;
 * passOver() is for one who cannot keep up.
 */
import { type CsvPiece, csvHeader } from '../../../native/index.js';
import type { FollowedStore } from './store.js';

interface Position {
  file: number;
  bytes: number;
  header: Buffer | undefined;
  /** Where the slot's committed rows end. */
  endFile: number;
  endBytes: number;
  /** Bytes asked for; grows for a row that is longer. */
  ask: number;
}

export interface Followed {
  readonly piece: CsvPiece;
  readonly slot: number;
}

export interface FollowOptions {
  /** true: from the trace's first row. false: from now on. */
  readonly all: boolean;
  /** Of a piece; default 1 MiB. */
  readonly pieceBytes?: number;
}

const headBytes = 64 << 10;
const longestRowBytes = 64 << 20;

export class Follower {
  readonly #store: FollowedStore;
  readonly #options: FollowOptions;
  readonly #ask: number;
  readonly #slots = new Map<number, Position>();
  #begun = false;

  constructor(store: FollowedStore, options: FollowOptions) {
    this.#store = store;
    this.#options = options;
    this.#ask = options.pieceBytes ?? 1 << 20;
  }

  /** Asks what has changed. Throws what the store throws; nothing is lost by that. */
  async look(): Promise<void> {
    const moved = await this.#store.changed();
    for (const { slot, file, bytes } of moved) {
      const known = this.#slots.get(slot);
      if (known !== undefined) {
        known.endFile = file;
        known.endBytes = bytes;
        continue;
      }
      // What is there at the first look is the past; a slot that comes later is new from its first row on.
      const past = !this.#begun && !this.#options.all;
      this.#slots.set(slot, {
        file: past ? file : 1,
        bytes: past ? bytes : 0,
        header: undefined,
        endFile: file,
        endBytes: bytes,
        ask: this.#ask,
      });
    }
    this.#begun = true;
  }

  /** A piece of each slot that has rows; none: all are at their ends. */
  async pieces(): Promise<Followed[]> {
    const found: Followed[] = [];
    for (const [slot, position] of this.#slots) {
      const piece = await this.#pieceOf(slot, position);
      if (piece !== undefined) found.push({ slot, piece });
    }
    return found;
  }

  /** The piece's first `used` bytes were rows. */
  advance({ slot, piece }: Followed, used: number): void {
    const position = this.#slots.get(slot);
    if (position === undefined) return;
    position.bytes += used;
    if (used > 0) position.ask = this.#ask;
    // A row longer than the piece; or one in a file that is no longer written to, where it will never be whole.
    else if (piece.bytes.length >= position.ask && position.ask < longestRowBytes) position.ask *= 4;
    else if (position.file < position.endFile) this.#nextFile(position);
    else position.endBytes = position.bytes;
  }

  #nextFile(position: Position): void {
    position.file += 1;
    position.bytes = 0;
    position.header = undefined;
  }

  /** Every slot goes on at its end: what lies between is not handed out. */
  passOver(): void {
    for (const position of this.#slots.values()) {
      if (position.file !== position.endFile) position.header = undefined;
      position.file = position.endFile;
      position.bytes = position.endBytes;
    }
  }

  async #pieceOf(slot: number, position: Position): Promise<CsvPiece | undefined> {
    while (position.file < position.endFile || position.bytes < position.endBytes) {
      const file = { slot, number: position.file };
      if (position.header === undefined) {
        const head = await this.#read(file, 0, headBytes);
        position.header = head === undefined ? undefined : csvHeader(head);
        if (position.header === undefined) {
          if (position.file === position.endFile) return undefined;
          this.#nextFile(position);
          continue;
        }
        position.bytes = Math.max(position.bytes, position.header.length);
      }
      const last = position.file === position.endFile;
      const most = last ? Math.min(position.ask, position.endBytes - position.bytes) : position.ask;
      const bytes = most <= 0 ? undefined : await this.#read(file, position.bytes, most);
      if (bytes !== undefined && bytes.length > 0)
        return { bytes, header: position.header, fromBytes: position.bytes };
      if (last) return undefined;
      this.#nextFile(position);
    }
    return undefined;
  }

  /** undefined: the file is not there (any more). */
  async #read(
    file: { slot: number; number: number },
    from: number,
    max: number,
  ): Promise<Buffer | undefined> {
    try {
      return await this.#store.read(file, from, max);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }
}
