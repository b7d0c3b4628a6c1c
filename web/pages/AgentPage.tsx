/** One agent: its host, live, and what the agent costs. */
import {
  CpuPanel,
  DiskBusyPanel,
  DiskTrafficPanel,
  LoadPanel,
  MemoryPanel,
  NetworkPanel,
} from '../panels/host.js';
import { AgentCostPanel, AgentMemoryPanel } from '../panels/system.js';
import { FileSystemsTable, ProbeCostTable } from '../panels/tables.js';
import { agentsById, fleetKnown, servers } from '../store/fleet.js';
import { linkTo } from '../store/route.js';
import { formatAgo, formatValue } from '../ui/format.js';
import { Missing } from '../ui/Missing.js';
import { RangeBar } from '../ui/RangeBar.js';
import { AgentBadge, StatusBadge } from '../ui/StatusBadge.js';

export function AgentPage({ id }: { id: number }) {
  const agent = agentsById.value.get(id);
  if (agent === undefined) return <Missing what={`agent ${id}`} known={fleetKnown.value} />;
  const target = agent.targetId;
  const own = servers.value.filter((server) => server.agentId === id);
  return (
    <main>
      <header class="title">
        <h1>{agent.name}</h1>
        <AgentBadge agent={agent} />
        <span class="muted">
          {[
            agent.os,
            agent.cpus === null ? null : `${agent.cpus} CPUs`,
            agent.memoryBytes === null ? null : formatValue(agent.memoryBytes, 'bytes'),
            agent.version === null ? null : `agent ${agent.version}`,
            `seen ${formatAgo(agent.lastSeenUs, Date.now())}`,
          ]
            .filter((part) => part !== null)
            .join(' · ')}
        </span>
        <RangeBar />
      </header>
      {agent.quarantinedReason !== null && (
        <p class="error" role="alert">
          PEM takes nothing from this agent: {agent.quarantinedReason}. When only one copy of it runs, release
          it with: pem agent release {agent.id}
        </p>
      )}
      {own.length > 0 && (
        <p class="links">
          Servers:{' '}
          {own.map((server) => (
            <a key={server.targetId} href={linkTo(`/server/${server.targetId}`)}>
              {server.name} <StatusBadge status={server.status} />
            </a>
          ))}
        </p>
      )}
      <div class="grid">
        <CpuPanel target={target} />
        <MemoryPanel target={target} />
        <LoadPanel target={target} />
        <DiskBusyPanel target={target} />
        <DiskTrafficPanel target={target} />
        <NetworkPanel target={target} />
        <FileSystemsTable target={target} />
        <AgentCostPanel target={target} />
        <AgentMemoryPanel target={target} />
        <ProbeCostTable target={target} />
        {own.map((server) => (
          <ProbeCostTable key={server.targetId} target={server.targetId} of={server.name} />
        ))}
      </div>
    </main>
  );
}
