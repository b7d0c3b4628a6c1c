import { expect, test } from 'vitest';
import { describeOptions, emptyForm, fieldOf, names, readForm, type TraceForm } from './trace_form.js';

const nowMs = 1_790_000_000_000;
const form = (more: Partial<TraceForm>): TraceForm => ({ ...emptyForm, targetId: 2, name: 'slow', ...more });
const body = (more: Partial<TraceForm> = {}) => {
  const read = readForm(form(more), nowMs);
  if ('errors' in read) throw new Error(JSON.stringify(read.errors));
  return read.body;
};
const errors = (more: Partial<TraceForm>) => {
  const read = readForm(form(more), nowMs);
  return 'errors' in read ? Object.keys(read.errors).sort() : [];
};

test('names stand between commas; in quotes they may hold commas', () => {
  expect(names('')).toEqual([]);
  expect(names(' a, b ,,\n c')).toEqual(['a', 'b', 'c']);
  expect(names('"a, b", c')).toEqual(['a, b', 'c']);
  expect(names('x,"say ""hi"", you" ,y')).toEqual(['x', 'say "hi", you', 'y']);
  expect(names('" padded "')).toEqual([' padded ']);
  // What is no quoted name is taken as it stands.
  expect(names('5" disk, it"s')).toEqual(['5" disk', 'it"s']);
  expect(names('"open, end')).toEqual(['"open', 'end']);
  expect(names('"a" b, c')).toEqual(['"a" b', 'c']);
});

test('an untouched form with a name is every statement for ten minutes, at once', () => {
  expect(body()).toEqual({
    targetId: 2,
    name: 'slow',
    options: { max_total_bytes: 1_073_741_824 },
    schedule: null,
    durationS: 600,
    events: true,
    eventsPerS: 2000,
    continuous: false,
    keepFiles: false,
    start: true,
  });
});

test('what people type becomes what the server takes', () => {
  expect(
    body({
      databases: ' shop, billing,\nshop2 ',
      leastMs: '2,5',
      kinds: ['select', 'ddl'],
      samplePercent: '12.5',
      nested: false,
      plan: 'json',
      planMs: '50',
      fileMib: '64',
      queryKib: '4',
      params: true,
      minutes: '',
      when: 'asked',
    }),
  ).toMatchObject({
    options: {
      databases: ['shop', 'billing', 'shop2'],
      min_duration_us: 2500,
      kinds: ['select', 'ddl'],
      sample_rate: 0.125,
      nested: false,
      plan: 'json',
      plan_min_us: 50_000,
      max_file_bytes: 67_108_864,
      max_query_bytes: 4096,
      params: true,
    },
    durationS: null,
    start: false,
  });
  expect(body({ when: 'daily', dailyAt: '02:30', timezone: 'Europe/Berlin' }).schedule).toEqual({
    kind: 'daily',
    time: '02:30',
    timezone: 'Europe/Berlin',
  });
  expect(body({ when: 'cron', cron: '30 2 * * 1-5', timezone: 'UTC' }).schedule).toMatchObject({
    kind: 'cron',
  });
});

test.each<[Partial<TraceForm>, string[]]>([
  [{ name: ' ' }, ['name']],
  [{ targetId: 0 }, ['targetId']],
  [{ leastMs: 'fast' }, ['leastMs']],
  [{ samplePercent: '0' }, ['samplePercent']],
  [{ samplePercent: '' }, ['samplePercent']],
  [{ totalMib: '' }, ['totalMib']],
  [{ totalMib: '10', fileMib: '20' }, ['fileMib']],
  [{ users: 'x'.repeat(64) }, ['users']],
  [{ when: 'once', onceAt: '' }, ['onceAt']],
  [{ when: 'once', onceAt: '2001-01-01T00:00' }, ['onceAt']],
  [{ when: 'daily', minutes: '' }, ['minutes']],
  [{ when: 'daily', dailyAt: '25:00' }, ['dailyAt']],
  [{ when: 'cron', cron: '* * *' }, ['cron']],
  [{ eventsPerS: '1.5' }, ['eventsPerS']],
  [{ plan: 'text', planMs: '' }, ['planMs']],
  [{ continuous: true, keepFiles: true }, ['keepFiles']],
  [{ name: '', minutes: '-1' }, ['minutes', 'name']],
])('%j is refused at its field', (more, fields) => {
  expect(errors(more)).toEqual(fields);
});

test("the server's refusals find their field", () => {
  expect(fieldOf('body options.databases.0: a name has at most 63 bytes')).toBe('databases');
  expect(fieldOf('body durationS: a schedule needs the length of a run')).toBe('minutes');
  expect(fieldOf('there is a trace "slow" of that server')).toBe('name');
  expect(fieldOf('schedule: CronPattern: minute has a value out of range: 99')).toBe('cron');
  expect(fieldOf('schedule: toTZ: invalid time zone Mars/Base')).toBe('timezone');
  expect(fieldOf('a server has at most 100 traces')).toBeUndefined();
});

test('options are told in words', () => {
  expect(describeOptions({})).toEqual([]);
  expect(
    describeOptions({
      databases: ['a', 'b'],
      min_duration_us: 1500,
      sample_rate: 0.01,
      nested: false,
      plan: 'text',
    }),
  ).toEqual(['database a, b', 'from 1.5 ms', '1 % of statements', 'without nested ones', 'plans from 0 ms']);
});
