/**
 * How calls of a trace travel and are kept (probe sql_trace_events): what is left out of a row, and how it is told from what
 * is unknown. In and out: names and numbers; pure. The rows are made in native/addon/csv_events.h.
 *
 * A figure of `zeroColumns` that is NULL is 0 where its bit of the row's `zeros` is set, else unknown. A row without `query`
 * has the text of the row with the same trace, recorded_at and fingerprint that has `flags` sample, unless it has noText.
 * Rows of agents before probe version 2 have no `zeros` and no fingerprint: they leave nothing out.
 */

/** By their bit; bits are never used for something else. Held against the native list in native/csv.test.ts. */
export const zeroColumns: readonly string[] = [
  'flags',
  'parent',
  'level',
  'rows',
  'plan_us',
  'shared_hit',
  'shared_read',
  'shared_dirtied',
  'shared_written',
  'local_hit',
  'local_read',
  'local_dirtied',
  'local_written',
  'temp_read',
  'temp_written',
  'shared_read_us',
  'shared_write_us',
  'temp_read_us',
  'temp_write_us',
  'wal_records',
  'wal_fpi',
  'wal_bytes',
  'jit_us',
  'workers_planned',
  'workers_launched',
  'cpu_user_us',
  'cpu_system_us',
  'major_faults',
  'voluntary_switches',
  'involuntary_switches',
];

/** The bit of a figure in `zeros`; 0: it is never left out. */
export function zeroBit(column: string): number {
  const place = zeroColumns.indexOf(column);
  return place < 0 ? 0 : 1 << place;
}

/** Bits of flags that the making of these rows adds. */
export const eventFlags = { sample: 1 << 18, noText: 1 << 19 } as const;

/** What a file calls otherwise: names take 64 bytes each in a table's row, texts what they are long. */
export const eventNames: Readonly<Record<string, string>> = {
  database_name: 'database',
  user_name: 'username',
};
