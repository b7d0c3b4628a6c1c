/** Memory and swap, from /proc/meminfo and /proc/vmstat. */
import { readFileSync } from 'node:fs';
import type { CollectedRow, Collector } from './collector.js';

/** 'Name: 12 kB' → bytes, 'Name: 12' → number. */
export function parseMeminfo(text: string): Map<string, number> {
  const result = new Map<string, number>();
  for (const match of text.matchAll(/^([^:\n]+):\s+(\d+)( kB)?$/gm))
    result.set(match[1] ?? '', Number(match[2]) * (match[3] === undefined ? 1 : 1024));
  return result;
}

/** 'name 12' lines. */
export function parseVmstat(text: string): Map<string, number> {
  const result = new Map<string, number>();
  for (const match of text.matchAll(/^(\w+) (\d+)$/gm)) result.set(match[1] ?? '', Number(match[2]));
  return result;
}

const atPagesz = 6n;

/** The page size, from the auxiliary vector that the kernel gave this process. */
export function parsePageSize(auxv: Buffer): number {
  for (let offset = 0; offset + 16 <= auxv.length; offset += 16)
    if (auxv.readBigUInt64LE(offset) === atPagesz) return Number(auxv.readBigUInt64LE(offset + 8));
  return 4096;
}

export function memoryRow(
  meminfo: Map<string, number>,
  vmstat: Map<string, number>,
  pageSize: number,
): CollectedRow {
  const bytes = (name: string): number | null => meminfo.get(name) ?? null;
  const total = meminfo.get('MemTotal') ?? 0;
  const hugePage = meminfo.get('Hugepagesize') ?? 0;
  const pages = (name: string): number | null => {
    const count = vmstat.get(name);
    return count === undefined ? null : count * pageSize;
  };
  return {
    total_bytes: total,
    used_bytes: total - (meminfo.get('MemAvailable') ?? meminfo.get('MemFree') ?? 0),
    available_bytes: bytes('MemAvailable'),
    free_bytes: bytes('MemFree'),
    buffers_bytes: bytes('Buffers'),
    cached_bytes: bytes('Cached'),
    shared_bytes: bytes('Shmem'),
    slab_bytes: bytes('Slab'),
    page_tables_bytes: bytes('PageTables'),
    dirty_bytes: bytes('Dirty'),
    writeback_bytes: bytes('Writeback'),
    committed_bytes: bytes('Committed_AS'),
    commit_limit_bytes: bytes('CommitLimit'),
    huge_total_bytes: (meminfo.get('HugePages_Total') ?? 0) * hugePage,
    huge_free_bytes: (meminfo.get('HugePages_Free') ?? 0) * hugePage,
    swap_total_bytes: bytes('SwapTotal'),
    swap_used_bytes: (meminfo.get('SwapTotal') ?? 0) - (meminfo.get('SwapFree') ?? 0),
    swapped_in_bytes: pages('pswpin'),
    swapped_out_bytes: pages('pswpout'),
    oom_kills: vmstat.get('oom_kill') ?? null,
  };
}

export function memoryUsage(): Collector {
  const pageSize = parsePageSize(readFileSync('/proc/self/auxv'));
  return async () => [
    memoryRow(
      parseMeminfo(readFileSync('/proc/meminfo', 'utf8')),
      parseVmstat(readFileSync('/proc/vmstat', 'utf8')),
      pageSize,
    ),
  ];
}
