/**
 * The report as data: its JSON form (REPORT.md), from which text and HTML are made. In: what a scan has found. Out: a Report.
 * Fields are only ever added within a version. Names carry their units; times of day are UTC in ISO 8601.
 */
import type {
  TraceBucket,
  TraceGroup,
  TraceMeasure,
  TracePlace,
  TraceSpan,
  TraceStatement,
  TraceValues,
} from '../../../native/index.js';
import { isoInstant } from './format.js';
import { placeKey, type Scanned, type TraceRow } from './scan.js';
import { condition } from './sqlstate.js';
import type { TraceProblem } from './store.js';

export const reportForm = 'pem-trace-report';
export const reportVersion = 1;

/** What statements are grouped by. */
export const dimensions = ['database', 'user', 'application', 'client', 'command'] as const;
export type Dimension = (typeof dimensions)[number];

export interface Figures {
  readonly calls: number;
  readonly errors: number;
  readonly cancelled: number;
  readonly exec_us: number;
  readonly mean_us: number;
  readonly min_us: number;
  readonly max_us: number;
  readonly planned: number;
  readonly plan_us: number;
  readonly rows: number;
  readonly blocks_hit: number;
  readonly blocks_read: number;
  readonly blocks_dirtied: number;
  readonly blocks_written: number;
  readonly temp_blocks_read: number;
  readonly temp_blocks_written: number;
  /** null: the server did not measure it (track_io_timing). */
  readonly io_read_us: number | null;
  readonly io_write_us: number | null;
  readonly wal_records: number;
  readonly wal_bytes: number;
  readonly jit_us: number;
  /** null: the trace did not ask for it (rusage). */
  readonly cpu_us: number | null;
}

export interface Quantiles {
  readonly p50_us: number;
  readonly p90_us: number;
  readonly p95_us: number;
  readonly p99_us: number;
}

/** One call, as it stands in the trace; what is unknown is not there. */
export interface Sample {
  readonly end_time?: string;
  readonly exec_us: number;
  readonly pid?: number;
  readonly database?: string;
  readonly user?: string;
  readonly application?: string;
  readonly client?: string;
  readonly command?: string;
  readonly text?: string;
  readonly params?: string;
  readonly plan?: string;
  readonly rows?: number;
  readonly sqlstate?: string;
  readonly error?: string;
  readonly file: string;
  readonly offset_bytes: number;
}

export interface Bucket {
  readonly from_us: number;
  readonly to_us: number;
  readonly calls: number;
}

export interface Statement extends Figures, Quantiles {
  /** Place by total time among those of the report, from 1. */
  readonly id: number;
  readonly key: string;
  readonly key_kind: 'query_id' | 'fingerprint';
  readonly nested: boolean;
  readonly database: string | null;
  readonly user: string | null;
  readonly command: string | null;
  readonly text: string;
  readonly text_cut: boolean;
  /** Of the time of all statements that are not nested. */
  readonly share: number;
  /** Calls and time of it that may have been counted under "others". */
  readonly missed_calls: number;
  readonly missed_us: number;
  readonly last_sqlstate: string | null;
  readonly ranks: Readonly<Partial<Record<TraceMeasure, number>>>;
  readonly latency: readonly Bucket[];
  readonly samples: readonly Sample[];
}

export interface Group extends Quantiles {
  readonly name: string | null;
  readonly calls: number;
  readonly nested_calls: number;
  readonly errors: number;
  readonly exec_us: number;
  readonly share: number;
  readonly mean_us: number;
  readonly max_us: number;
  readonly rows: number;
  readonly blocks_read: number;
  readonly wal_bytes: number;
}

export interface Span extends Quantiles {
  readonly at: string;
  readonly calls: number;
  readonly nested_calls: number;
  readonly errors: number;
  readonly exec_us: number;
  readonly mean_us: number;
  readonly max_us: number;
  readonly rows: number;
  readonly blocks_read: number;
  readonly wal_bytes: number;
}

export interface ErrorState {
  readonly sqlstate: string;
  readonly condition: string;
  readonly errors: number;
  readonly cancelled: number;
  readonly first: string | null;
  readonly last: string | null;
  readonly message: string;
  readonly samples: readonly Sample[];
}

export interface Report {
  readonly form: typeof reportForm;
  readonly version: typeof reportVersion;
  readonly made_at: string;
  readonly source: {
    readonly kind: 'folder' | 'file' | 'server';
    readonly name: string;
    readonly traces: readonly number[];
    readonly files: number;
    readonly slots: number;
  };
  readonly filter: Readonly<Record<string, unknown>>;
  readonly time: { readonly first: string | null; readonly last: string | null; readonly seconds: number };
  /** Statements that no other called: the time of nested ones is contained in theirs. */
  readonly totals: Figures &
    Quantiles & {
      readonly calls_per_second: number;
      /** Statements that ran at once, on average. */
      readonly busy: number;
      readonly nested_calls: number;
      readonly nested_exec_us: number;
    };
  readonly latency: readonly Bucket[];
  readonly timeline: { readonly span_us: number; readonly spans: readonly Span[] };
  readonly statements: readonly Statement[];
  /** Calls that belong to no statement of the table, which is bounded. */
  readonly others: readonly (Figures & Quantiles & { readonly nested: boolean })[];
  readonly groups: Readonly<
    Record<Dimension, { readonly dropped: number; readonly groups: readonly Group[] }>
  >;
  readonly errors: readonly ErrorState[];
  readonly slowest: readonly Sample[];
  /** What the trace itself came to. */
  readonly trace: {
    readonly rows: number;
    readonly picked_rows: number;
    readonly bytes: number;
    readonly bytes_per_row: number;
    readonly rows_per_second: number;
    readonly bytes_per_second: number;
    readonly lost_rows: number;
    readonly lost_share: number;
    readonly lost_by_slot: readonly { readonly slot: number; readonly lost_rows: number }[];
    readonly damaged_rows: number;
    readonly torn_bytes: number;
    readonly worker_rows: number;
    readonly masked_rows: number;
    readonly cut_rows: number;
    readonly escaped_texts: number;
  };
  /** How exact the statements are. */
  readonly accuracy: {
    readonly statements: number;
    readonly statements_most: number;
    readonly replaced: number;
    readonly missed_calls: number;
    readonly missed_us: number;
    readonly notes: readonly string[];
  };
  readonly problems: readonly TraceProblem[];
  readonly read: { readonly seconds: number; readonly rows_per_second: number };
}

function figures(v: TraceValues): Figures {
  const { sums } = v;
  const known = (...parts: (number | undefined)[]): number | null =>
    parts.every((part) => part === undefined)
      ? null
      : parts.reduce((sum: number, part) => sum + (part ?? 0), 0);
  const sum = (...parts: (number | undefined)[]): number => known(...parts) ?? 0;
  return {
    calls: v.calls,
    errors: v.errors,
    cancelled: v.cancelled,
    exec_us: v.exec_us,
    mean_us: v.timed === 0 ? 0 : v.exec_us / v.timed,
    min_us: v.min_us,
    max_us: v.max_us,
    planned: v.planned,
    plan_us: sum(sums.plan_us),
    rows: sum(sums.rows),
    blocks_hit: sum(sums.shared_hit, sums.local_hit),
    blocks_read: sum(sums.shared_read, sums.local_read, sums.temp_read),
    blocks_dirtied: sum(sums.shared_dirtied, sums.local_dirtied),
    blocks_written: sum(sums.shared_written, sums.local_written, sums.temp_written),
    temp_blocks_read: sum(sums.temp_read),
    temp_blocks_written: sum(sums.temp_written),
    io_read_us: known(sums.shared_read_us, sums.local_read_us, sums.temp_read_us),
    io_write_us: known(sums.shared_write_us, sums.local_write_us, sums.temp_write_us),
    wal_records: sum(sums.wal_records),
    wal_bytes: sum(sums.wal_bytes),
    jit_us: sum(sums.jit_us),
    cpu_us: known(sums.cpu_user_us, sums.cpu_system_us),
  };
}

function quantiles(from: Quantiles): Quantiles {
  return { p50_us: from.p50_us, p90_us: from.p90_us, p95_us: from.p95_us, p99_us: from.p99_us };
}

const buckets = (list: readonly TraceBucket[]): Bucket[] =>
  list.map(([from_us, width, calls]) => ({ from_us, to_us: from_us + width, calls }));

const time = (us: number | null): string | null => (us === null ? null : isoInstant(us));

function sampleOf(scanned: Scanned, place: TracePlace): Sample {
  const row: TraceRow = scanned.rows.get(placeKey(place)) ?? {};
  const all = {
    end_time: row.end_time ?? time(place.end_us) ?? undefined,
    exec_us: place.exec_us,
    pid: place.pid,
    database: row.database,
    user: row.username,
    application: row.application,
    client: row.client,
    command: row.tag,
    text: row.query,
    params: row.params,
    plan: row.plan,
    rows: row.rows,
    sqlstate: row.sqlstate,
    error: row.error,
    file: scanned.files[place.file]?.label ?? '',
    offset_bytes: place.offset,
  };
  return Object.fromEntries(
    Object.entries(all).filter(([, value]) => value !== undefined),
  ) as unknown as Sample;
}

function statementOf(scanned: Scanned, s: TraceStatement, place: number, allUs: number): Statement {
  return {
    id: place + 1,
    key: s.key,
    key_kind: s.query_id ? 'query_id' : 'fingerprint',
    nested: s.nested,
    database: s.database,
    user: s.user,
    command: s.tag,
    text: s.text,
    text_cut: s.text_cut,
    share: allUs === 0 ? 0 : s.exec_us / allUs,
    ...figures(s),
    ...quantiles(s),
    missed_calls: s.missed_calls,
    missed_us: s.missed_us,
    last_sqlstate: s.state === '' ? null : s.state,
    ranks: s.ranks,
    latency: buckets(s.buckets),
    samples: s.samples.map((sample) => sampleOf(scanned, sample)),
  };
}

function groupOf(group: TraceGroup, allUs: number): Group {
  return {
    name: group.name,
    calls: group.calls,
    nested_calls: group.nested,
    errors: group.errors,
    exec_us: group.exec_us,
    share: allUs === 0 ? 0 : group.exec_us / allUs,
    mean_us: group.calls === 0 ? 0 : group.exec_us / group.calls,
    max_us: group.max_us,
    ...quantiles(group),
    rows: group.rows,
    blocks_read: group.blocks_read,
    wal_bytes: group.wal_bytes,
  };
}

function spanOf(span: TraceSpan | null, atUs: number): Span {
  const none = { p50_us: 0, p90_us: 0, p95_us: 0, p99_us: 0 };
  const calls = span?.calls ?? 0;
  return {
    at: isoInstant(atUs),
    calls,
    nested_calls: span?.nested ?? 0,
    errors: span?.errors ?? 0,
    exec_us: span?.exec_us ?? 0,
    mean_us: span === null || calls === 0 ? 0 : span.exec_us / calls,
    max_us: span?.max_us ?? 0,
    ...quantiles(span ?? none),
    rows: span?.rows ?? 0,
    blocks_read: span?.blocks_read ?? 0,
    wal_bytes: span?.wal_bytes ?? 0,
  };
}

/** Rows that line numbers, or the writers' own counters, say are missing, by slot. */
function lostBySlot(scanned: Scanned): { slot: number; lost_rows: number }[] {
  const lost = new Map<number, number>();
  const begun = new Set(scanned.files.filter(({ number }) => number === 1).map(({ slot }) => slot));
  for (const line of scanned.result.lines) {
    // Lines before the first are lost only where the slot's first file is there.
    const before = begun.has(line.slot) ? Math.max(0, line.first - 1) : 0;
    lost.set(line.slot, (lost.get(line.slot) ?? 0) + line.lost + before);
  }
  for (const [slot, rows] of scanned.lostRows)
    if (slot >= 0) lost.set(slot, Math.max(rows, lost.get(slot) ?? 0));
  return [...lost]
    .filter(([, rows]) => rows > 0)
    .map(([slot, lost_rows]) => ({ slot, lost_rows }))
    .sort((a, b) => b.lost_rows - a.lost_rows || a.slot - b.slot);
}

function notesOf(scanned: Scanned): string[] {
  const { rows, table, lines } = scanned.result;
  const notes: string[] = [];
  if (table.replaced > 0)
    notes.push(
      `The table holds ${table.most} statements and was full: ${table.replaced} statements with little time gave their place ` +
        'to others and are counted under "others". Totals are exact; a statement lacks at most its missed calls and time.',
    );
  if (rows.names_lost > 0)
    notes.push(`${rows.names_lost} names of databases, users or commands had no room.`);
  if (rows.outside_line > 0)
    notes.push(
      `${rows.outside_line} rows have no end time, or one too far from the others for the time line.`,
    );
  if (rows.bad_values > 0) notes.push(`${rows.bad_values} negative numbers were taken as 0.`);
  if (rows.bad_text > 0)
    notes.push(`${rows.bad_text} texts hold bytes that their encoding does not have, shown as \\xNN.`);
  const backwards = lines.reduce((sum, line) => sum + line.backwards, 0);
  if (backwards > 0)
    notes.push(
      `${backwards} rows have line numbers that were there before: files of two traces, or copied twice?`,
    );
  return notes;
}

export interface ReportContext {
  readonly kind: 'folder' | 'file' | 'server';
  readonly name: string;
  readonly filter: Readonly<Record<string, unknown>>;
  readonly madeAt: Date;
  /** The reading was ended before the trace's end. */
  readonly interrupted?: boolean;
}

export function buildReport(scanned: Scanned, context: ReportContext): Report {
  const { result, files } = scanned;
  const { rows, top, table } = result;
  const seconds =
    rows.first_us === null || rows.last_us === null ? 0 : (rows.last_us - rows.first_us) / 1_000_000;
  const perSecond = (value: number): number => (seconds > 0 ? value / seconds : 0);
  const lost = context.interrupted === true ? [] : lostBySlot(scanned);
  const lostRows = Math.max(
    scanned.lostRows.get(-1) ?? 0,
    lost.reduce((sum, { lost_rows }) => sum + lost_rows, 0),
  );
  const allUs = top.exec_us;
  const { line } = result;
  const groupsOf = (of: { dropped: number; groups: readonly TraceGroup[] }): Report['groups'][Dimension] => ({
    dropped: of.dropped,
    groups: of.groups.map((group) => groupOf(group, allUs)),
  });
  const { database, user, application, client, tag } = result.groups;
  return {
    form: reportForm,
    version: reportVersion,
    made_at: context.madeAt.toISOString(),
    source: {
      kind: context.kind,
      name: context.name,
      traces: [...new Set(result.lines.map(({ trace }) => trace))].sort((a, b) => a - b),
      files: files.length,
      slots: new Set(files.map(({ slot }) => slot)).size,
    },
    filter: context.filter,
    time: { first: time(rows.first_us), last: time(rows.last_us), seconds },
    totals: {
      ...figures(top),
      ...quantiles(top),
      calls_per_second: perSecond(top.calls),
      busy: perSecond(top.exec_us) / 1_000_000,
      nested_calls: result.nested.calls,
      nested_exec_us: result.nested.exec_us,
    },
    latency: buckets(top.buckets),
    timeline: {
      span_us: line.span_us,
      spans: line.spans.map((span, i) => spanOf(span, line.first_us + i * line.span_us)),
    },
    statements: result.statements.map((statement, i) => statementOf(scanned, statement, i, allUs)),
    others: result.others.map((other) => ({ nested: other.nested, ...figures(other), ...quantiles(other) })),
    groups: {
      database: groupsOf(database),
      user: groupsOf(user),
      application: groupsOf(application),
      client: groupsOf(client),
      command: groupsOf(tag),
    },
    errors: result.errors
      .map((state) => ({
        sqlstate: state.state === '' ? '(others)' : state.state,
        condition: state.state === '' ? 'states for which there was no room' : condition(state.state),
        errors: state.errors,
        cancelled: state.cancelled,
        first: time(state.first_us),
        last: time(state.last_us),
        message: state.message,
        samples: state.samples.map((place) => sampleOf(scanned, place)),
      }))
      .sort((a, b) => b.errors - a.errors || (a.sqlstate < b.sqlstate ? -1 : 1)),
    slowest: result.slowest.map((place) => sampleOf(scanned, place)),
    trace: {
      rows: rows.read,
      picked_rows: rows.picked,
      bytes: rows.bytes,
      bytes_per_row: rows.read === 0 ? 0 : rows.bytes / rows.read,
      rows_per_second: perSecond(rows.read),
      bytes_per_second: perSecond(rows.bytes),
      lost_rows: lostRows,
      lost_share: lostRows === 0 ? 0 : lostRows / (lostRows + rows.read),
      lost_by_slot: lost,
      damaged_rows: scanned.damagedRows,
      torn_bytes: scanned.tornBytes,
      worker_rows: rows.workers,
      masked_rows: rows.masked,
      cut_rows: rows.cut_by_server,
      escaped_texts: rows.bad_text,
    },
    accuracy: {
      statements: table.statements,
      statements_most: table.most,
      replaced: table.replaced,
      missed_calls: table.missed_calls,
      missed_us: table.missed_us,
      notes: [
        ...(context.interrupted === true
          ? ['The reading was interrupted: what is told is of the rows read until then.']
          : []),
        ...notesOf(scanned),
      ],
    },
    problems: scanned.problems,
    read: {
      seconds: scanned.scanMs / 1000,
      rows_per_second: scanned.scanMs === 0 ? 0 : (rows.read / scanned.scanMs) * 1000,
    },
  };
}
