/**
 * A table of millions of rows of which those on the screen exist: one row high is `rowPx`, and a browser's scroll bar is
 * shorter than five million of them, so beyond `mostPx` the bar stands for a share of the way and the wheel moves by rows.
 * Keys: arrows, Page, Home and End move the active row, Enter opens it.
 */
// biome-ignore-all lint/a11y/useSemanticElements: a table element cannot hold a window of its rows
// biome-ignore-all lint/a11y/useFocusableInteractive: the grid has the focus and names the active row
// biome-ignore-all lint/a11y/useKeyWithClickEvents: Enter on the grid opens the active row
import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

export const rowPx = 26;
const mostPx = 4_000_000;

export interface GridColumn {
  readonly id: string;
  readonly title: string;
  readonly hint?: string | undefined;
  /** CSS width of the column. */
  readonly width: string;
  readonly numeric?: boolean;
  readonly sortable?: boolean;
  readonly cell: (row: number) => ComponentChildren;
}

interface Props {
  readonly label: string;
  readonly columns: readonly GridColumn[];
  /** Row numbers in order. */
  readonly order: Uint32Array;
  /** What the order is of; another one begins at its beginning, the same one keeps its place when rows come. */
  readonly of: string;
  readonly sort: { readonly column: string; readonly descending: boolean };
  readonly onSort: (column: string) => void;
  readonly onOpen: (row: number) => void;
  readonly onShown: (rows: readonly number[]) => void;
}

export function VirtualGrid(props: Props) {
  const { label, columns, order, of, sort, onSort, onOpen, onShown } = props;
  const box = useRef<HTMLDivElement>(null);
  const [height, setHeight] = useState(520);
  const [top, setTop] = useState(0);
  const [active, setActive] = useState(0);
  const visible = Math.max(1, Math.ceil(height / rowPx));
  const full = order.length * rowPx;
  const scaled = full > mostPx;
  const spacer = Math.min(full, mostPx);
  const mostTop = Math.max(0, order.length - Math.floor(height / rowPx));
  const first = Math.min(Math.floor(top), mostTop);

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const observer = new ResizeObserver(() => setHeight(element.clientHeight));
    observer.observe(element);
    setHeight(element.clientHeight);
    return () => observer.disconnect();
  }, []);
  // Before a key can be pressed in the new order: later it would take back where that led.
  useLayoutEffect(() => {
    if (box.current !== null) box.current.scrollTop = 0;
    setTop(0);
    setActive(0);
  }, [of, sort.column, sort.descending]);

  const last = Math.min(order.length, first + visible + 1);
  const rows: number[] = [];
  for (let at = first; at < last; at += 1) rows.push(order[at] as number);
  const shown = rows.join();
  useEffect(() => onShown(shown === '' ? [] : shown.split(',').map(Number)), [shown]);

  const expected = useRef(-1);
  const moveTo = (row: number): void => {
    const next = Math.min(mostTop, Math.max(0, row));
    setTop(next);
    const element = box.current;
    if (element === null) return;
    const way = element.scrollHeight - element.clientHeight;
    element.scrollTop = scaled ? (mostTop === 0 ? 0 : (next / mostTop) * way) : next * rowPx;
    expected.current = element.scrollTop;
  };
  const onScroll = (): void => {
    const element = box.current;
    // What we scrolled ourselves is known more exactly than the bar can say.
    if (element === null || Math.abs(element.scrollTop - expected.current) < 1) return;
    expected.current = -1;
    const way = element.scrollHeight - element.clientHeight;
    setTop(scaled ? (way <= 0 ? 0 : (element.scrollTop / way) * mostTop) : element.scrollTop / rowPx);
  };
  const onKey = (event: KeyboardEvent): void => {
    const page = Math.max(1, Math.floor(height / rowPx) - 1);
    const moves: Record<string, number> = {
      ArrowUp: active - 1,
      ArrowDown: active + 1,
      PageUp: active - page,
      PageDown: active + page,
      Home: 0,
      End: order.length - 1,
    };
    if (event.key === 'Enter' && order[active] !== undefined && event.target === box.current) {
      onOpen(order[active] as number);
      return;
    }
    const wanted = moves[event.key];
    if (wanted === undefined || order.length === 0) return;
    event.preventDefault();
    const next = Math.min(order.length - 1, Math.max(0, wanted));
    setActive(next);
    if (next < first) moveTo(next);
    else if (next > first + page) moveTo(next - page);
  };
  const template = columns.map((column) => column.width).join(' ');
  return (
    <div class="vgrid">
      <div
        class="vbox"
        ref={box}
        role="grid"
        aria-label={label}
        aria-rowcount={order.length + 1}
        aria-colcount={columns.length}
        aria-activedescendant={`vrow-${active}`}
        tabIndex={0}
        onScroll={onScroll}
        onKeyDown={onKey}
        onWheel={(event) => {
          if (!scaled || event.ctrlKey || event.shiftKey) return;
          event.preventDefault();
          const px = event.deltaMode === 1 ? event.deltaY * rowPx : event.deltaY;
          moveTo(top + px / rowPx);
        }}
      >
        <div class="vhead" role="row" aria-rowindex={1} style={{ gridTemplateColumns: template }}>
          {columns.map((column) => (
            <span
              key={column.id}
              role="columnheader"
              tabIndex={-1}
              class={column.numeric === true ? 'number' : ''}
              title={column.hint}
              aria-sort={sort.column === column.id ? (sort.descending ? 'descending' : 'ascending') : 'none'}
            >
              {column.sortable === true ? (
                <button type="button" onClick={() => onSort(column.id)}>
                  {column.title}
                  <span aria-hidden="true">
                    {sort.column === column.id ? (sort.descending ? ' ▾' : ' ▴') : ''}
                  </span>
                </button>
              ) : (
                column.title
              )}
            </span>
          ))}
        </div>
        <div class="vspace" style={{ height: `${spacer}px` }}>
          <div
            class="vrows"
            role="rowgroup"
            style={{ transform: scaled ? 'none' : `translateY(${-(top % 1) * rowPx}px)` }}
          >
            {rows.map((row, index) => {
              const place = first + index;
              return (
                <div
                  key={place}
                  id={`vrow-${place}`}
                  role="row"
                  aria-rowindex={place + 2}
                  aria-selected={place === active}
                  class={place === active ? 'vrow active' : 'vrow'}
                  style={{ gridTemplateColumns: template }}
                  onClick={() => {
                    setActive(place);
                    onOpen(row);
                  }}
                >
                  {columns.map((column) => (
                    <span key={column.id} role="gridcell" class={column.numeric === true ? 'number' : ''}>
                      {column.cell(row)}
                    </span>
                  ))}
                </div>
              );
            })}
          </div>
        </div>
      </div>
    </div>
  );
}
