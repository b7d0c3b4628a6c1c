/**
 * The report as one HTML file that loads nothing: light and dark, tables that sort with mouse and keyboard, charts as SVG. In: a
 * Report. Out: the document. Every text of the trace is escaped; an empty section says why it is empty.
 */
import { bytes, count, duration, percent, rate } from './format.js';
import { measures, whyNone } from './measures.js';
import { bar, escaped, lineChart, sparkColumns } from './report_charts.js';
import { type Dimension, dimensions, type Report, type Sample, type Statement } from './report_model.js';
import { page } from './report_page.js';
import { coarse, fewerSpans, type ShownSpan } from './series.js';

/** Spans of the charts at most. */
const chartSpans = 240;
const tableSpans = 60;
const slowestShown = 10;

export function reportHtml(report: Report): string {
  const sections: readonly (readonly [id: string, title: string, body: string])[] = [
    ['time', 'Time line', timeline(report)],
    ['latency', 'Latency of statements', latency(report)],
    ['top', 'Top statements', topStatements(report)],
    ['slowest', 'Slowest calls', slowest(report)],
    ['errors', 'Errors', errors(report)],
    ['groups', 'By database, user, application, client, command', groups(report)],
    ['statements', 'Statements in full', statements(report)],
    ['trace', 'The trace itself', trace(report)],
    ['problems', 'Problems', problems(report)],
  ];
  const short = [
    'Time line',
    'Latency',
    'Top',
    'Slowest',
    'Errors',
    'Groups',
    'Statements',
    'Trace',
    'Problems',
  ];
  const nav = sections.map(([id], i) => `<a href="#${id}">${short[i]}</a>`).join('\n');
  return page(
    `SQL trace report: ${report.source.name}`,
    `<header><div>
<h1>SQL trace report</h1>
${head(report)}
</div></header>
<nav aria-label="Sections"><div>${nav}</div></nav>
<main>
${cards(report)}
${sections.map(([id, title, body]) => `<section aria-labelledby="${id}"><h2 id="${id}">${title}</h2>\n${body}\n</section>`).join('\n')}
<footer>Made ${escaped(shortTime(report.made_at))} UTC. All times of day are UTC. Times of statements include those nested in them.</footer>
</main>`,
  );
}

const shortTime = (iso: string): string => iso.replace('T', ' ').replace(/\.\d+Z$|Z$/, '');
const empty = (why: string): string => `<p class="empty">${escaped(why)}</p>`;

function head(report: Report): string {
  const { source, time, filter } = report;
  const when =
    time.first === null || time.last === null
      ? 'no statement with a time'
      : `${shortTime(time.first)} to ${shortTime(time.last)} UTC (${duration(time.seconds * 1e6)})`;
  const filters = Object.entries(filter).map(([name, value]) => `${name} ${JSON.stringify(value)}`);
  return [
    `<p class="wrapany"><strong>${escaped(source.name)}</strong></p>`,
    `<p class="soft">${escaped(when)} · ${count(source.files)} files of ${count(source.slots)} backend slots, ${bytes(report.trace.bytes)}</p>`,
    ...(filters.length === 0 ? [] : [`<p>Only: ${escaped(filters.join(', '))}</p>`]),
  ].join('\n');
}

function cards(report: Report): string {
  const t = report.totals;
  const { trace: own } = report;
  const list: (readonly [title: string, value: string, more: string, bad?: boolean])[] = [
    ['Statements', count(t.calls), `${rate(t.calls_per_second)}, nested ${count(t.nested_calls)}`],
    ['Execution time', duration(t.exec_us), `${t.busy.toPrecision(2)} at once on average`],
    ['Median latency', duration(t.p50_us), `mean ${duration(t.mean_us)}`],
    ['p95 latency', duration(t.p95_us), `p99 ${duration(t.p99_us)}, slowest ${duration(t.max_us)}`],
    [
      'Errors',
      count(t.errors),
      `${percent(t.calls === 0 ? 0 : t.errors / t.calls)}, cancelled ${count(t.cancelled)}`,
      t.errors > 0,
    ],
    ['Rows', count(t.rows), `planning ${duration(t.plan_us)}`],
    ['Blocks read', count(t.blocks_read), `hit ${count(t.blocks_hit)}, written ${count(t.blocks_written)}`],
    ['WAL', bytes(t.wal_bytes), `${count(t.wal_records)} records`],
    [
      'Rows lost',
      count(own.lost_rows),
      own.lost_rows === 0 ? `of ${count(own.rows)}` : percent(own.lost_share),
      own.lost_rows > 0,
    ],
  ];
  return `<dl class="cards">${list
    .map(
      ([title, value, more, bad]) =>
        `<div${bad === true ? ' class="bad"' : ''}><dt>${escaped(title)}</dt><dd>${escaped(value)}</dd><dd>${escaped(more)}</dd></div>`,
    )
    .join('\n')}</dl>`;
}

interface Head {
  readonly title: string;
  /** Holds numbers: at the right, and sorted as such. */
  readonly number?: boolean;
  /** Sorted by it, falling. */
  readonly sorted?: boolean;
  /** No button: it does not sort. */
  readonly fixed?: boolean;
}

interface Cell {
  readonly html: string;
  /** What it is sorted by. */
  readonly value?: number | string;
  readonly look?: string;
}

const text = (value: string): Cell => ({ html: escaped(value), value });
const figure = (value: number, show: (value: number) => string): Cell => ({
  html: escaped(show(value)),
  value,
});

/** @param title what the table is; not shown where a heading above says the same */
function table(
  title: string,
  heads: readonly Head[],
  rows: readonly (readonly Cell[])[],
  shown = true,
): string {
  const head = heads
    .map(({ title: name, number, sorted, fixed }) => {
      const label = fixed === true ? escaped(name) : `<button type="button">${escaped(name)}</button>`;
      return `<th scope="col"${number === true ? ' class="n"' : ''}${sorted === true ? ' aria-sort="descending"' : ''}>${label}</th>`;
    })
    .join('');
  const body = rows
    .map((cells) => {
      const made = cells.map(({ html, value, look }, i) => {
        const looks = [heads[i]?.number === true ? 'n' : '', look ?? '']
          .filter((one) => one !== '')
          .join(' ');
        const sort = value === undefined ? '' : ` data-v="${escaped(String(value))}"`;
        return `<td${looks === '' ? '' : ` class="${looks}"`}${sort}>${html}</td>`;
      });
      return `<tr>${made.join('')}</tr>`;
    })
    .join('\n');
  // The box scrolls, so it can be reached by the keyboard.
  return `<div class="scroll" tabindex="0" role="region" aria-label="${escaped(title)}"><table class="sortable">${shown ? `<caption>${escaped(title)}</caption>` : ''}
<thead><tr>${head}</tr></thead>
<tbody>${body}</tbody></table></div>`;
}

function timeline(report: Report): string {
  const { spans, each } = fewerSpans(report, chartSpans);
  if (spans.length === 0) return empty('No statement with an end time passed the filter.');
  const each_us = report.timeline.span_us * each;
  const labels = spans.map(({ at }) => shortTime(at));
  const last = spans.at(-1) as ShownSpan;
  const endsAt = new Date(Date.parse(last.at) + last.seconds * 1000).toISOString();
  const middle = labels[labels.length >> 1] ?? '';
  // The day stands once where it is the same.
  const right = shortTime(endsAt);
  const sameDay = right.slice(0, 10) === (labels[0] ?? '').slice(0, 10);
  const ends = [labels[0] ?? '', middle.slice(11), sameDay ? right.slice(11) : right] as const;
  const of = (value: (span: ShownSpan) => number): number[] => spans.map(value);
  const charts = [
    lineChart({
      title: 'Statements per second',
      series: [
        { name: 'statements', look: 'rate', values: of((s) => s.calls_per_second), area: true },
        { name: 'errors', look: 'error', values: of((s) => s.errors_per_second) },
      ],
      labels,
      ends,
      show: rate,
    }),
    lineChart({
      title: 'Latency',
      series: [
        { name: 'mean', look: 'mean', values: of((s) => s.mean_us) },
        { name: each === 1 ? 'p95' : 'p95 (worst)', look: 'p95', values: of((s) => s.p95_us) },
        { name: 'slowest', look: 'max', values: of((s) => s.max_us) },
      ],
      labels,
      ends,
      show: duration,
      log: true,
    }),
    lineChart({
      title: 'Statements at once, on average',
      series: [
        { name: 'time in statements per second', look: 'rate', values: of((s) => s.busy), area: true },
      ],
      labels,
      ends,
      show: (value) => Number(value.toPrecision(3)).toString(),
    }),
    lineChart({
      title: 'Blocks read and WAL per second',
      series: [
        { name: 'read', look: 'mean', values: of((s) => (s.blocks_read * 8192) / s.seconds) },
        { name: 'WAL', look: 'max', values: of((s) => s.wal_bytes / s.seconds) },
      ],
      labels,
      ends,
      show: (value) => `${bytes(value)}/s`,
      binary: true,
    }),
  ];
  const rows = fewerSpans(report, tableSpans).spans.map((s) => [
    text(shortTime(s.at)),
    figure(s.calls, count),
    figure(s.calls_per_second, rate),
    figure(s.errors, count),
    figure(s.busy, (value) => Number(value.toPrecision(3)).toString()),
    figure(s.mean_us, duration),
    figure(s.p95_us, duration),
    figure(s.max_us, duration),
    figure(s.rows, count),
    figure(s.blocks_read, count),
    figure(s.wal_bytes, bytes),
  ]);
  const heads = [
    'from',
    'statements',
    'rate',
    'errors',
    'at once',
    'mean',
    'p95 (worst)',
    'slowest',
    'rows',
    'blocks read',
    'WAL',
  ];
  return `<div class="pair">${charts.join('\n')}</div>
<p class="soft">Each step is ${escaped(duration(each_us))}. Blocks are taken as 8 KiB.</p>
<details><summary>The same in figures</summary>
${table(
  'The time line in figures',
  heads.map((title, i) => ({ title, number: i > 0 })),
  rows,
)}
</details>`;
}

function latency(report: Report): string {
  const rows = coarse(report.latency);
  if (rows.length === 0) return empty('No statement with a known time passed the filter.');
  const all = rows.reduce((sum, { calls }) => sum + calls, 0);
  const most = Math.max(...rows.map(({ calls }) => calls));
  let below = 0;
  const cells = rows.map(({ from_us, to_us, calls }) => {
    below += calls;
    return [
      { html: `${escaped(duration(from_us))} – ${escaped(duration(to_us))}`, value: from_us },
      { html: bar(calls / most), value: calls, look: 'wide' },
      figure(calls, count),
      figure(calls / all, percent),
      figure(below / all, percent),
    ];
  });
  const heads: Head[] = [
    { title: 'time', number: true, fixed: true },
    { title: '', fixed: true },
    { title: 'calls', number: true, fixed: true },
    { title: 'share', number: true, fixed: true },
    { title: 'up to here', number: true, fixed: true },
  ];
  return table('How long statements took (nested ones are not counted)', heads, cells);
}

function link(s: Statement): string {
  const shown = s.text === '' ? (s.command ?? '(no text)') : s.text;
  return `${s.nested ? '<span class="tag">nested</span>' : ''}<a class="clamp" href="#s${s.id}"><code>${escaped(clipped(shown, 300))}</code></a>
<span class="small soft">${escaped(`${s.database ?? '–'} / ${s.user ?? '–'}`)}</span>`;
}

const clipped = (value: string, characters: number): string =>
  value.length > characters ? `${value.slice(0, characters).replace(/[\ud800-\udbff]$/, '')}…` : value;

function topStatements(report: Report): string {
  if (report.statements.length === 0) return empty('No statement passed the filter.');
  const heads: Head[] = [
    { title: '#', number: true },
    { title: 'statement' },
    { title: 'share', number: true },
    ...measures.map(({ short, name }) => ({ title: short, number: true, sorted: name === 'total' })),
  ];
  const rows = report.statements.map((s) => [
    figure(s.id, String),
    { html: link(s), value: s.text, look: 'sql' },
    figure(s.share, percent),
    ...measures.map((measure) => ({
      ...figure(measure.value(s), measure.show),
      ...(measure.value(s) === 0 ? { look: 'soft' } : measure.name === 'errors' ? { look: 'bad' } : {}),
    })),
  ]);
  const none = measures
    .filter((measure) => !report.statements.some((s) => measure.value(s) > 0))
    .map((measure) => whyNone(report, measure));
  return `<p class="soft">The first ones by each measure together: sort by a column to have its top. ${escaped([...new Set(none)].join(' '))}</p>
${table('Top statements', heads, rows, false)}`;
}

function sampleFacts(sample: Sample): string {
  const facts: (readonly [string, string | undefined])[] = [
    ['ended', sample.end_time?.replace('T', ' ').replace('Z', '')],
    ['took', duration(sample.exec_us)],
    ['rows', sample.rows === undefined ? undefined : count(sample.rows)],
    ['database, user', `${sample.database ?? '–'}, ${sample.user ?? '–'}`],
    ['application', sample.application],
    ['client, pid', `${sample.client ?? '–'}, ${sample.pid ?? '–'}`],
    ['error', sample.sqlstate === undefined ? undefined : `${sample.sqlstate} ${sample.error ?? ''}`],
    ['stands in', `${sample.file}, byte ${sample.offset_bytes}`],
  ];
  const blocks = [
    ...(sample.text === undefined ? [] : [`<pre tabindex="0">${escaped(sample.text)}</pre>`]),
    ...(sample.params === undefined
      ? []
      : [`<p>Parameters</p><pre tabindex="0">${escaped(sample.params)}</pre>`]),
    ...(sample.plan === undefined ? [] : [`<p>Plan</p><pre tabindex="0">${escaped(sample.plan)}</pre>`]),
  ];
  return `<dl class="facts">${facts
    .filter(([, value]) => value !== undefined && value !== '')
    .map(([name, value]) => `<dt>${name}</dt><dd>${escaped(value ?? '')}</dd>`)
    .join('')}</dl>${blocks.join('')}`;
}

function sample(one: Sample): string {
  const failed = one.sqlstate === undefined ? '' : `<span class="bad">${escaped(one.sqlstate)}</span> `;
  return `<details><summary>${escaped(duration(one.exec_us))} · ${escaped((one.end_time ?? '').replace('T', ' ').replace('Z', ''))} · ${failed}<code>${escaped(clipped(one.text ?? one.command ?? '', 140))}</code></summary>
${sampleFacts(one)}</details>`;
}

function slowest(report: Report): string {
  if (report.slowest.length === 0) return empty('No statement with a known time passed the filter.');
  const [first, rest] = [report.slowest.slice(0, slowestShown), report.slowest.slice(slowestShown)];
  const more =
    rest.length === 0
      ? ''
      : `\n<details><summary>${rest.length} more</summary>${rest.map(sample).join('\n')}</details>`;
  return `${first.map(sample).join('\n')}${more}`;
}

function errors(report: Report): string {
  if (report.errors.length === 0) return empty('No statement failed.');
  const heads: Head[] = [
    { title: 'SQLSTATE' },
    { title: 'condition' },
    { title: 'errors', number: true, sorted: true },
    { title: 'cancelled', number: true },
    { title: 'first' },
    { title: 'last' },
    { title: 'first message' },
  ];
  const rows = report.errors.map((state) => [
    text(state.sqlstate),
    text(state.condition),
    figure(state.errors, count),
    figure(state.cancelled, count),
    text(shortTime(state.first ?? '–')),
    text(shortTime(state.last ?? '–')),
    { html: escaped(state.message), look: 'sql' },
  ]);
  const samples = report.errors
    .filter((state) => state.samples.length > 0)
    .map(
      (state) =>
        `<h3>${escaped(state.sqlstate)} ${escaped(state.condition)}</h3>\n${state.samples.map(sample).join('\n')}`,
    );
  return `${table('Errors by SQLSTATE', heads, rows, false)}\n${samples.join('\n')}`;
}

function groups(report: Report): string {
  return dimensions.map((dimension) => group(report, dimension)).join('\n');
}

function group(report: Report, dimension: Dimension): string {
  const { groups: list, dropped } = report.groups[dimension];
  const title = `By ${dimension}`;
  if (list.length === 0) return `<div><h3>${title}</h3>${empty('No statement passed the filter.')}</div>`;
  const heads: Head[] = [
    { title: dimension },
    { title: 'time', number: true, sorted: true },
    { title: 'share', number: true },
    { title: 'calls', number: true },
    { title: 'mean', number: true },
    { title: 'p95', number: true },
    { title: 'max', number: true },
    { title: 'errors', number: true },
    { title: 'rows', number: true },
    { title: 'blocks read', number: true },
    { title: 'WAL', number: true },
  ];
  const rows = list.map((one) => [
    text(one.name === null ? '(none)' : one.name === '' ? '(empty)' : one.name),
    figure(one.exec_us, duration),
    figure(one.share, percent),
    figure(one.calls, count),
    figure(one.mean_us, duration),
    figure(one.p95_us, duration),
    figure(one.max_us, duration),
    { ...figure(one.errors, count), look: one.errors > 0 ? 'bad' : 'soft' },
    figure(one.rows, count),
    figure(one.blocks_read, count),
    figure(one.wal_bytes, bytes),
  ]);
  const note =
    dropped === 0
      ? ''
      : `<p class="soft">${count(dropped)} names had no room and are counted together as (others).</p>`;
  return `<div><h3>${title}</h3>${table(title, heads, rows, false)}${note}</div>`;
}

function statements(report: Report): string {
  if (report.statements.length === 0) return empty('No statement passed the filter.');
  return report.statements.map((s) => statement(s)).join('\n');
}

function statement(s: Statement): string {
  const bars = coarse(s.latency);
  const facts: (readonly [string, string])[] = [
    [s.key_kind === 'query_id' ? 'query id' : 'fingerprint', s.key],
    ['database, user', `${s.database ?? '–'}, ${s.user ?? '–'}`],
    ['calls, time', `${count(s.calls)}, ${duration(s.exec_us)} (${percent(s.share)})`],
    [
      'latency',
      `mean ${duration(s.mean_us)}, p50 ${duration(s.p50_us)}, p95 ${duration(s.p95_us)}, p99 ${duration(s.p99_us)}, max ${duration(s.max_us)}`,
    ],
    ['planning', s.planned === 0 ? 'not planned' : `${duration(s.plan_us)} in ${count(s.planned)} calls`],
    ['rows', count(s.rows)],
    [
      'blocks',
      `hit ${count(s.blocks_hit)}, read ${count(s.blocks_read)}, dirtied ${count(s.blocks_dirtied)}, written ${count(s.blocks_written)}`,
    ],
    ['temporary blocks', `read ${count(s.temp_blocks_read)}, written ${count(s.temp_blocks_written)}`],
    ['WAL', `${bytes(s.wal_bytes)} in ${count(s.wal_records)} records`],
    ['errors', s.errors === 0 ? 'none' : `${count(s.errors)}, the last ${s.last_sqlstate ?? '–'}`],
    ...(s.io_read_us === null
      ? []
      : ([['I/O time', `read ${duration(s.io_read_us)}, write ${duration(s.io_write_us ?? 0)}`]] as const)),
    ...(s.cpu_us === null ? [] : ([['CPU time', duration(s.cpu_us)]] as const)),
    ...(s.jit_us === 0 ? [] : ([['JIT', duration(s.jit_us)]] as const)),
    ...(s.missed_calls === 0
      ? []
      : ([
          ['may lack', `${count(s.missed_calls)} calls, ${duration(s.missed_us)}: counted under "others"`],
        ] as const)),
  ];
  const first = bars[0];
  const last = bars.at(-1);
  const spark =
    first === undefined || last === undefined
      ? ''
      : `${sparkColumns(
          bars.map(({ calls }) => calls),
          `Latency of statement ${s.id}, from ${duration(first.from_us)} to ${duration(last.to_us)}`,
        )}
<p class="soft">${escaped(duration(first.from_us))} to ${escaped(duration(last.to_us))}, steps of 1, 2, 5</p>`;
  return `<details id="s${s.id}"><summary>#${s.id} ${s.nested ? '<span class="tag">nested</span>' : ''}<code>${escaped(clipped(s.text === '' ? (s.command ?? '(no text)') : s.text, 160))}</code></summary>
<pre tabindex="0">${escaped(s.text)}${s.text_cut ? ' […]' : ''}</pre>
${spark}
<dl class="facts">${facts.map(([name, value]) => `<dt>${name}</dt><dd>${escaped(value)}</dd>`).join('')}</dl>
${s.samples.length === 0 ? '' : `<h3>Slowest calls</h3>\n${s.samples.map(sample).join('\n')}`}
</details>`;
}

function trace(report: Report): string {
  const t = report.trace;
  const facts: (readonly [string, string])[] = [
    [
      'rows',
      `${count(t.rows)} (${rate(t.rows_per_second)})${t.picked_rows === t.rows ? '' : `, of which ${count(t.picked_rows)} passed the filter`}`,
    ],
    ['bytes', `${bytes(t.bytes)} (${bytes(t.bytes_per_second)}/s), ${bytes(t.bytes_per_row)} a row`],
    [
      'rows lost',
      t.lost_rows === 0
        ? 'none'
        : `${count(t.lost_rows)} (${percent(t.lost_share)}), from gaps in the line numbers; damaged rows are among them`,
    ],
    ['rows damaged', `${count(t.damaged_rows)}, rows not whole: ${bytes(t.torn_bytes)}`],
    ['rows of parallel workers', `${count(t.worker_rows)} (contained in their leaders’)`],
    ['rows with masked secrets', count(t.masked_rows)],
    ['rows with cut texts', count(t.cut_rows)],
    [
      'statements in the table',
      `${count(report.accuracy.statements)} of at most ${count(report.accuracy.statements_most)}`,
    ],
    ['read in', `${duration(report.read.seconds * 1e6)} (${rate(report.read.rows_per_second)} rows)`],
  ];
  const lost =
    t.lost_by_slot.length === 0
      ? ''
      : table(
          'Rows lost by backend slot',
          [
            { title: 'slot', number: true },
            { title: 'rows lost', number: true, sorted: true },
          ],
          t.lost_by_slot
            .slice(0, 100)
            .map(({ slot, lost_rows }) => [figure(slot, String), figure(lost_rows, count)]),
        );
  const notes = report.accuracy.notes.map((note) => `<p>${escaped(note)}</p>`).join('\n');
  return `<dl class="facts">${facts.map(([name, value]) => `<dt>${name}</dt><dd>${escaped(value)}</dd>`).join('')}</dl>\n${notes}\n${lost}`;
}

function problems(report: Report): string {
  if (report.problems.length === 0) return empty('None: every file was read to its end.');
  return table(
    'What could not be read',
    [{ title: 'file' }, { title: 'byte', number: true }, { title: 'problem' }],
    report.problems.map(({ file, offset, problem }) => [
      text(file),
      offset === undefined ? text('') : figure(offset, (value) => value.toLocaleString('en')),
      { html: escaped(problem), look: 'sql' },
    ]),
  );
}
