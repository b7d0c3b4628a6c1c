/**
 * What a request may say of a trace: options, schedule and the rest, checked before PEM keeps it. In: JSON. Out: values for
 * pem.create_trace, or a refusal that names the field. The options are those of sql_profiler.start() in
 * profiler-ext/README.md; the server that runs the trace checks them once more, and its word counts.
 */
import { isIP } from 'node:net';
import * as v from 'valibot';
import { checkSchedule } from '../base/schedule.js';
import { HttpError } from '../http/message.js';
import type { TraceSchedule } from '../wire/config.js';
import { traceKinds } from '../wire/trace.js';
import { whole } from './schema.js';

const dayUs = 86_400_000_000;

const flag = v.boolean('it is true or false');
const utf8Bytes = (text: string): number => Buffer.byteLength(text, 'utf8');
const name = v.pipe(
  v.string('it holds texts'),
  v.check((text) => utf8Bytes(text) <= 63, 'a name has at most 63 bytes'),
  v.minLength(1, 'a name is not empty'),
);
const listOf = <S extends v.GenericSchema<string>>(item: S) =>
  v.pipe(
    v.array(item, 'it is a list of texts'),
    v.minLength(1, 'it is not empty: leave it out to take all'),
    v.maxLength(100, 'it has at most 100 names'),
  );
const names = listOf(name);

/** An address, a network, or the socket; as sql_profiler.start() reads it. */
function isClient(text: string): boolean {
  const [, address = '', prefix] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const kind = isIP(address);
  // No zone: the server would not read it.
  return (
    text === '[local]' ||
    (kind !== 0 && !address.includes('%') && Number(prefix ?? 0) <= (kind === 4 ? 32 : 128))
  );
}
const clients = listOf(
  v.pipe(
    name,
    v.check(
      isClient,
      'an entry is an address (192.0.2.1), a network (192.0.2.0/24, 2001:db8::/32) or [local]',
    ),
  ),
);

/** As much as the server keeps of all filters together. */
const mostFilterBytes = 4096;

const options = v.strictObject(
  {
    databases: v.optional(names),
    users: v.optional(names),
    applications: v.optional(names),
    clients: v.optional(clients),
    min_duration_us: v.optional(whole(0, dayUs)),
    kinds: v.optional(
      v.pipe(
        v.array(v.picklist(traceKinds, `it is one of ${traceKinds.join(', ')}`), 'it is a list'),
        v.minLength(1, 'it is not empty: leave it out to take all'),
      ),
    ),
    sample_rate: v.optional(
      v.pipe(
        v.number('it is a number'),
        v.check((rate) => rate > 0 && rate <= 1, 'it is above 0 and at most 1'),
      ),
    ),
    nested: v.optional(flag),
    max_file_bytes: v.optional(whole(65_536, 2 ** 38)),
    max_total_bytes: v.optional(whole(262_144, 2 ** 50)),
    max_query_bytes: v.optional(whole(0, 64 * 2 ** 20)),
    max_params_bytes: v.optional(whole(0, 64 * 2 ** 20)),
    max_plan_bytes: v.optional(whole(0, 64 * 2 ** 20)),
    max_error_bytes: v.optional(whole(0, 2 ** 20)),
    params: v.optional(flag),
    plan: v.optional(v.picklist(['text', 'json'], 'it is text or json')),
    plan_min_us: v.optional(whole(0, dayUs)),
    rusage: v.optional(flag),
    workers: v.optional(flag),
  },
  'it is an object of options of sql_profiler.start()',
);

const schedule = v.strictObject(
  {
    kind: v.picklist(['once', 'daily', 'cron'], 'it is once, daily or cron'),
    /** once */
    atUs: v.optional(v.number('it is a number')),
    /** daily */
    time: v.optional(v.string('it is a text')),
    /** cron */
    pattern: v.optional(v.pipe(v.string('it is a text'), v.maxLength(200, 'it has at most 200 characters'))),
    /** daily, cron */
    timezone: v.optional(v.pipe(v.string('it is a text'), v.maxLength(64, 'it has at most 64 characters'))),
  },
  'it is an object: kind and what belongs to it',
);

/** Body of POST /traces. */
export const newTrace = v.strictObject(
  {
    targetId: whole(1, Number.MAX_SAFE_INTEGER),
    name: v.pipe(
      v.string('it is missing'),
      v.minLength(1, 'it has 1 to 200 characters'),
      v.maxLength(200, 'it has 1 to 200 characters'),
    ),
    options: v.optional(options),
    schedule: v.optional(v.nullable(schedule)),
    durationS: v.optional(v.nullable(whole(1, 31 * 86_400))),
    events: v.optional(flag),
    eventsPerS: v.optional(whole(1, 1_000_000)),
    continuous: v.optional(flag),
    keepFiles: v.optional(flag),
    /** Begin at once. */
    start: v.optional(flag),
  },
  'the body is an object that describes a trace',
);

export type NewTrace = v.InferOutput<typeof newTrace>;

/** Events that travel each second where nobody says otherwise. */
const defaultEventsPerS = 2000;

function scheduleOf(given: NewTrace['schedule']): TraceSchedule | null {
  if (given === undefined || given === null) return null;
  const { kind, atUs, time, pattern, timezone = 'UTC' } = given;
  const missing = (field: string): never => {
    throw new HttpError(400, 'input_invalid', `body schedule.${field}: it is missing for kind ${kind}`);
  };
  const extra = Object.keys(given).find((field) => !(belongs[kind] as readonly string[]).includes(field));
  if (extra !== undefined) {
    throw new HttpError(400, 'input_invalid', `body schedule.${extra}: it does not belong to kind ${kind}`);
  }
  const result: TraceSchedule =
    kind === 'once'
      ? { kind, atUs: atUs ?? missing('atUs') }
      : kind === 'daily'
        ? { kind, time: time ?? missing('time'), timezone }
        : { kind, pattern: pattern ?? missing('pattern'), timezone };
  checkSchedule(result);
  return result;
}

const belongs = {
  once: ['kind', 'atUs'],
  daily: ['kind', 'time', 'timezone'],
  cron: ['kind', 'pattern', 'timezone'],
} as const;

/** Arguments of pem.create_trace, in its order. @throws HttpError input_invalid, PemError schedule_invalid */
export function createArguments(body: NewTrace): unknown[] {
  const { databases, users, applications, clients: addresses } = body.options ?? {};
  const filters = [databases, users, applications, addresses].flatMap((list) => list ?? []);
  if (filters.reduce((sum, text) => sum + utf8Bytes(text) + 2, 0) > mostFilterBytes) {
    throw new HttpError(
      400,
      'input_invalid',
      `body options: names and addresses to choose by have at most ${mostFilterBytes} bytes together, two for each included`,
    );
  }
  const wanted = scheduleOf(body.schedule);
  if (wanted !== null && (body.durationS ?? null) === null) {
    throw new HttpError(400, 'input_invalid', 'body durationS: a schedule needs the length of a run');
  }
  return [
    body.targetId,
    body.name,
    JSON.stringify(body.options ?? {}),
    wanted === null ? null : JSON.stringify(wanted),
    body.durationS ?? null,
    body.events ?? true,
    body.eventsPerS ?? defaultEventsPerS,
    body.continuous ?? false,
    body.keepFiles ?? false,
  ];
}
