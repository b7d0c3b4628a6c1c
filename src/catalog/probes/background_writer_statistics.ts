import { counter, label } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

/** 13 to 16: all in pg_stat_bgwriter. */
const before17 = `SELECT checkpoints_timed, checkpoints_req AS checkpoints_requested, NULL::int8 AS checkpoints_done,
       checkpoint_write_time AS checkpoint_write_ms, checkpoint_sync_time AS checkpoint_sync_ms,
       NULL::int8 AS restartpoints_timed, NULL::int8 AS restartpoints_requested, NULL::int8 AS restartpoints_done,
       buffers_checkpoint, buffers_clean, maxwritten_clean, buffers_backend, buffers_backend_fsync, buffers_alloc, stats_reset
  FROM pg_stat_bgwriter`;

/**
 * From 17 on checkpoints have a view of their own, and what backends wrote stands in pg_stat_io: writes and extensions
 * of relations by all but background writer and checkpointer, which is what buffers_backend counted before.
 */
const from17 = (done: string, written: string): string =>
  `SELECT k.num_timed AS checkpoints_timed, k.num_requested AS checkpoints_requested, ${done} AS checkpoints_done,
       k.write_time AS checkpoint_write_ms, k.sync_time AS checkpoint_sync_ms,
       k.restartpoints_timed, k.restartpoints_req AS restartpoints_requested, k.restartpoints_done,
       k.buffers_written AS buffers_checkpoint, b.buffers_clean, b.maxwritten_clean,
       i.buffers_backend, i.buffers_backend_fsync, b.buffers_alloc, b.stats_reset
  FROM pg_stat_checkpointer k, pg_stat_bgwriter b,
       (SELECT sum(${written})::int8 AS buffers_backend, sum(coalesce(fsyncs, 0))::int8 AS buffers_backend_fsync
          FROM pg_stat_io
         WHERE object = 'relation' AND backend_type NOT IN ('background writer', 'checkpointer')) i`;

/** Checkpoints, background writer and what backends had to write themselves; one row a server. */
export const backgroundWriterStatistics: ProbeDefinition = {
  name: 'background_writer_statistics',
  title: 'Background writer',
  description:
    'Checkpoints, buffers written by checkpoints, by the background writer and by backends, buffers allocated.',
  version: 1,
  level: 'server',
  collector: 'sql',
  columns: [
    counter('checkpoints_timed', 'int8', 'count', 'Timed checkpoints'),
    counter('checkpoints_requested', 'int8', 'count', 'Requested checkpoints'),
    counter('checkpoints_done', 'int8', 'count', 'Checkpoints completed (18 and later)'),
    counter('checkpoint_write_ms', 'float8', 'ms', 'Time writing in checkpoints'),
    counter('checkpoint_sync_ms', 'float8', 'ms', 'Time syncing in checkpoints'),
    counter('restartpoints_timed', 'int8', 'count', 'Timed restartpoints (17 and later)'),
    counter('restartpoints_requested', 'int8', 'count', 'Requested restartpoints (17 and later)'),
    counter('restartpoints_done', 'int8', 'count', 'Restartpoints completed (17 and later)'),
    counter('buffers_checkpoint', 'int8', 'blocks', 'Written by checkpoints'),
    counter('buffers_clean', 'int8', 'blocks', 'Written by the background writer'),
    counter('maxwritten_clean', 'int8', 'count', 'Background writer stopped at its limit'),
    counter('buffers_backend', 'int8', 'blocks', 'Written by backends'),
    counter('buffers_backend_fsync', 'int8', 'count', 'Syncs by backends'),
    counter('buffers_alloc', 'int8', 'blocks', 'Buffers allocated'),
    label('stats_reset', 'timestamptz', 'Statistics reset'),
  ],
  sql: [
    { minVersion: 130000, text: before17 },
    {
      minVersion: 170000,
      text: from17('NULL::int8', 'coalesce(writes, 0) + coalesce(extends, 0)'),
    },
    {
      minVersion: 180000,
      text: from17(
        'k.num_done',
        "(coalesce(write_bytes, 0) + coalesce(extend_bytes, 0)) / current_setting('block_size')::int8",
      ),
    },
  ],
  mode: 'full',
  history: true,
  intervalMs: 5000,
  retentionDays: 30,
  partition: 'day',
};
