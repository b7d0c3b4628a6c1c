/**
 * The form of a new trace: texts as people type them → the body of POST /traces, or for each field that is wrong a sentence.
 * Pure. The server checks again, and its word counts.
 */
import type { TraceKind } from '../../src/wire/trace.js';

export interface TraceForm {
  readonly targetId: number;
  readonly name: string;
  readonly databases: string;
  readonly users: string;
  readonly applications: string;
  readonly clients: string;
  readonly leastMs: string;
  readonly kinds: readonly TraceKind[];
  readonly samplePercent: string;
  readonly nested: boolean;
  readonly when: 'now' | 'asked' | 'once' | 'daily' | 'cron';
  readonly onceAt: string;
  readonly dailyAt: string;
  readonly cron: string;
  readonly timezone: string;
  readonly minutes: string;
  readonly totalMib: string;
  readonly fileMib: string;
  readonly continuous: boolean;
  readonly keepFiles: boolean;
  readonly events: boolean;
  readonly eventsPerS: string;
  readonly params: boolean;
  readonly plan: 'none' | 'text' | 'json';
  readonly planMs: string;
  readonly rusage: boolean;
  readonly workers: boolean;
  readonly queryKib: string;
}

export type FormErrors = Partial<Record<keyof TraceForm, string>>;

export const emptyForm: TraceForm = {
  targetId: 0,
  name: '',
  databases: '',
  users: '',
  applications: '',
  clients: '',
  leastMs: '',
  kinds: [],
  samplePercent: '100',
  nested: true,
  when: 'now',
  onceAt: '',
  dailyAt: '02:00',
  cron: '',
  timezone: typeof Intl === 'undefined' ? 'UTC' : Intl.DateTimeFormat().resolvedOptions().timeZone,
  minutes: '10',
  totalMib: '1024',
  fileMib: '',
  continuous: false,
  keepFiles: false,
  events: true,
  eventsPerS: '2000',
  params: false,
  plan: 'none',
  planMs: '100',
  rusage: false,
  workers: false,
  queryKib: '',
};

/** Names between commas or lines; one that holds a comma, or begins or ends with a space, stands in quotes, a quote in it twice. */
export const names = (text: string): string[] =>
  [...text.matchAll(/\s*(?:"((?:[^"]|"")*)"[^\S\n]*(?=[,\n]|$)|([^,\n]*))(?:[,\n]|$)/g)]
    .map(([, quoted, bare]) => (quoted === undefined ? (bare ?? '').trim() : quoted.replaceAll('""', '"')))
    .filter((name) => name !== '');

/** What the options of a made trace say, for people. */
export function describeOptions(options: Readonly<Record<string, unknown>>): string[] {
  const list: string[] = [];
  for (const [name, word] of [
    ['databases', 'database'],
    ['users', 'user'],
    ['applications', 'application'],
    ['clients', 'client'],
    ['kinds', 'kind'],
  ] as const) {
    const value = options[name];
    if (Array.isArray(value) && value.length > 0) list.push(`${word} ${value.join(', ')}`);
  }
  const number = (name: string): number => Number(options[name] ?? 0);
  if (number('min_duration_us') > 0) list.push(`from ${number('min_duration_us') / 1000} ms`);
  if (options.sample_rate !== undefined && number('sample_rate') < 1)
    list.push(`${+(number('sample_rate') * 100).toPrecision(3)} % of statements`);
  if (options.nested === false) list.push('without nested ones');
  for (const name of ['params', 'rusage', 'workers'] as const) if (options[name] === true) list.push(name);
  if (typeof options.plan === 'string') list.push(`plans from ${number('plan_min_us') / 1000} ms`);
  return list;
}

/** @returns the request's body, or what is wrong */
export function readForm(
  form: TraceForm,
  nowMs: number,
): { body: Record<string, unknown> } | { errors: FormErrors } {
  const errors: FormErrors = {};
  const number = (field: keyof TraceForm, least: number, most: number, unit: string, whole = false) => {
    const text = String(form[field]).trim();
    if (text === '') return undefined;
    const value = Number(text.replace(',', '.'));
    if (!Number.isFinite(value) || value < least || value > most || (whole && !Number.isInteger(value))) {
      errors[field] =
        `A ${whole ? 'whole ' : ''}number from ${least} to ${most}${unit === '' ? '' : ` ${unit}`}.`;
      return undefined;
    }
    return value;
  };
  const needed = <T>(field: keyof TraceForm, value: T | undefined, sentence: string): T | undefined => {
    if (value === undefined || value === '') errors[field] ??= sentence;
    return value;
  };
  const options: Record<string, unknown> = {};
  for (const field of ['databases', 'users', 'applications', 'clients'] as const) {
    const list = names(form[field]);
    const long = list.find((name) => new TextEncoder().encode(name).length > 63);
    if (long !== undefined) errors[field] = `A name has at most 63 bytes: “${long.slice(0, 20)}…” has more.`;
    else if (list.length > 100) errors[field] = 'At most 100 names.';
    else if (list.length > 0) options[field] = list;
  }
  const leastMs = number('leastMs', 0, 86_400_000, 'ms');
  if (leastMs !== undefined && leastMs > 0) options.min_duration_us = Math.round(leastMs * 1000);
  if (form.kinds.length > 0) options.kinds = form.kinds;
  const percent = needed(
    'samplePercent',
    number('samplePercent', 0.0001, 100, '%'),
    'How many percent of statements?',
  );
  if (percent !== undefined && percent < 100) options.sample_rate = percent / 100;
  if (!form.nested) options.nested = false;
  const total = needed('totalMib', number('totalMib', 1, 2 ** 30, 'MiB'), 'How much may it write at most?');
  if (total !== undefined) options.max_total_bytes = Math.round(total * 1_048_576);
  const file = number('fileMib', 0.0625, 2 ** 18, 'MiB');
  if (file !== undefined) options.max_file_bytes = Math.round(file * 1_048_576);
  if (file !== undefined && total !== undefined && file > total)
    errors.fileMib = 'A file cannot be larger than all together.';
  const query = number('queryKib', 0, 65_536, 'KiB');
  if (query !== undefined) options.max_query_bytes = Math.round(query * 1024);
  if (form.params) options.params = true;
  if (form.plan !== 'none') {
    options.plan = form.plan;
    const plan = needed(
      'planMs',
      number('planMs', 0, 86_400_000, 'ms'),
      'From which time on are plans kept?',
    );
    if (plan !== undefined) options.plan_min_us = Math.round(plan * 1000);
  }
  if (form.rusage) options.rusage = true;
  if (form.workers) options.workers = true;

  if (form.targetId === 0) errors.targetId = 'Choose a server.';
  const name = form.name.trim();
  if (name === '') errors.name = 'A name is needed.';
  else if (name.length > 200) errors.name = 'A name has at most 200 characters.';
  const minutes = number('minutes', 1 / 60, 44_640, 'min');
  let schedule: Record<string, unknown> | null = null;
  if (form.when === 'once') {
    const atMs = new Date(form.onceAt).getTime();
    if (Number.isNaN(atMs)) errors.onceAt = 'Choose day and time.';
    else if (atMs <= nowMs) errors.onceAt = 'That time is over.';
    else schedule = { kind: 'once', atUs: atMs * 1000 };
  } else if (form.when === 'daily') {
    if (!/^([01]\d|2[0-3]):[0-5]\d$/.test(form.dailyAt)) errors.dailyAt = 'A time of day, as 02:00.';
    else schedule = { kind: 'daily', time: form.dailyAt, timezone: form.timezone };
  } else if (form.when === 'cron') {
    if (!/^\S+( +\S+){4}$/.test(form.cron.trim()))
      errors.cron = 'Five fields: minute, hour, day of month, month, day of week.';
    else schedule = { kind: 'cron', pattern: form.cron.trim(), timezone: form.timezone };
  }
  if (schedule !== null || form.when === 'once' || form.when === 'daily' || form.when === 'cron')
    needed('minutes', minutes, 'A scheduled run needs an end.');
  const eventsPerS = number('eventsPerS', 1, 1_000_000, 'a second', true);
  if (form.events) needed('eventsPerS', eventsPerS, 'How many a second at most?');
  if (form.continuous && form.keepFiles)
    errors.keepFiles = 'A continuous trace makes room by removing files that are read.';
  if (Object.keys(errors).length > 0) return { errors };
  return {
    body: {
      targetId: form.targetId,
      name,
      options,
      schedule,
      durationS: minutes === undefined ? null : Math.max(1, Math.round(minutes * 60)),
      events: form.events,
      ...(form.events ? { eventsPerS } : {}),
      continuous: form.continuous,
      keepFiles: form.keepFiles,
      start: form.when === 'now',
    },
  };
}

/** Which field a refusal of the server is about. */
export function fieldOf(message: string): keyof TraceForm | undefined {
  const named = /^body (?:options\.|schedule\.)?(\w+)/.exec(message)?.[1] ?? '';
  const fields: Readonly<Record<string, keyof TraceForm>> = {
    targetId: 'targetId',
    name: 'name',
    databases: 'databases',
    users: 'users',
    applications: 'applications',
    clients: 'clients',
    min_duration_us: 'leastMs',
    sample_rate: 'samplePercent',
    max_total_bytes: 'totalMib',
    max_file_bytes: 'fileMib',
    max_query_bytes: 'queryKib',
    plan_min_us: 'planMs',
    durationS: 'minutes',
    eventsPerS: 'eventsPerS',
    keepFiles: 'keepFiles',
    atUs: 'onceAt',
    time: 'dailyAt',
    pattern: 'cron',
    timezone: 'timezone',
  };
  if (/there is a trace "/.test(message)) return 'name';
  // What the one who reads schedules says of them.
  if (/^schedule: /.test(message))
    return /time ?zone/i.test(message) ? 'timezone' : /^schedule: time is/.test(message) ? 'dailyAt' : 'cron';
  return fields[named];
}
