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
import { agents, agentsById, servers } from '../store/fleet.js';
import { connection, liveCounters } from '../store/live.js';
import { DataTable, type TableColumn } from '../ui/DataTable.js';
import { formatAgo, formatValue } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';
import { RangeBar } from '../ui/RangeBar.js';

interface Ingester {
  readonly name: string;
  readonly pid: number;
  readonly atUs?: number;
  readonly at?: string;
  readonly info: Readonly<Record<string, unknown>>;
}
interface SystemAnswer {
  readonly ingesters: readonly Ingester[];
  readonly agents: readonly { agentId: number; name: string; info: Readonly<Record<string, unknown>> }[];
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

const units: Readonly<Record<string, string>> = {
  bytesSent: 'bytes',
  lag_ms: 'ms',
  cycle_ms: 'ms',
  lagMs: 'ms',
  cycleMs: 'ms',
  bytes: 'bytes',
  inbox_bytes: 'bytes',
  cpu_us: 'us',
  lag_us: 'us',
};

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
          <dd>{formatValue(value, units[name] ?? '')}</dd>
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
  const home = agentsById.value.get(1) ?? agents.value[0];
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
        {home !== undefined && (
          <>
            <IngestLagPanel target={home.targetId} />
            <IngestRatePanel target={home.targetId} />
            <InboxPanel target={home.targetId} />
            <SpoolPanel target={home.targetId} />
            <AgentLagPanel target={home.targetId} />
            <DropsPanel target={home.targetId} />
          </>
        )}
        {answer?.ingesters.map((ingester) => (
          <Panel key={ingester.name} title={`Ingester ${ingester.name}`} note={`process ${ingester.pid}`}>
            <Figures figures={ingester.info} />
          </Panel>
        ))}
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
