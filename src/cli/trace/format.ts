/**
 * Numbers, times and texts for people: three digits and a unit, columns of one width, nothing that speaks to a terminal.
 * In: numbers in the units their names say. Out: text. Times are UTC.
 */

/** 3 significant digits, without zeros that say nothing. */
function digits(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value.toPrecision(3).replace(/\.?0+$/, '');
}

/** 1234 → "1.23 ms". Unknown (NaN) → "–". */
export function duration(us: number): string {
  if (Number.isNaN(us)) return '–';
  if (us < 0) return `-${duration(-us)}`;
  if (us < 999.5) return `${digits(us)} µs`;
  if (us < 999_500) return `${digits(us / 1000)} ms`;
  if (us < 120_000_000) return `${digits(us / 1_000_000)} s`;
  if (us < 7_200_000_000) return `${digits(us / 60_000_000)} min`;
  if (us < 172_800_000_000) return `${digits(us / 3_600_000_000)} h`;
  return `${digits(us / 86_400_000_000)} d`;
}

/** 12345 → "12,345"; from ten million on "12.3 M". */
export function count(value: number): string {
  if (Number.isNaN(value)) return '–';
  if (value < 10_000_000) return Math.round(value).toLocaleString('en');
  if (value < 1e9) return `${digits(value / 1e6)} M`;
  if (value < 1e12) return `${digits(value / 1e9)} G`;
  return `${digits(value / 1e12)} T`;
}

const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** 2048 → "2 KiB". */
export function bytes(value: number): string {
  if (Number.isNaN(value)) return '–';
  let unit = 0;
  let scaled = value;
  while (scaled >= 1023.5 && unit < byteUnits.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  return `${digits(scaled)} ${byteUnits[unit]}`;
}

/** Per second: "1.23 k/s". */
export function rate(perSecond: number): string {
  if (!Number.isFinite(perSecond)) return '–';
  if (perSecond >= 1e6) return `${digits(perSecond / 1e6)} M/s`;
  if (perSecond >= 10_000) return `${digits(perSecond / 1000)} k/s`;
  return `${digits(perSecond)}/s`;
}

/** 0.123 → "12.3 %". */
export function percent(share: number): string {
  if (!Number.isFinite(share)) return '–';
  const value = share * 100;
  if (value === 0) return '0 %';
  if (value < 0.01) return '<0.01 %';
  return `${value >= 99.95 && value < 100 ? '>99.9' : digits(value)} %`;
}

/** µs since 1970 → "2026-11-23 08:15:30" with as many digits of a second as asked for. */
export function instant(us: number, decimals = 0): string {
  const whole = new Date(Math.floor(us / 1000)).toISOString();
  const micros = String(((us % 1_000_000) + 1_000_000) % 1_000_000).padStart(6, '0');
  const base = `${whole.slice(0, 10)} ${whole.slice(11, 19)}`;
  return decimals === 0 ? base : `${base}.${micros.slice(0, decimals)}`;
}

/** The same with "T" and "Z", for machines. */
export function isoInstant(us: number): string {
  return `${instant(us, 6).replace(' ', 'T')}Z`;
}

/** None of a text's characters moves a cursor, rings, or hides what follows; line ends become spaces. */
export function printable(text: string): string {
  return text.replaceAll(/[\t\r\n]+/g, ' ').replaceAll(/\p{C}/gu, '\u{FFFD}');
}

/** East Asian wide characters and emoji take two columns, combining marks none. */
export function columnsOf(text: string): number {
  let columns = 0;
  for (const character of text) columns += widthOf(character);
  return columns;
}

function widthOf(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x300) return 1;
  if (/\p{Mn}|\p{Me}/u.test(character)) return 0;
  const wide =
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0x1f300 && code <= 0x1faff) ||
    (code >= 0x20000 && code <= 0x3fffd);
  return wide ? 2 : 1;
}

/** At most `columns` wide; "…" where something was left out. */
export function clip(text: string, columns: number): string {
  if (columns <= 0) return '';
  let used = 0;
  let at = 0;
  for (const character of text) {
    const width = widthOf(character);
    if (used + width > columns) {
      while (used > columns - 1 && at > 0) {
        const last = [...text.slice(0, at)].at(-1) ?? '';
        at -= last.length;
        used -= widthOf(last);
      }
      return `${text.slice(0, at)}…`;
    }
    used += width;
    at += character.length;
  }
  return text;
}

export function pad(text: string, columns: number, right: boolean): string {
  const gap = ' '.repeat(Math.max(0, columns - columnsOf(text)));
  return right ? gap + text : text + gap;
}

export interface Column {
  readonly title: string;
  /** Numbers stand at the right. */
  readonly right?: boolean;
  /** Takes what room is left; its cells are clipped. */
  readonly fill?: boolean;
}

/** Rows under titles, in at most `width` columns; titles and numbers aligned. */
export function textTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
): string {
  const widths = columns.map((column, i) =>
    Math.max(columnsOf(column.title), ...rows.map((row) => columnsOf(row[i] ?? ''))),
  );
  const gaps = 2 * (columns.length - 1);
  const fill = columns.findIndex((column) => column.fill === true);
  if (fill >= 0) {
    const others = widths.reduce((sum, one, i) => (i === fill ? sum : sum + one), gaps);
    widths[fill] = Math.max(8, Math.min(widths[fill] ?? 0, width - others));
  }
  const line = (cells: readonly string[]): string =>
    clip(
      columns
        .map((column, i) => pad(clip(cells[i] ?? '', widths[i] ?? 0), widths[i] ?? 0, column.right === true))
        .join('  '),
      width,
    ).trimEnd();
  return [line(columns.map((column) => column.title)), ...rows.map(line)].join('\n');
}
