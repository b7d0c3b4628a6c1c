/**
 * Blocks and batches: PGCOPY binary to columnar blocks and back, verification, envelopes, deltas. The work is done in
 * the addon (native/addon); here are its types, argument checks and coded errors.
 *
 * Buffers handed in are read while a promise is open and must not be written meanwhile. Buffers handed out belong to
 * the caller. Nothing inside a batch or block is trusted: see native/addon/block_verify.h for what is checked.
 */
import { type ErrorKind, PemError } from '../src/base/errors.js';
import type { ColumnType } from '../src/wire/config.js';
import { loadAddon } from './addon.js';
import { rowsToPgcopy } from './rows.js';

export type BlockKind = 'full' | 'delta' | 'append';

export interface ColumnSpec {
  readonly name: string;
  readonly type: ColumnType;
}

/**
 * bigint or number for integers, timestamps (µs) and lsn; string for numeric (decimal text), inet (text), text and JSON;
 * string[] for text[]. interval is not for JavaScript's rows.
 */
export type CellValue = null | boolean | number | bigint | string | readonly string[];

export interface BlockMeta {
  target: bigint;
  probe: string;
  probeVersion: number;
  kind: BlockKind;
  scope?: string;
  recordedAtUs: bigint;
  intervalUs: bigint;
}

export interface BlockInfo extends BlockMeta {
  rows: number;
  /** The last rows, whose keys are gone. */
  tombstones: number;
  columns: ColumnSpec[];
  /** Places of columns with a NULL in a row that is no tombstone; none of them may be a key. */
  nullColumns: number[];
  bytes: number;
}

export interface BlockResult {
  block: Buffer;
  rows: number;
  /** Values cut (text) or made NULL (others) because they were longer than maxValueBytes. */
  cutValues: number;
  /** Values that U+FFFD was put into; JSON that PostgreSQL would not take back, made NULL. */
  badText: number;
}

/** All codes this room's errors have; docs/errors.md says more. */
export type CodecErrorCode =
  | 'codec_argument'
  | 'codec_columns'
  | 'codec_limit'
  | 'codec_version'
  | 'codec_bad_envelope'
  | 'codec_bad_crc'
  | 'codec_bad_block'
  | 'codec_bad_value'
  | 'codec_bad_pgcopy'
  | 'codec_bad_csv'
  | 'codec_duplicate_key';

export interface BlockLimits {
  readonly maxValueBytes?: number;
  readonly maxRows?: number;
}

/** Leading columns that the block's header or the caller supplies; 'int8' takes one value per block. */
export type PrefixColumn =
  | { kind: 'recorded_at' }
  | { kind: 'target' }
  | { kind: 'gone' }
  | { kind: 'int8'; values: BigInt64Array };

export interface EncodeOptions {
  columns: readonly ColumnSpec[];
  prefix: readonly PrefixColumn[];
  suffix?: readonly PrefixColumn[];
  tombstones?: 'include' | 'skip';
  header?: boolean;
  trailer?: boolean;
}

export interface BatchEnvelope {
  agentId: number;
  /** A uuid as text. */
  boot: string;
  seq: bigint;
  createdAtUs: bigint;
}

export interface CodecFault {
  code: CodecErrorCode;
  message: string;
}

export interface BatchInfo {
  envelope?: BatchEnvelope;
  crc?: number;
  /** The envelope is bad: there are no blocks. */
  error?: CodecFault;
  /** bytes is a view into the batch. */
  blocks: { bytes: Buffer; info?: BlockInfo; error?: CodecFault }[];
}

interface Shape {
  probe: string;
  scope?: string;
  columns: ColumnSpec[];
  nullColumns: number[];
}

/** Blocks as the addon tells of them: nine numbers each (see infoAt), and a shape that blocks share, or a fault. */
interface RawBlocks {
  words: BigInt64Array;
  found: (Shape | CodecFault)[];
}

/** Batches: five numbers each, and the boot or what is wrong with the envelope; their blocks one behind another. */
interface RawBatches extends RawBlocks {
  heads: BigInt64Array;
  boots: (string | CodecFault)[];
}

const wordsPerBatch = 5;
const wordsPerBlock = 9;
const kinds: readonly BlockKind[] = ['full', 'delta', 'append'];

/** The lower halves of the words, where sizes and counts are: a bigint for each would cost more than checking a block. */
const halvesOf = (words: BigInt64Array) => new Uint32Array(words.buffer, words.byteOffset, words.length * 2);

function infoAt(words: BigInt64Array, halves: Uint32Array, block: number, shape: Shape): BlockInfo {
  const at = block * wordsPerBlock;
  const info: BlockInfo = {
    target: words[at + 2]!,
    probe: shape.probe,
    probeVersion: halves[2 * at + 14]!,
    kind: kinds[halves[2 * at + 16]! - 1]!,
    recordedAtUs: words[at + 3]!,
    intervalUs: words[at + 4]!,
    rows: halves[2 * at + 10]!,
    tombstones: halves[2 * at + 12]!,
    columns: shape.columns,
    nullColumns: shape.nullColumns,
    bytes: halves[2 * at + 2]!,
  };
  if (shape.scope !== undefined) info.scope = shape.scope;
  return info;
}

interface RawDelta {
  diff(block: Buffer, forceFull: boolean): Buffer | null;
  reset(): void;
  readonly keys: number;
}

interface Addon {
  pgcopyToBlock(
    meta: BlockMeta,
    columns: readonly ColumnSpec[],
    pieces: readonly Buffer[],
    limits?: BlockLimits,
  ): Promise<BlockResult>;
  pgcopyToBlockSync(
    meta: BlockMeta,
    columns: readonly ColumnSpec[],
    pieces: readonly Buffer[],
    limits?: BlockLimits,
  ): BlockResult;
  blocksToPgcopy(blocks: readonly Buffer[], options: EncodeOptions): Promise<Buffer>;
  encodeBatch(
    agentId: number,
    boot: Buffer,
    seq: bigint,
    createdAtUs: bigint,
    blocks: readonly Buffer[],
  ): Buffer;
  verifyBatches(batches: readonly Buffer[]): Promise<RawBatches>;
  blockInfo(block: Buffer): RawBlocks;
  releaseStream(stream: Buffer): void;
  crc32c(data: Buffer, seed: number): number;
  DeltaState: new (columns: readonly ColumnSpec[], keyColumns: readonly number[]) => RawDelta;
}

const addon = loadAddon() as Addon;

/** What came from outside and is damaged is corrupt; what the caller asked wrongly is refused. */
function kindOf(code: string): ErrorKind {
  return code.startsWith('codec_bad_') || code === 'codec_version' ? 'corrupt' : 'refused';
}

function coded(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return error;
  return error.code.startsWith('codec_')
    ? new PemError(error.code, error.message, kindOf(error.code))
    : error;
}

/** The same for work that is done at once. */
export function call<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw coded(error);
  }
}

/** Work in the addon whose errors get their kind; csv.ts shares it. */
export async function callAsync<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw coded(error);
  }
}

/**
 * A block of rows made in JavaScript (a few hundred cells). At once, on the calling thread.
 * Throws PemError codec_* that names column and row.
 */
export function blockFromRows(
  meta: BlockMeta,
  columns: readonly ColumnSpec[],
  rows: readonly (readonly CellValue[])[],
): Buffer {
  return call(() => addon.pgcopyToBlockSync(meta, columns, [rowsToPgcopy(columns, rows)]).block);
}

/** A complete PGCOPY stream (header to trailer, in one or more pieces) -> block, off the main thread. */
export function pgcopyToBlock(
  meta: BlockMeta,
  columns: readonly ColumnSpec[],
  pgcopy: Buffer | readonly Buffer[],
  limits?: BlockLimits,
): Promise<BlockResult> {
  return callAsync(() =>
    addon.pgcopyToBlock(meta, columns, Buffer.isBuffer(pgcopy) ? [pgcopy] : pgcopy, limits),
  );
}

/**
 * Blocks of one probe with the same columns -> one PGCOPY stream, off the main thread. The blocks' structure is checked
 * again (nothing is read out of bounds), their values are not: they come from verifyBatches.
 */
export function blocksToPgcopy(blocks: readonly Buffer[], options: EncodeOptions): Promise<Buffer> {
  return callAsync(() => addon.blocksToPgcopy(blocks, options));
}

/** Envelope, checksum and blocks as the bytes of one batch. Throws codec_limit above 4 MiB. */
export function encodeBatch(envelope: BatchEnvelope, blocks: readonly Buffer[]): Buffer {
  return call(() =>
    addon.encodeBatch(envelope.agentId, uuidBytes(envelope.boot), envelope.seq, envelope.createdAtUs, blocks),
  );
}

/**
 * Verifies envelopes, checksums and every block down to each value (all that could abort a COPY), off the main thread.
 * A bad envelope sets `error`; a bad block sets its own, the others stay usable. Never throws for what is in a batch.
 */
export async function verifyBatches(batches: readonly Buffer[]): Promise<BatchInfo[]> {
  const raw = await callAsync(() => addon.verifyBatches(batches));
  const heads = halvesOf(raw.heads);
  const words = halvesOf(raw.words);
  let block = 0;
  return raw.boots.map((boot, i) => {
    if (typeof boot !== 'string') return { error: boot, blocks: [] };
    const batch = batches[i]!;
    const head = i * wordsPerBatch;
    const blocks: BatchInfo['blocks'] = [];
    for (let left = heads[2 * head + 8]!; left > 0; left -= 1, block += 1) {
      const offset = words[2 * block * wordsPerBlock]!;
      const bytes = batch.subarray(offset, offset + words[2 * block * wordsPerBlock + 2]!);
      const found = raw.found[block]!;
      blocks.push(
        'code' in found ? { bytes, error: found } : { bytes, info: infoAt(raw.words, words, block, found) },
      );
    }
    return {
      envelope: {
        agentId: heads[2 * head]!,
        boot,
        seq: raw.heads[head + 1]!,
        createdAtUs: raw.heads[head + 2]!,
      },
      crc: heads[2 * head + 6]!,
      blocks,
    };
  });
}

/** What a block's header says; checks its structure, not its values. */
export function blockInfo(block: Buffer): BlockInfo {
  const { words, found } = call(() => addon.blockInfo(block));
  return infoAt(words, halvesOf(words), 0, found[0] as Shape);
}

/**
 * Gives the memory of a stream (blocksToPgcopy, copyOutRaw, copyOutAligned) back at once instead of when the
 * collector comes by: for streams of megabytes the first touch of fresh memory is dearer than the work on it. The Buffer
 * and all views of it are empty afterwards. Throws codec_argument for any other Buffer.
 */
export function releaseStream(stream: Buffer): void {
  call(() => addon.releaseStream(stream));
}

/** CRC-32C; seed continues an earlier one. */
export function crc32c(data: Buffer, seed = 0): number {
  return call(() => addon.crc32c(data, seed));
}

/** Remembers the last full block of one (target, probe, scope) by hashes and says what changed. */
export class DeltaState {
  readonly #state: RawDelta;

  constructor(columns: readonly ColumnSpec[], keyColumns: readonly number[]) {
    this.#state = call(() => new addon.DeltaState(columns, keyColumns));
  }

  /**
   * Full block in; out: the same Buffer when it is the first or forceFull, else a delta block with changed rows and
   * tombstones, or null when nothing changed. The state moves on, except when this throws.
   */
  diff(fullBlock: Buffer, options?: { forceFull?: boolean }): Buffer | null {
    return call(() => this.#state.diff(fullBlock, options?.forceFull === true));
  }

  /** Forgets: the next block goes out whole. */
  reset(): void {
    this.#state.reset();
  }

  get keys(): number {
    return this.#state.keys;
  }
}

const uuidForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

function uuidBytes(text: string): Buffer {
  if (!uuidForm.test(text))
    throw new PemError('codec_argument', 'boot must be the text of a uuid', 'refused');
  return Buffer.from(text.replaceAll('-', ''), 'hex');
}
