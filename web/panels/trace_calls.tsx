/**
 * Calls of a run in order: display filters, find, sortable and selectable columns, download. Numbers and names are in typed
 * arrays; what else is shown of a call is asked for when its row is on the screen.
 */
import { useMemo, useRef, useState } from 'preact/hooks';
import { probes } from '../store/fleet.js';
import { type Call, type Run, spanQuery, type TopAnswer, type Trace, useAsk } from '../store/trace.js';
import { exportCalls, mostExported, save } from '../store/trace_export.js';
import { type TextSearch, useTextSearch } from '../store/trace_find.js';
import { useChosen, useRows } from '../store/trace_load.js';
import { traceRoute } from '../store/trace_route.js';
import {
  type NameColumn,
  type NumberColumn,
  type RowFilter,
  type SmallColumn,
  selectRows,
  sortRows,
  type TraceRows,
} from '../store/trace_rows.js';
import { formatValue } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';
import { CallOfRow, preciseTime } from './trace_call.js';
import { ColumnChoice, useChoice } from './trace_choice.js';
import { type GridColumn, VirtualGrid } from './trace_grid.js';
import { LoadBar } from './trace_loadbar.js';

/** Why a call has no text. */
function textless(call: Call | null): string {
  if (call === null) return '(not kept any more)';
  return (Number(call.flags ?? 0) & 64) === 0 ? '(no text)' : '(implicit)';
}

type Sortable = NumberColumn | SmallColumn | NameColumn;

const usual = ['end_time', 'exec_us', 'tag', 'query', 'rows', 'database', 'username', 'pid', 'sqlstate'];
/** What a phone has room for. */
const few = ['end_time', 'exec_us', 'query'];
const sortable: readonly string[] = [
  'end_time',
  'exec_us',
  'tag',
  'rows',
  'database',
  'username',
  'application',
  'pid',
  'level',
  'sqlstate',
];
/** In the order of the choice; what is not sortable comes with the call itself. */
const offered: readonly string[] = [
  ...usual,
  'application',
  'level',
  'elapsed_us',
  'plan_us',
  'shared_hit',
  'shared_read',
  'shared_dirtied',
  'temp_written',
  'wal_bytes',
  'client',
  'vxid',
  'params',
  'error',
];
const widths: Readonly<Record<string, string>> = {
  end_time: '106px',
  query: 'minmax(260px, 1fr)',
  tag: '96px',
  params: '180px',
  error: '260px',
  application: '120px',
  database: '100px',
  username: '100px',
};
const shortTitles: Readonly<Record<string, string>> = {
  end_time: 'Ended',
  exec_us: 'Time',
  pid: 'PID',
  level: 'Level',
  shared_hit: 'Hit',
  shared_read: 'Read',
  shared_dirtied: 'Dirtied',
  temp_written: 'Temp written',
  wal_bytes: 'WAL',
  elapsed_us: 'Elapsed',
  plan_us: 'Planning',
};

export function Calls({ trace, run }: { trace: Trace; run: Run }) {
  if (!trace.events)
    return (
      <Panel title="Calls" wide>
        <p class="empty">
          This trace keeps sums per statement alone: “Every call, one by one” was not asked for when it was
          made.
        </p>
      </Panel>
    );
  return <LoadedCalls trace={trace} run={run} />;
}

/** The choices of a column, most frequent names are not told apart: as they came. */
function NameFilter(props: {
  rows: TraceRows;
  column: NameColumn;
  title: string;
  value: string | undefined;
  onChange: (value: string | undefined) => void;
}) {
  const { rows, column, title, value, onChange } = props;
  const names = rows.dictionaries[column].names.slice(2, 500).sort();
  if (names.length < 2 && value === undefined) return null;
  return (
    <select
      aria-label={title}
      value={value ?? '\u0000'}
      onChange={(event) =>
        onChange(event.currentTarget.value === '\u0000' ? undefined : event.currentTarget.value)
      }
    >
      <option value={'\u0000'}>{title}: all</option>
      {names.map((name) => (
        <option key={name} value={name}>
          {name}
        </option>
      ))}
    </select>
  );
}

function LoadedCalls({ trace, run }: { trace: Trace; run: Run }) {
  const { fromUs, toUs, query } = traceRoute.value;
  const loaded = useRows(trace.id, run.run, run.eventsSent);
  const { rows, version } = loaded;
  // Normal forms by fingerprint: something to read and to find in before a row's own text is there.
  const top = useAsk<TopAnswer>(`/traces/${trace.id}/top${spanQuery({ run: run.run })}`);
  const texts = useMemo(() => {
    const map = new Map<string, string>();
    for (const { fingerprint, text } of top.value?.statements ?? [])
      if (fingerprint !== '0' && text !== null) map.set(fingerprint, text);
    return map;
  }, [top.value]);
  const [find, setFind] = useState('');
  const [asRun, setAsRun] = useState(false);
  const [names, setNames] = useState<Partial<Record<NameColumn, string>>>({});
  const [least, setLeast] = useState('');
  const [errors, setErrors] = useState(false);
  const [sort, setSort] = useState<{ column: Sortable; descending: boolean }>({
    column: 'end_time',
    descending: false,
  });
  const narrow = matchMedia('(max-width: 700px)').matches;
  const [chosen, choose] = useChoice(
    narrow ? 'pem.trace.calls.narrow' : 'pem.trace.calls',
    narrow ? few : usual,
  );
  const [shown, setShown] = useState<readonly number[]>([]);
  const [open, setOpen] = useState<number | undefined>(undefined);

  const leastMs = Number(least.replace(',', '.'));
  const badLeast = least.trim() !== '' && !(leastMs >= 0);
  const words = find.trim();
  const search = useTextSearch(
    trace.id,
    run.run,
    rows,
    loaded.state === 'loading' ? 0 : version,
    asRun ? words : '',
  );
  const searched = asRun && words !== '';
  const filter = useMemo((): RowFilter => {
    const brushed = query.least === undefined ? undefined : Number(query.least);
    const typed = least.trim() === '' || badLeast ? undefined : leastMs * 1000;
    const both = [brushed, typed].filter((us) => us !== undefined);
    return {
      fromUs,
      toUs,
      leastUs: both.length === 0 ? undefined : Math.max(...both),
      mostUs: query.most === undefined ? undefined : Number(query.most),
      errors,
      names,
      find: searched ? '' : find,
      only: searched ? search.found : undefined,
    };
  }, [fromUs, toUs, query.least, query.most, least, errors, names, find, searched, search.found]);
  // What is asked for: more that is found of it, or texts that come late, are no other question.
  const asked = JSON.stringify([fromUs, toUs, query.least, query.most, least, errors, names, find, searched]);
  const inTexts = find.trim() === '' ? undefined : texts;
  const selected = useMemo(() => selectRows(rows, filter, inTexts), [rows, version, filter, inTexts]);
  const order = useMemo(
    () => sortRows(rows, selected, sort.column, sort.descending),
    [rows, selected, sort.column, sort.descending],
  );
  const { callOf, error } = useChosen(trace.id, run.run, rows, shown);

  const described = probes.value.get('sql_trace_events')?.columns ?? [];
  const titleOf = (id: string): string =>
    shortTitles[id] ?? described.find((column) => column.name === id)?.title ?? id;
  const cell = (id: string, unit: string, row: number) => {
    switch (id) {
      case 'end_time':
        return preciseTime(rows.numbers.end_time[row] as number);
      case 'exec_us':
        return formatValue(rows.numbers.exec_us[row], 'us');
      case 'rows':
        return formatValue(rows.numbers.rows[row], '');
      case 'pid':
      case 'level':
        return rows.small[id][row];
      case 'sqlstate':
        return <span class="error">{rows.name('sqlstate', row)}</span>;
      case 'tag':
      case 'database':
      case 'username':
      case 'application':
        return rows.name(id, row);
      case 'query': {
        const call = callOf(row);
        // What is known of a call to have no text has no normal form either: an implicit COMMIT.
        const text = call == null ? texts.get(rows.name('fingerprint', row)) : call.query;
        return text === undefined || text === null ? (
          <span class="muted">{call === undefined ? '…' : textless(call)}</span>
        ) : (
          <code class={call === undefined ? 'muted' : ''}>{String(text).slice(0, 300)}</code>
        );
      }
      default: {
        const value = callOf(row)?.[id];
        if (value === undefined) return <span class="muted">…</span>;
        if (value === null) return '–';
        return typeof value === 'number' ? formatValue(value, unit) : String(value).slice(0, 200);
      }
    }
  };
  const columns = offered
    .filter((id) => chosen.includes(id))
    .map((id): GridColumn => {
      const column = described.find((it) => it.name === id);
      return {
        id,
        title: titleOf(id),
        hint: column?.title,
        width: narrow && id === 'query' ? 'minmax(140px, 1fr)' : (widths[id] ?? '84px'),
        numeric: column?.kind === 'gauge' || id === 'pid' || id === 'level',
        sortable: sortable.includes(id),
        cell: (row) => cell(id, column?.unit ?? '', row),
      };
    });
  const filtered = selected.length < rows.count;
  const why =
    loaded.state === 'loading'
      ? 'Loading calls…'
      : loaded.state === 'failed'
        ? 'No calls could be loaded.'
        : rows.count === 0
          ? 'No call of this run was kept: none matched yet, or they are older than PEM keeps them.'
          : search.state === 'searching'
            ? 'Searching…'
            : words === '' || asRun
              ? 'No call passes the filters.'
              : 'No call passes the filters. Find looks at names and at statements in their normal form, without constants and comments: tick “in texts as they ran” to look into those, and into parameters and messages.';
  return (
    <Panel
      title="Calls"
      wide
      note={
        filtered
          ? `${formatValue(selected.length, '')} of ${formatValue(rows.count, 'calls')}`
          : formatValue(rows.count, 'calls')
      }
      error={error === '' ? undefined : error}
    >
      <div class="tools">
        <input
          type="search"
          class="filter"
          placeholder={asRun ? 'Find in texts, parameters, messages' : 'Find in normal form, names, SQLSTATE'}
          aria-label="Find calls"
          value={find}
          onInput={(event) => setFind(event.currentTarget.value)}
        />
        <label class="tick" title="PEM looks through all of them, which takes a while where there are many">
          <input
            type="checkbox"
            checked={asRun}
            onChange={(event) => setAsRun(event.currentTarget.checked)}
          />
          <span>in texts as they ran</span>
        </label>
        <SearchState search={search} rows={rows} />
        {(
          [
            ['tag', 'Command'],
            ['database', 'Database'],
            ['username', 'User'],
            ['application', 'Application'],
          ] as const
        ).map(([column, title]) => (
          <NameFilter
            key={column}
            rows={rows}
            column={column}
            title={title}
            value={names[column]}
            onChange={(value) =>
              setNames((before) => {
                const { [column]: _, ...rest } = before;
                return value === undefined ? rest : { ...rest, [column]: value };
              })
            }
          />
        ))}
        <label class={badLeast ? 'wrong' : ''}>
          from{' '}
          <input
            class="short"
            inputMode="decimal"
            aria-label="Least execution time, ms"
            aria-invalid={badLeast}
            value={least}
            onInput={(event) => setLeast(event.currentTarget.value)}
          />{' '}
          ms
        </label>
        <label class="tick">
          <input
            type="checkbox"
            checked={errors}
            onChange={(event) => setErrors(event.currentTarget.checked)}
          />
          <span>failed</span>
        </label>
        <ColumnChoice
          options={offered.map((id) => ({ id, title: titleOf(id) }))}
          chosen={chosen}
          onChange={choose}
        />
        <Download trace={trace} run={run} rows={rows} order={order} />
      </div>
      <LoadBar loaded={loaded} run={run} />
      {open !== undefined && (
        <CallOfRow trace={trace.id} run={run.run} rows={rows} row={open} onClose={() => setOpen(undefined)} />
      )}
      {order.length === 0 ? (
        <p class="empty">{why}</p>
      ) : (
        <VirtualGrid
          label="Calls"
          columns={columns}
          order={order}
          of={asked}
          sort={sort}
          onSort={(column) =>
            setSort((before) => ({
              column: column as Sortable,
              descending:
                before.column === column ? !before.descending : column === 'exec_us' || column === 'rows',
            }))
          }
          onOpen={setOpen}
          onShown={setShown}
        />
      )}
    </Panel>
  );
}

function SearchState({ search, rows }: { search: TextSearch; rows: TraceRows }) {
  if (search.state === 'failed')
    return (
      <span class="error" role="alert">
        {search.error}
      </span>
    );
  const text =
    search.state === 'searching'
      ? `searched ${formatValue(search.done, '')} of ${formatValue(rows.count, 'calls')}`
      : search.state === 'full'
        ? `${formatValue(search.found.size, 'calls')} and more have it: the others are not shown`
        : '';
  return text === '' ? null : (
    <span class="muted" role="status">
      {text}
    </span>
  );
}

function Download(props: { trace: Trace; run: Run; rows: TraceRows; order: Uint32Array }) {
  const { trace, run, rows, order } = props;
  const [state, setState] = useState('');
  const [busy, setBusy] = useState(false);
  const ended = useRef(false);
  const go = async (format: 'csv' | 'json'): Promise<void> => {
    setBusy(true);
    ended.current = false;
    const most = Math.min(order.length, mostExported);
    try {
      const made = await exportCalls(trace.id, run.run, rows, order, format, (done) => {
        setState(`${formatValue(Math.min(done, most), '')} of ${formatValue(most, 'calls')}`);
        return !ended.current;
      });
      if (made === undefined) setState('ended');
      else {
        save(
          made.file,
          `${trace.name.replaceAll(/[^\w-]+/g, '_')}-${run.run}.${format === 'csv' ? 'csv' : 'jsonl'}`,
        );
        setState(made.gone === 0 ? '' : `${made.gone} calls are not kept any more`);
      }
    } catch (error) {
      setState(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  };
  const tooMany = order.length > mostExported;
  return (
    <span class="download">
      {busy ? (
        <button
          type="button"
          onClick={() => {
            ended.current = true;
          }}
        >
          Cancel download
        </button>
      ) : (
        (['csv', 'json'] as const).map((format) => (
          <button
            key={format}
            type="button"
            disabled={order.length === 0}
            title={
              tooMany
                ? `The first ${formatValue(mostExported, 'calls')} of this order; pem trace export writes all`
                : 'These calls, with their texts'
            }
            onClick={() => void go(format)}
          >
            {format === 'csv' ? 'CSV' : 'JSON'}
            {tooMany ? ` (first ${formatValue(mostExported, '')})` : ''}
          </button>
        ))
      )}
      {state !== '' && (
        <span class="muted" role="status">
          {state}
        </span>
      )}
    </span>
  );
}
