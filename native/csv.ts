/**
 * CSV of trace files -> blocks: whole rows only, any number of files in one block, off the main thread. The form of a file
 * is in core/CSV_FORMAT.md; the work is done in the addon (addon/csv_*), here are its types and coded errors.
 *
 * Buffers handed in are read while a promise is open and must not be written meanwhile. Buffers handed out belong to the
 * caller. The caller keeps each file's position in bytes and goes on `used` bytes further.
 */
import { PemError } from '../src/base/errors.js';
import type { ColumnType } from '../src/wire/config.js';
import { loadAddon } from './addon.js';
import { type BlockMeta, type CodecErrorCode, call, callAsync } from './codec.js';

/** A column of a trace file; servers older than minServerVersion leave it empty. */
export interface CsvColumn {
  readonly name: string;
  readonly type: ColumnType;
  /** 'us', 'blocks', .. ; '' for plain numbers and texts. */
  readonly unit: string;
  /** server_version_num. */
  readonly minServerVersion: number;
}

/** Bytes of one file, from the beginning of a row on; they may end anywhere. */
export interface CsvPiece {
  readonly bytes: Buffer;
  /** The file's header line (see csvHeader). Without it the piece begins with the header line. */
  readonly header?: Buffer;
  /** Where in its file the piece begins; default 0. For offsets of faults and row_at. */
  readonly fromBytes?: number;
  /** The file ends with this piece and grows no more: the last row needs no line end. */
  readonly end?: boolean;
}

export interface CsvOptions {
  /** Columns of the block, which has them in the files' order; default all. A file without one gives NULLs. */
  readonly columns?: readonly string[];
  /** Taken as well; a row in which one of them is empty is bad, a file that lacks one is refused. */
  readonly keyColumns?: readonly string[];
  /** Longer texts are cut between characters; default and at most 1 MiB of UTF-8. Names are cut at 63 bytes. */
  readonly maxTextBytes?: number;
  /** Rows of the block; default and at most 1,048,576. */
  readonly maxRows?: number;
  /** Bytes of the block (of each of both, with texts); default and at most 512 MiB. One row may be larger. */
  readonly maxBytes?: number;
  /** Bad rows are left out and counted; default false: the block ends before the first one. */
  readonly skipBadRows?: boolean;
  /**
   * Rows as they travel one by one (src/wire/events.ts): with fingerprint and zeros, the database's and the user's name as
   * text, and without the columns of which no row has a value. Default false.
   */
  readonly eventRows?: boolean;
  /** A last column row_at, int8: where each row begins in its file, bytes. */
  readonly rowPlaces?: boolean;
  /**
   * query, params and plan become query_key, params_key and plan_key, and the texts come once each in a block of their
   * own.
   */
  readonly texts?: CsvTexts;
  /**
   * Memory to use again: where the block fits (its size and a kilobyte or ten more), it is written there and a view of it is
   * returned. Fresh memory for each block costs half as much again as reading the rows. The caller is done with what was
   * there before.
   */
  readonly into?: Buffer;
}

export interface CsvFault {
  readonly code: CodecErrorCode;
  readonly message: string;
  /** In the piece's file, bytes. */
  readonly offset: number;
  readonly piece: number;
}

export interface CsvResult {
  block: Buffer;
  rows: number;
  /** Of all pieces together. */
  usedBytes: number;
  /** Of each piece: header, rows taken, bad rows skipped. */
  used: number[];
  /** maxRows or maxBytes was reached: call again with the rest of the pieces. */
  full: boolean;
  /** Values with bytes that meant nothing in their encoding, put as \xNN. */
  badText: number;
  /** Values cut at maxTextBytes (names: at 63 bytes). */
  cutValues: number;
  /** Bad rows left out. */
  badRows: number;
  /** The first of them. */
  firstBad?: CsvFault;
  /** Why nothing was read behind `used` of a piece. The next call, beginning there, throws it. */
  stopped?: CsvFault;
  /** Columns in headers that this version does not know; they are skipped. */
  unknownColumns: string[];
  /** With texts: a block (key int8, text text) of those not handed out before; missing where there are none. */
  texts?: Buffer;
}

/** A row or a header that cannot be read. */
export class CsvError extends PemError {
  constructor(
    message: string,
    /** Where in its file, bytes. */
    readonly offset: number,
    readonly piece: number,
  ) {
    super('codec_bad_csv', message, 'corrupt');
  }
}

/** A number: the block's place in `into`. */
type RawResult =
  | (Omit<CsvResult, 'block'> & { block: Buffer | number; blockBytes?: number })
  | { stopped: CsvFault; block?: undefined };

interface Addon {
  csvToBlock(
    meta: BlockMeta,
    pieces: readonly CsvPiece[],
    options: Omit<CsvOptions, 'texts'> & { textSet?: object; textsMeta?: BlockMeta },
  ): Promise<RawResult>;
  csvHeaderBytes(bytes: Buffer): number | CsvFault;
  readonly csvColumns: readonly CsvColumn[];
  readonly csvZeroColumns: readonly string[];
  CsvTextSet: new (capacity: number, seed: bigint) => object;
}

const addon = loadAddon() as Addon;

/** The columns of a trace file, in its order. */
export const csvColumns: readonly CsvColumn[] = addon.csvColumns;

/** Figures that event rows leave out where they are 0, by their bit of zeros. */
export const csvZeroColumns: readonly string[] = addon.csvZeroColumns;

/** Bits of the column flags: the writer's, and from 65536 on those that the reader adds. */
export const csvFlags = {
  queryCut: 1,
  paramsCut: 2,
  planCut: 4,
  propagated: 8,
  worker: 16,
  cancelled: 32,
  implicit: 64,
  masked: 128,
  errorCut: 256,
  /** Bytes of a text stand as \xNN. */
  escaped: 65536,
  /** A text was cut at the reader's limit. */
  readerCut: 131072,
  /** In event rows: its text is that of the rows of its block with the same fingerprint and none. */
  sample: 262144,
  /** In event rows: the statement came without a text. */
  noText: 524288,
} as const;

/** Which texts were handed out before. Bounded: a text that was driven out comes once more. */
export class CsvTexts {
  /** Name of the block of texts, as its probe. */
  readonly probe: string | undefined;
  /** The addon's side of it. */
  readonly set: object;

  /**
   * @param options.capacity keys remembered, 8 bytes each; default 262,144
   * @param options.seed another one gives other keys; texts' keys are the same everywhere for the same seed
   * @param options.probe default: the rows' probe and `_text`
   */
  constructor(options: { capacity?: number; seed?: bigint; probe?: string } = {}) {
    this.probe = options.probe;
    this.set = call(() => new addon.CsvTextSet(options.capacity ?? 262_144, options.seed ?? 0n));
  }
}

function thrown(fault: CsvFault): CsvError {
  return new CsvError(fault.message, fault.offset, fault.piece);
}

/**
 * Pieces of trace files -> one block of their rows, in the pieces' order.
 *
 * A bad row ends the block before it and is named in `stopped`; where nothing was read before it, CsvError is thrown.
 * Throws PemError codec_argument, codec_limit for what the caller asked.
 */
export async function csvToBlock(
  meta: BlockMeta,
  pieces: CsvPiece | readonly CsvPiece[],
  options: CsvOptions = {},
): Promise<CsvResult> {
  const { texts, ...rest } = options;
  const list = 'bytes' in pieces ? [pieces] : pieces;
  const result = await callAsync(() =>
    addon.csvToBlock(meta, list, {
      ...rest,
      ...(texts && {
        textSet: texts.set,
        textsMeta: { ...meta, probe: texts.probe ?? `${meta.probe}_text` },
      }),
    }),
  );
  if (result.block === undefined) throw thrown(result.stopped);
  const { block, blockBytes, ...counts } = result;
  if (typeof block !== 'number') return { ...counts, block };
  return { ...counts, block: options.into!.subarray(block, block + blockBytes!) };
}

/** The header line that a file's bytes begin with; undefined while it is not whole. Throws CsvError where it is none. */
export function csvHeader(bytes: Buffer): Buffer | undefined {
  const found = call(() => addon.csvHeaderBytes(bytes));
  if (typeof found !== 'number') throw thrown(found);
  return found === 0 ? undefined : bytes.subarray(0, found);
}
