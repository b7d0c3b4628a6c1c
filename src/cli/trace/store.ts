/**
 * Where a trace is read from: a folder of its files, one CSV file, or a server that has it. In: files by slot and number,
 * positions in bytes. Out: bytes of rows that are committed; what a writer has not finished is never seen.
 */
import type { TraceSource } from '../../../native/index.js';

/** A file of a trace. Positions in it are bytes from its beginning, the header line included. */
export interface TraceFile {
  /** How messages name it. */
  readonly label: string;
  /** Of the server's backends; -1: no file of the profiler itself. */
  readonly slot: number;
  /** 1, 2, … within the slot. */
  readonly number: number;
  /** Committed bytes when it was listed. */
  readonly bytes: number;
  readonly path?: string;
}

/** How far a slot's rows go: the file that is written now, and its committed bytes. */
export interface SlotPosition {
  readonly slot: number;
  readonly file: number;
  readonly bytes: number;
}

/** What is wrong with a file; the rest is read all the same. */
export interface TraceProblem {
  readonly file: string;
  /** Bytes from the file's beginning. */
  readonly offset?: number;
  readonly problem: string;
}

export interface TraceStore {
  readonly name: string;
  readonly kind: 'folder' | 'file' | 'server';
  /** Slots ascending, the files of each in their order. */
  list(): Promise<TraceFile[]>;
  /** Found while listing. */
  readonly problems: readonly TraceProblem[];
  /** Rows that each slot's writer has counted as lost. */
  lostRows(): Promise<ReadonlyMap<number, number>>;
  /** For native code that reads the file itself; undefined: read() is the only way. */
  source(file: TraceFile): Omit<TraceSource, 'file'> | undefined;
  /** About `max` bytes from `from` on, fewer at the end; may end within a row, where it is not the end. */
  read(file: Pick<TraceFile, 'slot' | 'number' | 'path'>, from: number, max: number): Promise<Buffer>;
  close(): Promise<void>;
}

/** A store that says where rows were added. */
export interface FollowedStore extends TraceStore {
  /** Slots that have moved since the last call; at the first all of them. */
  changed(): Promise<SlotPosition[]>;
  /** Why no more rows will come; undefined: they may. */
  ended(): Promise<string | undefined>;
}
