/**
 * What the agent knows of its traces across restarts: which request it has dealt with, which run is under way, which runs are
 * still to be read. In: changes. Out: the same after a restart. Owns state/traces.json, written whole and on disk at each
 * change (they are few: positions are elsewhere, positions.ts). A file that cannot be read is reported and treated as
 * missing: runs are then found again on the server by their names.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import * as v from 'valibot';
import { errorCode, errorText } from '../../src/base/errors.js';
import type { Log } from '../../src/base/log.js';
import { writeDurably } from '../link/files.js';

const run = v.object({
  /** Of this trace; a report names it. */
  run: v.string(),
  /** The trace's name on the server. */
  name: v.string(),
  /** Its id there, once that is known. */
  serverId: v.nullable(v.number()),
  startedUs: v.nullable(v.number()),
  untilUs: v.nullable(v.number()),
  /** starting: to be started or found · running · ending: to be stopped, read to its end, removed · ended: to be told. */
  phase: v.picklist(['starting', 'running', 'ending', 'ended']),
  /** Why it ends. */
  reason: v.nullable(v.string()),
  /** Of one that has ended: the report that PEM has not taken yet. */
  report: v.optional(v.record(v.string(), v.unknown())),
});
export type RunMemory = v.InferOutput<typeof run>;

const current = v.object({
  /** m<number of the request> or s<µs of the schedule>. */
  key: v.string(),
  untilUs: v.nullable(v.number()),
  /** Runs that it has had so far. */
  parts: v.number(),
});

const trace = v.object({
  targetId: v.number(),
  token: v.string(),
  handledSeq: v.number(),
  /** Runs of the schedule that began before this moment are over, also where they ended early. */
  overUs: v.number(),
  /** What should be running now. */
  current: v.nullable(current),
  runs: v.array(run),
});
export type TraceMemory = v.InferOutput<typeof trace>;

const shape = v.object({ version: v.literal(1), traces: v.record(v.string(), trace) });

export class Memory {
  readonly traces = new Map<number, TraceMemory>();
  readonly #log: Log;
  readonly #file: string;

  constructor(file: string, log: Log) {
    this.#log = log;
    this.#file = file;
    try {
      const read = v.parse(shape, JSON.parse(readFileSync(file, 'utf8')));
      for (const [id, known] of Object.entries(read.traces)) this.traces.set(Number(id), known);
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return;
      log.warn(
        { code: 'trace_memory', file, reason: errorText(error) },
        'what was known of traces is not used',
      );
    }
  }

  /** Writes everything down. Where that fails the agent goes on; only its next start knows less. */
  save(): void {
    try {
      mkdirSync(dirname(this.#file), { recursive: true, mode: 0o700 });
      const traces = Object.fromEntries([...this.traces].map(([id, known]) => [String(id), known]));
      writeDurably(this.#file, `${JSON.stringify({ version: 1, traces })}\n`);
    } catch (error) {
      this.#log.warn(
        { code: 'trace_memory', file: this.#file, reason: errorText(error) },
        'what is known of traces is not kept',
      );
    }
  }
}
