/**
 * When a trace runs by itself: once, daily, by cron. In: a schedule, the length of a run, the time. Out: the run that this
 * moment belongs to, the next one, or a refusal that says what is wrong. Pure; agents decide by it, PEM checks by it.
 *
 * Cron has five fields (no seconds), of a named time zone. An hour that the clock skips moves to the next one, an hour that
 * comes twice counts once: croner's rules. (Its search backwards fails on 29 February: only the one forwards is used.)
 */
import { Cron } from 'croner';
import type { TraceSchedule } from '../wire/config.js';
import { errorText, PemError } from './errors.js';

const timePattern = /^([01]\d|2[0-3]):([0-5]\d)$/;
const fivePattern = /^\S+( +\S+){4}$/;
/** The year 3000. */
const latestUs = 32_503_680_000_000_000;

export interface Occurrence {
  readonly atUs: number;
  readonly untilUs: number;
}

function refuse(what: string): never {
  throw new PemError('schedule_invalid', `schedule: ${what}`, 'refused');
}

function cronOf(schedule: Exclude<TraceSchedule, { kind: 'once' }>): Cron {
  let pattern: string;
  if (schedule.kind === 'daily') {
    const [, hour, minute] = timePattern.exec(schedule.time) ?? refuse('time is HH:MM');
    pattern = `${Number(minute)} ${Number(hour)} * * *`;
  } else {
    pattern = schedule.pattern;
    // croner takes dates and further fields as well.
    if (pattern.length > 200 || !fivePattern.test(pattern)) {
      refuse('pattern has five fields: minute, hour, day of month, month, day of week');
    }
  }
  try {
    return new Cron(pattern, { timezone: schedule.timezone, mode: '5-part', paused: true });
  } catch (error) {
    return refuse(errorText(error));
  }
}

/** Its first moment after `afterMs`, null where there is none. @throws PemError schedule_invalid */
export function nextMs(schedule: TraceSchedule, afterMs: number): number | null {
  if (schedule.kind === 'once') return schedule.atUs / 1000 > afterMs ? schedule.atUs / 1000 : null;
  try {
    return (
      cronOf(schedule)
        .nextRun(new Date(Math.floor(afterMs)))
        ?.getTime() ?? null
    );
  } catch (error) {
    if (error instanceof PemError) throw error;
    return refuse(errorText(error));
  }
}

/** The run that `nowMs` lies in: [at, at + durationS). Of several the latest. @throws PemError schedule_invalid */
export function occurrenceAt(schedule: TraceSchedule, durationS: number, nowMs: number): Occurrence | null {
  let early = nowMs - durationS * 1000;
  let atMs = nextMs(schedule, early);
  if (atMs === null || atMs > nowMs) return null;
  // After `early` there is one that has begun, after `late` there is none: two are at least a minute apart.
  let late = nowMs;
  while (late - early > 60_000) {
    const middle = (early + late) / 2;
    const next = nextMs(schedule, middle);
    if (next === null || next > nowMs) late = middle;
    else {
      early = middle;
      atMs = next;
    }
  }
  const atUs = Math.round(atMs * 1000);
  return { atUs, untilUs: atUs + durationS * 1_000_000 };
}

/** @throws PemError schedule_invalid naming what is wrong; a pattern that never comes is wrong too */
export function checkSchedule(schedule: TraceSchedule): void {
  if (schedule.kind === 'once') {
    if (!Number.isInteger(schedule.atUs) || schedule.atUs < 0 || schedule.atUs > latestUs) {
      refuse('atUs is a time in µs since 1970');
    }
    return;
  }
  if (nextMs(schedule, Date.now()) === null) refuse('that time never comes');
}
