/**
 * Swim lanes: a lane for each session, from left to right how busy it was and where calls failed. In: selected rows of typed
 * arrays; out: for each lane and pixel the share of time that calls took, and its picture. One pass over the rows whatever
 * their number; lanes beyond the most are left out, the busiest are kept. Pure but for the drawing.
 */
import type { TraceRows } from '../store/trace_rows.js';
import { drawTimes, heatEdges, sharpContext } from './heat.js';
import { resolveToken } from './palette.js';

export const laneHeight = 16;
const mostLanes = 48;

export interface Lanes {
  readonly fromUs: number;
  readonly toUs: number;
  readonly columns: number;
  /** Process IDs, busiest last lane included; in order of first appearance. */
  readonly pids: readonly number[];
  /** Sessions that are not shown. */
  readonly hidden: number;
  /** Busy share of each lane's column, 0 to 1. */
  readonly busy: Float32Array;
  /** 1: a call failed there. */
  readonly failed: Uint8Array;
}

/** @param columns pixels of the picture's inner width */
export function makeLanes(
  rows: TraceRows,
  selected: Uint32Array,
  fromUs: number,
  toUs: number,
  columns: number,
): Lanes {
  const { end_time: ends, exec_us: times } = rows.numbers;
  const pids = rows.small.pid;
  const states = rows.codes.sqlstate;
  const levels = rows.small.level;
  const total = new Map<number, number>();
  for (const row of selected) {
    const pid = pids[row] as number;
    const us = times[row] as number;
    total.set(pid, (total.get(pid) ?? 0) + (Number.isNaN(us) ? 0 : us));
  }
  const kept = new Set(
    [...total]
      .sort(([, a], [, b]) => b - a)
      .slice(0, mostLanes)
      .map(([pid]) => pid),
  );
  const shown = [...total.keys()].filter((pid) => kept.has(pid));
  const laneOf = new Map(shown.map((pid, lane) => [pid, lane]));
  const busy = new Float32Array(shown.length * columns);
  const failed = new Uint8Array(shown.length * columns);
  const columnUs = (toUs - fromUs) / columns;
  for (const row of selected) {
    const lane = laneOf.get(pids[row] as number);
    if (lane === undefined) continue;
    const end = ends[row] as number;
    const us = times[row] as number;
    // Time of nested calls is part of their caller's.
    const length = Number.isNaN(us) || (levels[row] as number) > 1 ? 0 : us;
    const from = Math.max(0, (end - length - fromUs) / columnUs);
    const to = Math.min(columns, (end - fromUs) / columnUs);
    if (to < 0 || from >= columns) continue;
    const base = lane * columns;
    for (let column = Math.floor(from); column < Math.min(columns, Math.floor(to) + 1); column += 1) {
      const part = Math.min(to, column + 1) - Math.max(from, column);
      // What is shorter than a pixel is still seen.
      busy[base + column] = Math.min(1, (busy[base + column] as number) + Math.max(part, 0.04));
    }
    if (states[row] !== 0) failed[base + Math.min(columns - 1, Math.floor(to))] = 1;
  }
  return { fromUs, toUs, columns, pids: shown, hidden: total.size - shown.length, busy, failed };
}

export const lanesHeight = (lanes: Lanes): number =>
  heatEdges.top + lanes.pids.length * laneHeight + heatEdges.bottom;

export function drawLanes(
  canvas: HTMLCanvasElement,
  lanes: Lanes,
  width: number,
  mark: number | undefined,
): void {
  const height = lanesHeight(lanes);
  const context = sharpContext(canvas, width, height);
  if (context === null) return;
  context.clearRect(0, 0, width, height);
  const colours = [resolveToken('--series-2'), resolveToken('--bad')] as const;
  const muted = resolveToken('--muted');
  const grid = resolveToken('--grid');
  for (const [lane, pid] of lanes.pids.entries()) {
    const y = heatEdges.top + lane * laneHeight;
    context.globalAlpha = 1;
    context.fillStyle = grid;
    context.fillRect(heatEdges.left, y + laneHeight - 1, lanes.columns, 1);
    context.fillStyle = muted;
    context.font = '11px system-ui, sans-serif';
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    context.fillText(String(pid), heatEdges.left - 6, y + laneHeight / 2);
    for (let column = 0; column < lanes.columns; column += 1) {
      const at = lane * lanes.columns + column;
      const share = lanes.busy[at] as number;
      if (share > 0) {
        context.globalAlpha = 0.25 + 0.75 * share;
        context.fillStyle = colours[0];
        context.fillRect(heatEdges.left + column, y + 2, 1, laneHeight - 5);
      }
      if (lanes.failed[at] === 1) {
        context.globalAlpha = 1;
        context.fillStyle = colours[1];
        context.fillRect(heatEdges.left + column - 1, y + 1, 3, 5);
      }
    }
  }
  context.globalAlpha = 1;
  drawTimes(context, width, height, lanes.fromUs, lanes.toUs);
  if (mark !== undefined) {
    const x = heatEdges.left + ((mark - lanes.fromUs) / (lanes.toUs - lanes.fromUs)) * lanes.columns;
    context.fillStyle = resolveToken('--text');
    context.fillRect(x, heatEdges.top, 1, height - heatEdges.top - heatEdges.bottom);
  }
}

/** The longest call of a lane that a moment lies in, or that ended next to it; undefined: none near. */
export function callAt(
  rows: TraceRows,
  selected: Uint32Array,
  pid: number,
  us: number,
  reachUs: number,
): number | undefined {
  const { end_time: ends, exec_us: times } = rows.numbers;
  const pids = rows.small.pid;
  let found: number | undefined;
  let longest = -1;
  for (const row of selected) {
    if (pids[row] !== pid) continue;
    const end = ends[row] as number;
    const length = Number.isNaN(times[row] as number) ? 0 : (times[row] as number);
    if (us < end - length - reachUs || us > end + reachUs) continue;
    if (length > longest) {
      longest = length;
      found = row;
    }
  }
  return found;
}
