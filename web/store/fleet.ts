/**
 * Agents, servers and probe definitions: read once after sign-in, statuses follow by the live connection, the whole
 * again each minute and after a reconnect (new objects appear).
 */
import { computed, signal } from '@preact/signals';
import type { ProbeColumn } from '../../src/wire/config.js';
import { getJson } from './api.js';
import type { FleetMessage } from './live.js';

export type Status = 'up' | 'down' | 'unknown';

export interface Agent {
  readonly id: number;
  readonly name: string;
  readonly targetId: number;
  readonly status: Status;
  readonly lastSeenUs: number | null;
  /** Why PEM takes nothing from it; null: it does. */
  readonly quarantinedReason: string | null;
  readonly version: string | null;
  readonly owner: string;
  readonly team: string | null;
  readonly hostname: string | null;
  readonly os: string | null;
  readonly kernel: string | null;
  readonly cpus: number | null;
  readonly memoryBytes: number | null;
  readonly bootedAtUs: number | null;
  readonly info: Readonly<Record<string, unknown>> | null;
}

export interface Server {
  readonly targetId: number;
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly status: Status;
  /** Not: no agent watches it, people connect to it to trace it. */
  readonly managed: boolean;
  readonly agentId: number | null;
  readonly hostTargetId: number | null;
  readonly serverVersionNum: number | null;
  readonly owner: string;
  readonly team: string | null;
  readonly lastSampleUs: number | null;
  /** Why its agent cannot watch it, as the agent says; null: it says nothing. */
  readonly error: string | null;
}

export interface Probe {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly level: string;
  readonly mode: 'full' | 'delta' | 'append';
  readonly history: boolean;
  readonly intervalMs: number;
  readonly retentionDays: number;
  readonly enabled: boolean;
  readonly columns: readonly ProbeColumn[];
}

/** Where a server listens, for people: a socket directory says nothing to somebody on another host. */
export function addressOf(server: Server): string {
  return server.host.startsWith('/') ? `local socket, port ${server.port}` : `${server.host}:${server.port}`;
}

export const agents = signal<readonly Agent[]>([]);
export const servers = signal<readonly Server[]>([]);
export const probes = signal<ReadonlyMap<string, Probe>>(new Map());
/** False until the first answer: an empty fleet and one not yet read are not the same. */
export const fleetKnown = signal(false);

export const agentsById = computed(() => new Map(agents.value.map((agent) => [agent.id, agent])));
export const agentsByTarget = computed(() => new Map(agents.value.map((agent) => [agent.targetId, agent])));
export const serversByTarget = computed(
  () => new Map(servers.value.map((server) => [server.targetId, server])),
);

export async function loadFleet(): Promise<void> {
  const [agentAnswer, serverAnswer, probeAnswer] = await Promise.all([
    getJson<{ agents: Agent[] }>('/agent'),
    getJson<{ servers: Server[] }>('/server'),
    probes.value.size === 0 ? getJson<{ probes: Probe[] }>('/probe') : undefined,
  ]);
  agents.value = agentAnswer.agents;
  servers.value = serverAnswer.servers;
  if (probeAnswer !== undefined)
    probes.value = new Map(probeAnswer.probes.map((probe) => [probe.name, probe]));
  fleetKnown.value = true;
}

export function applyFleet(message: FleetMessage): void {
  const isWhole = message.whole === true;
  if (message.agents !== undefined) {
    const news = new Map(message.agents.map((agent) => [agent.id, agent]));
    agents.value = agents.value.flatMap((agent) => {
      const fresh = news.get(agent.id);
      if (fresh === undefined) return isWhole ? [] : [agent];
      return [{ ...agent, status: fresh.status as Status, lastSeenUs: fresh.lastSeenUs ?? agent.lastSeenUs }];
    });
  }
  if (message.servers !== undefined) {
    const news = new Map(message.servers.map((server) => [server.targetId, server]));
    servers.value = servers.value.flatMap((server) => {
      const fresh = news.get(server.targetId);
      if (fresh === undefined) return isWhole ? [] : [server];
      return [{ ...server, status: fresh.status as Status, error: fresh.error ?? null }];
    });
  }
  const unknown =
    message.agents?.some((agent) => !agentsById.value.has(agent.id)) === true ||
    message.servers?.some((server) => !serversByTarget.value.has(server.targetId)) === true;
  if (unknown && fleetKnown.value) void loadFleet().catch(() => undefined);
}
