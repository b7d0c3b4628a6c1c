/**
 * The tokens of an SQL text: of statements as they stand in a trace, and of expressions as EXPLAIN shows them. In: any text.
 * Out: tokens with their places; a text that ends inside a literal ends with that token. Time is linear in the text. Pure.
 *
 * This is no parser and decides nothing about safety: whether a text is one statement is asked of the server (server.ts).
 */

export type TokenKind = 'word' | 'quoted' | 'string' | 'number' | 'param' | 'operator' | 'punctuation';

export interface Token {
  readonly kind: TokenKind;
  /** As it stands in the text. */
  readonly text: string;
  /** A name as the server knows it: folded, or without its quotes; of a string what it says. */
  readonly value: string;
  readonly from: number;
  readonly to: number;
}

const operatorCharacters = '+-*/<>=~!@#%^&|`?';
const isLetter = (c: string): boolean => /[\p{L}_]/u.test(c);
const isWordPart = (c: string): boolean => /[\p{L}\p{N}_$]/u.test(c);
const isDigit = (c: string): boolean => c >= '0' && c <= '9';

/** The end of a literal that begins behind `from`; a doubled quote belongs to it, with `escapes` a backslash pair too. */
function endOfQuoted(sql: string, from: number, quote: string, escapes: boolean): number {
  for (let at = from; at < sql.length; at++) {
    const c = sql[at];
    if (escapes && c === '\\') at++;
    else if (c === quote) {
      if (sql[at + 1] !== quote) return at + 1;
      at++;
    }
  }
  return sql.length;
}

function endOfComment(sql: string, from: number): number {
  let depth = 0;
  for (let at = from; at < sql.length; at++) {
    if (sql.startsWith('/*', at)) {
      depth++;
      at++;
    } else if (sql.startsWith('*/', at)) {
      depth--;
      at++;
      if (depth === 0) return at + 1;
    }
  }
  return sql.length;
}

function endOfWord(sql: string, from: number): number {
  let at = from;
  while (at < sql.length && isWordPart(sql[at] as string)) at++;
  return at;
}

export function tokensOf(sql: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  const push = (kind: TokenKind, to: number, value?: string): void => {
    const text = sql.slice(at, to);
    tokens.push({ kind, text, value: value ?? text, from: at, to });
    at = to;
  };
  while (at < sql.length) {
    const c = sql[at] as string;
    const next = sql[at + 1] ?? '';
    if (/\s/.test(c)) at++;
    else if (c === '-' && next === '-') {
      const end = sql.indexOf('\n', at);
      at = end < 0 ? sql.length : end + 1;
    } else if (c === '/' && next === '*') at = endOfComment(sql, at);
    else if (c === "'") {
      const end = endOfQuoted(sql, at + 1, "'", false);
      push('string', end, sql.slice(at + 1, end - 1).replaceAll("''", "'"));
    } else if (/[eE]/.test(c) && next === "'") {
      const end = endOfQuoted(sql, at + 2, "'", true);
      push(
        'string',
        end,
        sql
          .slice(at + 2, end - 1)
          .replaceAll("''", "'")
          .replaceAll(/\\(.)/gs, '$1'),
      );
    } else if (/[bBxXnN]/.test(c) && next === "'") push('string', endOfQuoted(sql, at + 2, "'", false));
    else if (c === '"') {
      const end = endOfQuoted(sql, at + 1, '"', false);
      push('quoted', end, sql.slice(at + 1, end - 1).replaceAll('""', '"'));
    } else if (c === '$') dollar();
    else if (isLetter(c)) {
      const end = endOfWord(sql, at);
      push('word', end, sql.slice(at, end).toLowerCase());
    } else if (isDigit(c) || (c === '.' && isDigit(next))) {
      let end = at + 1;
      while (end < sql.length && /[0-9a-zA-Z_.]/.test(sql[end] as string)) end++;
      push('number', end);
    } else if (c === ':' && next === ':') push('punctuation', at + 2);
    else if (operatorCharacters.includes(c)) {
      let end = at + 1;
      while (end < sql.length && operatorCharacters.includes(sql[end] as string)) {
        if (sql.startsWith('--', end) || sql.startsWith('/*', end)) break;
        end++;
      }
      push('operator', end);
    } else push('punctuation', at + 1);
  }
  return tokens;

  /** $1, or $tag$ a literal $tag$. */
  function dollar(): void {
    let end = at + 1;
    while (end < sql.length && isDigit(sql[end] as string)) end++;
    if (end > at + 1) {
      push('param', end);
      return;
    }
    const word = sql[at + 1] !== undefined && isLetter(sql[at + 1] as string) ? at + 1 : -1;
    let close = word < 0 ? at + 1 : word;
    while (word >= 0 && close < sql.length && /[\p{L}\p{N}_]/u.test(sql[close] as string)) close++;
    if (sql[close] !== '$') {
      push('punctuation', at + 1);
      return;
    }
    const tag = sql.slice(at, close + 1);
    const ends = sql.indexOf(tag, close + 1);
    push(
      'string',
      ends < 0 ? sql.length : ends + tag.length,
      sql.slice(close + 1, ends < 0 ? undefined : ends),
    );
  }
}

/** A name as SQL writes it: in quotes only where it needs them. */
export function nameSql(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) && !reserved.has(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

export function stringSql(text: string): string {
  const quoted = `'${text.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`;
  return text.includes('\\') ? ` E${quoted}` : quoted;
}

/** Words that cannot stand for a column or table without quotes, in any of the versions 13 to 18. */
const reserved = new Set(
  (
    'all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast ' +
    'char character check coalesce collate collation column concurrently constraint create cross current_catalog ' +
    'current_date current_role current_schema current_time current_timestamp current_user dec decimal default deferrable ' +
    'desc distinct do else end except exists extract false fetch float for foreign freeze from full grant greatest group ' +
    'grouping having ilike in initially inner inout int integer intersect interval into is isnull join json json_array ' +
    'json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize json_table json_value ' +
    'lateral leading least left like limit localtime localtimestamp merge_action national natural nchar none normalize not ' +
    'notnull null nullif numeric offset on only or order out outer overlaps overlay placing position precision primary ' +
    'real references returning right row select session_user setof similar smallint some substring symmetric system_user ' +
    'table tablesample then time timestamp to trailing treat trim true union unique user using values varchar variadic ' +
    'verbose when where window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi ' +
    'xmlroot xmlserialize xmltable'
  ).split(' '),
);
