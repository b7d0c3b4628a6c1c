/**
 * The latency heat map: time by execution time, each cell as dark as it has calls. In: steps with histograms; out: a grid of
 * counts, and its picture on a canvas. Bands are half a power of two high. Counts span many powers of ten, so shades go by
 * their logarithm. Pure but for the drawing.
 */
import type { SeriesAnswer } from '../store/trace.js';
import { bucketLowUs } from '../store/trace_histogram.js';
import { formatClock, formatMs } from '../ui/format.js';
import { resolveToken } from './palette.js';

export interface HeatGrid {
  readonly fromUs: number;
  readonly stepUs: number;
  readonly steps: number;
  /** Number of the lowest band; band b begins at 2^(b/2) µs. */
  readonly firstBand: number;
  readonly bands: number;
  /** steps × bands, step by step. */
  readonly counts: Float64Array;
  readonly most: number;
}

export const heatEdges = { left: 66, right: 8, top: 6, bottom: 22 } as const;

export const bandLowUs = (band: number): number => (band <= 0 ? 0 : 2 ** (band / 2));
const bandOf = (us: number): number => Math.max(0, Math.floor(2 * Math.log2(Math.max(1, us)) + 1e-9));

/** @returns undefined where no step has a histogram */
export function heatGrid(series: SeriesAnswer, fromUs: number, toUs: number): HeatGrid | undefined {
  const stepUs = series.stepMs * 1000;
  const first = Math.floor(fromUs / stepUs) * stepUs;
  const steps = Math.max(1, Math.ceil((toUs - first) / stepUs));
  let lowest = Number.POSITIVE_INFINITY;
  let highest = 0;
  for (const { histogram } of series.steps) {
    for (let at = 0; at < histogram.length; at += 2) {
      const band = bandOf(bucketLowUs(histogram[at] as number));
      lowest = Math.min(lowest, band);
      highest = Math.max(highest, band);
    }
  }
  if (lowest > highest) return undefined;
  const bands = highest - lowest + 1;
  const counts = new Float64Array(steps * bands);
  let most = 0;
  for (const { atUs, histogram } of series.steps) {
    const step = Math.round((atUs - first) / stepUs);
    if (step < 0 || step >= steps) continue;
    for (let at = 0; at < histogram.length; at += 2) {
      const cell = step * bands + bandOf(bucketLowUs(histogram[at] as number)) - lowest;
      counts[cell] = (counts[cell] as number) + (histogram[at + 1] as number) * series.histogramEvery;
      most = Math.max(most, counts[cell] as number);
    }
  }
  return { fromUs: first, stepUs, steps, firstBand: lowest, bands, counts, most };
}

/** A canvas's context for a size in CSS pixels, sharp on any screen. */
export function sharpContext(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
): CanvasRenderingContext2D | null {
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext('2d');
  context?.scale(scale, scale);
  return context;
}

/** Clock times under a picture of [fromUs, toUs). */
export function drawTimes(
  context: CanvasRenderingContext2D,
  width: number,
  height: number,
  fromUs: number,
  toUs: number,
): void {
  const spanS = (toUs - fromUs) / 1e6;
  const inner = width - heatEdges.left - heatEdges.right;
  const wanted = (spanS / Math.max(2, inner / 90)) | 0;
  const stepS =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400].find(
      (step) => step >= wanted,
    ) ?? 604_800;
  context.fillStyle = resolveToken('--muted');
  context.font = '11px system-ui, sans-serif';
  context.textAlign = 'center';
  context.textBaseline = 'top';
  for (let at = Math.ceil(fromUs / 1e6 / stepS) * stepS; at * 1e6 <= toUs; at += stepS) {
    const x = heatEdges.left + ((at * 1e6 - fromUs) / (toUs - fromUs)) * inner;
    if (x > width - 24) break;
    context.fillText(formatClock(at, stepS, spanS), x, height - heatEdges.bottom + 6);
  }
}

/** Part of a grid: steps and bands from … to, both included. */
export interface HeatArea {
  readonly fromStep: number;
  readonly toStep: number;
  readonly fromBand: number;
  readonly toBand: number;
}

export function drawHeat(
  canvas: HTMLCanvasElement,
  grid: HeatGrid,
  width: number,
  height: number,
  area: HeatArea | undefined,
): void {
  const context = sharpContext(canvas, width, height);
  if (context === null) return;
  const { left, right, top, bottom } = heatEdges;
  const cellWidth = (width - left - right) / grid.steps;
  const cellHeight = (height - top - bottom) / grid.bands;
  context.clearRect(0, 0, width, height);
  const base = Math.log1p(grid.most);
  context.fillStyle = resolveToken('--accent');
  for (let step = 0; step < grid.steps; step += 1) {
    for (let band = 0; band < grid.bands; band += 1) {
      const count = grid.counts[step * grid.bands + band] as number;
      if (count === 0) continue;
      context.globalAlpha = 0.1 + (0.9 * Math.log1p(count)) / base;
      context.fillRect(
        left + step * cellWidth,
        top + (grid.bands - 1 - band) * cellHeight,
        Math.max(1, cellWidth - (cellWidth > 4 ? 1 : 0)),
        Math.max(1, cellHeight - (cellHeight > 4 ? 1 : 0)),
      );
    }
  }
  context.globalAlpha = 1;
  context.fillStyle = resolveToken('--muted');
  context.font = '11px system-ui, sans-serif';
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  const every = Math.max(1, Math.ceil(16 / cellHeight));
  for (let band = 0; band < grid.bands; band += every) {
    const y = top + (grid.bands - band) * cellHeight;
    context.fillText(formatMs(bandLowUs(grid.firstBand + band) / 1000), left - 6, y);
  }
  drawTimes(context, width, height, grid.fromUs, grid.fromUs + grid.steps * grid.stepUs);
  if (area === undefined) return;
  context.strokeStyle = resolveToken('--text');
  context.lineWidth = 1.5;
  context.strokeRect(
    left + area.fromStep * cellWidth,
    top + (grid.bands - 1 - area.toBand) * cellHeight,
    (area.toStep - area.fromStep + 1) * cellWidth,
    (area.toBand - area.fromBand + 1) * cellHeight,
  );
}

/** The cell under a place of the picture, moved to its edge where it is outside. */
export function cellAt(
  grid: HeatGrid,
  width: number,
  height: number,
  x: number,
  y: number,
): { step: number; band: number } {
  const { left, right, top, bottom } = heatEdges;
  const within = (value: number, most: number): number => Math.min(most - 1, Math.max(0, Math.floor(value)));
  return {
    step: within(((x - left) / (width - left - right)) * grid.steps, grid.steps),
    band: within((1 - (y - top) / (height - top - bottom)) * grid.bands, grid.bands),
  };
}

export function callsIn(grid: HeatGrid, area: HeatArea): number {
  let calls = 0;
  for (let step = area.fromStep; step <= area.toStep; step += 1)
    for (let band = area.fromBand; band <= area.toBand; band += 1)
      calls += grid.counts[step * grid.bands + band] as number;
  return calls;
}
