/** Calls as a file: CSV by RFC 4180 with a header, or JSON lines. Columns have the names of the trace file, units included. */
import { sendJson } from './api.js';
import type { Call } from './trace.js';
import type { TraceRows } from './trace_rows.js';

/** What a page may ask for; beyond it `pem trace export` is the tool. */
export const mostExported = 100_000;
const asked = 500;

const timeColumns = new Set(['recorded_at', 'end_time', 'backend_start']);

/** A field as RFC 4180 writes it; unknown is empty and bare, an empty text is quoted. */
export function csvField(value: string | number | null | undefined): string {
  if (value === null || value === undefined) return '';
  const text = String(value);
  return text === '' || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** µs since 1970 as ISO 8601 in UTC. */
export function isoTime(us: number): string {
  const ms = Math.floor(us / 1000);
  return `${new Date(ms).toISOString().slice(0, 23)}${String(us - ms * 1000).padStart(3, '0')}Z`;
}

function readable(call: Call): Record<string, string | number | null> {
  return Object.fromEntries(
    Object.entries(call).map(([name, value]) => [
      name,
      value !== null && timeColumns.has(name) ? isoTime(Number(value)) : value,
    ]),
  );
}

export function csvOf(calls: readonly Call[], header: boolean): string {
  const names = Object.keys(calls[0] ?? {});
  const lines = calls.map((call) => {
    const row = readable(call);
    return names.map((name) => csvField(row[name])).join(',');
  });
  return `${header ? `${names.join(',')}\n` : ''}${lines.map((line) => `${line}\n`).join('')}`;
}

/**
 * Fetches calls in their order and makes the file.
 * @param onProgress after each part; false ends it
 * @returns undefined where it was ended
 */
export async function exportCalls(
  trace: number,
  run: string,
  rows: TraceRows,
  order: Uint32Array,
  format: 'csv' | 'json',
  onProgress: (done: number) => boolean,
): Promise<{ file: Blob; gone: number } | undefined> {
  const parts: string[] = [];
  let gone = 0;
  for (let at = 0; at < Math.min(order.length, mostExported); at += asked) {
    const calls = Array.from(order.subarray(at, Math.min(at + asked, mostExported)), (row) => [
      rows.recordedUs(row),
      rows.small.slot[row] as number,
      rows.numbers.line[row] as number,
    ]);
    const answer = await sendJson<{ calls: (Call | null)[] }>('POST', `/traces/${trace}/chosen`, {
      run,
      calls,
    });
    const there = (answer?.calls ?? []).filter((call) => call !== null);
    gone += calls.length - there.length;
    parts.push(
      format === 'csv'
        ? csvOf(there, parts.length === 0)
        : there.map((call) => `${JSON.stringify(readable(call))}\n`).join(''),
    );
    if (!onProgress(Math.min(order.length, at + asked))) return undefined;
  }
  const type = format === 'csv' ? 'text/csv' : 'application/x-ndjson';
  return { file: new Blob(parts, { type }), gone };
}

/** Hands a file to the browser's downloads. */
export function save(file: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
