/** Charts of a PostgreSQL server: sessions, transactions, rows, cache, temporary files, WAL, checkpoints, waits. */
import { ChartPanel, plot, plotRate } from './ChartPanel.js';

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
        plot('active', 'sessions_active', { colour: 2, area: true }),
        plot('idle', 'sessions_idle', { colour: 1 }),
        plot('idle in transaction', 'sessions_idle_in_transaction', { colour: 0 }),
        plot('waiting for a lock', 'sessions_waiting_for_lock', { colour: 5 }),
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
        plotRate('commits', 'xact_commit', { colour: 2, area: true }),
        plotRate('rollbacks', 'xact_rollback', { colour: 5 }),
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
        plotRate('inserted', 'tup_inserted', { area: true }),
        plotRate('updated', 'tup_updated'),
        plotRate('deleted', 'tup_deleted'),
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
        plotRate('found in the cache', 'blks_hit', { area: true }),
        plotRate('read', 'blks_read', { colour: 5 }),
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
      series={[plotRate('written', 'temp_bytes', { area: true })]}
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
      series={[plotRate('written', 'wal_bytes', { area: true, colour: 3 })]}
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
        plotRate('by checkpoints', 'buffers_checkpoint', { area: true }),
        plotRate('by the background writer', 'buffers_clean'),
        plotRate('by backends', 'buffers_backend'),
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
      series={[plot('age', 'oldest_transaction_s', { area: true, colour: 6 })]}
    />
  );
}
