/**
 * The agent's definitions: what PEM wants measured, kept in state/definitions.json so that the agent starts and measures
 * while PEM is away. In: `config` of pem.sync(). Out: the current definitions and calls to listeners when they changed.
 * A file that cannot be read is reported and treated as missing: PEM sends it again.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { errorCode, errorText, PemError } from '../../src/base/errors.js';
import type { Log } from '../../src/base/log.js';
import {
  type AgentDefinitions,
  collectorKinds,
  columnKinds,
  columnRoles,
  columnTypes,
  probeLevels,
  probeModes,
  type TraceDefinition,
} from '../../src/wire/config.js';
import { writeDurably } from './files.js';

const column = v.looseObject({
  name: v.string(),
  type: v.picklist(columnTypes),
  role: v.picklist(columnRoles),
  kind: v.picklist(columnKinds),
  unit: v.string(),
  title: v.string(),
});

const probe = v.looseObject({
  name: v.string(),
  version: v.number(),
  level: v.picklist(probeLevels),
  collector: v.picklist(collectorKinds),
  columns: v.array(column),
  mode: v.picklist(probeModes),
});

const shape = v.looseObject({
  agentId: v.number(),
  configVersion: v.number(),
  hostTarget: v.number(),
  probes: v.record(v.string(), v.unknown()),
  servers: v.array(
    v.looseObject({
      targetId: v.number(),
      name: v.string(),
      host: v.string(),
      port: v.number(),
      database: v.string(),
      user: v.string(),
      sslmode: v.string(),
    }),
  ),
  schedule: v.array(v.looseObject({ targetId: v.number(), probe: v.string(), intervalMs: v.number() })),
  traces: v.optional(v.array(v.unknown()), []),
});

const trace = v.looseObject({
  id: v.number(),
  targetId: v.number(),
  token: v.pipe(v.string(), v.regex(/^[0-9a-f]{8}$/)),
  options: v.record(v.string(), v.unknown()),
  schedule: v.nullable(
    v.variant('kind', [
      v.looseObject({ kind: v.literal('once'), atUs: v.number() }),
      v.looseObject({ kind: v.literal('daily'), time: v.string(), timezone: v.string() }),
      v.looseObject({ kind: v.literal('cron'), pattern: v.string(), timezone: v.string() }),
    ]),
  ),
  durationS: v.nullable(v.number()),
  events: v.boolean(),
  eventsPerS: v.number(),
  continuous: v.boolean(),
  keepFiles: v.boolean(),
  request: v.picklist(['none', 'start', 'stop']),
  requestSeq: v.number(),
  handledSeq: v.number(),
});

/**
 * A newer PEM may add fields and whole kinds of probes and traces: fields are ignored, probes this agent cannot run are left
 * out with what is scheduled of them, and so are traces.
 * @throws PemError definitions_malformed
 */
export function parseDefinitions(value: unknown): { definitions: AgentDefinitions; leftOut: string[] } {
  const parsed = v.safeParse(shape, value);
  if (!parsed.success) {
    const issue = parsed.issues[0];
    throw new PemError(
      'definitions_malformed',
      `definitions from PEM: ${v.getDotPath(issue) ?? 'value'}: ${issue.message}`,
    );
  }
  const known: Record<string, unknown> = {};
  const leftOut: string[] = [];
  for (const [name, definition] of Object.entries(parsed.output.probes)) {
    if (v.is(probe, definition)) known[name] = definition;
    else leftOut.push(name);
  }
  const traces: TraceDefinition[] = [];
  for (const definition of parsed.output.traces) {
    if (v.is(trace, definition)) traces.push(definition as TraceDefinition);
    else leftOut.push(`trace ${(definition as { id?: unknown } | null)?.id}`);
  }
  return {
    definitions: {
      ...parsed.output,
      probes: known as AgentDefinitions['probes'],
      schedule: parsed.output.schedule.filter((entry) => entry.probe in known),
      traces,
    },
    leftOut,
  };
}

export class DefinitionsStore {
  #current: AgentDefinitions | null = null;
  readonly #listeners = new Set<(definitions: AgentDefinitions) => void>();

  constructor(
    private readonly path: string,
    private readonly agentId: number,
    private readonly log: Log,
  ) {
    try {
      const { definitions } = parseDefinitions(JSON.parse(readFileSync(path, 'utf8')));
      if (definitions.agentId === agentId) this.#current = definitions;
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return;
      log.warn({ code: 'definitions_unreadable', error: errorText(error) }, `${path} is not used`);
    }
  }

  get current(): AgentDefinitions | null {
    return this.#current;
  }

  /** 0 when there are none: PEM then sends them. */
  get version(): number {
    return this.#current?.configVersion ?? 0;
  }

  /** Called with each new version; at once when there is one already. Returns a function that takes the listener away. */
  onChange(listener: (definitions: AgentDefinitions) => void): () => void {
    this.#listeners.add(listener);
    if (this.#current !== null) listener(this.#current);
    return () => this.#listeners.delete(listener);
  }

  /** Takes over what pem.sync() sent. @throws PemError definitions_malformed */
  accept(value: unknown): void {
    const { definitions, leftOut } = parseDefinitions(value);
    if (definitions.agentId !== this.agentId) {
      throw new PemError('definitions_malformed', `definitions are for agent ${definitions.agentId}`);
    }
    if (leftOut.length > 0) {
      this.log.warn(
        { code: 'probe_unknown', probes: leftOut },
        'this agent is too old for some probes or traces',
      );
    }
    this.#current = definitions;
    try {
      mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
      writeDurably(this.path, `${JSON.stringify(definitions)}\n`);
    } catch (error) {
      // The agent measures all the same; only a start without PEM would use the older file.
      this.log.warn({ code: 'definitions_not_kept', error: errorText(error) }, `cannot write ${this.path}`);
    }
    for (const listener of this.#listeners) listener(definitions);
  }
}
