/** The SQL profiler's pages, a chunk of their own: which one the address names. */
import { traceRoute } from '../store/trace_route.js';
import { TraceList } from './trace_list.js';
import { TraceRun } from './trace_run.js';

export function TracePages() {
  const { target, trace } = traceRoute.value;
  return trace === 0 ? <TraceList key={target} target={target} /> : <TraceRun key={trace} trace={trace} />;
}
