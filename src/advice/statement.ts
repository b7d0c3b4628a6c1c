/**
 * Texts of a trace as the planner can be asked about them. In: a text with literals, with $1, or in normal form with `?`.
 * Out: its kind, the same text with numbered parameters, a SELECT that finds the rows that an UPDATE or DELETE would. Pure.
 *
 * Nothing here makes a text harmless: server.ts has the server parse each one alone and never lets one run.
 */
import { type Token, tokensOf } from './lexer.js';

/** Commands that have a plan and that EXPLAIN takes. */
export const plannedKinds = ['select', 'insert', 'update', 'delete', 'merge'] as const;
export type PlannedKind = (typeof plannedKinds)[number];

const longestBytes = 64 * 1024;

/** Behind one of these words a `?` stands for a value; behind any other it is an operator of jsonb or geometry. */
const operandFollows = new Set(
  (
    'all and any array asymmetric between by case date default distinct else end escape except fetch first for from having ' +
    'ilike in int4 int8 interval is join like limit next not numeric offset on only or returning row rows select set similar ' +
    'symmetric text then time timestamp timestamptz timetz to union using values when where zone'
  ).split(' '),
);
/** `interval ?` is no SQL, `$1::interval` is. */
const typesBefore = new Set([
  'date',
  'interval',
  'time',
  'timestamp',
  'timestamptz',
  'timetz',
  'numeric',
  'text',
]);
const intervalUnits = new Set(['year', 'month', 'day', 'hour', 'minute', 'second']);

export type Prepared =
  | { readonly kind: PlannedKind; readonly text: string; readonly hasParameters: boolean }
  | { readonly refused: string };

/** What leads a text: WITH belongs to the command behind it, which only the server can tell; SELECT stands for it. */
function kindOf(tokens: readonly Token[]): PlannedKind | undefined {
  const first = tokens.find(({ text }) => text !== '(');
  if (first?.kind !== 'word') return undefined;
  if (first.value === 'with') return mainCommand(tokens);
  if (first.value === 'values' || first.value === 'table') return 'select';
  return plannedKinds.find((kind) => kind === first.value);
}

function mainCommand(tokens: readonly Token[]): PlannedKind {
  let depth = 0;
  for (const token of tokens) {
    if (token.text === '(') depth++;
    else if (token.text === ')') depth--;
    else if (depth === 0 && token.kind === 'word') {
      const found = plannedKinds.find((kind) => kind === token.value);
      if (found !== undefined) return found;
    }
  }
  return 'select';
}

/** Is what stands before a `?` an operand, so that the `?` is an operator? */
function endsOperand(token: Token | undefined): boolean {
  if (token === undefined) return false;
  if (token.kind === 'word') return !operandFollows.has(token.value);
  return token.kind !== 'operator' && !(token.kind === 'punctuation' && /^[([,;]$/.test(token.text));
}

export function prepareText(text: string, cut: boolean): Prepared {
  if (cut) return { refused: 'the trace holds only its beginning' };
  if (text.length > longestBytes) return { refused: `it is longer than ${longestBytes / 1024} KiB` };
  if (text.includes('\0')) return { refused: 'it holds a NUL character' };
  const tokens = tokensOf(text);
  if (tokens.length === 0) return { refused: 'it is empty' };
  const kind = kindOf(tokens);
  if (kind === undefined) return { refused: 'it is no SELECT, INSERT, UPDATE, DELETE or MERGE' };
  const numbered = tokens.some((token) => token.kind === 'param');
  const pieces: string[] = [];
  let copied = 0;
  let count = 0;
  for (const [i, token] of tokens.entries()) {
    const before = tokens[i - 1];
    if (token.text !== '?' || numbered || endsOperand(before)) continue;
    count++;
    const type = before?.kind === 'word' && typesBefore.has(before.value) ? before : undefined;
    pieces.push(text.slice(copied, type?.from ?? token.from), `$${count}`);
    if (type !== undefined) pieces.push(`::${type.value}`);
    const unit = tokens[i + 1];
    copied =
      type?.value === 'interval' && unit !== undefined && intervalUnits.has(unit.value) ? unit.to : token.to;
  }
  pieces.push(text.slice(copied));
  return { kind, text: pieces.join(''), hasParameters: numbered || count > 0 };
}

/**
 * The SELECT that finds the rows of an UPDATE or DELETE: for a role that may read a table and not write it. undefined: the
 * text has a form that this cannot follow.
 */
export function readingText(text: string): string | undefined {
  const tokens = tokensOf(text).filter(({ text: word }) => word !== ';');
  const lead = tokens[0]?.kind === 'word' ? tokens[0].value : '';
  if (lead !== 'update' && lead !== 'delete') return undefined;
  const marks = new Map<string, Token>();
  let depth = 0;
  for (const token of tokens.slice(1)) {
    if (/^[([]$/.test(token.text)) depth++;
    else if (/^[)\]]$/.test(token.text)) depth--;
    else if (
      depth === 0 &&
      token.kind === 'word' &&
      ['set', 'from', 'using', 'where', 'returning'].includes(token.value)
    ) {
      if (!marks.has(token.value)) marks.set(token.value, token);
    }
  }
  const end = marks.get('returning')?.from ?? tokens.at(-1)?.to ?? text.length;
  const [where, others] = [marks.get('where'), marks.get(lead === 'update' ? 'from' : 'using')];
  const targetFrom = lead === 'update' ? tokens[0]?.to : marks.get('from')?.to;
  const targetTo =
    lead === 'update'
      ? marks.get('set')?.from
      : (marks.get('using')?.from ?? marks.get('where')?.from ?? end);
  if (targetFrom === undefined || targetTo === undefined || targetTo < targetFrom) return undefined;
  const condition = where === undefined ? '' : text.slice(where.from, end);
  if (/^where\s+current\s+of\b/i.test(condition)) return undefined;
  const more = others === undefined ? '' : `, ${text.slice(others.to, where?.from ?? end)}`;
  return renumbered(`SELECT 1 FROM ${text.slice(targetFrom, targetTo)}${more} ${condition}`);
}

/** Parameters from $1 on: the type of one that stands nowhere cannot be told. */
function renumbered(text: string): string {
  const numbers = new Map<string, number>();
  let made = '';
  let copied = 0;
  for (const token of tokensOf(text)) {
    if (token.kind !== 'param') continue;
    const number = numbers.get(token.text) ?? numbers.size + 1;
    numbers.set(token.text, number);
    made += `${text.slice(copied, token.from)}$${number}`;
    copied = token.to;
  }
  return made + text.slice(copied);
}

/**
 * A statement of a PL/pgSQL function with one more of its variables as a parameter: `name`, or a field of the record of that
 * name. undefined: it is not there.
 */
export function withVariable(text: string, name: string): string | undefined {
  const tokens = tokensOf(text);
  const next =
    1 + Math.max(0, ...tokens.map(({ kind, text: word }) => (kind === 'param' ? Number(word.slice(1)) : 0)));
  let made = '';
  let copied = 0;
  for (const [i, token] of tokens.entries()) {
    const after = tokens[i + 1]?.text;
    if ((token.kind !== 'word' && token.kind !== 'quoted') || token.value !== name) continue;
    if (tokens[i - 1]?.text === '.' || after === '(' || token.from < copied) continue;
    made += `${text.slice(copied, token.from)}$${next}`;
    copied = after === '.' ? (tokens[i + 2]?.to ?? token.to) : token.to;
  }
  return copied === 0 ? undefined : made + text.slice(copied);
}

/** The table that a text writes to, as to_regclass() takes it; undefined: none, or behind a WITH. */
export function writtenTable(text: string): string | undefined {
  const tokens = tokensOf(text);
  const lead = tokens[0]?.kind === 'word' ? tokens[0].value : '';
  if (!['insert', 'update', 'delete', 'merge'].includes(lead)) return undefined;
  let at = lead === 'update' ? 1 : 2;
  if (tokens[at]?.kind === 'word' && tokens[at]?.value === 'only') at++;
  const parts: string[] = [];
  for (; tokens[at]?.kind === 'word' || tokens[at]?.kind === 'quoted'; at += 2) {
    parts.push(`"${(tokens[at] as Token).value.replaceAll('"', '""')}"`);
    if (tokens[at + 1]?.text !== '.') break;
  }
  return parts.length === 0 ? undefined : parts.join('.');
}
