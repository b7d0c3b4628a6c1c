/**
 * Charts of the HTML report as SVG that stretches with the page: the drawing has no text, whose size would stretch too; labels
 * stand around it. In: numbers and their texts. Out: HTML without scripts and without style attributes.
 */
export function escaped(text: string): string {
  return text.replaceAll(
    /[&<>"'\0]/g,
    (character) =>
      ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[character] ?? '\u{FFFD}',
  );
}

export interface Series {
  readonly name: string;
  /** A class of the page's style: its colour. */
  readonly look: string;
  readonly values: readonly number[];
  /** Filled down to the axis. */
  readonly area?: boolean;
}

export interface ChartOptions {
  readonly title: string;
  readonly series: readonly Series[];
  /** What each place of the series is, for tooltips. */
  readonly labels: readonly string[];
  /** Under the left and right end, and the middle. */
  readonly ends: readonly [string, string, string];
  show(value: number): string;
  /** Logarithmic from the least value above 0. */
  readonly log?: boolean;
  /** Bytes: the axis ends at a round number of KiB, MiB, … */
  readonly binary?: boolean;
}

const wide = 1000;
const high = 100;

/** Numbers in SVG have few digits. */
const at = (value: number): string => (Math.round(value * 100) / 100).toString();

export function lineChart(options: ChartOptions): string {
  const all = options.series.flatMap(({ values }) => values).filter((value) => value > 0);
  const most = all.length === 0 ? 1 : Math.max(...all);
  const top =
    options.log === true ? 10 ** Math.ceil(Math.log10(most)) : niceAbove(most, options.binary === true);
  const bottom = options.log === true ? bottomOf(Math.min(...all, top / 10), top) : 0;
  const y = (value: number): number => {
    if (options.log !== true) return high - (value / top) * high;
    if (value <= bottom) return high;
    return high - (Math.log10(value / bottom) / Math.log10(top / bottom)) * high;
  };
  const places = options.labels.length;
  const step = wide / Math.max(1, places);
  const shapes = options.series.map(({ values, look, area }) => {
    // Each span is as wide as it lasts: steps, not slopes between middles.
    const points = values
      .map((value, i) => `${at(i * step)},${at(y(value))} ${at((i + 1) * step)},${at(y(value))}`)
      .join(' ');
    return area === true
      ? `<polygon class="${look} area" points="0,${high} ${points} ${wide},${high}"/>`
      : `<polyline class="${look} line" points="${points}"/>`;
  });
  const ticks = options.log === true ? decades(bottom, top) : [0, 0.5, 1].map((share) => share * top);
  const grid = ticks.map(
    (tick) => `<line class="grid" x1="0" x2="${wide}" y1="${at(y(tick))}" y2="${at(y(tick))}"/>`,
  );
  const tips = options.labels.map((label, i) => {
    const values = options.series.map(({ name, values: of }) => `${name} ${options.show(of[i] ?? 0)}`);
    return `<rect class="tip" x="${at(i * step)}" y="0" width="${at(step)}" height="${high}"><title>${escaped(`${label}\n${values.join('\n')}`)}</title></rect>`;
  });
  const legend = options.series
    .map(({ name, look }) => `<span class="key ${look}">${escaped(name)}</span>`)
    .join(' ');
  const peaks = options.series.map(
    ({ name, values }) => `${name} up to ${options.show(Math.max(0, ...values))}`,
  );
  const marks = [...ticks].reverse().map((tick) => `<span>${escaped(options.show(tick))}</span>`);
  const [left, middle, right] = options.ends;
  return `<figure class="chart"><figcaption>${escaped(options.title)} <span class="legend">${legend}</span></figcaption>
<div class="plot"><div class="ticks" aria-hidden="true">${marks.join('')}</div>
<svg viewBox="0 0 ${wide} ${high}" preserveAspectRatio="none" role="img" aria-label="${escaped(`${options.title}: ${peaks.join(', ')}`)}">
${grid.join('')}${shapes.join('')}${tips.join('')}</svg></div>
<div class="ends" aria-hidden="true"><span>${escaped(left)}</span><span>${escaped(middle)}</span><span>${escaped(right)}</span></div></figure>`;
}

/** The next of 1, 2, 5, 10, … that is no less; of a unit of 1024 where it is binary. */
export function niceAbove(value: number, binary = false): number {
  const unit = binary && value >= 1 ? 1024 ** Math.floor(Math.log2(value) / 10) : 1;
  const scaled = value / unit;
  const ten = 10 ** Math.floor(Math.log10(scaled));
  return ([1, 2, 5, 10].find((digit) => digit * ten >= scaled * 0.999999) ?? 10) * ten * unit;
}

/** Powers of ten between ticks, so that there are at most five ticks at equal distances. */
const tenths = (least: number, top: number): number =>
  Math.max(1, Math.ceil((Math.log10(top) - Math.floor(Math.log10(least))) / 4));

/** A power of ten that is no more than `least` and a whole number of ticks below `top`. */
function bottomOf(least: number, top: number): number {
  const each = tenths(least, top);
  return top / 10 ** (Math.ceil((Math.log10(top) - Math.floor(Math.log10(least))) / each) * each);
}

function decades(from: number, to: number): number[] {
  const each = tenths(from, to);
  const made: number[] = [];
  for (let i = 0; from * 10 ** i <= to * 1.001; i += each) made.push(from * 10 ** i);
  return made;
}

/** A bar that fills `share` of its cell. */
export function bar(share: number, look = 'rate'): string {
  const filled = Math.max(share > 0 ? 0.5 : 0, Math.min(100, share * 100));
  return `<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="${look}" width="${at(filled)}" height="10"/></svg>`;
}

/** Columns beside each other without labels, for a statement's latency. */
export function sparkColumns(values: readonly number[], label: string): string {
  const most = Math.max(1, ...values);
  const step = wide / Math.max(1, values.length);
  const columns = values.map((value, i) => {
    const height = value === 0 ? 0 : Math.max(2, (value / most) * high);
    return `<rect class="rate" x="${at(i * step + step * 0.08)}" y="${at(high - height)}" width="${at(step * 0.84)}" height="${at(height)}"/>`;
  });
  return `<svg class="spark" viewBox="0 0 ${wide} ${high}" preserveAspectRatio="none" role="img" aria-label="${escaped(label)}">${columns.join('')}</svg>`;
}
