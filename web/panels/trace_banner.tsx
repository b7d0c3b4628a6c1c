/**
 * What a run of a trace is doing and what it costs: rows a second, bytes on the server's disk, lost rows, how far PEM is
 * behind. Rates are between two reports of the agent; what is not known says so.
 */
import type { ComponentChildren } from 'preact';
import { useRef } from 'preact/hooks';
import type { Run, Trace } from '../store/trace.js';
import { formatAgo, formatTime, formatValue } from '../ui/format.js';

const underWay = new Set(['starting', 'running', 'stopping', 'blocked']);

export function stateOf(trace: Trace): { word: string; kind: 'up' | 'down' | 'unknown' } {
  if (trace.pending)
    return { word: trace.request === 'start' ? 'start asked for' : 'stop asked for', kind: 'unknown' };
  // What an agent said before it fell silent may be over.
  if (trace.agentStatus !== null && trace.agentStatus !== 'up' && underWay.has(trace.state))
    return { word: `${trace.state} when last heard of`, kind: 'unknown' };
  if (trace.state === 'running') return { word: 'running', kind: 'up' };
  if (trace.state === 'blocked') return { word: 'blocked', kind: 'down' };
  if (trace.state === 'new' || trace.state === 'idle')
    return {
      word: trace.nextAtUs === null ? (trace.run === null ? 'not run yet' : 'ended') : 'scheduled',
      kind: 'unknown',
    };
  return { word: trace.state, kind: 'unknown' };
}

const marks = { up: '●', down: '▲', unknown: '○' } as const;

export function TraceState({ trace }: { trace: Trace }) {
  const { word, kind } = stateOf(trace);
  return (
    <span class={`status ${kind}`}>
      <span aria-hidden="true">{marks[kind]}</span> {word}
    </span>
  );
}

/** An agent tells its counts every 5 s where they changed: when nothing came for so long, nothing grows. */
const silentMs = 12_000;

/**
 * Growth a second between the two latest reports; NaN until there are two, or until it is clear that nothing changes.
 * @param source what `value` is a count of: values of two sources have no difference
 */
function useGrowth(run: Run | undefined, source: string, value: number | null | undefined): number {
  const seen = useRef({ of: '', atUs: 0, value: Number.NaN, rate: Number.NaN, sinceMs: 0 });
  if (run === undefined || value === null || value === undefined) return Number.NaN;
  const last = seen.current;
  const of = `${run.run}/${source}`;
  const atUs = run.reportedAtUs;
  const nowMs = performance.now();
  if (last.of !== of) seen.current = { of, atUs, value, rate: Number.NaN, sinceMs: nowMs };
  else if (atUs > last.atUs) {
    const rate = ((value - last.value) * 1e6) / (atUs - last.atUs);
    seen.current = { of, atUs, value, rate: rate < 0 ? Number.NaN : rate, sinceMs: nowMs };
  } else if (nowMs - last.sinceMs > silentMs) return 0;
  return seen.current.rate;
}

/** An agent that is away hears of a request when it is back. */
function waitingFor(trace: Trace): string | undefined {
  if (trace.agentId === null)
    return 'No agent watches this server any more: nothing can be started or stopped.';
  // Web servers that trace are agents nobody sees; what they lack is said by the trace itself.
  if (!trace.pending || trace.agentStatus === 'up' || trace.agentId >= 2_000_000_000) return undefined;
  return `The agent’s state is ${trace.agentStatus ?? 'unknown'}: it is told to ${trace.request} when it answers.`;
}

/** @param title where several stand on a page: whose cost it is */
export function CostBanner(props: { trace: Trace; run: Run | undefined; title?: ComponentChildren }) {
  const { trace, run, title } = props;
  const written = run?.serverRows ?? run?.rowsRead;
  // What the server itself counts, or, while that is not known, what was read of it.
  const source = run?.serverRows === null ? 'read' : 'server';
  const rowsNow = useGrowth(run, source, written);
  const bytesNow = useGrowth(run, source, run?.serverBytes ?? run?.bytesRead);
  // A silent agent's last figures say nothing of now.
  const heard = trace.agentStatus === 'up';
  const rowsPerS = heard ? rowsNow : Number.NaN;
  const bytesPerS = heard ? bytesNow : Number.NaN;
  if (run === undefined) {
    return (
      <p class="banner">
        {title}{' '}
        {waitingFor(trace) ??
          trace.error ??
          (trace.pending && trace.request === 'start'
            ? 'The agent is being told to start this trace; that takes a few seconds.'
            : trace.nextAtUs === null
              ? 'This trace has not run yet.'
              : `This trace has not run yet; it starts ${formatTime(trace.nextAtUs / 1000)}.`)}
      </p>
    );
  }
  const running = run.stoppedAtUs === null;
  const seconds = ((run.stoppedAtUs ?? run.reportedAtUs) - (run.startedAtUs ?? run.reportedAtUs)) / 1e6;
  // Of a run that is over the mean says what it cost.
  const rows = running ? rowsPerS : seconds > 0 ? (written ?? Number.NaN) / seconds : Number.NaN;
  const bytes = running ? bytesPerS : seconds > 0 ? (run.serverBytes ?? run.bytesRead) / seconds : Number.NaN;
  const lost = run.serverLostRows ?? 0;
  const problems = [
    lost > 0
      ? `The server lost ${formatValue(lost, 'rows')}${run.serverLostReason === null ? '' : ` (${run.serverLostReason})`}: they are missing everywhere.`
      : undefined,
    run.rowsSkipped > 0
      ? `The agent left ${formatValue(run.rowsSkipped, 'rows')} unread because it was too far behind: they are in no sum.`
      : undefined,
    run.eventsDropped > 0
      ? `${formatValue(run.eventsDropped, 'calls')} beyond the limit of ${trace.eventsPerS} a second are in the sums alone.`
      : undefined,
    run.badRows > 0 ? `${formatValue(run.badRows, 'rows')} could not be read.` : undefined,
    run.repeatedRows > 0 ? `${formatValue(run.repeatedRows, 'rows')} may be counted twice.` : undefined,
    waitingFor(trace),
    trace.agentStatus !== null && trace.agentStatus !== 'up' && running && !trace.pending
      ? `The agent’s state is ${trace.agentStatus}: figures are of ${formatAgo(run.reportedAtUs, Date.now())}.`
      : undefined,
    trace.error ?? undefined,
  ].filter((text) => text !== undefined);
  return (
    <section class="banner" aria-label="What the trace costs">
      {title}
      <dl class="figures">
        <div>
          <dt>Rows</dt>
          <dd>{formatValue(written, '')}</dd>
        </div>
        <div>
          <dt>{running ? 'Rows now' : 'Rows, mean'}</dt>
          <dd>{formatValue(rows, 'rows/s')}</dd>
        </div>
        <div>
          <dt>On the server’s disk</dt>
          <dd>{formatValue(run.serverBytes, 'bytes')}</dd>
        </div>
        <div>
          <dt>{running ? 'Written now' : 'Written, mean'}</dt>
          <dd>{formatValue(bytes, 'bytes/s')}</dd>
        </div>
        <div>
          <dt>Lost rows</dt>
          <dd class={lost > 0 ? 'error' : ''}>{formatValue(run.serverLostRows, '')}</dd>
        </div>
        <div>
          <dt>Calls kept one by one</dt>
          <dd>{trace.events ? formatValue(run.eventsSent, '') : 'no'}</dd>
        </div>
        <div>
          <dt>{running ? 'PEM is behind' : 'Ran for'}</dt>
          <dd>{running ? formatValue(run.lagBytes, 'bytes') : formatValue(Math.round(seconds), 's')}</dd>
        </div>
      </dl>
      {problems.map((text) => (
        <p key={text} class="warn" role="status">
          ▲ {text}
        </p>
      ))}
    </section>
  );
}
