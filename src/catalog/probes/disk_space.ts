import { gauge, key, label } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

/** Room on each local file system. From /proc/self/mountinfo and statfs; network file systems are left out: they can hang. */
export const diskSpace: ProbeDefinition = {
  name: 'disk_space',
  title: 'Disk space',
  description:
    'Size, use and inodes of each local file system. Network file systems are not asked: a hung one would hang the agent.',
  version: 1,
  level: 'host',
  collector: 'os',
  columns: [
    key('mount', 'text', 'Mount point'),
    label('device', 'text', 'Device'),
    label('fs_type', 'text', 'File system'),
    label('read_only', 'bool', 'Read-only'),
    gauge('total_bytes', 'int8', 'bytes', 'Size'),
    gauge('used_bytes', 'int8', 'bytes', 'Used'),
    gauge('free_bytes', 'int8', 'bytes', 'Free'),
    gauge('available_bytes', 'int8', 'bytes', 'Available to users'),
    gauge('used_percent', 'float8', 'percent', 'Used share'),
    gauge('inodes', 'int8', 'count', 'Inodes'),
    gauge('inodes_free', 'int8', 'count', 'Free inodes'),
    gauge('inodes_used_percent', 'float8', 'percent', 'Used share of inodes'),
  ],
  mode: 'full',
  history: true,
  intervalMs: 10_000,
  retentionDays: 90,
  partition: 'month',
};
