/** The plans that a statement's calls had, where its trace keeps them: each once, with how often and how long; one is shown. */
import { useMemo, useState } from 'preact/hooks';
import { type CallsAnswer, spanQuery, type Trace, useAsk } from '../store/trace.js';
import { distinctPlans, type PlanSeen } from '../store/trace_plans.js';
import { traceRoute } from '../store/trace_route.js';
import { DataTable, type TableColumn } from '../ui/DataTable.js';
import { formatTime, formatValue } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';
import { CopyButton } from './trace_call.js';

/** Plans travel with their calls, so these are what is looked through. */
const mostCalls = 500;

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
  const calls = asked.value?.calls;
  const plans = useMemo(() => distinctPlans(calls ?? []), [calls]);
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
        (calls?.length ?? 0) >= mostCalls
          ? `of its newest ${mostCalls} calls`
          : 'costs and values apart, equal plans are one'
      }
      error={asked.value === undefined ? undefined : asked.error}
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
