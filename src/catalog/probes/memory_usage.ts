import { counter, gauge } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

/** Memory and swap of the host. From /proc/meminfo and /proc/vmstat. */
export const memoryUsage: ProbeDefinition = {
  name: 'memory_usage',
  title: 'Memory usage',
  description:
    'Memory and swap of the host: used, available, cached, dirty, committed; swap traffic and out-of-memory kills.',
  version: 1,
  level: 'host',
  collector: 'os',
  columns: [
    gauge('total_bytes', 'int8', 'bytes', 'Total'),
    gauge('used_bytes', 'int8', 'bytes', 'Used (total less available)'),
    gauge('available_bytes', 'int8', 'bytes', 'Available'),
    gauge('free_bytes', 'int8', 'bytes', 'Free'),
    gauge('buffers_bytes', 'int8', 'bytes', 'Buffers'),
    gauge('cached_bytes', 'int8', 'bytes', 'Page cache'),
    gauge('shared_bytes', 'int8', 'bytes', 'Shared'),
    gauge('slab_bytes', 'int8', 'bytes', 'Kernel slab'),
    gauge('page_tables_bytes', 'int8', 'bytes', 'Page tables'),
    gauge('dirty_bytes', 'int8', 'bytes', 'Dirty'),
    gauge('writeback_bytes', 'int8', 'bytes', 'Writeback'),
    gauge('committed_bytes', 'int8', 'bytes', 'Committed'),
    gauge('commit_limit_bytes', 'int8', 'bytes', 'Commit limit'),
    gauge('huge_total_bytes', 'int8', 'bytes', 'Huge pages'),
    gauge('huge_free_bytes', 'int8', 'bytes', 'Free huge pages'),
    gauge('swap_total_bytes', 'int8', 'bytes', 'Swap'),
    gauge('swap_used_bytes', 'int8', 'bytes', 'Swap used'),
    counter('swapped_in_bytes', 'int8', 'bytes', 'Swapped in'),
    counter('swapped_out_bytes', 'int8', 'bytes', 'Swapped out'),
    counter('oom_kills', 'int8', 'count', 'Out-of-memory kills'),
  ],
  mode: 'full',
  history: true,
  intervalMs: 1000,
  retentionDays: 30,
  partition: 'day',
};
