/** What PEM does to itself: ingesters, lag, spools, drops, quarantine, the web process, this browser. */
import { useEffect, useState } from 'preact/hooks';
import {
  AgentLagPanel,
  DropsPanel,
  InboxPanel,
  IngestLagPanel,
  IngestRatePanel,
  SpoolPanel,
} from '../panels/system.js';
import { ProbeCostTable } from '../panels/tables.js';
import { getJson } from '../store/api.js';
import { agents, agentsById, type Status, servers } from '../store/fleet.js';
import { connection, liveCounters } from '../store/live.js';
import { linkTo } from '../store/route.js';
import { DataTable, type TableColumn } from '../ui/DataTable.js';
import { formatAgo, formatValue } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';
import { RangeBar } from '../ui/RangeBar.js';
import { StatusBadge } from '../ui/StatusBadge.js';

interface Ingester {
  readonly name: string;
  readonly pid: number;
  readonly atUs: number;
  readonly info: Readonly<Record<string, unknown>>;
}
interface AgentFigures {
  readonly agentId: number;
  readonly name: string;
  readonly status: Status;
  readonly pendingBatches: number | null;
  readonly oldestPendingUs: number | null;
  readonly spoolBytes: number | null;
  readonly droppedRows: number | null;
  readonly setAsideBatches: number | null;
  readonly reconnects: number | null;
  readonly clockOffsetUs: number | null;
}
interface SystemAnswer {
  readonly ingesters: readonly Ingester[];
  readonly agents: {
    readonly count: number;
    readonly pendingBatches: number;
    readonly spoolBytes: number;
    readonly droppedRows: number;
    readonly list: readonly AgentFigures[];
  };
  readonly quarantine: readonly { code: string; count: number; lastAtUs: number }[];
  readonly stray: readonly { reason: string; probe: string; rows: number }[];
  readonly inbox: { batches: number; bytes: number };
  readonly web: Readonly<Record<string, number>>;
}

const quarantineColumns: readonly TableColumn<SystemAnswer['quarantine'][number]>[] = [
  { title: 'Reason', value: (entry) => entry.code },
  { title: 'Blocks', value: (entry) => entry.count, numeric: true },
  {
    title: 'Last',
    value: (entry) => entry.lastAtUs,
    cell: (entry) => formatAgo(entry.lastAtUs, Date.now()),
    numeric: true,
  },
];
const strayColumns: readonly TableColumn<SystemAnswer['stray'][number]>[] = [
  { title: 'Reason', value: (entry) => entry.reason },
  { title: 'Probe', value: (entry) => entry.probe },
  { title: 'Rows', value: (entry) => entry.rows, numeric: true },
];

/** A column of what an ingester says of itself. */
const said = (title: string, name: string, unit = '', minor = true): TableColumn<Ingester> => {
  const value = (row: Ingester): number => Number(row.info[name] ?? Number.NaN);
  return { title, value, cell: (row) => formatValue(value(row), unit), numeric: true, minor };
};
const ingesterColumns: readonly TableColumn<Ingester>[] = [
  { title: 'Ingester', value: (row) => row.name },
  {
    title: 'Heard',
    value: (row) => row.atUs,
    cell: (row) => formatAgo(row.atUs, Date.now()),
    numeric: true,
  },
  said('Lag', 'lag_ms', 'ms', false),
  said('Longest cycle', 'cycle_ms', 'ms'),
  said('Rows', 'rows', '', false),
  said('Batches', 'batches'),
  said('Bytes', 'bytes', 'bytes'),
  said('CPU time', 'cpu_us', 'us'),
  said('Duplicates', 'duplicates'),
  said('Quarantined', 'quarantined'),
  said('Outside history', 'stray'),
  said('Database away', 'outside'),
  { title: 'PID', value: (row) => row.pid, numeric: true, minor: true },
];

const agentFigure = (
  title: string,
  value: (row: AgentFigures) => number | null,
  unit = '',
  minor = false,
): TableColumn<AgentFigures> => ({
  title,
  value,
  cell: (row) => formatValue(value(row), unit),
  numeric: true,
  minor,
});
const agentColumns: readonly TableColumn<AgentFigures>[] = [
  {
    title: 'Agent',
    value: (row) => row.name,
    cell: (row) => <a href={linkTo(`/agent/${row.agentId}`)}>{row.name}</a>,
  },
  { title: 'Status', value: (row) => row.status, cell: (row) => <StatusBadge status={row.status} /> },
  agentFigure('Batches waiting', (row) => row.pendingBatches),
  {
    title: 'Oldest of them',
    value: (row) => -(row.oldestPendingUs ?? Number.NaN),
    cell: (row) => (row.oldestPendingUs === null ? '–' : formatAgo(row.oldestPendingUs, Date.now())),
    numeric: true,
    minor: true,
  },
  agentFigure('Spool', (row) => row.spoolBytes, 'bytes'),
  agentFigure('Rows dropped', (row) => row.droppedRows),
  agentFigure('Batches set aside', (row) => row.setAsideBatches, '', true),
  agentFigure('Reconnects', (row) => row.reconnects, '', true),
  agentFigure('Clock behind PEM', (row) => row.clockOffsetUs, 'us', true),
];

function Figures({ figures }: { figures: Readonly<Record<string, unknown>> }) {
  const entries = Object.entries(figures).filter(
    (entry): entry is [string, number] => typeof entry[1] === 'number',
  );
  return (
    <dl class="figures">
      {entries.map(([name, value]) => (
        <div key={name}>
          <dt>
            {name
              .replaceAll(/([a-z])([A-Z])/g, '$1 $2')
              .replaceAll('_', ' ')
              .toLowerCase()}
          </dt>
          <dd>{formatValue(value, name.startsWith('bytes') ? 'bytes' : '')}</dd>
        </div>
      ))}
    </dl>
  );
}

export function System() {
  const [answer, setAnswer] = useState<SystemAnswer | undefined>(undefined);
  const [error, setError] = useState('');
  useEffect(() => {
    const load = (): void => {
      getJson<SystemAnswer>('/system').then(
        (fresh) => {
          setAnswer(fresh);
          setError('');
        },
        (failure: Error) => setError(failure.message),
      );
    };
    load();
    const timer = setInterval(load, 2000);
    return () => clearInterval(timer);
  }, []);
  // Agent 1 runs the probe of the ingesters; who does not see it sees what his own agents spool.
  const first = agentsById.value.get(1);
  const home = first ?? agents.value[0];
  const fleet = answer?.agents;
  return (
    <main>
      <header class="title">
        <h1>System</h1>
        <span class="muted">
          what PEM does to itself{home === undefined ? '' : ` · spool and cost of ${home.name}`}
        </span>
        <RangeBar />
      </header>
      {error !== '' && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
      <div class="grid">
        {first !== undefined && (
          <>
            <IngestLagPanel target={first.targetId} />
            <IngestRatePanel target={first.targetId} />
            <InboxPanel target={first.targetId} />
          </>
        )}
        {home !== undefined && (
          <>
            <SpoolPanel target={home.targetId} />
            <AgentLagPanel target={home.targetId} />
            <DropsPanel target={home.targetId} />
          </>
        )}
        {answer !== undefined && answer.ingesters.length > 0 && (
          <Panel title="Ingesters" wide note="counted since each started">
            <DataTable
              label="Ingesters"
              rows={answer.ingesters}
              columns={ingesterColumns}
              keyOf={(row) => row.name}
              empty=""
            />
          </Panel>
        )}
        {fleet !== undefined && (
          <Panel
            title="Agents, the farthest behind first"
            wide
            note={`${fleet.count} agents · ${formatValue(fleet.pendingBatches, '')} batches wait · ${formatValue(fleet.spoolBytes, 'bytes')} in spools · ${formatValue(fleet.droppedRows, '')} rows dropped`}
          >
            <DataTable
              label="Agents by backlog"
              rows={fleet.list}
              columns={agentColumns}
              keyOf={(row) => row.agentId}
              sortBy={2}
              descending
              pageSize={10}
              empty="You see no agent."
            />
          </Panel>
        )}
        <Panel title="Web process">
          <Figures figures={answer?.web ?? {}} />
        </Panel>
        <Panel title="This browser" note={`live connection ${connection.value}`}>
          <Figures figures={{ ...liveCounters }} />
        </Panel>
        <Panel title="Quarantine">
          <DataTable
            label="Quarantine"
            rows={answer?.quarantine ?? []}
            columns={quarantineColumns}
            keyOf={(entry) => entry.code}
            empty="Nothing is in quarantine: every batch passed verification."
          />
        </Panel>
        <Panel title="Rows outside history">
          <DataTable
            label="Rows outside history"
            rows={answer?.stray ?? []}
            columns={strayColumns}
            keyOf={(entry) => `${entry.reason}/${entry.probe}`}
            empty="No row came too late for its retention or from a clock far ahead."
          />
        </Panel>
        {home !== undefined && <ProbeCostTable target={home.targetId} />}
        {servers.value
          .filter((server) => server.agentId === home?.id)
          .map((server) => (
            <ProbeCostTable key={server.targetId} target={server.targetId} of={server.name} />
          ))}
      </div>
    </main>
  );
}
