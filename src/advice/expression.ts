/**
 * What conditions and keys of a plan ask of columns. In: an expression as EXPLAIN (VERBOSE) shows it, in which every operator
 * stands in parentheses and every column behind its alias. Out: uses that a btree index could serve. What is not understood
 * gives no use: advice is missed, never invented. Pure.
 */
import { nameSql, type Token, tokensOf } from './lexer.js';

/** A column, or an expression over columns of one relation. */
export interface Operand {
  readonly alias: string;
  /** A column's name; undefined: it is an expression. */
  readonly column: string | undefined;
  /** The cast around a column: 'text' of a varchar costs nothing, others make it an expression. */
  readonly cast: string | undefined;
  /** Its text for CREATE INDEX, without the alias. */
  readonly sql: string;
}

export type UseKind = 'equal' | 'list' | 'range' | 'prefix' | 'null' | 'not_null' | 'true' | 'false';

export interface Use {
  readonly kind: UseKind;
  readonly operand: Operand;
  /** Alias of what it is compared with, when that is a column too: a join. */
  readonly partner: string | undefined;
}

export interface OrderKey {
  readonly operand: Operand;
  readonly descending: boolean;
  readonly nullsFirst: boolean;
}

const isOpen = (token: Token | undefined): boolean => token?.text === '(' || token?.text === '[';
const isClose = (token: Token | undefined): boolean => token?.text === ')' || token?.text === ']';
const isName = (token: Token | undefined): boolean => token?.kind === 'word' || token?.kind === 'quoted';
const isWord = (token: Token | undefined, word: string): boolean =>
  token?.kind === 'word' && token.value === word;

/** Without the parentheses around the whole of it. */
function bare(tokens: readonly Token[]): readonly Token[] {
  let inner = tokens;
  for (;;) {
    if (inner[0]?.text !== '(' || inner.at(-1)?.text !== ')') return inner;
    let depth = 0;
    const whole = inner.every((token, i) => {
      if (isOpen(token)) depth++;
      if (isClose(token)) depth--;
      return depth > 0 || i === inner.length - 1;
    });
    if (!whole) return inner;
    inner = inner.slice(1, -1);
  }
}

/** Places at depth 0 where `test` holds. */
function places(tokens: readonly Token[], test: (token: Token, i: number) => boolean): number[] {
  const found: number[] = [];
  let depth = 0;
  for (const [i, token] of tokens.entries()) {
    if (isClose(token)) depth--;
    if (depth === 0 && test(token, i)) found.push(i);
    if (isOpen(token)) depth++;
  }
  return found;
}

function split(tokens: readonly Token[], at: readonly number[]): (readonly Token[])[] {
  return [...at, tokens.length].map((to, i) => tokens.slice(i === 0 ? 0 : (at[i - 1] as number) + 1, to));
}

/** Aliases of the columns of an expression. */
function aliasesOf(tokens: readonly Token[]): Set<string> {
  const found = new Set<string>();
  for (const [i, token] of tokens.entries()) {
    const call = tokens[i + 3]?.text === '(';
    if (
      isName(token) &&
      tokens[i + 1]?.text === '.' &&
      isName(tokens[i + 2]) &&
      !call &&
      tokens[i - 1]?.text !== '::'
    )
      found.add(token.value);
  }
  return found;
}

/** An expression again, columns without their alias. */
function withoutAlias(tokens: readonly Token[], alias: string): string {
  let sql = '';
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i] as Token;
    if (isName(token) && token.value === alias && tokens[i + 1]?.text === '.' && isName(tokens[i + 2])) {
      i += 2;
      sql += `${/[\w")]$/.test(sql) ? ' ' : ''}${nameSql((tokens[i] as Token).value)}`;
      continue;
    }
    const tight = /^(\(|\)|,|::|\.|\[|\])$/.test(token.text) || /(\(|::|\.|\[)$/.test(sql) || sql === '';
    sql += `${tight ? '' : ' '}${token.text}`;
  }
  return sql;
}

/** @param own the alias of columns that stand without one (an Output line of a plan over one relation) */
export function operandOf(given: readonly Token[], own?: string): Operand | undefined {
  let tokens = bare(given);
  let cast: string | undefined;
  const casts = places(tokens, ({ text }) => text === '::');
  if (casts[0] !== undefined && casts[0] > 0) {
    const type = tokens.slice(casts[0] + 1);
    const inner = bare(tokens.slice(0, casts[0]));
    const column = columnOf(inner, own);
    // A cast of something else is an expression as a whole.
    if (column !== undefined && casts.length === 1) {
      cast = type.map(({ text }) => text).join(' ');
      tokens = inner;
    }
  }
  const column = columnOf(tokens, own);
  if (column !== undefined) {
    const name = nameSql(column.name);
    return {
      alias: column.alias,
      column: column.name,
      cast,
      sql: cast === undefined ? name : `((${name})::${cast})`,
    };
  }
  const aliases = aliasesOf(tokens);
  const [alias] = aliases;
  if (aliases.size !== 1 || alias === undefined) return undefined;
  // Only what is the same for every call: no parameter, no part of another plan.
  if (tokens.some((token) => token.kind === 'param' || isWord(token, 'subplan') || isWord(token, 'initplan')))
    return undefined;
  const sql = withoutAlias(tokens, alias);
  const call =
    isName(tokens[0]) &&
    tokens.at(-1)?.text === ')' &&
    places(tokens, ({ kind }) => kind === 'operator').length === 0;
  return { alias, column: undefined, cast: undefined, sql: call ? sql : `(${sql})` };
}

function columnOf(
  tokens: readonly Token[],
  own: string | undefined,
): { alias: string; name: string } | undefined {
  const [first, dot, second] = tokens;
  if (tokens.length === 3 && isName(first) && dot?.text === '.' && isName(second))
    return { alias: (first as Token).value, name: (second as Token).value };
  if (own !== undefined && tokens.length === 1 && isName(first))
    return { alias: own, name: (first as Token).value };
  return undefined;
}

const ranges = new Set(['<', '>', '<=', '>=']);

/** A condition as EXPLAIN shows it: "((o.status = 'a'::text) AND (o.at > $1))". */
export function usesOf(condition: string): Use[] {
  return usesIn(bare(tokensOf(condition)));
}

function usesIn(tokens: readonly Token[]): Use[] {
  const ands = places(tokens, (token) => isWord(token, 'and'));
  if (ands.length > 0) return split(tokens, ands).flatMap((part) => usesIn(bare(part)));
  const ors = places(tokens, (token) => isWord(token, 'or'));
  if (ors.length > 0) return sameColumn(split(tokens, ors).map((part) => usesIn(bare(part))));
  if (isWord(tokens[0], 'not')) return flag(tokens.slice(1), 'false');
  const is = places(tokens, (token) => isWord(token, 'is'))[0];
  if (is !== undefined) return nullTest(tokens, is);
  const operators = places(tokens, ({ kind }) => kind === 'operator');
  if (operators.length === 0) return flag(tokens, 'true');
  const at = operators[0] as number;
  if (operators.length !== 1 || at === 0) return [];
  return comparison((tokens[at] as Token).text, tokens.slice(0, at), tokens.slice(at + 1));
}

/** Of an OR: what all its parts ask of one and the same operand is a list. */
function sameColumn(parts: readonly Use[][]): Use[] {
  const [first] = parts[0] ?? [];
  if (first === undefined) return [];
  const same = parts.every(
    (part) =>
      part.length === 1 &&
      part[0]?.kind === 'equal' &&
      part[0].operand.sql === first.operand.sql &&
      part[0].operand.alias === first.operand.alias &&
      part[0].partner === undefined,
  );
  return same ? [{ kind: 'list', operand: first.operand, partner: undefined }] : [];
}

function flag(tokens: readonly Token[], kind: 'true' | 'false'): Use[] {
  const operand = operandOf(tokens);
  return operand?.column === undefined || operand.cast !== undefined
    ? []
    : [{ kind, operand, partner: undefined }];
}

function nullTest(tokens: readonly Token[], is: number): Use[] {
  const words = tokens.slice(is + 1).map(({ value }) => value);
  const operand = operandOf(tokens.slice(0, is));
  if (operand === undefined || words.at(-1) !== 'null' || words.length > 2) return [];
  return [{ kind: words.length === 1 ? 'null' : 'not_null', operand, partner: undefined }];
}

function comparison(operator: string, left: readonly Token[], right: readonly Token[]): Use[] {
  const list = isWord(right[0], 'any') && operator === '=';
  if (operator === '~~') {
    const pattern = bare(right)[0];
    const literal = pattern?.kind === 'string' && /^[^%_\\]/.test(pattern.value);
    return literal ? one('prefix', left, []) : [];
  }
  const kind = list ? 'list' : operator === '=' ? 'equal' : ranges.has(operator) ? 'range' : undefined;
  if (kind === undefined || isWord(right[0], 'all') || (!list && isWord(right[0], 'any'))) return [];
  return [...one(kind, left, right), ...(list ? [] : one(kind, right, left))];
}

function one(kind: UseKind, side: readonly Token[], other: readonly Token[]): Use[] {
  const operand = operandOf(side);
  if (operand === undefined) return [];
  const others = aliasesOf(other);
  // A column compared with one of the same row is found by no index.
  if (others.has(operand.alias)) return [];
  const [partner] = others;
  return [{ kind, operand, partner }];
}

/** A sort or group key: "o.created DESC NULLS LAST". */
export function orderKeyOf(key: string): OrderKey | undefined {
  let tokens: readonly Token[] = tokensOf(key);
  let nullsFirst: boolean | undefined;
  let descending = false;
  if (isWord(tokens.at(-2), 'nulls')) {
    nullsFirst = isWord(tokens.at(-1), 'first');
    tokens = tokens.slice(0, -2);
  }
  if (isWord(tokens.at(-1), 'desc')) {
    descending = true;
    tokens = tokens.slice(0, -1);
  }
  if (tokens.some((token) => isWord(token, 'collate') || isWord(token, 'using'))) return undefined;
  const operand = operandOf(tokens);
  return operand === undefined ? undefined : { operand, descending, nullsFirst: nullsFirst ?? descending };
}

/**
 * Names in an expression that may be columns of an alias: those behind it, and those that stand alone, as in plans over one
 * relation. Keywords and types are among them: the caller knows the columns.
 */
export function columnsIn(expression: string, alias: string): string[] {
  const tokens = tokensOf(expression);
  return tokens.flatMap((token, i) => {
    if (!isName(token) || tokens[i - 1]?.text === '.' || tokens[i - 1]?.text === '::') return [];
    if (tokens[i + 1]?.text === '.') return token.value === alias ? [tokens[i + 2]?.value ?? '*'] : [];
    return tokens[i + 1]?.text === '(' ? [] : [token.value];
  });
}
