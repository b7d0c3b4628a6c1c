/**
 * Index advice as pages see it: which statements are chosen, what PEM answers, and the words for what it comes to. The answer
 * is an agent's word, which may be of another version: what is not there is taken as empty.
 */
import { signal } from '@preact/signals';
import type { AdviceFailure, AdvisedIndex, DatabaseAdvice } from '../../src/wire/advice.js';
import { ApiError, getJson, sendJson } from './api.js';
import { spanQuery, type Trace } from './trace.js';

export type AdviceState = 'waiting' | 'working' | 'done' | 'failed' | 'overdue';

export interface AdviceAsked {
  readonly id: number;
  readonly run: string | null;
  readonly isChosen: boolean;
  readonly state: AdviceState;
  readonly requestedBy: string;
  readonly requestedAtUs: number;
  readonly doneAtUs: number | null;
}

export interface EarlierAdvice extends AdviceAsked {
  readonly statements: number;
  readonly indexes: number | null;
}

export interface AskedStatement {
  readonly id: string;
  /** As in addresses and in the answer of top; null where an older PEM asked. */
  readonly key: string | null;
  readonly database: string;
  readonly user: string | null;
  readonly text: string;
  readonly calls: number;
  readonly execUs: number;
}

export interface Advice extends AdviceAsked {
  readonly timeMs: number;
  readonly code: string | null;
  readonly error: string | null;
  readonly databases: readonly DatabaseAdvice[] | null;
  readonly failures: readonly AdviceFailure[] | null;
  readonly statements: readonly AskedStatement[];
  readonly earlier: readonly EarlierAdvice[];
}

/** Keys of the statements that are ticked, of one run. */
export const chosen = signal<{ readonly of: string; readonly keys: ReadonlySet<string> }>({
  of: '',
  keys: new Set(),
});

const nothing: ReadonlySet<string> = new Set();

/** @param of the run that is looked at; ticks of another one are none of it */
export function chosenOf(of: string): ReadonlySet<string> {
  return chosen.value.of === of ? chosen.value.keys : nothing;
}

export function choose(of: string, key: string, isChosen: boolean): void {
  const keys = new Set(chosenOf(of));
  if (isChosen) keys.add(key);
  else keys.delete(key);
  chosen.value = { of, keys };
}

/** Servers without one are traced by a web server, which runs no commands; its ids begin here. */
const firstTracer = 2_000_000_000;
export const hasAgent = (trace: Pick<Trace, 'agentId'>): boolean =>
  trace.agentId !== null && trace.agentId < firstTracer;

export const isPending = (state: AdviceState): boolean => state === 'waiting' || state === 'working';

/**
 * @param key of the statement whose page asks: what is under way may be about others
 * @returns why it could not be asked for, undefined when it was
 */
export async function askForAdvice(
  trace: number,
  body: { readonly run: string; readonly statements?: number; readonly keys?: readonly string[] },
  key: string | undefined,
): Promise<string | undefined> {
  const path = `/traces/${trace}/advice`;
  try {
    const made = await sendJson<{ id: number }>('POST', path, body);
    if (key !== undefined) await getJson(`${path}${spanQuery({}, { id: made?.id, key })}`);
    return undefined;
  } catch (error) {
    if (!(error instanceof ApiError)) return String(error);
    return key !== undefined && error.code === 'trace_unknown'
      ? 'Advice about other statements of this trace is under way, one request at a time. Ask again when it is done.'
      : error.message;
  }
}

const plural = (count: number, one: string, many = `${one}s`): string =>
  count === 0 ? `no ${one}` : count === 1 ? `1 ${one}` : `${count} ${many}`;

/** Where it stands, for eyes and screen readers: words that change when something happened, not every second. */
export function stateWords(advice: Advice, trace: Pick<Trace, 'agentId' | 'agentStatus'>): string {
  const about = plural(advice.statements.length, 'statement');
  switch (advice.state) {
    case 'waiting':
      if (hasAgent(trace) && trace.agentStatus !== 'up')
        return `The agent’s state is ${trace.agentStatus ?? 'unknown'}: it hears of the request about ${about} when it answers.`;
      return `Asked for ${about}; the agent fetches the request within a second or two.`;
    case 'working':
      return `The agent asks the server’s planner about ${about}: at most ${Math.round(advice.timeMs / 1000)} s for each database, after up to a minute’s wait for its turn beside probes and the trace.`;
    case 'overdue':
      return 'No answer came within 15 minutes: the agent is away or was stopped meanwhile. Ask again.';
    case 'failed':
      return failedWords(advice.code, advice.error);
    case 'done':
      if ((advice.databases ?? []).length === 0) return 'No advice came of it; why stands below.';
      return `Advice is there: ${plural(indexesOf(advice), 'index', 'indexes')} for ${about}.`;
  }
}

export function indexesOf(advice: Pick<Advice, 'databases'>): number {
  return (advice.databases ?? []).reduce((sum, { indexes }) => sum + (indexes?.length ?? 0), 0);
}

/** What shares and gains are parts of. */
export const wholeOf = (advice: Pick<Advice, 'isChosen' | 'statements'>): string =>
  advice.isChosen
    ? advice.statements.length === 1
      ? 'the statement’s time'
      : 'the chosen statements’ time'
    : 'the run’s time';

/** The whole request came to nothing. */
function failedWords(code: string | null, error: string | null): string {
  if (code === 'command_unknown')
    return 'The agent is too old for index advice: it does not know the command. Upgrade the agent, then ask again.';
  return `The agent could not begin: ${error ?? 'it does not say why'}${code === null ? '' : ` (${code})`}`;
}

export interface FailureWords {
  readonly title: string;
  readonly reason: string;
  /** To be run: in a shell, or as SQL in that database. */
  readonly commands: readonly { readonly where: string; readonly text: string }[];
}

function sentence(text: string): string {
  const trimmed = text.trimEnd();
  return `${trimmed.charAt(0).toUpperCase()}${trimmed.slice(1)}${/[.?!]$/.test(trimmed) ? '' : '.'}`;
}

/** Why nothing could be asked in a database, and what helps. */
export function failureWords({ database, code, reason }: AdviceFailure): FailureWords {
  switch (code) {
    case 'hypopg_missing': {
      const found = /apt-get install ([\w.-]+)/.exec(reason)?.[1];
      return {
        title: `The extension hypopg is not installed in database ${database}`,
        reason: sentence(reason),
        commands: [
          ...(found === undefined
            ? []
            : [{ where: 'on the server’s host (Debian, Ubuntu)', text: `apt-get install ${found}` }]),
          { where: `in database ${database}, as its owner`, text: 'CREATE EXTENSION hypopg;' },
        ],
      };
    }
    case 'server_unreachable':
    case 'connection_lost':
    case 'query_timeout':
      return {
        title: `The agent could not reach database ${database}`,
        reason: `${sentence(reason)} Ask again when the server answers.`,
        commands: [],
      };
    case '42501':
      return {
        title: `Not permitted in database ${database}`,
        reason: sentence(reason),
        commands: [],
      };
    case 'advice_superuser':
      return {
        title: `The monitoring role may do too much for advice in database ${database}`,
        reason: sentence(reason),
        commands: [],
      };
    default:
      return {
        title: `No advice for database ${database}`,
        reason: sentence(`${reason} (${code})`),
        commands: [],
      };
  }
}

/** GRANTs that a reason names. */
export function grantsIn(reason: string): string[] {
  const name = String.raw`(?:"(?:[^"]|"")+"|[\w.$]+)`;
  const found = reason.matchAll(
    new RegExp(
      `GRANT (?:USAGE ON SCHEMA ${name}|EXECUTE ON FUNCTION [^;,]+|SELECT ON ${name}) TO ${name}`,
      'g',
    ),
  );
  return [...found].map(([grant]) => `${grant};`);
}

/** What part of its cost a statement is spared, percent; NaN where it has none. */
export function gainPercent(costBefore: number, costAfter: number): number {
  return costBefore > 0 ? (100 * (costBefore - costAfter)) / costBefore : Number.NaN;
}

/** Planner units: no more digits than an estimate has. */
export function formatCost(cost: number): string {
  if (!Number.isFinite(cost)) return '–';
  return cost < 100 ? cost.toPrecision(3) : Math.round(cost).toLocaleString('en');
}

export interface Outcome {
  readonly statement: AskedStatement;
  readonly database: string;
  readonly indexes: readonly AdvisedIndex[];
  readonly costBefore: number;
  readonly costAfter: number;
  readonly uses: readonly string[];
  /** Why it has no plan. */
  readonly skipped: { readonly code: string; readonly reason: string } | undefined;
  readonly notes: readonly string[];
}

/** What came of each statement that was asked about, the most expensive one first. */
export function outcomesOf(advice: Advice): Outcome[] {
  const found: Outcome[] = [];
  for (const statement of advice.statements) {
    const within = advice.databases?.find(({ database }) => database === statement.database);
    if (within === undefined) continue;
    const planned = within.statements?.find(({ id }) => id === statement.id);
    const skipped = within.skipped?.find(({ id }) => id === statement.id);
    if (planned === undefined && skipped === undefined) continue;
    found.push({
      statement,
      database: within.database,
      indexes: (within.indexes ?? []).filter((index) =>
        index.statements?.some(({ id }) => id === statement.id),
      ),
      costBefore: planned?.costBefore ?? Number.NaN,
      costAfter: planned?.costAfter ?? Number.NaN,
      uses: planned?.uses ?? [],
      skipped: planned === undefined ? skipped : undefined,
      notes: [
        ...(planned?.generic === true ? ['planned without the values of its parameters'] : []),
        ...(planned?.asSelect === true ? ['planned as the SELECT that finds its rows'] : []),
      ],
    });
  }
  return found;
}

/** One line of the list of earlier advice. */
export function earlierWords(one: EarlierAdvice): string {
  const about = `${plural(one.statements, 'statement')}${one.isChosen ? ' chosen' : ''}`;
  const came =
    one.state === 'done' && one.indexes !== null
      ? `${plural(one.indexes, 'index', 'indexes')} for ${about}`
      : `${one.state === 'failed' ? 'failed' : one.state === 'overdue' ? 'no answer' : 'under way'}, ${about}`;
  return `${came}, asked by ${one.requestedBy}`;
}
