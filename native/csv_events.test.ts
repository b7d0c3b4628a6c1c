/** Rows as they travel one by one, held against the same rows as they stand in their file. */
import { describe, expect, it } from 'vitest';
import { wholeEvents } from '../bench/rig/event_rows.js';
import { blockRows, readBlock } from '../src/wire/block.js';
import { zeroColumns } from '../src/wire/events.js';
import type { BlockMeta } from './codec.js';
import { csvFlags, csvToBlock, csvZeroColumns } from './csv.js';
import { allNames, type CsvRow, file, headerLine, randomRows } from './csv_model.js';
import { random } from './model.js';
import { TraceAggregate } from './trace.js';

const meta: BlockMeta = {
  target: 7n,
  probe: 'sql_trace_events',
  probeVersion: 2,
  kind: 'append',
  recordedAtUs: 1_790_000_000_000_000n,
  intervalUs: 0n,
};
const cells = (bytes: Buffer): Record<string, unknown>[] => blockRows(readBlock(bytes));

describe('event rows', () => {
  const sql = [
    'SELECT a FROM t WHERE id = $1',
    'SELECT a FROM t WHERE id = 17',
    'SELECT a FROM t WHERE id = 4711',
    'COMMIT',
    `SELECT '${'naïve '.repeat(400)}'`,
    '',
  ];
  /** Rows as statements bring them: few texts, most figures 0. */
  function statements(count: number, next: () => number): CsvRow[] {
    return randomRows(count, 0.1, next).map((row, i) => ({
      ...row,
      ...Object.fromEntries(zeroColumns.map((name) => [name, [0, 0, 0, null, 7][Math.floor(next() * 5)]!])),
      flags: Math.floor(next() * 3) === 0 ? 1 << Math.floor(next() * 9) : 0,
      query: next() < 0.1 ? null : (sql[Math.floor(next() * sql.length)] as string),
      line: i,
    }));
  }

  it('are the same rows as without, whatever they leave out, in blocks of any size', async () => {
    const next = random(20);
    for (let round = 0; round < 30; round++) {
      const bytes = file(statements(1 + Math.floor(next() * 700), next));
      const maxTextBytes = next() < 0.5 ? 2000 : 1 << 20;
      const wanted = cells((await csvToBlock(meta, { bytes }, { maxTextBytes })).block);
      const rows: Record<string, unknown>[] = [];
      for (let at = 0; at < bytes.length; ) {
        const piece = { bytes: bytes.subarray(at), ...(at > 0 ? { header: headerLine } : {}) };
        const maxRows = 1 + Math.floor(next() * 500);
        const result = await csvToBlock(meta, piece, { eventRows: true, maxRows, maxTextBytes });
        rows.push(...wholeEvents(cells(result.block)));
        at += result.usedBytes;
      }
      const bare = rows.map(({ fingerprint, ...row }) => row);
      // A column of which a block has nothing is not there; that a text is no name and may be longer, the reader knows.
      const filled = bare.map((row) => Object.fromEntries(allNames.map((name) => [name, row[name] ?? null])));
      expect(filled).toEqual(wanted.map((row) => ({ ...row, flags: row.flags ?? 0 })));
    }
  });

  it('have the fingerprints of the aggregate, also of texts that are cut and of rows without one', async () => {
    const next = random(21);
    const rows = statements(600, next).map((row) => ({ ...row, flags: 0, level: 0, tag: 'SELECT' }));
    const { block } = await csvToBlock(meta, { bytes: file(rows) }, { eventRows: true, maxTextBytes: 100 });
    const counted = new Map<string, number>();
    for (const { fingerprint } of cells(block))
      counted.set(String(fingerprint), (counted.get(String(fingerprint)) ?? 0) + 1);
    const aggregate = new TraceAggregate({ entries: 1000 });
    await aggregate.add({
      bytes: file(rows.map((row) => ({ ...row, database: 'd', username: 'u', query_id: 0 }))),
    });
    const blocks = await aggregate.statementBlocks({ ...meta, probe: 'sql_trace_statements' }, 3, 1 << 20);
    const known = blocks
      .flatMap(cells)
      .map((row) => [String(row.fingerprint), Number(row.calls)] as [string, number]);
    expect(new Map(known)).toEqual(counted);
    expect(counted.size).toBe(4);
  });

  it('leave a text out where the block has it, figures where they are 0, and columns without a value', async () => {
    const plain = { ...Object.fromEntries(zeroColumns.map((name) => [name, 0])), tag: 'SELECT', line: 1 };
    const rows = Array.from({ length: 300 }, () => ({ ...plain, rows: 1, query: sql[0] as string }));
    const { block } = await csvToBlock(meta, { bytes: file(rows) }, { eventRows: true });
    const { columns } = readBlock(block);
    expect(columns.map(({ name }) => name)).toEqual([
      'line',
      'tag',
      'rows',
      'flags',
      'query',
      'fingerprint',
      'zeros',
    ]);
    expect(cells(block).filter((row) => row.query !== null)).toHaveLength(1);
    expect(cells(block)[0]).toMatchObject({ flags: csvFlags.sample, zeros: 2 ** 30 - 2 - 8 });
    expect(cells(block)[1]).toMatchObject({ flags: null, zeros: 2 ** 30 - 1 - 8 });
  });

  it('name their figures by the bits that pages and history read', () => {
    expect(csvZeroColumns).toEqual(zeroColumns);
  });
});
