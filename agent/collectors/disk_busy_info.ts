/** Activity of whole disks, from /proc/diskstats. */
import { readdirSync, readFileSync } from 'node:fs';
import { type CollectedRow, type Collector, growth, rate } from './collector.js';

/** The kernel counts in sectors of 512 bytes, whatever the disk's own are. */
const sectorBytes = 512;

export interface DiskSample {
  readonly reads: number;
  readonly sectorsRead: number;
  readonly readMs: number;
  readonly writes: number;
  readonly sectorsWritten: number;
  readonly writeMs: number;
  readonly busyMs: number;
  readonly queueMs: number;
  /** Kernel 5.5 and later. */
  readonly flushes: number | null;
  readonly flushMs: number | null;
}

/** Devices named in `whole`, that ever did anything; loop, memory and compressed-memory devices are left out. */
export function parseDiskstats(text: string, whole: ReadonlySet<string>): Map<string, DiskSample> {
  const result = new Map<string, DiskSample>();
  for (const line of text.split('\n')) {
    const fields = line.trim().split(/\s+/);
    const name = fields[2];
    if (name === undefined || !whole.has(name) || /^(loop|ram|zram)\d/.test(name)) continue;
    const number = (index: number): number => Number(fields[index] ?? 0);
    if (number(3) === 0 && number(7) === 0) continue;
    result.set(name, {
      reads: number(3),
      sectorsRead: number(5),
      readMs: number(6),
      writes: number(7),
      sectorsWritten: number(9),
      writeMs: number(10),
      busyMs: number(12),
      queueMs: number(13),
      flushes: fields[18] === undefined ? null : number(18),
      flushMs: fields[19] === undefined ? null : number(19),
    });
  }
  return result;
}

/** Milliseconds an operation took; null when there was none, or a counter went back. */
function perOperation(ms: number | null, operations: number | null): number | null {
  return ms === null || operations === null || operations === 0 ? null : ms / operations;
}

/** A disk that was not there before has its counters but no rates. */
export function diskRow(
  device: string,
  now: DiskSample,
  before: DiskSample | undefined,
  elapsedMs: number,
): CollectedRow {
  const perSecond = (pick: (sample: DiskSample) => number): number | null =>
    before === undefined ? null : rate(pick(now), pick(before), elapsedMs);
  const grown = (pick: (sample: DiskSample) => number | null): number | null =>
    before === undefined ? null : growth(pick(now) ?? 0, pick(before) ?? 0);
  const scaled = (value: number | null, factor: number): number | null =>
    value === null ? null : value * factor;
  const busy = scaled(
    perSecond((sample) => sample.busyMs),
    0.1,
  );
  return {
    device,
    // The kernel's clock and ours tick apart by a hair.
    busy_percent: busy === null ? null : Math.min(100, busy),
    reads_per_s: perSecond((sample) => sample.reads),
    writes_per_s: perSecond((sample) => sample.writes),
    read_bytes_per_s: scaled(
      perSecond((sample) => sample.sectorsRead),
      sectorBytes,
    ),
    write_bytes_per_s: scaled(
      perSecond((sample) => sample.sectorsWritten),
      sectorBytes,
    ),
    read_await_ms: perOperation(
      grown((sample) => sample.readMs),
      grown((sample) => sample.reads),
    ),
    write_await_ms: perOperation(
      grown((sample) => sample.writeMs),
      grown((sample) => sample.writes),
    ),
    flush_await_ms: perOperation(
      grown((sample) => sample.flushMs),
      grown((sample) => sample.flushes),
    ),
    queue_length: scaled(
      perSecond((sample) => sample.queueMs),
      0.001,
    ),
    read_bytes: now.sectorsRead * sectorBytes,
    written_bytes: now.sectorsWritten * sectorBytes,
  };
}

export function diskBusyInfo(file = '/proc/diskstats', blockFolder = '/sys/block'): Collector {
  let before = new Map<string, DiskSample>();
  let beforeMs = 0;
  return async (nowMs) => {
    // sysfs writes '/' in names as '!'; partitions have no entry of their own there.
    const whole = new Set(readdirSync(blockFolder).map((name) => name.replaceAll('!', '/')));
    const now = parseDiskstats(readFileSync(file, 'utf8'), whole);
    const rows = [...now].map(([device, sample]) =>
      diskRow(device, sample, before.get(device), nowMs - beforeMs),
    );
    before = now;
    beforeMs = nowMs;
    return rows;
  };
}
