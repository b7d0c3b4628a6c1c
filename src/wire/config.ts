/**
 * What an agent learns from PEM by `pem.sync()` and keeps on disk to start without PEM: definitions of its probes, its
 * targets and its schedule. Pure data, read by agent and server; a newer side may add fields, a reader ignores them.
 */

/** Types a probe's column may have; the names are PostgreSQL's. */
export const columnTypes = [
  'bool',
  'int2',
  'int4',
  'int8',
  'float4',
  'float8',
  'numeric',
  'text',
  'name',
  'oid',
  'xid',
  'pg_lsn',
  'inet',
  'timestamptz',
  'interval',
  'json',
  'jsonb',
  'text[]',
] as const;

export type ColumnType = (typeof columnTypes)[number];

/** Where a probe runs: on hosts, servers, each database of a server, every target (the agent's own figures), or PEM. */
export const probeLevels = ['host', 'server', 'database', 'target', 'pem'] as const;
/** Keys identify a row of a target; metrics are what is measured. */
export const columnRoles = ['key', 'metric'] as const;
/** A counter only grows (until a reset), a gauge moves freely, a label is not a quantity. */
export const columnKinds = ['counter', 'gauge', 'label'] as const;
/** trace: rows of the SQL profiler's traces, from agent/profiler. */
export const collectorKinds = ['os', 'sql', 'self', 'trace'] as const;
/** full: every run sends all rows · delta: only changed rows travel · append: events. */
export const probeModes = ['full', 'delta', 'append'] as const;

/** One column of a probe's result. */
export interface ProbeColumn {
  readonly name: string;
  readonly type: ColumnType;
  readonly role: (typeof columnRoles)[number];
  readonly kind: (typeof columnKinds)[number];
  /** Unit of the number as stored: 'bytes', 'ms', 's', 'percent', 'count', 'blocks', … ; '' for labels. */
  readonly unit: string;
  readonly title: string;
}

/** SQL of a probe from a server version on (server_version_num, 130000 = 13.0). */
export interface ProbeSql {
  readonly minVersion: number;
  readonly text: string;
}

/** What of a probe an agent needs. */
export interface ProbeRuntime {
  readonly name: string;
  readonly version: number;
  readonly level: (typeof probeLevels)[number];
  readonly collector: (typeof collectorKinds)[number];
  readonly columns: readonly ProbeColumn[];
  readonly sql?: readonly ProbeSql[];
  readonly scopeColumn?: string;
  readonly mode: (typeof probeModes)[number];
  /** Grant without which the probe is not permitted; default pg_monitor. */
  readonly needs?: string;
}

/** A monitored server as its agent sees it. Passwords are never here: they live with the agent (PGPASSFILE). */
export interface ServerTarget {
  readonly targetId: number;
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly sslmode: string;
}

export interface ScheduleEntry {
  readonly targetId: number;
  readonly probe: string;
  readonly intervalMs: number;
}

/** When a trace runs by itself. Times of day are those of an IANA time zone. */
export type TraceSchedule =
  | { readonly kind: 'once'; readonly atUs: number }
  | { readonly kind: 'daily'; readonly time: string; readonly timezone: string }
  | { readonly kind: 'cron'; readonly pattern: string; readonly timezone: string };

/** A trace of the SQL profiler as people want it. */
export interface TraceDefinition {
  readonly id: number;
  readonly targetId: number;
  /** Part of the trace's name on the server: tells it from traces of another PEM. */
  readonly token: string;
  /** For sql_profiler.start(). */
  readonly options: Readonly<Record<string, unknown>>;
  /** null: it runs when somebody asks for it. */
  readonly schedule: TraceSchedule | null;
  /** How long each run is; null: until it is stopped. */
  readonly durationS: number | null;
  /** Statements travel one by one, beside the aggregates. */
  readonly events: boolean;
  /** Of them at most so many a second. */
  readonly eventsPerS: number;
  /** A run that came to its limit of bytes is followed by another until its time is over. */
  readonly continuous: boolean;
  /** Files stay on the server when a run is over and read. */
  readonly keepFiles: boolean;
  /** What somebody asked for last, and how often something was asked for. */
  readonly request: 'none' | 'start' | 'stop';
  readonly requestSeq: number;
  /** How much of that the agent had said it knows of. */
  readonly handledSeq: number;
}

export interface AgentDefinitions {
  readonly agentId: number;
  readonly configVersion: number;
  readonly hostTarget: number;
  readonly probes: Readonly<Record<string, ProbeRuntime>>;
  readonly servers: readonly ServerTarget[];
  /** Enabled entries only. */
  readonly schedule: readonly ScheduleEntry[];
  /** An older PEM sends none. */
  readonly traces?: readonly TraceDefinition[];
}
