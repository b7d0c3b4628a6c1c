/** Tables of what is true now: sessions, databases, tables, settings, file systems. */
import { useMemo, useState } from 'preact/hooks';
import { probes } from '../store/fleet.js';
import { cellNumber, cellText, type LatestRow, useLatest } from '../store/useLatest.js';
import { DataTable, type TableColumn } from '../ui/DataTable.js';
import { formatAgo, formatSetting, formatValue } from '../ui/format.js';
import { Meter } from '../ui/Meter.js';
import { Panel } from '../ui/Panel.js';

const text = (title: string, column: string, minor = false): TableColumn<LatestRow> => ({
  title,
  value: (row) => cellText(row, column),
  minor,
});
const number = (title: string, column: string, unit: string, minor = false): TableColumn<LatestRow> => ({
  title,
  value: (row) => cellNumber(row, column),
  cell: (row) => formatValue(cellNumber(row, column), unit),
  numeric: true,
  minor,
});

interface LatestTableProps {
  readonly title: string;
  readonly target: number;
  readonly probe: string;
  readonly columns: readonly TableColumn<LatestRow>[];
  readonly sortBy: number;
  readonly descending?: boolean;
  readonly scopeColumn?: string;
  readonly keep?: (row: LatestRow) => boolean;
  /** Columns a typed word is looked for in. */
  readonly searched?: readonly string[];
  readonly pageSize?: number;
}

/** A table of a probe's latest rows, with a filter where there may be many. */
function LatestTable(props: LatestTableProps) {
  const latest = useLatest(props.target, props.probe, props.scopeColumn);
  const [filter, setFilter] = useState('');
  const rows = useMemo(() => {
    const word = filter.trim().toLowerCase();
    return latest.rows.filter(
      (row) =>
        props.keep?.(row) !== false &&
        (word === '' ||
          props.searched?.some((column) => (cellText(row, column) ?? '').toLowerCase().includes(word)) ===
            true),
    );
  }, [latest.rows, filter, props.keep, props.searched]);
  const probe = probes.value.get(props.probe);
  const empty =
    latest.error ??
    (filter !== ''
      ? `Nothing here contains “${filter}”.`
      : !latest.known
        ? `Waiting for the first ${props.probe} sample${probe === undefined ? '' : ` (every ${probe.intervalMs / 1000} s)`}.`
        : 'Nothing to show.');
  return (
    <Panel
      title={props.title}
      wide
      note={latest.known ? `${rows.length} rows · ${formatAgo(latest.recordedAtUs, Date.now())}` : undefined}
    >
      {props.searched !== undefined && (
        <input
          type="search"
          class="filter"
          placeholder={`Filter ${props.title.toLowerCase()}`}
          aria-label={`Filter ${props.title}`}
          value={filter}
          onInput={(event) => setFilter(event.currentTarget.value)}
        />
      )}
      <DataTable
        label={props.title}
        rows={rows}
        columns={props.columns}
        keyOf={(row) => row.key}
        sortBy={props.sortBy}
        descending={props.descending ?? false}
        empty={empty}
        pageSize={props.pageSize ?? 20}
      />
    </Panel>
  );
}

const sinceColumn = (title: string, column: string): TableColumn<LatestRow> => ({
  title,
  value: (row) => -cellNumber(row, column),
  cell: (row) => {
    const at = cellNumber(row, column);
    return Number.isNaN(at) ? '–' : formatValue(Math.max(0, (row.block.recordedAtUs - at) / 1e6), 's');
  },
  numeric: true,
});

const sessionColumns: readonly TableColumn<LatestRow>[] = [
  {
    title: 'State',
    value: (row) => cellText(row, 'state'),
    cell: (row) => {
      const state = cellText(row, 'state') ?? '';
      return <span class={`state ${state.startsWith('idle in') ? 'idletx' : state}`}>{state}</span>;
    },
  },
  sinceColumn('Since', 'state_change'),
  text('Database', 'database_name'),
  text('User', 'user_name'),
  text('Application', 'application_name', true),
  {
    title: 'Wait',
    value: (row) => cellText(row, 'wait_event'),
    cell: (row) => {
      const event = cellText(row, 'wait_event');
      return event === null ? '' : `${cellText(row, 'wait_event_type')} · ${event}`;
    },
    minor: true,
  },
  {
    title: 'Statement',
    value: (row) => cellText(row, 'query'),
    cell: (row) => <code class="statement">{cellText(row, 'query')}</code>,
  },
  {
    title: 'PID',
    value: (row) => cellNumber(row, 'pid'),
    cell: (row) => cellText(row, 'pid'),
    numeric: true,
    minor: true,
  },
];
const isClient = (row: LatestRow): boolean => cellText(row, 'backend_type') === 'client backend';
const sessionSearch = ['database_name', 'user_name', 'application_name', 'state', 'query'];

export function SessionsTable({ target }: { target: number }) {
  return (
    <LatestTable
      title="Sessions now"
      target={target}
      probe="session_info"
      columns={sessionColumns}
      sortBy={0}
      keep={isClient}
      searched={sessionSearch}
      pageSize={12}
    />
  );
}

const databaseColumns: readonly TableColumn<LatestRow>[] = [
  text('Database', 'database_name'),
  number('Sessions', 'backends', 'count'),
  number('Commits', 'xact_commit', 'count'),
  number('Rollbacks', 'xact_rollback', 'count', true),
  {
    title: 'Cache hits',
    value: (row) => {
      const hit = cellNumber(row, 'blks_hit');
      return (100 * hit) / (hit + cellNumber(row, 'blks_read'));
    },
    cell: (row) => {
      const hit = cellNumber(row, 'blks_hit');
      return formatValue((100 * hit) / (hit + cellNumber(row, 'blks_read')), 'percent');
    },
    numeric: true,
  },
  number('Temporary', 'temp_bytes', 'bytes', true),
  number('Deadlocks', 'deadlocks', 'count', true),
  number('XID age', 'frozen_xid_age', 'count'),
];

export function DatabasesTable({ target }: { target: number }) {
  return (
    <LatestTable
      title="Databases"
      target={target}
      probe="database_statistics"
      columns={databaseColumns}
      sortBy={2}
      descending
    />
  );
}

const sizeOf = (row: LatestRow): number =>
  cellNumber(row, 'estimated_rows') < 0 ? Number.NaN : cellNumber(row, 'estimated_bytes');
const tableColumns: readonly TableColumn<LatestRow>[] = [
  text('Database', 'database_name', true),
  {
    title: 'Table',
    value: (row) => `${cellText(row, 'schema_name')}.${cellText(row, 'table_name')}`,
  },
  {
    // As of the last vacuum or analyze; before the first one (reltuples −1) nothing is known.
    title: 'Size',
    value: sizeOf,
    cell: (row) => formatValue(sizeOf(row), 'bytes'),
    numeric: true,
  },
  number('Live rows', 'n_live_tup', 'count'),
  number('Dead rows', 'n_dead_tup', 'count'),
  number('Seq. scans', 'seq_scan', 'count', true),
  number('Index scans', 'idx_scan', 'count', true),
  number('Inserted', 'n_tup_ins', 'count', true),
  number('Updated', 'n_tup_upd', 'count', true),
  number('Deleted', 'n_tup_del', 'count', true),
];
const tableSearch = ['database_name', 'schema_name', 'table_name'];

export function TablesTable({ target }: { target: number }) {
  return (
    <LatestTable
      title="Tables"
      target={target}
      probe="table_statistics"
      scopeColumn="database_name"
      columns={tableColumns}
      sortBy={2}
      descending
      searched={tableSearch}
      pageSize={15}
    />
  );
}

const settingColumns: readonly TableColumn<LatestRow>[] = [
  text('Setting', 'name'),
  {
    title: 'Value',
    value: (row) => cellText(row, 'setting'),
    cell: (row) => <code>{formatSetting(cellText(row, 'setting'), cellText(row, 'unit'))}</code>,
  },
  text('Source', 'source'),
  text('Category', 'category', true),
  {
    title: 'Restart',
    value: (row) => cellText(row, 'pending_restart'),
    cell: (row) => (cellText(row, 'pending_restart') === 'true' ? 'pending' : ''),
    minor: true,
  },
];
// No source, or the client: the agent's own session set it, the server did not.
const changedSetting = (row: LatestRow): boolean =>
  !['default', 'client', null].includes(cellText(row, 'source'));
const settingSearch = ['name', 'setting', 'category'];

export function SettingsTable({ target }: { target: number }) {
  return (
    <LatestTable
      title="Settings that differ from the default"
      target={target}
      probe="settings"
      columns={settingColumns}
      sortBy={0}
      keep={changedSetting}
      searched={settingSearch}
      pageSize={15}
    />
  );
}

const fileSystemColumns: readonly TableColumn<LatestRow>[] = [
  text('Mounted on', 'mount'),
  text('File system', 'fs_type', true),
  number('Size', 'total_bytes', 'bytes'),
  number('Used', 'used_bytes', 'bytes', true),
  number('Available', 'available_bytes', 'bytes'),
  {
    title: 'Used share',
    value: (row) => cellNumber(row, 'used_percent'),
    cell: (row) => (
      <Meter percent={cellNumber(row, 'used_percent')} label={`${cellText(row, 'mount')} used`} />
    ),
    numeric: true,
  },
];

export function FileSystemsTable({ target }: { target: number }) {
  return (
    <LatestTable
      title="File systems"
      target={target}
      probe="disk_space"
      columns={fileSystemColumns}
      sortBy={5}
      descending
    />
  );
}

const costColumns: readonly TableColumn<LatestRow>[] = [
  text('Probe', 'probe'),
  text('State', 'state'),
  number('Every', 'interval_ms', 'ms'),
  number('Mean run', 'mean_ms', 'ms'),
  number('Longest', 'max_ms', 'ms', true),
  number('Rows', 'rows', 'count', true),
  number('Bytes', 'bytes', 'bytes', true),
  number('Errors', 'errors', 'count'),
  { title: 'Last error', value: (row) => cellText(row, 'last_error'), minor: true },
];

/** @param of name of the target, where several stand on one page */
export function ProbeCostTable({ target, of }: { target: number; of?: string }) {
  return (
    <LatestTable
      title={of === undefined ? 'Cost per probe' : `Cost per probe of ${of}`}
      target={target}
      probe="agent_probes"
      columns={costColumns}
      sortBy={3}
      descending
      pageSize={30}
    />
  );
}
