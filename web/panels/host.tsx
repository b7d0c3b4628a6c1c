/** Charts of a host: CPU, memory, load, disks, network. */
import { ChartPanel, plot } from './ChartPanel.js';

export function CpuPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="CPU"
      target={target}
      probe="cpu_usage"
      unit="percent"
      least={100}
      columns={['busy_percent', 'iowait_percent', 'steal_percent']}
      only="cpu:all"
      series={[
        plot('busy', 'busy_percent', { area: true }),
        plot('I/O wait', 'iowait_percent'),
        plot('stolen', 'steal_percent'),
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
        plot('used', 'used_bytes', { area: true }),
        plot('page cache', 'cached_bytes'),
        plot('swap used', 'swap_used_bytes'),
        plot('total', 'total_bytes', { colour: 7 }),
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
        plot('1 min', 'load_1m', { area: true }),
        plot('5 min', 'load_5m'),
        plot('15 min', 'load_15m'),
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
          .map((device) => plot(device, 'busy_percent', { where: (labels) => labels.device === device }))
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
      series={[plot('read', 'read_bytes_per_s'), plot('written', 'write_bytes_per_s', { area: true })]}
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
        plot('received', 'received_bytes_per_s', { where: outside, area: true }),
        plot('sent', 'sent_bytes_per_s', { where: outside }),
      ]}
    />
  );
}
