/**
 * A table: sortable by any column (mouse or keyboard), pages of a fixed size so that 10,000 rows stay fast, a line that
 * says why it is empty. Cells are made only for the rows that are shown.
 */
import type { ComponentChildren } from 'preact';
import { useMemo, useState } from 'preact/hooks';

export interface TableColumn<Row> {
  readonly title: string;
  /** What is sorted by; numbers sort as numbers, null and NaN last. */
  readonly value: (row: Row) => string | number | null;
  /** Its cells follow live figures, which rows off the screen do not have: there is nothing to sort by. */
  readonly unsorted?: boolean;
  readonly cell?: (row: Row) => ComponentChildren;
  readonly numeric?: boolean;
  /** Left out on narrow screens. */
  readonly minor?: boolean;
}

export interface DataTableProps<Row> {
  readonly label: string;
  readonly rows: readonly Row[];
  readonly columns: readonly TableColumn<Row>[];
  readonly keyOf: (row: Row) => string | number;
  readonly sortBy?: number;
  readonly descending?: boolean;
  readonly empty: string;
  readonly pageSize?: number;
}

function compare(a: string | number | null, b: string | number | null): number {
  const aMissing = a === null || Number.isNaN(a);
  const bMissing = b === null || Number.isNaN(b);
  if (aMissing || bMissing) return Number(aMissing) - Number(bMissing);
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

export function DataTable<Row>(props: DataTableProps<Row>) {
  const [sort, setSort] = useState({ column: props.sortBy ?? 0, descending: props.descending ?? false });
  const [page, setPage] = useState(0);
  const size = props.pageSize ?? 25;
  const sorted = useMemo(() => {
    const column = props.columns[sort.column];
    if (column === undefined) return props.rows;
    const withValues = props.rows.map((row) => ({ row, value: column.value(row) }));
    withValues.sort((a, b) => {
      const order = compare(a.value, b.value);
      const missing = a.value === null || b.value === null || Number.isNaN(a.value) || Number.isNaN(b.value);
      return sort.descending && !missing ? -order : order;
    });
    return withValues.map(({ row }) => row);
  }, [props.rows, props.columns, sort]);
  const pages = Math.max(1, Math.ceil(sorted.length / size));
  const current = Math.min(page, pages - 1);
  const shown = sorted.slice(current * size, current * size + size);
  return (
    <div class="table">
      <table aria-label={props.label}>
        <thead>
          <tr>
            {props.columns.map((column, index) => {
              const active = sort.column === index;
              return (
                <th
                  key={column.title}
                  scope="col"
                  class={`${column.numeric === true ? 'number' : ''} ${column.minor === true ? 'minor' : ''}`}
                  aria-sort={active ? (sort.descending ? 'descending' : 'ascending') : 'none'}
                >
                  <button
                    type="button"
                    disabled={column.unsorted === true}
                    onClick={() =>
                      setSort({
                        column: index,
                        descending: active ? !sort.descending : column.numeric === true,
                      })
                    }
                  >
                    {column.title}
                    <span aria-hidden="true">{active ? (sort.descending ? ' ▾' : ' ▴') : ''}</span>
                  </button>
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr key={props.keyOf(row)}>
              {props.columns.map((column) => (
                <td
                  key={column.title}
                  class={`${column.numeric === true ? 'number' : ''} ${column.minor === true ? 'minor' : ''}`}
                >
                  {column.cell === undefined ? column.value(row) : column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {sorted.length === 0 && <p class="empty">{props.empty}</p>}
      {pages > 1 && (
        <nav class="pager" aria-label={`Pages of ${props.label}`}>
          <button type="button" disabled={current === 0} onClick={() => setPage(current - 1)}>
            Previous
          </button>
          <span>
            {current * size + 1}–{Math.min(sorted.length, (current + 1) * size)} of {sorted.length}
          </span>
          <button type="button" disabled={current === pages - 1} onClick={() => setPage(current + 1)}>
            Next
          </button>
        </nav>
      )}
    </div>
  );
}
