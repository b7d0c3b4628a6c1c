/** Charts of a host: CPU, memory, load, disks, network. */
import { ChartPanel, type PlottedSeries } from './ChartPanel.js';

const gauge = (title: string, column: string, more: Partial<PlottedSeries> = {}): PlottedSeries => ({
  title,
  column,
  transform: 'value',
  combine: 'sum',
  ...more,
});

const wholeHost = (labels: Readonly<Record<string, string>>): boolean => labels.cpu === 'all';

export function CpuPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="CPU"
      target={target}
      probe="cpu_usage"
      unit="percent"
      least={100}
      columns={['busy_percent', 'iowait_percent', 'steal_percent']}
      series={[
        gauge('busy', 'busy_percent', { where: wholeHost, area: true }),
        gauge('I/O wait', 'iowait_percent', { where: wholeHost }),
        gauge('stolen', 'steal_percent', { where: wholeHost }),
      ]}
    />
  );
}

export function MemoryPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Memory"
      target={target}
      probe="memory_usage"
      unit="bytes"
      columns={['total_bytes', 'used_bytes', 'cached_bytes', 'swap_used_bytes']}
      series={[
        gauge('used', 'used_bytes', { area: true }),
        gauge('page cache', 'cached_bytes'),
        gauge('swap used', 'swap_used_bytes'),
        gauge('total', 'total_bytes', { colour: 7 }),
      ]}
    />
  );
}

export function LoadPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Load average"
      target={target}
      probe="load_average"
      unit="tasks"
      least={1}
      columns={['load_1m', 'load_5m', 'load_15m']}
      series={[
        gauge('1 min', 'load_1m', { area: true }),
        gauge('5 min', 'load_5m'),
        gauge('15 min', 'load_15m'),
      ]}
    />
  );
}

export function DiskBusyPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Disks busy"
      target={target}
      probe="disk_busy_info"
      unit="percent"
      least={100}
      columns={['busy_percent']}
      series={(set) =>
        [...set.tracks.values()]
          .map((track) => track.labels.device ?? '')
          .sort()
          .slice(0, 8)
          .map((device) => gauge(device, 'busy_percent', { where: (labels) => labels.device === device }))
      }
    />
  );
}

export function DiskTrafficPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Disk traffic"
      target={target}
      probe="disk_busy_info"
      unit="bytes/s"
      columns={['read_bytes_per_s', 'write_bytes_per_s']}
      series={[gauge('read', 'read_bytes_per_s'), gauge('written', 'write_bytes_per_s', { area: true })]}
    />
  );
}

export function NetworkPanel({ target }: { target: number }) {
  const outside = (labels: Readonly<Record<string, string>>): boolean => labels.interface !== 'lo';
  return (
    <ChartPanel
      title="Network"
      note="all interfaces but loopback"
      target={target}
      probe="network_statistics"
      unit="bytes/s"
      columns={['received_bytes_per_s', 'sent_bytes_per_s']}
      series={[
        gauge('received', 'received_bytes_per_s', { where: outside, area: true }),
        gauge('sent', 'sent_bytes_per_s', { where: outside }),
      ]}
    />
  );
}
