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

/** Buckets of a latency histogram (native/core/histogram.h). */
export const histogramBuckets = 640;
