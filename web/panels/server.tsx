/** Charts of a PostgreSQL server: sessions, transactions, rows, cache, temporary files, WAL, checkpoints, waits. */
import { ChartPanel, type PlottedSeries } from './ChartPanel.js';

const series = (title: string, column: string, more: Partial<PlottedSeries> = {}): PlottedSeries => ({
  title,
  column,
  transform: 'value',
  combine: 'sum',
  ...more,
});
const rate = (title: string, column: string, more: Partial<PlottedSeries> = {}): PlottedSeries =>
  series(title, column, { transform: 'rate', ...more });

export function SessionsPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Sessions"
      target={target}
      probe="server_info"
      unit="sessions"
      columns={[
        'sessions_active',
        'sessions_idle',
        'sessions_idle_in_transaction',
        'sessions_waiting_for_lock',
      ]}
      series={[
        series('active', 'sessions_active', { colour: 2, area: true }),
        series('idle', 'sessions_idle', { colour: 1 }),
        series('idle in transaction', 'sessions_idle_in_transaction', { colour: 0 }),
        series('waiting for a lock', 'sessions_waiting_for_lock', { colour: 5 }),
      ]}
    />
  );
}

export function TransactionsPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Transactions"
      note="all databases"
      target={target}
      probe="database_statistics"
      unit="tx/s"
      columns={['xact_commit', 'xact_rollback']}
      series={[
        rate('commits', 'xact_commit', { colour: 2, area: true }),
        rate('rollbacks', 'xact_rollback', { colour: 5 }),
      ]}
    />
  );
}

export function RowsPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Rows changed"
      note="all databases"
      target={target}
      probe="database_statistics"
      unit="rows/s"
      columns={['tup_inserted', 'tup_updated', 'tup_deleted']}
      series={[
        rate('inserted', 'tup_inserted', { area: true }),
        rate('updated', 'tup_updated'),
        rate('deleted', 'tup_deleted'),
      ]}
    />
  );
}

export function BlocksPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Blocks"
      note="all databases"
      target={target}
      probe="database_statistics"
      unit="blocks/s"
      columns={['blks_hit', 'blks_read']}
      series={[
        rate('found in the cache', 'blks_hit', { area: true }),
        rate('read', 'blks_read', { colour: 5 }),
      ]}
    />
  );
}

export function TemporaryPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Temporary files"
      note="all databases"
      target={target}
      probe="database_statistics"
      unit="bytes/s"
      columns={['temp_bytes']}
      series={[rate('written', 'temp_bytes', { area: true })]}
    />
  );
}

export function WalPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="WAL"
      target={target}
      probe="server_info"
      unit="bytes/s"
      columns={['wal_bytes']}
      series={[rate('written', 'wal_bytes', { area: true, colour: 3 })]}
    />
  );
}

export function BuffersPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Buffers written"
      target={target}
      probe="background_writer_statistics"
      unit="blocks/s"
      columns={['buffers_checkpoint', 'buffers_clean', 'buffers_backend']}
      series={[
        rate('by checkpoints', 'buffers_checkpoint', { area: true }),
        rate('by the background writer', 'buffers_clean'),
        rate('by backends', 'buffers_backend'),
      ]}
    />
  );
}

export function OldestTransactionPanel({ target }: { target: number }) {
  return (
    <ChartPanel
      title="Oldest transaction"
      target={target}
      probe="server_info"
      unit="s"
      columns={['oldest_transaction_s']}
      series={[series('age', 'oldest_transaction_s', { area: true, colour: 6 })]}
    />
  );
}
