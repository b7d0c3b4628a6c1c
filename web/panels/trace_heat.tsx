/**
 * The heat map as a panel's content: dragging chooses a span of time and of latency, so do arrow keys (with Shift they widen,
 * Enter takes, Escape lets go). What the cursor is on stands below, for eyes and screen readers alike.
 */
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { bandLowUs, callsIn, cellAt, drawHeat, type HeatArea, type HeatGrid } from '../chart/heat.js';
import { brush } from '../store/trace_route.js';
import { formatMs, formatTime, formatValue } from '../ui/format.js';
import { theme } from '../ui/theme.js';

const height = 210;

/** Width of an element as it changes; known before anybody can press into it. */
export function useWidth(): [{ current: HTMLDivElement | null }, number] {
  const element = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const host = element.current;
    if (host === null) return;
    const observer = new ResizeObserver(() => setWidth(host.clientWidth));
    observer.observe(host);
    setWidth(host.clientWidth);
    return () => observer.disconnect();
  }, []);
  return [element, width];
}

export function HeatMap({ grid }: { grid: HeatGrid }) {
  const [host, width] = useWidth();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [area, setArea] = useState<HeatArea | undefined>(undefined);
  const anchor = useRef<{ step: number; band: number } | undefined>(undefined);
  useEffect(() => {
    if (canvas.current !== null && width > 0) drawHeat(canvas.current, grid, width, height, area);
  }, [grid, width, area, theme.value]);

  const between = (a: { step: number; band: number }, b: { step: number; band: number }): HeatArea => ({
    fromStep: Math.min(a.step, b.step),
    toStep: Math.max(a.step, b.step),
    fromBand: Math.min(a.band, b.band),
    toBand: Math.max(a.band, b.band),
  });
  const cellOf = (event: PointerEvent): { step: number; band: number } => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    return cellAt(grid, width, height, event.clientX - box.left, event.clientY - box.top);
  };
  const take = (chosen: HeatArea): void => {
    const all = chosen.fromBand === 0 && chosen.toBand === grid.bands - 1;
    setArea(undefined);
    brush({
      fromUs: grid.fromUs + chosen.fromStep * grid.stepUs,
      toUs: grid.fromUs + (chosen.toStep + 1) * grid.stepUs,
      ...(all
        ? {}
        : {
            leastUs: bandLowUs(grid.firstBand + chosen.fromBand),
            mostUs: bandLowUs(grid.firstBand + chosen.toBand + 1),
          }),
    });
  };
  const onKey = (event: KeyboardEvent): void => {
    const move = ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] } as const)[
      event.key as 'ArrowLeft'
    ];
    if (event.key === 'Escape') setArea(undefined);
    else if (event.key === 'Enter' && area !== undefined) take(area);
    else if (move !== undefined) {
      event.preventDefault();
      const within = (value: number, most: number): number => Math.min(most - 1, Math.max(0, value));
      const at =
        area === undefined
          ? { step: grid.steps - 1, band: 0 }
          : {
              step: anchor.current?.step === area.fromStep ? area.toStep : area.fromStep,
              band: anchor.current?.band === area.fromBand ? area.toBand : area.fromBand,
            };
      const next = {
        step: within(at.step + move[0], grid.steps),
        band: within(at.band + move[1], grid.bands),
      };
      if (!event.shiftKey || anchor.current === undefined) anchor.current = next;
      setArea(between(anchor.current, next));
    }
  };
  const says =
    area === undefined
      ? 'Drag over the map, or use arrow keys, Shift and Enter, to choose a span of time and latency.'
      : `${formatTime((grid.fromUs + area.fromStep * grid.stepUs) / 1000)} – ${formatTime((grid.fromUs + (area.toStep + 1) * grid.stepUs) / 1000)} · ${formatMs(bandLowUs(grid.firstBand + area.fromBand) / 1000)} – ${formatMs(bandLowUs(grid.firstBand + area.toBand + 1) / 1000)} · ${formatValue(callsIn(grid, area), 'calls')}`;
  return (
    <div ref={host}>
      <canvas
        ref={canvas}
        class="heat"
        tabIndex={0}
        role="img"
        aria-label={`Latency heat map. ${says}`}
        onKeyDown={onKey}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          anchor.current = cellOf(event);
          setArea(between(anchor.current, anchor.current));
        }}
        onPointerMove={(event) => {
          const cell = cellOf(event);
          if (event.buttons === 1 && anchor.current !== undefined) setArea(between(anchor.current, cell));
        }}
        onPointerUp={(event) => {
          const end = cellOf(event);
          if (anchor.current === undefined) return;
          const chosen = between(anchor.current, end);
          // A press without a drag shows a cell; Enter or a drag takes it.
          if (chosen.fromStep !== chosen.toStep || chosen.fromBand !== chosen.toBand) take(chosen);
          else event.currentTarget.focus();
        }}
      />
      <p class="muted says" aria-live="polite">
        {says}
      </p>
    </div>
  );
}
