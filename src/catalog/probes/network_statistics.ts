import { counter, gauge, key, label } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

/** Traffic of each network interface. From /proc/net/dev and /sys/class/net. */
export const networkStatistics: ProbeDefinition = {
  name: 'network_statistics',
  title: 'Network statistics',
  description: 'Bytes, packets, errors and drops of each network interface, its address and link speed.',
  version: 1,
  level: 'host',
  collector: 'os',
  columns: [
    key('interface', 'text', 'Interface'),
    label('address', 'text', 'Address'),
    gauge('link_speed_mbit', 'int4', 'Mbit/s', 'Link speed'),
    gauge('received_bytes_per_s', 'float8', 'bytes per second', 'Received'),
    gauge('sent_bytes_per_s', 'float8', 'bytes per second', 'Sent'),
    counter('received_bytes', 'int8', 'bytes', 'Bytes received'),
    counter('sent_bytes', 'int8', 'bytes', 'Bytes sent'),
    counter('received_packets', 'int8', 'count', 'Packets received'),
    counter('sent_packets', 'int8', 'count', 'Packets sent'),
    counter('receive_errors', 'int8', 'count', 'Receive errors'),
    counter('send_errors', 'int8', 'count', 'Send errors'),
    counter('receive_drops', 'int8', 'count', 'Dropped on receipt'),
    counter('send_drops', 'int8', 'count', 'Dropped on sending'),
  ],
  mode: 'full',
  history: true,
  intervalMs: 1000,
  retentionDays: 30,
  partition: 'day',
};
