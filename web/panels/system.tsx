/** What the system does to itself: ingest lag and rate, spools, drops. */
import { ChartPanel, type PlottedSeries } from './ChartPanel.js';

const value = (title: string, column: string, more: Partial<PlottedSeries> = {}): PlottedSeries => ({
  title,
  column,
  transform: 'value',
  combine: 'max',
  ...more,
});

export function IngestLagPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Ingest lag"
      target={target}
      probe="ingest_self"
      unit="ms"
      columns={['lag_ms', 'cycle_ms']}
      series={[value('oldest batch waiting', 'lag_ms', { area: true }), value('one cycle', 'cycle_ms')]}
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
      series={[value('rows', 'rows', { transform: 'rate', combine: 'sum', area: true, colour: 2 })]}
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
      series={[value('waiting', 'inbox_bytes', { area: true, colour: 3 })]}
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
      series={[value('on disk', 'spool_bytes', { area: true })]}
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
      series={[value('age', 'lag_ms', { area: true }), value('event loop delay', 'loop_delay_ms')]}
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
      series={[value('of one core', 'cpu_percent', { area: true })]}
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
      series={[value('resident', 'rss_bytes', { area: true })]}
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
      series={[value('rows', 'dropped_rows', { transform: 'rate', combine: 'sum', area: true, colour: 5 })]}
    />
  );
}
