/** One call, whole: when, who, text, parameters, plan, error, what it read and wrote. What is unknown is left out. */
import { useState } from 'preact/hooks';
import { probes } from '../store/fleet.js';
import type { Call } from '../store/trace.js';
import { useChosen } from '../store/trace_load.js';
import { traceLink } from '../store/trace_route.js';
import type { TraceRows } from '../store/trace_rows.js';
import { formatValue } from '../ui/format.js';

/** A moment with its milliseconds, in the reader's time zone. */
export function preciseTime(us: number): string {
  const at = new Date(us / 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(Math.floor((us % 1e6) / 1000)).padStart(3, '0')}`;
}

export const flagWords: readonly [number, string][] = [
  [1, 'statement text cut'],
  [2, 'parameters cut'],
  [4, 'plan cut'],
  [8, 'error came from a nested statement'],
  [16, 'row of a parallel worker'],
  [32, 'cancelled'],
  [64, 'implicit'],
  [128, 'secrets masked'],
  [256, 'error text cut'],
];

export function CopyButton({ text }: { text: string }) {
  const [done, setDone] = useState('');
  return (
    <button
      type="button"
      onClick={() =>
        navigator.clipboard.writeText(text).then(
          () => setDone('copied'),
          () => setDone('not permitted'),
        )
      }
    >
      Copy{done === '' ? '' : ` · ${done}`}
    </button>
  );
}

const apart = new Set([
  'recorded_at',
  'trace',
  'line',
  'end_time',
  'backend_start',
  'query',
  'params',
  'plan',
  'error',
  'sqlstate',
  'flags',
  'slot',
]);

export function CallDetail({ call, onClose }: { call: Call; onClose?: () => void }) {
  const columns = probes.value.get('sql_trace_events')?.columns ?? [];
  const flags = Number(call.flags ?? 0);
  const words = flagWords.filter(([bit]) => (flags & bit) !== 0).map(([, word]) => word);
  const part = (title: string, value: string | number | null | undefined) =>
    value === null || value === undefined || value === '' ? null : (
      <>
        <h3>{title}</h3>
        <pre>{value}</pre>
      </>
    );
  return (
    <section class="call" aria-label="Call">
      <header>
        <h3>
          {call.tag ?? 'Statement'} · {formatValue(call.exec_us as number | null, 'us')} · ended{' '}
          {preciseTime(Number(call.end_time))}
        </h3>
        {typeof call.query === 'string' && <CopyButton text={call.query} />}
        {call.vxid !== null && call.pid !== null && (
          <a
            href={traceLink(
              { view: 'transaction' },
              { pid: Number(call.pid), vxid: String(call.vxid), key: undefined },
            )}
          >
            Its transaction
          </a>
        )}
        {onClose !== undefined && (
          <button type="button" onClick={onClose} aria-label="Close the call">
            ✕
          </button>
        )}
      </header>
      {call.sqlstate !== null && (
        <p class="error">
          {call.sqlstate} {call.error}
        </p>
      )}
      {words.length > 0 && <p class="warn">{words.join(' · ')}</p>}
      {part('Statement', call.query)}
      {part('Parameters', call.params)}
      {part('Plan', call.plan)}
      <dl class="figures">
        {columns
          .filter(({ name }) => !apart.has(name) && call[name] !== null && call[name] !== undefined)
          .map(({ name, title, unit, kind }) => (
            <div key={name}>
              <dt>{title}</dt>
              <dd>{kind === 'gauge' ? formatValue(Number(call[name]), unit) : String(call[name])}</dd>
            </div>
          ))}
      </dl>
    </section>
  );
}

/** The same for a row of typed arrays; the call is asked for. */
export function CallOfRow(props: {
  trace: number;
  run: string;
  rows: TraceRows;
  row: number;
  onClose: () => void;
}) {
  const { trace, run, rows, row, onClose } = props;
  const { callOf, error } = useChosen(trace, run, rows, [row]);
  const call = callOf(row);
  if (call === undefined || call === null) {
    return (
      <p class="empty" role="status">
        {error !== '' ? error : call === null ? 'This call is not kept any more.' : 'Loading the call…'}
      </p>
    );
  }
  return <CallDetail call={call} onClose={onClose} />;
}
