/**
 * The fleet: how many agents and servers are up, and each with its vital figures. Figures are followed only for the rows
 * on the screen, so that a fleet of thousands costs the browser a page's worth of topics.
 */
import { useState } from 'preact/hooks';
import {
  type Agent,
  addressOf,
  agents,
  agentsById,
  fleetKnown,
  type Server,
  type Status,
  servers,
} from '../store/fleet.js';
import { linkTo } from '../store/route.js';
import { cellNumber, type Latest, useLatest } from '../store/useLatest.js';
import { useRate, useTrail } from '../store/useTrail.js';
import { DataTable, type TableColumn } from '../ui/DataTable.js';
import { formatAgo, formatValue, formatVersion } from '../ui/format.js';
import { Meter } from '../ui/Meter.js';
import { Panel } from '../ui/Panel.js';
import { Sparkline } from '../ui/Sparkline.js';
import { AgentBadge, ServerBadge, statusMarks } from '../ui/StatusBadge.js';

function Tile({ title, list }: { title: string; list: readonly { status: Status }[] }) {
  const count = (status: Status): number => list.filter((entry) => entry.status === status).length;
  return (
    <div class="tile">
      <h2>{title}</h2>
      <p class="big">{list.length}</p>
      <p>
        {(['up', 'down', 'unknown'] as const).map((status) => (
          <span key={status} class={`status ${count(status) === 0 ? 'none' : status}`}>
            {statusMarks[status]} {count(status)} {status}
          </span>
        ))}
      </p>
    </div>
  );
}

function first(latest: Latest, column: string): number {
  const row = latest.rows[0];
  return row === undefined ? Number.NaN : cellNumber(row, column);
}

function HostCpu({ target }: { target: number }) {
  const latest = useLatest(target, 'cpu_usage');
  const all = latest.rows.find((row) => row.key === 'all');
  const busy = all === undefined ? Number.NaN : cellNumber(all, 'busy_percent');
  const trail = useTrail(latest.recordedAtUs, busy);
  return (
    <span class="trail">
      <Sparkline values={trail} />
      <Meter percent={busy} label="CPU busy" />
    </span>
  );
}

function HostMemory({ target }: { target: number }) {
  const latest = useLatest(target, 'memory_usage');
  return (
    <Meter percent={(100 * first(latest, 'used_bytes')) / first(latest, 'total_bytes')} label="Memory used" />
  );
}

function HostDisk({ target }: { target: number }) {
  const latest = useLatest(target, 'disk_space');
  const most = Math.max(
    Number.NEGATIVE_INFINITY,
    ...latest.rows.map((row) => cellNumber(row, 'used_percent')),
  );
  return <Meter percent={Number.isFinite(most) ? most : Number.NaN} label="Fullest disk" />;
}

function ServerSessions({ target }: { target: number }) {
  const latest = useLatest(target, 'server_info');
  const used = first(latest, 'connections');
  return (
    <span>
      {formatValue(first(latest, 'sessions_active'), '')} / {formatValue(used, '')}
      <span class="muted"> of {formatValue(first(latest, 'max_connections'), '')}</span>
    </span>
  );
}

function ServerTransactions({ target }: { target: number }) {
  const latest = useLatest(target, 'database_statistics');
  const total = latest.rows.reduce(
    (sum, row) => sum + cellNumber(row, 'xact_commit') + cellNumber(row, 'xact_rollback'),
    latest.rows.length === 0 ? Number.NaN : 0,
  );
  const rate = useRate(latest.recordedAtUs, total);
  const trail = useTrail(latest.recordedAtUs, rate);
  return (
    <span class="trail">
      <Sparkline values={trail} />
      <span>{formatValue(rate, 'tx/s')}</span>
    </span>
  );
}

function ServerUptime({ target }: { target: number }) {
  return <span>{formatValue(Math.floor(first(useLatest(target, 'server_info'), 'uptime_s')), 's')}</span>;
}

const order: Record<Status, number> = { down: 0, unknown: 1, up: 2 };

const agentColumns: readonly TableColumn<Agent>[] = [
  {
    title: 'Status',
    value: (agent) => (agent.quarantinedReason === null ? order[agent.status] : -1),
    cell: (agent) => <AgentBadge agent={agent} />,
  },
  {
    title: 'Agent',
    value: (agent) => agent.name,
    cell: (agent) => <a href={linkTo(`/agent/${agent.id}`)}>{agent.name}</a>,
  },
  {
    title: 'CPU',
    value: () => null,
    unsorted: true,
    cell: (agent) => <HostCpu target={agent.targetId} />,
    numeric: true,
  },
  {
    title: 'Memory',
    value: () => null,
    unsorted: true,
    cell: (agent) => <HostMemory target={agent.targetId} />,
    numeric: true,
  },
  {
    title: 'Fullest disk',
    value: () => null,
    unsorted: true,
    cell: (agent) => <HostDisk target={agent.targetId} />,
    numeric: true,
  },
  { title: 'CPUs', value: (agent) => agent.cpus, numeric: true, minor: true },
  {
    title: 'RAM',
    value: (agent) => agent.memoryBytes,
    cell: (agent) => formatValue(agent.memoryBytes, 'bytes'),
    numeric: true,
    minor: true,
  },
  { title: 'System', value: (agent) => agent.os, minor: true },
  { title: 'Team', value: (agent) => agent.team, minor: true },
  { title: 'Owner', value: (agent) => agent.owner, minor: true },
  {
    title: 'Last seen',
    value: (agent) => agent.lastSeenUs,
    cell: (agent) => formatAgo(agent.lastSeenUs, Date.now()),
    numeric: true,
  },
];

const serverColumns: readonly TableColumn<Server>[] = [
  {
    title: 'Status',
    value: (server) => order[server.status],
    cell: (server) => <ServerBadge server={server} />,
  },
  {
    title: 'Server',
    value: (server) => server.name,
    cell: (server) => <a href={linkTo(`/server/${server.targetId}`)}>{server.name}</a>,
  },
  {
    title: 'Active / all sessions',
    value: () => null,
    unsorted: true,
    cell: (server) => server.status === 'up' && <ServerSessions target={server.targetId} />,
    numeric: true,
  },
  {
    title: 'Transactions',
    value: () => null,
    unsorted: true,
    cell: (server) => server.status === 'up' && <ServerTransactions target={server.targetId} />,
    numeric: true,
  },
  {
    title: 'Version',
    value: (server) => server.serverVersionNum,
    cell: (server) => formatVersion(server.serverVersionNum),
    numeric: true,
  },
  {
    title: 'Up for',
    value: () => null,
    unsorted: true,
    cell: (server) => server.status === 'up' && <ServerUptime target={server.targetId} />,
    numeric: true,
  },
  { title: 'Address', value: addressOf, minor: true },
  {
    title: 'Agent',
    value: (server) => agentsById.value.get(server.agentId ?? 0)?.name ?? null,
    minor: true,
  },
  { title: 'Team', value: (server) => server.team, minor: true },
  { title: 'Owner', value: (server) => server.owner, minor: true },
];

export function Fleet() {
  const [filter, setFilter] = useState('');
  const word = filter.trim().toLowerCase();
  const matches = (...texts: (string | null)[]): boolean =>
    word === '' || texts.some((text) => text?.toLowerCase().includes(word) === true);
  const shownAgents = agents.value.filter((agent) =>
    matches(agent.name, agent.hostname, agent.team, agent.owner, agent.os, agent.status),
  );
  const watched = servers.value.filter((server) => server.managed);
  const shownServers = watched.filter((server) =>
    matches(server.name, server.host, server.team, server.owner, server.status, server.error),
  );
  return (
    <main>
      <div class="tiles">
        <Tile title="Agents" list={agents.value} />
        <Tile title="PostgreSQL servers" list={watched} />
        <label class="search">
          <span class="muted">Find (press /)</span>
          <input
            type="search"
            id="find"
            value={filter}
            placeholder="name, host, team, owner, status, reason"
            onInput={(event) => setFilter(event.currentTarget.value)}
          />
        </label>
      </div>
      <Panel title="PostgreSQL servers" wide>
        <DataTable
          label="PostgreSQL servers"
          rows={shownServers}
          columns={serverColumns}
          keyOf={(server) => server.targetId}
          empty={
            !fleetKnown.value
              ? 'Loading…'
              : word === ''
                ? 'You see no server. One is added with: pem monitor add; it is shown to its owner and the members of its team.'
                : `No server matches “${filter}”.`
          }
        />
      </Panel>
      <Panel title="Agents" wide>
        <DataTable
          label="Agents"
          rows={shownAgents}
          columns={agentColumns}
          keyOf={(agent) => agent.id}
          empty={
            !fleetKnown.value
              ? 'Loading…'
              : word === ''
                ? 'You see no agent. One is added with: pem token create, then pem agent register on its host.'
                : `No agent matches “${filter}”.`
          }
        />
      </Panel>
    </main>
  );
}
