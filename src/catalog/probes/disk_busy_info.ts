import { counter, gauge, key } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

/** Activity of each disk since the run before. From /proc/diskstats; partitions, loop and memory devices are left out. */
export const diskBusyInfo: ProbeDefinition = {
  name: 'disk_busy_info',
  title: 'Disk activity',
  description: 'Busy time, operations, bytes and waiting time of each disk.',
  version: 1,
  level: 'host',
  collector: 'os',
  columns: [
    key('device', 'text', 'Device'),
    gauge('busy_percent', 'float8', 'percent', 'Busy'),
    gauge('reads_per_s', 'float8', 'per second', 'Reads'),
    gauge('writes_per_s', 'float8', 'per second', 'Writes'),
    gauge('read_bytes_per_s', 'float8', 'bytes per second', 'Read'),
    gauge('write_bytes_per_s', 'float8', 'bytes per second', 'Written'),
    gauge('read_await_ms', 'float8', 'ms', 'Time of a read'),
    gauge('write_await_ms', 'float8', 'ms', 'Time of a write'),
    gauge('flush_await_ms', 'float8', 'ms', 'Time of a flush'),
    gauge('queue_length', 'float8', 'count', 'Requests in flight'),
    counter('read_bytes', 'int8', 'bytes', 'Bytes read'),
    counter('written_bytes', 'int8', 'bytes', 'Bytes written'),
  ],
  mode: 'full',
  history: true,
  intervalMs: 1000,
  retentionDays: 30,
  partition: 'day',
};
