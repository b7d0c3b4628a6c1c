/**
 * Values that a block keeps in PostgreSQL's binary form -> text. In: the bytes of one value. Out: a string (or strings).
 * Pure; ships to the browser.
 */

const utf8 = new TextDecoder();

/** UTF-8 bytes as text. */
export function textOf(bytes: Uint8Array): string {
  return utf8.decode(bytes);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** numeric as PostgreSQL prints it. */
export function numericText(bytes: Uint8Array): string {
  const view = viewOf(bytes);
  const count = view.getUint16(0);
  const weight = view.getInt16(2);
  const sign = view.getUint16(4);
  const scale = view.getUint16(6);
  if (sign === 0xc000) return 'NaN';
  if (sign === 0xd000) return 'Infinity';
  if (sign === 0xf000) return '-Infinity';
  const group = (place: number) =>
    place >= 0 && place < count ? String(view.getUint16(8 + 2 * place)).padStart(4, '0') : '0000';
  let before = '';
  for (let i = 0; i <= weight; i++) before += group(i);
  let after = '';
  for (let i = weight + 1; after.length < scale; i++) after += group(i);
  const number = before.replace(/^0+(?=\d)/, '') || '0';
  return `${sign === 0x4000 ? '-' : ''}${number}${scale > 0 ? `.${after.slice(0, scale)}` : ''}`;
}

/** inet as PostgreSQL prints it: the netmask only where it is not of all bits. */
export function inetText(bytes: Uint8Array): string {
  const four = bytes[0] === 2;
  const bits = bytes[1]!;
  const address = bytes.subarray(4);
  const mask = bits === (four ? 32 : 128) ? '' : `/${bits}`;
  return (four ? address.join('.') : ipv6Text(address)) + mask;
}

function ipv6Text(bytes: Uint8Array): string {
  const view = viewOf(bytes);
  const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(2 * i));
  let best = -1;
  let longest = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > longest) {
      best = i;
      longest = end - i;
    }
  }
  // ::a.b.c.d and ::ffff:a.b.c.d, as inet_net_ntop writes them.
  if (best === 0 && (longest === 6 || (longest === 5 && groups[5] === 0xffff))) {
    return `::${longest === 5 ? 'ffff:' : ''}${bytes.subarray(12).join('.')}`;
  }
  const hex = groups.map((group) => group.toString(16));
  if (best < 0) return hex.join(':');
  return `${hex.slice(0, best).join(':')}::${hex.slice(best + longest).join(':')}`;
}

/** Elements of a text[]; an array of several dimensions comes out flat. */
export function textArray(bytes: Uint8Array): (string | null)[] {
  const view = viewOf(bytes);
  const dimensions = view.getUint32(0);
  const elements: (string | null)[] = [];
  let at = 12 + 8 * dimensions;
  while (at < bytes.length) {
    const length = view.getInt32(at);
    at += 4;
    elements.push(length < 0 ? null : textOf(bytes.subarray(at, at + length)));
    at += Math.max(length, 0);
  }
  return elements;
}

/** pg_lsn as PostgreSQL prints it. */
export function lsnText(value: bigint): string {
  const hex = (part: bigint) => part.toString(16).toUpperCase();
  return `${hex(value >> 32n)}/${hex(value & 0xffffffffn)}`;
}

/** An interval in ISO 8601 form, as PostgreSQL's intervalstyle iso_8601 prints it. */
export function intervalText(us: bigint, days: number, months: number): string {
  const years = Math.trunc(months / 12);
  const date = [
    [years, 'Y'],
    [months - 12 * years, 'M'],
    [days, 'D'],
  ]
    .filter(([count]) => count !== 0)
    .map(([count, unit]) => `${count}${unit}`)
    .join('');
  const seconds = us / 1_000_000n;
  const hours = seconds / 3600n;
  const minutes = (seconds / 60n) % 60n;
  const rest = us - (hours * 3600n + minutes * 60n) * 1_000_000n;
  let time = `${hours === 0n ? '' : `${hours}H`}${minutes === 0n ? '' : `${minutes}M`}`;
  if (rest !== 0n) {
    const positive = rest < 0n ? -rest : rest;
    const fraction = (positive % 1_000_000n).toString().padStart(6, '0').replace(/0+$/, '');
    time += `${rest < 0n ? '-' : ''}${positive / 1_000_000n}${fraction === '' ? '' : `.${fraction}`}S`;
  }
  if (date === '' && time === '') return 'PT0S';
  return `P${date}${time === '' ? '' : `T${time}`}`;
}

/** µs since 1970 as ISO 8601 in UTC with all six digits of the second; ±infinity by name. */
export function timeText(us: bigint): string {
  if (us === minTime) return '-infinity';
  if (us === maxTime) return 'infinity';
  const micros = ((us % 1_000_000n) + 1_000_000n) % 1_000_000n;
  const date = new Date(Number((us - micros) / 1000n));
  // A Date ends near the year 275760; PostgreSQL's times go on.
  if (Number.isNaN(date.getTime())) return `${us}us`;
  return date.toISOString().replace(/\.\d+Z$/, `.${micros.toString().padStart(6, '0')}Z`);
}

const minTime = -(1n << 63n);
const maxTime = (1n << 63n) - 1n;
