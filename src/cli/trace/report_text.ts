/**
 * The report as text of 80 to 200 columns: aligned, a unit on every number. In: a Report. Out: text without colours, so that
 * it can be mailed and compared.
 */
import {
  bytes,
  type Column,
  clip,
  columnsOf,
  count,
  duration,
  pad,
  percent,
  printable,
  rate,
  textTable,
} from './format.js';
import { measures, topBy, whyNone } from './measures.js';
import { type Dimension, dimensions, type Report, type Sample } from './report_model.js';
import { coarse, fewerSpans } from './series.js';

export const leastColumns = 80;
export const mostColumns = 200;
/** Lines of the time line and of the histogram at most. */
const lineRows = 24;
const groupRows = 15;

export interface TextOptions {
  readonly columns: number;
  /** Statements of each measure. */
  readonly top: number;
}

export function reportText(report: Report, options: TextOptions): string {
  const width = Math.min(mostColumns, Math.max(leastColumns, options.columns));
  const sections = [
    head(report, width),
    section('Totals', width, totals(report, width)),
    section('Latency of statements', width, histogram(report, width)),
    section('Time line', width, timeline(report, width)),
    ...measures.map((measure) =>
      section(`Top statements by ${measure.title}`, width, top(report, measure, options.top, width)),
    ),
    ...dimensions.map((dimension) => section(`By ${dimension}`, width, groups(report, dimension, width))),
    section('Errors', width, errors(report, width)),
    section('Slowest calls', width, slowest(report, options.top, width)),
    section('Statements in full', width, statements(report, options.top, width)),
    section('The trace itself', width, trace(report, width)),
    section('Problems', width, problems(report, width)),
  ];
  return `${sections.join('\n\n')}\n`;
}

function section(title: string, width: number, body: string): string {
  const shown = body.includes('\n') ? body : wrap(body, width).join('\n');
  return `${title}\n${'─'.repeat(width)}\n${shown}`;
}

const shortTime = (iso: string): string => iso.replace('T', ' ').replace(/\.\d+Z$|Z$/, '');

function head(report: Report, width: number): string {
  const { source, time, filter } = report;
  const filters = Object.entries(filter).map(([name, value]) => `${name} ${JSON.stringify(value)}`);
  const when =
    time.first === null || time.last === null
      ? 'no statement with a time'
      : `${shortTime(time.first)} to ${shortTime(time.last)} UTC, ${duration(time.seconds * 1e6)}`;
  return [
    'SQL trace report',
    '═'.repeat(width),
    `of    ${printable(source.name)}`,
    `time  ${when}`,
    `from  ${count(source.files)} files of ${count(source.slots)} backend slots, ${bytes(report.trace.bytes)}`,
    ...(filters.length === 0 ? [] : [`only  ${printable(filters.join(', '))}`]),
  ]
    .map((line) => clip(line, width))
    .join('\n');
}

/** Names and values in two columns; long values go on under themselves. */
function pairs(list: readonly (readonly [string, string])[], width: number): string {
  const widest = Math.max(...list.map(([name]) => name.length));
  return list
    .flatMap(([name, value]) =>
      wrap(value, width - widest - 2).map((line, i) => `${(i === 0 ? name : '').padEnd(widest)}  ${line}`),
    )
    .join('\n');
}

function totals(report: Report, width: number): string {
  const t = report.totals;
  return pairs(
    [
      [
        'statements',
        `${count(t.calls)} (${rate(t.calls_per_second)}), nested in them ${count(t.nested_calls)}`,
      ],
      ['execution time', `${duration(t.exec_us)}, ${t.busy.toPrecision(2)} at once on average`],
      [
        'latency',
        `mean ${duration(t.mean_us)}, median ${duration(t.p50_us)}, p90 ${duration(t.p90_us)}, p95 ${duration(t.p95_us)}, ` +
          `p99 ${duration(t.p99_us)}`,
      ],
      ['slowest, fastest', `${duration(t.max_us)}, ${duration(t.min_us)}`],
      ['planning time', `${duration(t.plan_us)} in ${count(t.planned)} statements`],
      [
        'errors',
        `${count(t.errors)} (${percent(t.calls === 0 ? 0 : t.errors / t.calls)}), cancelled ${count(t.cancelled)}`,
      ],
      ['rows', count(t.rows)],
      [
        'blocks',
        `hit ${count(t.blocks_hit)}, read ${count(t.blocks_read)}, dirtied ${count(t.blocks_dirtied)}, ` +
          `written ${count(t.blocks_written)}`,
      ],
      [
        'I/O time',
        t.io_read_us === null
          ? 'not measured (track_io_timing is off)'
          : `read ${duration(t.io_read_us)}, write ${duration(t.io_write_us ?? 0)}`,
      ],
      ['WAL', `${bytes(t.wal_bytes)} in ${count(t.wal_records)} records`],
      [
        'CPU time',
        t.cpu_us === null ? 'not measured (the trace did not ask for rusage)' : duration(t.cpu_us),
      ],
    ],
    width,
  );
}

/** A bar of `share` of `width` columns, in eighths. */
function bar(share: number, width: number): string {
  const eighths = Math.round(Math.max(0, Math.min(1, share)) * width * 8);
  const part = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8] ?? '';
  const whole = '█'.repeat(Math.floor(eighths / 8)) + part;
  return whole === '' && share > 0 ? '▏' : whole;
}

function histogram(report: Report, width: number): string {
  const rows = coarse(report.latency);
  if (rows.length === 0) return 'No statement with a known time passed the filter.';
  const all = rows.reduce((sum, { calls }) => sum + calls, 0);
  const most = Math.max(...rows.map(({ calls }) => calls));
  let below = 0;
  const table = rows.map(({ from_us, to_us, calls }) => {
    below += calls;
    return [
      `${duration(from_us)} –`,
      duration(to_us),
      count(calls),
      percent(calls / all),
      percent(below / all),
      calls / most,
    ] as const;
  });
  const widths = [0, 1, 2, 3, 4].map((i) => Math.max(...table.map((row) => String(row[i]).length)));
  const room = width - widths.reduce((sum, one) => sum + one, 0) - 9;
  const titles = pad('calls', widths[2] ?? 0, true);
  return [
    `${' '.repeat((widths[0] ?? 0) + (widths[1] ?? 0) + 3)}${titles}  ${pad('share', widths[3] ?? 0, true)}  ${pad('up to', widths[4] ?? 0, true)}`,
    ...table.map(
      ([from, to, calls, share, upTo, of]) =>
        `${pad(from, widths[0] ?? 0, true)} ${pad(to, widths[1] ?? 0, true)}  ${pad(calls, widths[2] ?? 0, true)}  ` +
        `${pad(share, widths[3] ?? 0, true)}  ${pad(upTo, widths[4] ?? 0, true)}  ${bar(of, room)}`,
    ),
  ]
    .map((line) => clip(line, width).trimEnd())
    .join('\n');
}

function timeline(report: Report, width: number): string {
  const { spans, each } = fewerSpans(report, lineRows);
  if (spans.length === 0) return 'No statement with an end time passed the filter.';
  const spanText = duration(report.timeline.span_us * each);
  const most = Math.max(...spans.map(({ calls_per_second }) => calls_per_second));
  const columns: Column[] = [
    { title: 'from (UTC)' },
    { title: 'rate', right: true },
    { title: 'errors', right: true },
    { title: 'busy', right: true },
    { title: 'mean', right: true },
    { title: each === 1 ? 'p95' : 'p95 ≤', right: true },
    { title: 'max', right: true },
  ];
  const rows = spans.map((span) => [
    shortTime(span.at).slice(width < 100 ? 11 : 0),
    rate(span.calls_per_second),
    count(span.errors),
    span.busy.toPrecision(2),
    duration(span.mean_us),
    duration(span.p95_us),
    duration(span.max_us),
  ]);
  const [titles = '', ...lines] = textTable(columns, rows, width).split('\n');
  const room = width - 2 - Math.max(...[titles, ...lines].map(columnsOf));
  const bars = spans.map((span) => bar(most === 0 ? 0 : span.calls_per_second / most, room));
  const widest = Math.max(...[titles, ...lines].map(columnsOf));
  return [
    titles,
    ...lines.map((line, i) => `${pad(line, widest, false)}  ${bars[i]}`.trimEnd()),
    `(each line ${spanText}; busy: statements that ran at once, on average)`,
  ].join('\n');
}

function top(report: Report, measure: (typeof measures)[number], most: number, width: number): string {
  const list = topBy(report, measure, most);
  if (list.length === 0) return whyNone(report, measure);
  const others = measures.filter(
    ({ name }) =>
      name !== measure.name &&
      (width >= 140 ? ['total', 'calls', 'mean', 'p95', 'max', 'rows'] : ['total', 'calls', 'mean']).includes(
        name,
      ),
  );
  const columns: Column[] = [
    { title: '#', right: true },
    { title: measure.short, right: true },
    ...(measure.name === 'total' ? [{ title: 'share', right: true }] : []),
    ...others.map(({ short }) => ({ title: short, right: true })),
    ...(width >= 120 ? [{ title: 'database / user' }] : []),
    { title: 'statement', fill: true },
  ];
  const rows = list.map((s) => [
    String(s.id),
    measure.show(measure.value(s)),
    ...(measure.name === 'total' ? [percent(s.share)] : []),
    ...others.map((other) => other.show(other.value(s))),
    ...(width >= 120 ? [clip(printable(`${s.database ?? '–'} / ${s.user ?? '–'}`), 24)] : []),
    statementLine(s.nested, s.text, s.command),
  ]);
  return textTable(columns, rows, width);
}

function statementLine(nested: boolean, text: string, command: string | null): string {
  return `${nested ? '↳ ' : ''}${text === '' ? (command ?? '(no text)') : printable(text)}`;
}

function groups(report: Report, dimension: Dimension, width: number): string {
  const { groups: list, dropped } = report.groups[dimension];
  if (list.length === 0) return 'No statement passed the filter.';
  const columns: Column[] = [
    { title: dimension, fill: true },
    { title: 'time', right: true },
    { title: 'share', right: true },
    { title: 'calls', right: true },
    { title: 'mean', right: true },
    { title: 'p95', right: true },
    { title: 'max', right: true },
    { title: 'errors', right: true },
    ...(width >= 100
      ? [
          { title: 'read', right: true },
          { title: 'WAL', right: true },
        ]
      : []),
  ];
  const rows = list
    .slice(0, groupRows)
    .map((group) => [
      group.name === null ? '(none)' : group.name === '' ? '(empty)' : printable(group.name),
      duration(group.exec_us),
      percent(group.share),
      count(group.calls),
      duration(group.mean_us),
      duration(group.p95_us),
      duration(group.max_us),
      count(group.errors),
      ...(width >= 100 ? [`${count(group.blocks_read)} blk`, bytes(group.wal_bytes)] : []),
    ]);
  const more = list.length - rows.length;
  const notes = [
    ...(more > 0 ? [`and ${count(more)} more: --format json has them`] : []),
    ...(dropped > 0 ? [`${count(dropped)} names had no room and are counted together as (others)`] : []),
  ];
  return [textTable(columns, rows, width), ...notes].join('\n');
}

function errors(report: Report, width: number): string {
  if (report.errors.length === 0) return 'No statement failed.';
  return report.errors
    .map((state) => {
      const seen =
        state.first === null ? '' : `, ${shortTime(state.first)} to ${shortTime(state.last ?? state.first)}`;
      const line = `${state.sqlstate}  ${count(state.errors)} × ${state.condition}${seen}`;
      const samples = state.samples.flatMap((sample) => [
        `    ${printable(sample.error ?? state.message)}`,
        `      in: ${printable(sample.text ?? '(no text)')}`,
      ]);
      return [line, ...(samples.length === 0 ? [`    ${printable(state.message)}`] : samples)]
        .map((text) => clip(text, width))
        .join('\n');
    })
    .join('\n');
}

function slowest(report: Report, most: number, width: number): string {
  const list = report.slowest.slice(0, most);
  if (list.length === 0) return 'No statement with a known time passed the filter.';
  const columns: Column[] = [
    { title: 'time', right: true },
    { title: 'ended (UTC)' },
    { title: 'user' },
    ...(width >= 110 ? [{ title: 'pid', right: true }, { title: 'application' }] : []),
    { title: 'statement', fill: true },
  ];
  const rows = list.map((sample: Sample) => [
    duration(sample.exec_us),
    shortTime(sample.end_time ?? '').slice(width < 100 ? 11 : 0),
    clip(printable(sample.user ?? ''), 16),
    ...(width >= 110 ? [String(sample.pid ?? ''), clip(printable(sample.application ?? ''), 20)] : []),
    printable(sample.text ?? sample.command ?? ''),
  ]);
  return textTable(columns, rows, width);
}

/** Texts of all statements named above by their number. */
function statements(report: Report, most: number, width: number): string {
  const list = report.statements.filter(({ ranks }) => Object.values(ranks).some((rank) => rank <= most));
  if (list.length === 0) return 'No statement passed the filter.';
  return list
    .map((s) => {
      const what = [
        `${s.key_kind === 'query_id' ? 'query id' : 'fingerprint'} ${s.key}`,
        printable(`${s.database ?? '(none)'} / ${s.user ?? '(none)'}`),
        ...(s.nested ? ['nested'] : []),
        ...(s.missed_calls > 0 ? [`may lack ${count(s.missed_calls)} calls, ${duration(s.missed_us)}`] : []),
      ].join(', ');
      const lines = wrap(printable(s.text) + (s.text_cut ? ' […]' : ''), width - 6);
      return [
        clip(`#${String(s.id).padEnd(4)} ${what}`, width),
        ...lines.map((line) => `      ${line}`),
      ].join('\n');
    })
    .join('\n');
}

/** Lines of at most `width` columns, broken at spaces where there are any. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    let rest = word;
    if (line !== '' && clip(`${line} ${rest}`, width) !== `${line} ${rest}`) {
      lines.push(line);
      line = '';
    }
    while (clip(rest, width) !== rest) {
      const part = clip(rest, width).slice(0, -1);
      lines.push(part);
      rest = rest.slice(part.length);
    }
    line = line === '' ? rest : `${line} ${rest}`;
  }
  return line === '' ? lines : [...lines, line];
}

function trace(report: Report, width: number): string {
  const t = report.trace;
  const lost =
    t.lost_rows === 0
      ? 'none'
      : `${count(t.lost_rows)} (${percent(t.lost_share)}) in ${count(Math.max(1, t.lost_by_slot.length))} slots; damaged rows are among them`;
  return [
    pairs(
      [
        [
          'rows',
          `${count(t.rows)} (${rate(t.rows_per_second)})${t.picked_rows === t.rows ? '' : `, of which ${count(t.picked_rows)} passed the filter`}`,
        ],
        ['bytes', `${bytes(t.bytes)} (${bytes(t.bytes_per_second)}/s), ${bytes(t.bytes_per_row)} a row`],
        ['rows lost', lost],
        ['rows damaged', `${count(t.damaged_rows)}, rows not whole: ${bytes(t.torn_bytes)}`],
        ['workers’ rows', `${count(t.worker_rows)} (contained in their leaders’)`],
        ['masked, cut', `${count(t.masked_rows)} rows, ${count(t.cut_rows)} rows`],
        ['read in', `${duration(report.read.seconds * 1e6)} (${rate(report.read.rows_per_second)} rows)`],
        [
          'statements',
          `${count(report.accuracy.statements)} of at most ${count(report.accuracy.statements_most)}`,
        ],
      ],
      width,
    ),
    ...report.accuracy.notes.flatMap((note) => wrap(`note: ${note}`, width)),
  ].join('\n');
}

function problems(report: Report, width: number): string {
  if (report.problems.length === 0) return 'None.';
  return report.problems
    .map(({ file, offset, problem }) =>
      wrap(`${file}${offset === undefined ? '' : `, byte ${offset}`}: ${problem}`, width).join('\n    '),
    )
    .join('\n');
}
