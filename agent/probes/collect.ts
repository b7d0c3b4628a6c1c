/**
 * Runs a collector and turns its rows into a block of the definition in force: a column that the collector does not know
 * is NULL, one that the definition does not have is left out.
 */
import { blockFromRows } from '../../native/index.js';
import { PemError } from '../../src/base/errors.js';
import type { ProbeRuntime } from '../../src/wire/config.js';
import type { CollectedRow, Collector } from '../collectors/index.js';
import type { Clock } from '../scheduler/clock.js';
import type { RunContext, RunResult } from '../scheduler/timetable.js';
import { blockMeta, columnSpecs, type Emitter } from './emit.js';

function cells(probe: ProbeRuntime, row: CollectedRow): CollectedRow[string][] {
  return probe.columns.map((column) => {
    const value = row[column.name] ?? null;
    if (value === null && column.role === 'key')
      throw new PemError('probe_key_missing', `probe ${probe.name}: no value for its key ${column.name}`);
    return value;
  });
}

export async function runCollector(
  collector: Collector,
  targetId: number,
  probe: ProbeRuntime,
  context: RunContext,
  emitter: Emitter,
  clock: Clock,
): Promise<RunResult> {
  const begun = performance.now();
  const rows = await collector(clock.monotonicMs());
  if (rows === null) return { ms: performance.now() - begun, rows: 0, bytes: 0 };
  const meta = blockMeta(targetId, probe, context);
  const block = blockFromRows(
    meta,
    columnSpecs(probe),
    rows.map((row) => cells(probe, row)),
  );
  const bytes = await emitter.emit(probe, meta, block);
  return { ms: performance.now() - begun, rows: rows.length, bytes };
}
