/** Words and figures for index advice: where it stands, why it failed, what came of each statement. */
import { expect, test } from 'vitest';
import {
  type Advice,
  choose,
  chosenOf,
  failureWords,
  formatCost,
  gainPercent,
  grantsIn,
  hasAgent,
  outcomesOf,
  stateWords,
} from './trace_advice.js';

const statement = (id: string, database = 'shop') => ({
  ...{ id, key: `-${id}`, database, user: 'web', text: `select ${id}`, calls: 1, execUs: 10 },
});
const advice = (change: Partial<Advice>): Advice => ({
  ...{ id: 1, run: 'm1', isChosen: false, state: 'done', requestedBy: 'ada', requestedAtUs: 1, doneAtUs: 2 },
  ...{ timeMs: 60_000, code: null, error: null, databases: null, failures: null, earlier: [] },
  statements: [statement('1'), statement('2')],
  ...change,
});
const up = { agentId: 1, agentStatus: 'up' };

test('where it stands is said in words that tell what to do', () => {
  expect(stateWords(advice({ state: 'waiting' }), up)).toContain('fetches the request');
  expect(stateWords(advice({ state: 'waiting' }), { agentId: 1, agentStatus: 'down' })).toContain(
    'agent’s state is down',
  );
  expect(stateWords(advice({ state: 'working' }), up)).toContain('2 statements: at most 60 s');
  expect(stateWords(advice({ state: 'overdue' }), up)).toContain('Ask again');
  expect(stateWords(advice({ state: 'failed', code: 'command_unknown', error: 'no' }), up)).toContain(
    'Upgrade the agent',
  );
  expect(stateWords(advice({ state: 'failed', code: 'advice_refused', error: 'too long' }), up)).toBe(
    'The agent could not begin: too long (advice_refused)',
  );
  expect(stateWords(advice({ databases: [] }), up)).toContain('No advice');
});

test('a database without hypopg: the commands that help, the package where it is missing, too', () => {
  const commands = (reason: string): string[] =>
    failureWords({ database: 'shop', code: 'hypopg_missing', reason }).commands.map(({ text }) => text);
  expect(commands('install it (Debian: apt-get install postgresql-16-hypopg; else …)')).toEqual([
    'apt-get install postgresql-16-hypopg',
    'CREATE EXTENSION hypopg;',
  ]);
  expect(commands('this server has it, the database has not')).toEqual(['CREATE EXTENSION hypopg;']);
  expect(failureWords({ database: 'shop', code: 'connections_busy', reason: 'all in use' })).toMatchObject({
    title: 'No advice for database shop',
    reason: 'All in use (connections_busy).',
  });
});

test('grants are taken out of reasons whole, names with any letters in them', () => {
  expect(grantsIn('permission denied; GRANT SELECT ON "my ""table" TO "pem_monitor", or GRANT x')).toEqual([
    'GRANT SELECT ON "my ""table" TO "pem_monitor";',
  ]);
  expect(grantsIn('no; GRANT USAGE ON SCHEMA app TO "pem_monitor"')).toEqual([
    'GRANT USAGE ON SCHEMA app TO "pem_monitor";',
  ]);
  expect(grantsIn('it does not parse')).toEqual([]);
});

test('what came of each statement, by database, also where lists were cut', () => {
  const within = {
    ...{ form: 'pem-index-advice', version: 1, estimate: true, database: 'shop', serverVersion: 150018 },
    ...{ hypopg: '1.3.1', notes: [], plans: 3, elapsedMs: 5, complete: true },
    indexes: [{ name: 'i', statements: [{ id: '1', costBefore: 100, costAfter: 5, share: 0.5 }] }],
    statements: [
      { id: '1', costBefore: 100, costAfter: 5, share: 0.5, generic: true, asSelect: false, uses: ['p'] },
    ],
    skipped: [{ id: '2', share: 0.5, code: 'refused', reason: 'its text is cut' }],
  } as unknown as NonNullable<Advice['databases']>[number];
  const found = outcomesOf(
    advice({
      databases: [within],
      statements: [statement('1'), statement('2'), statement('3'), statement('1', 'other')],
    }),
  );
  expect(found.map(({ statement: it, skipped }) => [it.id, skipped?.reason])).toEqual([
    ['1', undefined],
    ['2', 'its text is cut'],
  ]);
  expect(found[0]).toMatchObject({ costBefore: 100, costAfter: 5, uses: ['p'] });
  expect(found[0]?.indexes.map(({ name }) => name)).toEqual(['i']);
  expect(found[0]?.notes).toEqual(['planned without the values of its parameters']);
  expect([gainPercent(100, 5), gainPercent(0, 0)]).toEqual([95, Number.NaN]);
  expect([formatCost(8.3125), formatCost(1431.6), formatCost(Number.NaN)]).toEqual(['8.31', '1,432', '–']);
});

test('a web server that traces is no agent that could be asked', () => {
  expect([1, 2_000_000_000, null].map((agentId) => hasAgent({ agentId }))).toEqual([true, false, false]);
});

test('ticks are those of one run', () => {
  choose('1/m1', 'a', true);
  choose('1/m1', 'b', true);
  choose('1/m1', 'a', false);
  expect([...chosenOf('1/m1')]).toEqual(['b']);
  expect([...chosenOf('1/m2')]).toEqual([]);
  choose('1/m2', 'c', true);
  expect([...chosenOf('1/m1')]).toEqual([]);
});
