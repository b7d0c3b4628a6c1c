/** What the system does to itself: ingest lag and rate, spools, drops. */
import { ChartPanel, type PlottedSeries, plot, plotRate } from './ChartPanel.js';

// Several ingesters or agents: the worst one counts.
const worst = (title: string, column: string, more: Partial<PlottedSeries> = {}): PlottedSeries =>
  plot(title, column, { combine: 'max', ...more });

export function IngestLagPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Ingest lag"
      target={target}
      probe="ingest_self"
      unit="ms"
      columns={['lag_ms', 'cycle_ms']}
      series={[worst('oldest batch waiting', 'lag_ms', { area: true }), worst('one cycle', 'cycle_ms')]}
    />
  );
}

export function IngestRatePanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Rows ingested"
      target={target}
      probe="ingest_self"
      unit="rows/s"
      columns={['rows']}
      series={[plotRate('rows', 'rows', { area: true, colour: 2 })]}
    />
  );
}

export function InboxPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Inbox"
      target={target}
      probe="ingest_self"
      unit="bytes"
      columns={['inbox_bytes']}
      series={[worst('waiting', 'inbox_bytes', { area: true, colour: 3 })]}
    />
  );
}

export function SpoolPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Spool"
      target={target}
      probe="agent_self"
      unit="bytes"
      columns={['spool_bytes']}
      series={[worst('on disk', 'spool_bytes', { area: true })]}
    />
  );
}

export function AgentLagPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Oldest batch not yet received"
      target={target}
      probe="agent_self"
      unit="ms"
      columns={['lag_ms', 'loop_delay_ms']}
      series={[worst('age', 'lag_ms', { area: true }), worst('event loop delay', 'loop_delay_ms')]}
    />
  );
}

export function AgentCostPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Agent CPU"
      target={target}
      probe="agent_self"
      unit="percent"
      columns={['cpu_percent']}
      series={[worst('of one core', 'cpu_percent', { area: true })]}
    />
  );
}

export function AgentMemoryPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Agent memory"
      target={target}
      probe="agent_self"
      unit="bytes"
      columns={['rss_bytes']}
      series={[worst('resident', 'rss_bytes', { area: true })]}
    />
  );
}

export function DropsPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Dropped by the spool’s bound"
      target={target}
      probe="agent_self"
      unit="rows/s"
      columns={['dropped_rows']}
      series={[plotRate('rows', 'dropped_rows', { area: true, colour: 5 })]}
    />
  );
}
