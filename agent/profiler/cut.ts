/**
 * Cuts pieces of trace files at a moment: what ended before it, and the rest. In: pieces of whole rows. Out: views into them.
 * Rows of a file are in the order of their ends; where a clock was set back, the first row that is not before the moment is
 * where the rest begins.
 */
import { type BlockMeta, type CsvPiece, csvToBlock } from '../../native/index.js';
import { columnOf, readBlock } from '../../src/wire/index.js';

const meta: BlockMeta = {
  target: 1n,
  probe: 'cut',
  probeVersion: 1,
  kind: 'append',
  recordedAtUs: 0n,
  intervalUs: 1n,
};

/** @param header the header line that pieces from the middle of a file get */
export async function cutAt<Piece extends CsvPiece>(
  pieces: readonly Piece[],
  us: number,
  header: Buffer,
): Promise<{ head: Piece[]; tail: Piece[] }> {
  const head: Piece[] = [];
  const tail: Piece[] = [];
  for (const piece of pieces) {
    const begin = piece.fromBytes ?? 0;
    const at = (await placeOf(piece, BigInt(us))) - begin;
    if (at > 0) head.push({ ...piece, bytes: piece.bytes.subarray(0, at) });
    if (at < piece.bytes.length) {
      tail.push({ ...piece, bytes: piece.bytes.subarray(at), fromBytes: begin + at, header });
    }
  }
  return { head, tail };
}

/** Where in its file the first row begins that ended at that moment or later; the piece's end where there is none. */
async function placeOf(piece: CsvPiece, us: bigint): Promise<number> {
  const { block } = await csvToBlock(meta, piece, {
    columns: ['end_time'],
    rowPlaces: true,
    skipBadRows: true,
  });
  const rows = readBlock(block);
  const ends = (columnOf(rows, 'end_time')?.values ?? []) as BigInt64Array;
  const places = (columnOf(rows, 'row_at')?.values ?? []) as BigInt64Array;
  for (let row = 0; row < ends.length; row++) if (ends[row]! >= us) return Number(places[row]);
  return (piece.fromBytes ?? 0) + piece.bytes.length;
}
