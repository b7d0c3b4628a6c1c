/**
 * Calls of a trace as its file has them, out of rows as they travel (src/wire/events.ts). In: the rows of one block, or those
 * of one trace and recorded_at; out: rows with all figures, names and texts. For tests: written apart from the readers.
 */
import { zeroColumns } from '../../src/wire/index.js';

type Row = Readonly<Record<string, unknown>>;

export function wholeEvents(rows: readonly Row[]): Row[] {
  const samples = new Map<string, unknown>();
  for (const row of rows)
    if ((Number(row.flags ?? 0) >> 18) & 1) samples.set(String(row.fingerprint), row.query);
  return rows.map((row) => {
    const { zeros, database_name: database, user_name: username, ...whole } = row;
    if (zeros === undefined || zeros === null) return row;
    const made: Record<string, unknown> = { ...whole, database, username };
    for (const [bit, name] of zeroColumns.entries()) {
      if ((Number(zeros) >> bit) & 1) made[name] = 0;
      else made[name] ??= null;
    }
    const flags = Number(row.flags ?? 0);
    if ((row.query ?? null) === null && ((flags >> 19) & 1) === 0)
      made.query = samples.get(String(row.fingerprint));
    made.flags = flags & 0x3ffff;
    return made;
  });
}
