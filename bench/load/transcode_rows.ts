/** The rows that bench/runs/transcode.ts and its peers work on, and the clock they are timed by. */
import type { BlockMeta, ColumnSpec } from '../../native/index.js';

export const rowsPerBlock = 1000;
export const startUs = 1_790_000_000_000_000n;

export const columns: readonly ColumnSpec[] = [
  { name: 'at', type: 'timestamptz' },
  { name: 'id', type: 'int4' },
  { name: 'oid8', type: 'int8' },
  { name: 'label', type: 'text' },
  ...Array.from({ length: 4 }, (_, i): ColumnSpec => ({ name: `count${i}`, type: 'int8' })),
  ...Array.from({ length: 4 }, (_, i): ColumnSpec => ({ name: `gauge${i}`, type: 'float8' })),
];

export const meta: BlockMeta = {
  target: 7n,
  probe: 'bench_transcode',
  probeVersion: 1,
  kind: 'full',
  recordedAtUs: startUs,
  intervalUs: 1_000_000n,
};

export const label = (row: number) => `pg_stat_table_${String(row).padStart(6, '0')}`;
export const counter = (row: number, i: number) => row * 7919 + i * 1_000_003;
export const gauge = (row: number, i: number) => (row % 1000) / 7 + i;

export interface Moment {
  wall: bigint;
  cpu: NodeJS.CpuUsage;
}

export function now(): Moment {
  return { wall: process.hrtime.bigint(), cpu: process.cpuUsage() };
}

/** Seconds of the clock, and of the processor in all threads of this process: neither waits nor neighbours count. */
export function since(from: Moment): { wall: number; cpu: number } {
  const { user, system } = process.cpuUsage(from.cpu);
  return { wall: Number(process.hrtime.bigint() - from.wall) / 1e9, cpu: (user + system) / 1e6 };
}
