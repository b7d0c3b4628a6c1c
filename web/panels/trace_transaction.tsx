/** One transaction: its calls in order as bars over its time, and how long the client left the server waiting between them. */
import { useState } from 'preact/hooks';
import { type Call, type CallsAnswer, spanQuery, useAsk } from '../store/trace.js';
import { traceRoute } from '../store/trace_route.js';
import { formatValue } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';
import { CallDetail, preciseTime } from './trace_call.js';

const most = 1000;

export interface TransactionTimes {
  readonly fromUs: number;
  readonly toUs: number;
  /** Time in which a top-level call ran. */
  readonly busyUs: number;
  /** Time between calls: the client's. */
  readonly idleUs: number;
}

const startOf = (call: Call): number => Number(call.end_time) - Number(call.exec_us ?? 0);

export function transactionTimes(calls: readonly Call[]): TransactionTimes {
  const fromUs = Math.min(...calls.map(startOf));
  const toUs = Math.max(...calls.map((call) => Number(call.end_time)));
  let busyUs = 0;
  let reached = fromUs;
  // Overlapping calls (cursors, nested statements) count once.
  for (const call of [...calls].sort((a, b) => startOf(a) - startOf(b))) {
    const end = Number(call.end_time);
    if (end > reached) {
      busyUs += end - Math.max(reached, startOf(call));
      reached = end;
    }
  }
  return { fromUs, toUs, busyUs, idleUs: toUs - fromUs - busyUs };
}

export function Transaction({ run }: { run: string }) {
  const { trace, query } = traceRoute.value;
  const { pid, vxid } = query;
  const [open, setOpen] = useState<Call | undefined>(undefined);
  const asked = useAsk<CallsAnswer>(
    pid === undefined || vxid === undefined
      ? undefined
      : `/traces/${trace}/calls${spanQuery({ run }, { pid, vxid, order: 'time', limit: most })}`,
  );
  // The server orders by end; what matters here is when each began.
  const calls = [...(asked.value?.calls ?? [])].sort((a, b) => startOf(a) - startOf(b));
  const first = calls[0];
  if (first === undefined) {
    return (
      <Panel title="Transaction" wide>
        <p class="empty">
          {asked.value === undefined && asked.error === undefined && pid !== undefined
            ? 'Loading…'
            : (asked.error ?? 'No call of this transaction is kept (any more).')}
        </p>
      </Panel>
    );
  }
  const times = transactionTimes(calls);
  const length = Math.max(1, times.toUs - times.fromUs);
  const failed = calls.filter((call) => call.sqlstate !== null).length;
  const wal = calls
    .filter((call) => call.parent === 0)
    .reduce((sum, call) => sum + Number(call.wal_bytes ?? 0), 0);
  return (
    <Panel title="Transaction" wide note={`${vxid} · process ${pid} · ${first.database} · ${first.username}`}>
      <dl class="figures">
        {(
          [
            ['From', preciseTime(times.fromUs)],
            ['Length', formatValue(length, 'us')],
            ['In calls', formatValue(times.busyUs, 'us')],
            ['Between calls', formatValue(times.idleUs, 'us')],
            ['Calls', `${calls.length}${calls.length >= most ? ' (the first)' : ''}`],
            ['Failed', String(failed)],
            ['WAL', formatValue(wal, 'bytes')],
            ['Transaction ID', String(calls.find((call) => call.xid !== null)?.xid ?? 'none')],
          ] as const
        ).map(([title, value]) => (
          <div key={title}>
            <dt>{title}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {open !== undefined && <CallDetail call={open} onClose={() => setOpen(undefined)} />}
      <div class="table">
        <table class="waterfall rows" aria-label="Calls of the transaction in order">
          <thead>
            <tr>
              <th scope="col" class="number">
                After
              </th>
              <th scope="col" class="number">
                Time
              </th>
              <th scope="col">Statement</th>
              <th scope="col" class="minor">
                In the transaction
              </th>
            </tr>
          </thead>
          <tbody>
            {calls.map((call) => (
              <tr key={`${call.recorded_at}/${call.slot}/${call.line}`}>
                <td class="number">{formatValue(startOf(call) - times.fromUs, 'us')}</td>
                <td class="number">{formatValue(call.exec_us as number | null, 'us')}</td>
                <td style={{ paddingLeft: `${8 + 16 * Math.max(0, Number(call.level ?? 1) - 1)}px` }}>
                  <button type="button" class="plain" onClick={() => setOpen(call)} title="Show this call">
                    {call.sqlstate !== null && <span class="error">{call.sqlstate} </span>}
                    <code>{String(call.query ?? call.tag ?? '').slice(0, 300)}</code>
                  </button>
                </td>
                <td class="minor">
                  <span class="track">
                    <span
                      class={call.sqlstate === null ? 'bar' : 'bar bad'}
                      style={{
                        left: `${((100 * (startOf(call) - times.fromUs)) / length).toFixed(2)}%`,
                        width: `${Math.max(0.4, (100 * Number(call.exec_us ?? 0)) / length).toFixed(2)}%`,
                      }}
                    />
                  </span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}
