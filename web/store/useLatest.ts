/**
 * The latest rows of a topic as a component's state: the snapshot, then every full and delta block applied to it, redrawn
 * at most once per animation frame. A full block replaces the rows of its scope, tombstones take rows away.
 */
import { useEffect, useState } from 'preact/hooks';
import type { Block } from './blocks.js';
import { probes } from './fleet.js';
import { subscribe } from './live.js';

/** One row: where it stands in which block; cells are read when they are drawn. */
export interface LatestRow {
  readonly key: string;
  readonly scope: string;
  readonly block: Block;
  readonly row: number;
}

export const cellText = (row: LatestRow, column: string): string | null =>
  row.block.column(column)?.text(row.row) ?? null;
export const cellNumber = (row: LatestRow, column: string): number =>
  row.block.column(column)?.number(row.row) ?? Number.NaN;

/** Applies one block to the rows of a topic. */
export function applyBlock(
  rows: Map<string, LatestRow>,
  block: Block,
  keyColumns: readonly string[],
  whole: boolean,
): void {
  if (whole) {
    if (block.scope === '') rows.clear();
    else for (const [key, row] of rows) if (row.scope === block.scope) rows.delete(key);
  }
  const columns = keyColumns.map((name) => block.column(name));
  for (let row = 0; row < block.rows; row += 1) {
    const key = columns.map((column) => column?.text(row) ?? '').join('\u0000');
    if (row >= block.rows - block.tombstones) rows.delete(key);
    else rows.set(key, { key, scope: block.scope, block, row });
  }
}

export interface Latest {
  readonly rows: readonly LatestRow[];
  readonly known: boolean;
  readonly recordedAtUs: number;
  readonly error: string | undefined;
}

const nothing: Latest = { rows: [], known: false, recordedAtUs: 0, error: undefined };

/** @param scopeColumn the key column that names a block's scope; snapshot rows take their scope from it */
export function useLatest(target: number, probeName: string, scopeColumn?: string): Latest {
  const [state, setState] = useState<Latest>(nothing);
  const known = probes.value.has(probeName);
  useEffect(() => {
    setState(nothing);
    if (!known) return;
    const keyColumns = (probes.value.get(probeName)?.columns ?? [])
      .filter((column) => column.role === 'key')
      .map((column) => column.name);
    const rows = new Map<string, LatestRow>();
    let frame = 0;
    let recordedAtUs = 0;
    let error: string | undefined;
    const draw = (): void => {
      if (frame !== 0) return;
      frame = requestAnimationFrame(() => {
        frame = 0;
        setState({ rows: [...rows.values()], known: true, recordedAtUs, error });
      });
    };
    const leave = subscribe(target, probeName, (event) => {
      if (event.kind === 'denied') {
        rows.clear();
        error = event.reason;
      } else {
        recordedAtUs = Math.max(recordedAtUs, event.block.recordedAtUs);
        applyBlock(rows, event.block, keyColumns, event.kind === 'snapshot' || event.block.kind === 'full');
        if (event.kind === 'snapshot' && scopeColumn !== undefined) {
          for (const row of rows.values())
            rows.set(row.key, { ...row, scope: cellText(row, scopeColumn) ?? '' });
        }
      }
      draw();
    });
    return () => {
      leave();
      cancelAnimationFrame(frame);
    };
  }, [target, probeName, scopeColumn, known]);
  return state;
}
