/**
 * The list of collectors: one file each, one line here, by the name of their probe; a test fails where one is missing.
 */
import type { AgentStats } from '../stats.js';
import { agentProbes } from './agent_probes.js';
import { agentSelf } from './agent_self.js';
import type { Collector } from './collector.js';
import { cpuUsage } from './cpu_usage.js';
import { diskBusyInfo } from './disk_busy_info.js';
import { diskSpace } from './disk_space.js';
import { loadAverage } from './load_average.js';
import { memoryUsage } from './memory_usage.js';
import { networkStatistics } from './network_statistics.js';

/** What a collector may need to know of the agent. */
export interface CollectorContext {
  readonly stats: AgentStats;
  /** The target it runs for. */
  readonly targetId: number;
  readonly wallUs: () => bigint;
}

export const collectors: Readonly<Record<string, (context: CollectorContext) => Collector>> = {
  cpu_usage: () => cpuUsage(),
  memory_usage: () => memoryUsage(),
  load_average: () => loadAverage(),
  disk_space: () => diskSpace(),
  disk_busy_info: () => diskBusyInfo(),
  network_statistics: () => networkStatistics(),
  agent_self: ({ stats, wallUs }) => agentSelf(stats, wallUs),
  agent_probes: ({ stats, targetId }) => agentProbes(stats, targetId),
};

export type { CollectedRow, Collector } from './collector.js';
