/** Lists and sizes of the profiler that agent, server, command line and page share. Held against native code by a test. */

/** Kinds of commands that a trace and a filter can be limited to. */
export const traceKinds = [
  'select',
  'insert',
  'update',
  'delete',
  'merge',
  'ddl',
  'utility',
  'copy',
  'txn',
] as const;
export type TraceKind = (typeof traceKinds)[number];

/** What a run of a trace has taken so far, as its follower counts and the traced server says. Times in µs since 1970. */
export interface RunFigures {
  readonly run: string;
  readonly serverId: number | null;
  readonly untilUs: number | null;
  readonly stopReason: string | null;
  readonly rowsRead: number;
  readonly bytesRead: number;
  readonly eventsSent: number;
  readonly eventsDropped: number;
  readonly rowsSkipped: number;
  readonly badRows: number;
  readonly repeatedRows: number;
  /** What the server has and the follower has not read yet. */
  readonly lagBytes: number;
  readonly serverRows: number | null;
  readonly serverBytes: number | null;
  readonly serverLostRows: number | null;
  readonly serverLostReason: string | null;
}

/** Buckets of a latency histogram (native/core/histogram.h). */
export const histogramBuckets = 640;
