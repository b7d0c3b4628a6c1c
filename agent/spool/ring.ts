/**
 * A segment of the ring as the spool remembers it, and how one is found again at start. In: a file. Out: a Segment, or
 * null with the trouble reported and the file set aside. Corruption never stops the start.
 */
import type { SpoolFile, SpoolFs } from './fs.js';
import {
  bootSeed,
  decodeSegmentHeader,
  type RecordEntry,
  readSeal,
  SpoolProblem,
  scanSegment,
  sealBytes,
  segmentHeaderBytes,
  segmentName,
  summarize,
} from './segment.js';

export interface Segment {
  readonly name: string;
  readonly number: number;
  readonly boot: string;
  readonly seed: number;
  readonly firstSeq: number;
  lastSeq: number;
  batches: number;
  rows: number;
  payloadBytes: number;
  readonly oldestUs: number;
  newestUs: number;
  /** End of what is written, as a position in the file. */
  bytes: number;
  /** Where each batch lies; kept for the active segment and the one that is being read, else null. */
  index: RecordEntry[] | null;
  /** Open while batches are added or not yet synced. */
  file: SpoolFile | null;
  /** Batches written and not synced, oldest first. */
  unsynced: { seq: number; atMs: number }[];
  /** The file's name is on disk. */
  named: boolean;
}

export type ReportProblem = (problem: SpoolProblem) => void;

export const segmentPattern = /^([0-9a-f]{16})\.seg$/;

/** Takes one file found at start into the ring, or sets it aside; counts what is torn or corrupt in it. */
export function recallSegment(
  fs: SpoolFs,
  agentId: number,
  entry: { name: string; bytes: number },
  nowMs: number,
  report: ReportProblem,
  counts: { tornBytes: number; corrupt: number },
): Segment | null {
  const { name } = entry;
  const number = Number.parseInt(segmentPattern.exec(name)?.[1] ?? '', 16);
  try {
    if (Number.isNaN(number)) throw new SpoolProblem('spool_junk', name, -1, 'no file of the spool');
    if (entry.bytes === 0) {
      fs.remove(name); // Made by a run that was killed before it wrote the header.
      return null;
    }
    const header = decodeSegmentHeader(name, fs.readNow(name, 0, segmentHeaderBytes));
    if (header.agentId !== agentId) {
      throw new SpoolProblem(
        'spool_junk',
        name,
        12,
        `belongs to agent ${header.agentId}, not to agent ${agentId}`,
      );
    }
    if (segmentName(header.number) !== name) {
      throw new SpoolProblem('spool_corrupt', name, 48, `says that it is segment ${header.number}`);
    }
    const seed = bootSeed(header.boot);
    const tail = fs.readNow(name, Math.max(0, entry.bytes - sealBytes), sealBytes);
    const seal = readSeal(tail, seed);
    let summary = seal;
    if (summary === null) {
      const scan = scanSegment(fs.readNow(name, 0, entry.bytes), seed);
      counts.tornBytes += scan.tornBytes;
      reportCorrupt(name, scan.corrupt, report, counts);
      summary = summarize(scan.records);
    }
    if (summary.batches === 0) {
      fs.remove(name);
      return null;
    }
    return {
      name,
      number,
      boot: header.boot,
      seed,
      firstSeq: header.firstSeq,
      lastSeq: summary.lastSeq,
      batches: summary.batches,
      rows: summary.rows,
      payloadBytes: summary.payloadBytes,
      oldestUs: header.createdAtUs,
      newestUs: summary.newestUs,
      bytes: entry.bytes,
      index: null,
      file: null,
      // Whether the earlier run synced it is not known; one sync of a clean file costs nothing.
      unsynced: [{ seq: summary.lastSeq, atMs: nowMs }],
      named: false,
    };
  } catch (error) {
    const problem =
      error instanceof SpoolProblem
        ? error
        : new SpoolProblem('spool_read', name, -1, 'cannot be read', { cause: error });
    counts.corrupt += 1;
    report(problem);
    setAside(fs, name, report);
    return null;
  }
}

export function reportCorrupt(
  name: string,
  corrupt: readonly { offset: number; bytes: number }[],
  report: ReportProblem,
  counts: { corrupt: number },
): void {
  for (const hole of corrupt) {
    counts.corrupt += 1;
    report(new SpoolProblem('spool_corrupt', name, hole.offset, `${hole.bytes} bytes are no valid batch`));
  }
}

export function setAside(fs: SpoolFs, name: string, report: ReportProblem): void {
  try {
    fs.setAside(name);
  } catch (cause) {
    report(new SpoolProblem('spool_write', name, -1, 'cannot be set aside', { cause }));
  }
}
