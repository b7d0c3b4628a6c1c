/**
 * Numbers for people: every one with its unit. Bytes in IEC steps, counts in SI steps, time in the step that leaves one
 * to three digits before the point.
 */

const siSteps = ['', 'k', 'M', 'G', 'T', 'P'];
const iecSteps = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

function digits(value: number): string {
  const size = Math.abs(value);
  if (size >= 100 || Number.isInteger(value)) return value.toFixed(0);
  return size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function stepped(value: number, base: number, steps: readonly string[]): [string, string] {
  let step = 0;
  let rest = value;
  while (Math.abs(rest) >= base * 0.9995 && step < steps.length - 1) {
    rest /= base;
    step += 1;
  }
  return [digits(rest), steps[step] as string];
}

/** @param unit as the catalogue names it: 'bytes', 'percent', 'ms', 's', 'us', 'count', 'blocks', … or any of them + '/s' */
export function formatValue(value: number | null | undefined, unit: string): string {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  const perSecond = unit.endsWith('/s');
  const base = perSecond ? unit.slice(0, -2) : unit;
  const tail = perSecond ? '/s' : '';
  switch (base) {
    case 'bytes': {
      const [number, step] = stepped(value, 1024, iecSteps);
      return `${number} ${step}${tail}`;
    }
    case 'percent':
      return `${value.toFixed(Math.abs(value) >= 10 ? 0 : 1)} %`;
    case 'us':
      return formatMs(value / 1000) + tail;
    case 'ms':
      return perSecond ? `${digits(value)} ms/s` : formatMs(value);
    case 's':
      return formatMs(value * 1000) + tail;
    default: {
      const [number, step] = stepped(value, 1000, siSteps);
      const word = base === '' || base === 'count' ? '' : base;
      return [`${number}${step === '' ? '' : ` ${step}`}`, `${word}${tail}`]
        .filter((part) => part !== '')
        .join(' ');
    }
  }
}

const measures = new Set(['bytes', 'percent', 'us', 'ms', 's']);

/** The same for an axis: units of measure stay, nouns ("rows/s") stand once beside the title instead of at each line. */
export function formatAxis(value: number, unit: string): string {
  const base = unit.endsWith('/s') ? unit.slice(0, -2) : unit;
  return formatValue(value, measures.has(base) ? unit : '');
}

/** What stands beside a chart's title: the noun its axis leaves out. */
export function axisNoun(unit: string): string | undefined {
  const base = unit.endsWith('/s') ? unit.slice(0, -2) : unit;
  return measures.has(base) || base === '' ? undefined : unit;
}

/** Clock time for an axis: seconds only where lines are closer than a minute, the day where the span is longer than one. */
export function formatClock(seconds: number, stepS: number, spanS: number): string {
  const at = new Date(seconds * 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}`;
  if (stepS < 60) return `${clock}:${two(at.getSeconds())}`;
  if (spanS <= 86_400) return clock;
  const day = at.toLocaleDateString(undefined, { day: 'numeric', month: 'short' });
  return stepS >= 86_400 ? day : `${day} ${clock}`;
}

/** A length of time given in milliseconds. */
export function formatMs(ms: number): string {
  const size = Math.abs(ms);
  if (size === 0) return '0 s';
  if (size < 1) return `${digits(ms * 1000)} µs`;
  if (size < 1000) return `${digits(ms)} ms`;
  if (size < 120_000) return `${digits(ms / 1000)} s`;
  if (size < 7_200_000) return `${digits(ms / 60_000)} min`;
  if (size < 172_800_000) return `${digits(ms / 3_600_000)} h`;
  return `${digits(ms / 86_400_000)} d`;
}

/** How long ago a moment (µs since 1970) was, seen from `nowMs`. */
export function formatAgo(us: number | null | undefined, nowMs: number): string {
  if (us === null || us === undefined || us === 0) return 'never';
  const ms = nowMs - us / 1000;
  return ms < 1500 ? 'now' : `${formatMs(Math.round(ms / 1000) * 1000)} ago`;
}

/** A moment in the reader's own time zone, with seconds. */
export function formatTime(ms: number): string {
  return new Date(ms).toLocaleString(undefined, {
    month: 'short',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hour12: false,
  });
}

/** server_version_num → '15.18'. */
export function formatVersion(versionNum: number | null | undefined): string {
  if (versionNum === null || versionNum === undefined) return '–';
  return `${Math.floor(versionNum / 10_000)}.${versionNum % 10_000}`;
}

const settingUnits: readonly (readonly [string, number])[][] = [
  [
    ['B', 1],
    ['kB', 1024],
    ['MB', 1024],
    ['GB', 1024],
    ['TB', 1024],
  ],
  [
    ['us', 1],
    ['ms', 1000],
    ['s', 1000],
    ['min', 60],
    ['h', 60],
    ['d', 24],
  ],
];

/** A PostgreSQL setting as one would write it: '900' of 's' is '15 min', '16384' of '8kB' is '128 MB'; exact, never rounded. */
export function formatSetting(value: string | null, unit: string | null): string {
  if (value === null) return '–';
  const [, count = '', name = ''] = /^(\d*)([a-zA-Z]+)$/.exec(unit ?? '') ?? [];
  const steps = settingUnits.find((list) => list.some(([step]) => step === name));
  let number = Number(value) * Number(count === '' ? 1 : count);
  if (steps === undefined) return unit === null ? value : `${value} ${unit}`;
  // Zero and below have meanings of their own (off, no limit); fractions stay as they are.
  if (!Number.isInteger(number) || number <= 0) return value;
  let at = steps.findIndex(([step]) => step === name);
  for (let next = steps[at + 1]; next !== undefined && number % next[1] === 0; next = steps[at + 1]) {
    number /= next[1];
    at += 1;
  }
  return `${number} ${steps[at]?.[0]}`;
}
