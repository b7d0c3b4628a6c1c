/**
 * An ingester in a process of its own for bench/runs/ingest.ts, so that the benchmark's data is not in its heap. In:
 * messages of the parent; out: what a measured stretch took. Ends with its parent.
 */
import { parseConninfo } from '../../src/base/conninfo.js';
import { openLog } from '../../src/base/log.js';
import { Counters } from '../../src/ingest/counters.js';
import { PushLinks } from '../../src/ingest/push.js';
import { Session } from '../../src/ingest/session.js';

export type Order =
  /** Opens a session on this database. */
  | { readonly kind: 'open'; readonly conninfo: string }
  /** Runs until so many rows are committed since `open`. */
  | { readonly kind: 'until'; readonly rows: number }
  | { readonly kind: 'close' };

export type Answer =
  | { readonly kind: 'opened'; readonly backendPids: readonly number[] }
  | { readonly kind: 'reached'; readonly seconds: number; readonly cycles: number }
  | { readonly kind: 'closed' };

let session: Session | undefined;
let running: Promise<void> | undefined;
let counters = new Counters();

function answer(message: Answer): void {
  process.send?.(message);
}

async function obey(order: Order): Promise<void> {
  if (order.kind === 'open') {
    const log = openLog('bench');
    log.level = 'warn';
    counters = new Counters();
    const options = { db: parseConninfo(order.conninfo), name: 'bench', log };
    session = await Session.open(options, counters, new PushLinks(undefined, 'bench', log), false);
    answer({ kind: 'opened', backendPids: session.backendPids });
  } else if (order.kind === 'until') {
    const before = performance.now();
    running ??= session?.run();
    while (counters.rows < order.rows) await new Promise((resolve) => setTimeout(resolve, 2));
    answer({ kind: 'reached', seconds: (performance.now() - before) / 1000, cycles: counters.cycles });
  } else {
    session?.stop();
    await running;
    session?.close();
    session = undefined;
    running = undefined;
    answer({ kind: 'closed' });
  }
}

process.on('message', (order: Order) => {
  obey(order).catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
    process.exit(1);
  });
});
process.on('disconnect', () => process.exit(0));
