/**
 * Options that several subcommands share: filters, times, sizes. In: words of the command line. Out: numbers in the units that
 * native code takes. Wrong words are refused with what is right.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { TraceFilter } from '../../../native/index.js';
import { type TraceKind, traceKinds } from '../../wire/trace.js';

export const collect = (value: string, all: string[]): string[] => [...all, value];

export interface FilterWords {
  readonly database: readonly string[];
  readonly user: readonly string[];
  readonly application: readonly string[];
  readonly client: readonly string[];
  readonly minMs?: number;
  readonly kind: readonly TraceKind[];
  readonly grep?: string;
  readonly errors?: boolean;
  readonly nested: boolean;
  readonly from?: number;
  readonly to?: number;
}

/** One kind of commands or several between commas, after those that were named before. */
export function kind(value: string, all: string[]): string[] {
  const found = value.split(',').map((one) => one.trim().toLowerCase());
  for (const one of found)
    if (!(traceKinds as readonly string[]).includes(one))
      throw new InvalidArgumentError(`"${one}" is none of ${traceKinds.join(', ')}`);
  return [...all, ...found];
}

export function number(least: number, most: number, whole = false) {
  return (text: string): number => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= least && value <= most) || (whole && !Number.isInteger(value)))
      throw new InvalidArgumentError(
        `a ${whole ? 'whole ' : ''}number from ${least.toLocaleString('en')} to ${most.toLocaleString('en')}`,
      );
    return value;
  };
}

const sizes: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** "64MB", "1 GiB", "4096" → bytes; units of 1024, as in PostgreSQL's settings. */
export function size(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*$/i.exec(text);
  const factor = sizes[match?.[2]?.toLowerCase() ?? 'none'];
  if (match === null || factor === undefined)
    throw new InvalidArgumentError('a size such as 4096, 64MB or 1GB');
  return Math.round(Number(match[1]) * factor);
}

const units: Readonly<Record<string, number>> = { '': 1, s: 1, min: 60, m: 60, h: 3600, d: 86_400 };

/** "90", "10min", "2h" → seconds. */
export function seconds(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(s|min|m|h|d|)\s*$/.exec(text);
  const value = match === null ? 0 : Math.round(Number(match[1]) * (units[match[2] ?? ''] ?? 0));
  if (value < 1) throw new InvalidArgumentError('a time such as 90s, 10min, 2h or 1d');
  return value;
}

/** "2026-11-23 08:15", "2026-11-23T08:15:30.5Z", "…+01:00" → µs since 1970; without a zone it is UTC. */
export function moment(text: string): number {
  const match =
    /^\s*(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?\s*(Z|[+-]\d\d(?::?\d\d)?)?)?\s*$/i.exec(
      text,
    );
  const zone = (match?.[5] ?? 'Z').toUpperCase();
  const offset = zone === 'Z' || zone.includes(':') ? zone : `${zone.slice(0, 3)}:${zone.slice(3) || '00'}`;
  const ms =
    match === null
      ? Number.NaN
      : Date.parse(`${match[1]}T${match[2] ?? '00:00'}:${match[3] ?? '00'}${offset}`);
  if (match === null || Number.isNaN(ms))
    throw new InvalidArgumentError(
      'a time such as "2026-11-23 08:15:30" (UTC) or "2026-11-23T08:15:30+01:00"',
    );
  return ms * 1000 + Number((match[4] ?? '').padEnd(6, '0'));
}

/** The filters of tail, report and export. */
export function withFilters(command: Command, times: boolean): Command {
  command
    .option('--database <name>', 'only this database; repeatable', collect, [])
    .option('--user <name>', 'only this user; repeatable', collect, [])
    .option('--application <name>', 'only this application_name; repeatable', collect, [])
    .option('--client <address>', 'only this client address, or [local]; repeatable', collect, [])
    .option('--min-ms <ms>', 'only what ran at least so long', number(0, 1e9))
    .addOption(
      new Option('--kind <kind>', `only this kind of commands (${traceKinds.join(', ')}); repeatable`)
        .argParser(kind)
        .default([], 'all'),
    )
    .option('--grep <pattern>', 'only texts or errors that match (extended regular expression, any case)')
    .option('--errors', 'only statements that failed')
    .option('--no-nested', 'without statements that others called');
  if (times)
    command
      .option('--from <time>', 'ended at or after, for example "2026-11-23 08:00" (UTC)', moment)
      .option('--to <time>', 'ended before', moment);
  return command;
}

export function filterOf(words: FilterWords): TraceFilter {
  return {
    ...(words.database.length > 0 ? { databases: words.database } : {}),
    ...(words.user.length > 0 ? { users: words.user } : {}),
    ...(words.application.length > 0 ? { applications: words.application } : {}),
    ...(words.client.length > 0 ? { clients: words.client } : {}),
    ...(words.minMs === undefined ? {} : { minUs: Math.round(words.minMs * 1000) }),
    ...(words.kind.length > 0 ? { kinds: words.kind } : {}),
    ...(words.grep === undefined ? {} : { pattern: words.grep }),
    ...(words.errors === true ? { errors: true } : {}),
    ...(words.nested ? {} : { top: true }),
    ...(words.from === undefined ? {} : { fromUs: words.from }),
    ...(words.to === undefined ? {} : { toUs: words.to }),
  };
}
