/** `pem trace list`: the traces of a server, as a table or JSON. */
import type { Command } from 'commander';
import { bytes, count, duration, instant, printable, rate, textTable } from './format.js';
import type { ServerTrace } from './server.js';

export function listCommand(trace: Command): void {
  trace
    .command('list')
    .description('the traces of a server')
    .option('--db <conninfo>', 'the server')
    .option('--json', 'as JSON, one trace a line')
    .action(async (words: { db?: string; json?: boolean }) => {
      const { listTraces, withTraced } = await import('./server.js');
      const traces = await withTraced(words.db, listTraces);
      if (words.json === true) for (const one of traces) process.stdout.write(`${JSON.stringify(one)}\n`);
      else process.stdout.write(`${traceTable(traces, new Date(), process.stdout.columns ?? 160)}\n`);
    });
}

export function traceTable(traces: readonly ServerTrace[], now: Date, width: number): string {
  if (traces.length === 0) return 'no traces; start one with "pem trace start NAME"';
  const rows = traces.map((one) => {
    const lastedMs = (one.stopped_at ?? now).getTime() - one.started_at.getTime();
    const lost =
      one.lost_rows === 0
        ? '0'
        : `${count(one.lost_rows)}${one.lost_reason === null ? '' : ` (${printable(one.lost_reason)})`}`;
    return [
      String(one.id),
      printable(one.name),
      one.stop_reason === null ? one.state : `${one.state} (${printable(one.stop_reason)})`,
      instant(one.started_at.getTime() * 1000),
      duration(lastedMs * 1000),
      count(one.rows),
      rate(lastedMs > 0 ? (one.rows / lastedMs) * 1000 : 0),
      bytes(one.bytes),
      lost,
      printable(one.owner),
      printable(JSON.stringify(one.options)),
    ];
  });
  return textTable(
    [
      { title: 'id', right: true },
      { title: 'name' },
      { title: 'state' },
      { title: 'started (UTC)' },
      { title: 'lasted', right: true },
      { title: 'rows', right: true },
      { title: 'rate', right: true },
      { title: 'bytes', right: true },
      { title: 'lost rows', right: true },
      { title: 'owner' },
      { title: 'options', fill: true },
    ],
    rows,
    Math.max(80, width),
  );
}
