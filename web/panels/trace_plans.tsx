/** The plans that a statement's calls had, where its trace keeps them: each once, with how often and how long; one is shown. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { getJson, messageOf } from '../store/api.js';
import { type Call, type CallsAnswer, spanQuery, type Trace, useAsk } from '../store/trace.js';
import { distinctPlans, type PlanSeen } from '../store/trace_plans.js';
import { traceRoute } from '../store/trace_route.js';
import { DataTable, type TableColumn } from '../ui/DataTable.js';
import { formatTime, formatValue } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';
import { CopyButton } from './trace_call.js';

/** Plans travel with their calls: so many are looked through at once, from the newest on. */
const mostCalls = 500;

interface Older {
  readonly calls: readonly Call[];
  readonly state: 'more' | 'asking' | 'all';
  readonly error: string;
}
const noneOlder: Older = { calls: [], state: 'more', error: '' };

/** Each call once: pages of calls meet in a moment that both have. */
function once(calls: readonly Call[]): readonly Call[] {
  return [...new Map(calls.map((call) => [`${call.slot}/${call.line}`, call])).values()];
}

const time = (title: string, pick: (plan: PlanSeen) => number, minor: boolean): TableColumn<PlanSeen> => ({
  title,
  value: pick,
  cell: (plan) => formatValue(pick(plan), 'us'),
  numeric: true,
  minor,
});
const moment = (title: string, pick: (plan: PlanSeen) => number): TableColumn<PlanSeen> => ({
  title,
  value: pick,
  cell: (plan) => formatTime(pick(plan) / 1000),
  minor: true,
});

export function StatementPlans({ trace, run, keyText }: { trace: Trace; run: string; keyText: string }) {
  const { fromUs, toUs } = traceRoute.value;
  const [open, setOpen] = useState<string | undefined>(undefined);
  const keeps = trace.options.plan !== undefined && trace.events;
  const leastUs = Number(trace.options.plan_min_us ?? 0);
  const filter = {
    key: keyText,
    order: 'newest',
    limit: mostCalls,
    ...(leastUs > 0 ? { minUs: leastUs } : {}),
  };
  const asked = useAsk<CallsAnswer>(
    keeps ? `/traces/${trace.id}/calls${spanQuery({ run, fromUs, toUs }, filter)}` : undefined,
  );
  const newest = asked.value?.calls;
  const [older, setOlder] = useState(noneOlder);
  const of = `${trace.id} ${run} ${keyText} ${fromUs} ${toUs}`;
  const current = useRef(of);
  useEffect(() => {
    current.current = of;
    setOlder(noneOlder);
  }, [of]);
  const calls = useMemo(() => newest && once([...newest, ...older.calls]), [newest, older.calls]);
  const plans = useMemo(() => distinctPlans(calls ?? []), [calls]);
  const hasOlder = (newest?.length ?? 0) >= mostCalls && older.state !== 'all';
  const more = async (): Promise<void> => {
    const oldestUs = Math.min(...(calls ?? []).map(({ end_time }) => Number(end_time)));
    setOlder({ ...older, state: 'asking', error: '' });
    const result = await getJson<CallsAnswer>(
      `/traces/${trace.id}/calls${spanQuery({ run, fromUs, toUs: oldestUs + 1 }, filter)}`,
    ).catch((error: unknown) => messageOf(error));
    // Another statement, or another span, is looked at by now.
    if (current.current !== of) return;
    if (typeof result === 'string') setOlder({ ...older, state: 'more', error: result });
    else {
      const known = once([...older.calls, ...result.calls]);
      setOlder({ calls: known, state: result.calls.length < mostCalls ? 'all' : 'more', error: '' });
    }
  };
  if (!keeps) return null;
  const shown = plans.find(({ shape }) => shape === open);
  const columns: readonly TableColumn<PlanSeen>[] = [
    {
      title: 'Plan',
      value: ({ outline }) => outline,
      cell: ({ shape, outline }) => (
        <button
          type="button"
          class="plain"
          aria-expanded={shape === open}
          title={outline}
          onClick={() => setOpen(shape === open ? undefined : shape)}
        >
          <code>{outline}</code>
        </button>
      ),
    },
    { title: 'Calls', value: (plan) => plan.calls, numeric: true },
    time('Mean', ({ meanUs }) => meanUs, false),
    time('Min', ({ minUs }) => minUs, true),
    time('Max', ({ maxUs }) => maxUs, true),
    moment('First seen', ({ firstUs }) => firstUs),
    moment('Last seen', ({ lastUs }) => lastUs),
  ];
  return (
    <Panel
      title="Plans"
      wide
      note={
        hasOlder
          ? `of its newest ${formatValue(calls?.length, 'calls')}`
          : 'costs and values apart, equal plans are one'
      }
      error={older.error !== '' ? older.error : asked.value === undefined ? undefined : asked.error}
    >
      <DataTable
        label="Plans of the statement"
        rows={plans}
        columns={columns}
        keyOf={({ shape }) => shape}
        sortBy={1}
        descending
        pageSize={10}
        empty={
          calls === undefined
            ? (asked.error ?? 'Loading…')
            : leastUs > 0
              ? `No call of it came with a plan; the trace keeps those of ${formatValue(leastUs, 'us')} and more.`
              : 'No call of it came with a plan.'
        }
      />
      {hasOlder && (
        <button type="button" disabled={older.state === 'asking'} onClick={() => void more()}>
          {older.state === 'asking' ? 'Looking…' : 'Look through older calls'}
        </button>
      )}
      {shown !== undefined && (
        <section class="call" aria-label="Plan">
          <header>
            <h3>
              The slowest call with it, {formatValue(shown.maxUs, 'us')}
              {shown.cut && <span class="warn"> · plan cut</span>}
            </h3>
            <CopyButton text={shown.text} />
          </header>
          <pre>{shown.text}</pre>
        </section>
      )}
    </Panel>
  );
}
