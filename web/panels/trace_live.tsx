/** The live tail of a running trace: newest call on top, pause, freeze, find. */
import { useMemo, useState } from 'preact/hooks';
import { connection } from '../store/live.js';
import type { Call, Run, Trace } from '../store/trace.js';
import { mostKept, useTail } from '../store/trace_tail.js';
import { formatValue } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';
import { CallDetail, preciseTime } from './trace_call.js';

const mostShown = 300;

export function LiveTail({ trace, run }: { trace: Trace; run: Run }) {
  const [paused, setPaused] = useState(false);
  const [frozen, setFrozen] = useState(false);
  const [typed, setTyped] = useState('');
  const [errors, setErrors] = useState(false);
  const [open, setOpen] = useState<Call | undefined>(undefined);
  const tail = useTail(trace.targetId, run.serverId, paused, frozen);
  const found = useMemo(() => {
    const words = typed
      .trim()
      .toLowerCase()
      .split(/\s+/)
      .filter((word) => word !== '');
    return tail.calls.filter((call) => {
      if (errors && call.sqlstate === null) return false;
      if (words.length === 0) return true;
      const text =
        `${call.query} ${call.database} ${call.username} ${call.application} ${call.tag} ${call.sqlstate ?? ''} ${call.error ?? ''} ${call.pid}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }, [tail.calls, typed, errors]);
  const why =
    tail.error ??
    (!trace.events
      ? 'This trace keeps sums per statement alone; there are no calls to follow.'
      : run.stoppedAtUs !== null
        ? 'This run is over: nothing new comes. Its calls are in the view Calls.'
        : connection.value !== 'open'
          ? 'The live connection is down; it comes back by itself.'
          : tail.calls.length > 0
            ? 'No call here passes the filters.'
            : paused
              ? 'Paused before anything came.'
              : 'Waiting for the next call. Calls come about a second after they end.');
  const note = [
    `${formatValue(tail.perSecond, 'calls/s')}`,
    `${formatValue(tail.taken, 'calls')} since this view was opened, the last ${formatValue(mostKept, '')} are kept`,
  ].join(' · ');
  return (
    <Panel title="Live tail" wide note={note}>
      <div class="tools">
        <input
          type="search"
          class="filter"
          placeholder="Find in what came"
          aria-label="Find in the live tail"
          value={typed}
          onInput={(event) => setTyped(event.currentTarget.value)}
        />
        <button
          type="button"
          aria-pressed={frozen}
          title="What is shown stands still; calls are still taken in"
          onClick={() => setFrozen(!frozen)}
        >
          {frozen ? `Go on (${formatValue(tail.waiting, 'new')})` : 'Freeze'}
        </button>
        <button
          type="button"
          aria-pressed={paused}
          title="Nothing is taken in"
          onClick={() => setPaused(!paused)}
        >
          {paused ? 'Resume' : 'Pause'}
        </button>
        <label class="tick">
          <input
            type="checkbox"
            checked={errors}
            onChange={(event) => setErrors(event.currentTarget.checked)}
          />
          <span>failed</span>
        </label>
        <button type="button" onClick={tail.clear}>
          Clear
        </button>
      </div>
      {tail.gaps > 0 && (
        <p class="warn" role="status">
          ▲ Calls were missed here {tail.gaps === 1 ? 'once' : `${tail.gaps} times`}: the connection was away,
          or this browser was slow. The view Calls has them.
        </p>
      )}
      {open !== undefined && <CallDetail call={open} onClose={() => setOpen(undefined)} />}
      {found.length === 0 ? (
        <p class="empty" role="status">
          {why}
        </p>
      ) : (
        <div class="table">
          <table class="rows" aria-label="Live tail">
            <thead>
              <tr>
                <th scope="col">Ended</th>
                <th scope="col" class="number">
                  Time
                </th>
                <th scope="col">Statement</th>
                <th scope="col" class="number minor">
                  Rows
                </th>
                <th scope="col" class="minor">
                  Database
                </th>
                <th scope="col" class="minor">
                  User
                </th>
                <th scope="col" class="number minor">
                  PID
                </th>
                <th scope="col" class="minor">
                  Error
                </th>
              </tr>
            </thead>
            <tbody>
              {found.slice(0, mostShown).map((call) => (
                <tr key={`${call.recorded_at}/${call.slot}/${call.line}`}>
                  <td>{preciseTime(Number(call.end_time))}</td>
                  <td class="number">{formatValue(call.exec_us as number | null, 'us')}</td>
                  <td>
                    <button type="button" class="plain" onClick={() => setOpen(call)} title="Show this call">
                      <code>{String(call.query ?? call.tag ?? '').slice(0, 300)}</code>
                    </button>
                  </td>
                  <td class="number minor">{formatValue(call.rows as number | null, '')}</td>
                  <td class="minor">{call.database}</td>
                  <td class="minor">{call.username}</td>
                  <td class="number minor">{call.pid}</td>
                  <td class="minor error">
                    {call.sqlstate === null ? '' : `${call.sqlstate} ${call.error ?? ''}`}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
          {found.length > mostShown && (
            <p class="muted says">
              The newest {mostShown} of {formatValue(found.length, 'calls')} found.
            </p>
          )}
        </div>
      )}
    </Panel>
  );
}
