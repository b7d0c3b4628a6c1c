/**
 * What should be running of one trace. In: its definition, what the agent remembers of it, the time. Out: the memory moved on,
 * and the moment when to look again. Pure but for the memory handed in; run.ts makes it come true.
 *
 * 1. The last request counts, once: its number is remembered. Start begins a run unless one is going on; stop ends it.
 * 2. A run of the schedule begins when its time has come, also late (the agent was away), as long as that lasts.
 * 3. A run that has ended does not begin again. After one that ended early the schedule goes on when its time is over.
 */
import { nextMs, occurrenceAt } from '../../src/base/schedule.js';
import type { TraceDefinition } from '../../src/wire/config.js';
import type { TraceMemory } from './memory.js';

export function newMemory(definition: TraceDefinition): TraceMemory {
  return {
    targetId: definition.targetId,
    token: definition.token,
    handledSeq: definition.handledSeq,
    overUs: 0,
    current: null,
    runs: [],
  };
}

/** Ends what is running before its time; whatever of it is left to do is up to its runs. */
export function endCurrent(memory: TraceMemory): void {
  // Those of the schedule that began meanwhile are part of it.
  end(memory, memory.current?.untilUs ?? 0);
}

function end(memory: TraceMemory, overUs: number): void {
  if (memory.current?.key.startsWith('s')) memory.overUs = Math.max(memory.overUs, overUs);
  memory.current = null;
}

/** Why a run that was going on is not wanted any more. */
export type EndReason = 'requested' | 'duration_s' | null;

export interface Decision {
  /** Something of the memory changed. */
  readonly changed: boolean;
  readonly ended: EndReason;
  /** When the schedule begins the next run, null: it does not. */
  readonly nextUs: number | null;
}

/** @throws PemError schedule_invalid where PEM's schedule cannot be read here */
export function decide(definition: TraceDefinition, memory: TraceMemory, nowUs: number): Decision {
  const before = JSON.stringify(memory);
  let ended: EndReason = null;
  const seq = definition.requestSeq;
  if (seq > memory.handledSeq) {
    memory.handledSeq = seq;
    if (definition.request === 'stop' && memory.current !== null) {
      endCurrent(memory);
      ended = 'requested';
    } else if (definition.request === 'start' && memory.current === null) {
      const untilUs = definition.durationS === null ? null : nowUs + definition.durationS * 1_000_000;
      memory.current = { key: `m${seq}`, untilUs, parts: 0 };
    }
  }
  if (memory.current !== null && memory.current.untilUs !== null && memory.current.untilUs <= nowUs) {
    end(memory, Number(memory.current.key.slice(1)) + 1);
    ended = 'duration_s';
  }
  const { schedule, durationS } = definition;
  let nextUs: number | null = null;
  if (schedule !== null && durationS !== null) {
    if (memory.current === null) {
      const due = occurrenceAt(schedule, durationS, nowUs / 1000);
      if (due !== null && due.atUs >= memory.overUs) {
        memory.current = { key: `s${due.atUs}`, untilUs: due.untilUs, parts: 0 };
      }
    }
    const next = nextMs(schedule, nowUs / 1000);
    nextUs = next === null ? null : Math.round(next * 1000);
  }
  return { changed: JSON.stringify(memory) !== before, ended, nextUs };
}
