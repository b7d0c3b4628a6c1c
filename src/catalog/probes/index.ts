/**
 * The list of built-in probes: one file each, one line here; a test fails where a file is missing from it.
 */
import type { ProbeDefinition } from '../types.js';
import { agentProbes } from './agent_probes.js';
import { agentSelf } from './agent_self.js';
import { backgroundWriterStatistics } from './background_writer_statistics.js';
import { cpuUsage } from './cpu_usage.js';
import { databaseStatistics } from './database_statistics.js';
import { diskBusyInfo } from './disk_busy_info.js';
import { diskSpace } from './disk_space.js';
import { ingestSelf } from './ingest_self.js';
import { loadAverage } from './load_average.js';
import { memoryUsage } from './memory_usage.js';
import { networkStatistics } from './network_statistics.js';
import { serverInfo } from './server_info.js';
import { sessionInfo } from './session_info.js';
import { settings } from './settings.js';
import { sqlTraceEvents } from './sql_trace_events.js';
import { sqlTraceStatements } from './sql_trace_statements.js';
import { sqlTraceTexts } from './sql_trace_texts.js';
import { tableStatistics } from './table_statistics.js';

export const probes: readonly ProbeDefinition[] = [
  cpuUsage,
  memoryUsage,
  loadAverage,
  diskSpace,
  diskBusyInfo,
  networkStatistics,
  serverInfo,
  sessionInfo,
  databaseStatistics,
  backgroundWriterStatistics,
  settings,
  tableStatistics,
  sqlTraceEvents,
  sqlTraceStatements,
  sqlTraceTexts,
  agentSelf,
  agentProbes,
  ingestSelf,
];
