/** The call pem.sync(): its request and reply as types, and the reading of the reply. */
import * as v from 'valibot';
import { PemError } from '../../src/base/errors.js';
import type { RunFigures } from '../../src/wire/trace.js';
import type { Range } from '../spool/received.js';
import type { HostFacts } from './facts.js';

export interface CommandResult {
  readonly id: number;
  readonly ok: boolean;
  readonly result: unknown;
}

/** What the agent knows of a server it watches. */
export interface ServerFacts {
  readonly targetId: number;
  readonly serverVersionNum: number | null;
  readonly systemIdentifier: string | null;
  readonly error: string | null;
}

/** One run of a trace, as pem.trace_run has it. */
export interface RunReport extends RunFigures {
  readonly serverName: string;
  readonly state: 'starting' | 'running' | 'ending' | 'ended';
  readonly startedUs: number | null;
  readonly stoppedUs: number | null;
}

/** A trace, as pem.trace has it. */
export interface TraceReport {
  readonly id: number;
  readonly handledSeq: number;
  readonly state: 'idle' | 'starting' | 'running' | 'stopping' | 'blocked';
  readonly code: string | null;
  readonly error: string | null;
  /** The run that is going on, else the last one. */
  readonly run: string | null;
  readonly nextAtUs: number | null;
  readonly runs: readonly RunReport[];
}

/** What is to be said of traces. */
export interface TraceReports {
  /** What PEM has not been told yet. */
  pending(): readonly TraceReport[];
  /** PEM has it. */
  taken(reports: readonly TraceReport[]): void;
  /** PEM may have forgotten: everything is said again. */
  again(): void;
}

export interface SyncRequest {
  /** Oldest first, the worker's own last. */
  readonly boots: readonly string[];
  readonly version: string;
  readonly configVersion: number;
  readonly info: Readonly<Record<string, unknown>> & { readonly host: HostFacts };
  readonly commandResults: readonly CommandResult[];
  readonly servers: readonly ServerFacts[];
  readonly traces: readonly TraceReport[];
}

export interface Command {
  readonly id: number;
  readonly kind: string;
  readonly payload: unknown;
}

export interface SyncReply {
  readonly nowUs: number;
  readonly configVersion: number;
  /** Only when newer than asked. */
  readonly config: unknown;
  readonly received: ReadonlyMap<string, readonly Range[]>;
  readonly commands: readonly Command[];
  readonly certificate: string | null;
  /** Why PEM takes nothing from this agent. */
  readonly quarantined: string | null;
}

const shape = v.looseObject({
  now: v.number(),
  configVersion: v.number(),
  config: v.optional(v.unknown()),
  received: v.record(v.string(), v.array(v.tuple([v.number(), v.number()]))),
  commands: v.optional(
    v.array(v.looseObject({ id: v.number(), kind: v.string(), payload: v.unknown() })),
    [],
  ),
  certificate: v.optional(v.nullable(v.string()), null),
  quarantined: v.optional(v.nullable(v.string()), null),
});

/** @throws PemError sync_malformed */
export function parseReply(text: string | null | undefined): SyncReply {
  const parsed = v.safeParse(shape, JSON.parse(text ?? 'null'));
  if (!parsed.success) {
    const issue = parsed.issues[0];
    throw new PemError(
      'sync_malformed',
      `reply of pem.sync: ${v.getDotPath(issue) ?? 'value'}: ${issue.message}`,
    );
  }
  const { now, configVersion, config, received, commands, certificate, quarantined } = parsed.output;
  return {
    nowUs: now,
    configVersion,
    config,
    received: new Map(Object.entries(received)),
    commands,
    certificate,
    quarantined,
  };
}
