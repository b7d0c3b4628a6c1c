/**
 * What tests of ingest stand on: a PEM with the rig's probes, a fleet, and ingesters, in this process or as children
 * (`pem ingest` from dist) that may be killed. Owns all of them; `stop` ends them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type BlockKind, blockFromRows, type CellValue } from '../../native/index.js';
import { parseConninfo } from '../../src/base/conninfo.js';
import { openLog } from '../../src/base/log.js';
import { probes } from '../../src/catalog/probes/index.js';
import type { ProbeDefinition } from '../../src/catalog/types.js';
import { type Ingester, runIngester } from '../../src/ingest/main.js';
import { type Pem, type PemOptions, startPem } from '../rig/pem.js';
import { eventually } from '../rig/processes.js';
import { addProbes, Fleet, specs } from './fleet.js';
import { rigProbes } from './probes.js';

const root = fileURLToPath(new URL('../../', import.meta.url)).replace(/dist\/$/, '');

export interface Ingesting {
  readonly pem: Pem;
  readonly fleet: Fleet;
  /** Starts an ingester in this process. */
  ingest(name?: string, pushSocket?: string): Ingester;
  /** Starts one as a child process. */
  spawn(name: string): ChildProcess;
  /** Waits until the inbox holds nothing that is not finished. */
  drained(): Promise<void>;
  /** Rows of a statement as superuser. */
  rows(sql: string, parameters?: unknown[]): Promise<Record<string, unknown>[]>;
  stop(): Promise<void>;
}

export async function startIngesting(
  options: PemOptions & { probes?: readonly ProbeDefinition[] } = {},
): Promise<Ingesting> {
  const pem = await startPem(options);
  await addProbes(pem, probes, options.probes ?? rigProbes);
  const fleet = await Fleet.open(pem);
  const running = new Set<Ingester>();
  const children = new Set<ChildProcess>();
  const ingesting: Ingesting = {
    pem,
    fleet,
    ingest(name = 'ingester', pushSocket) {
      const started = runIngester({
        db: parseConninfo(pem.conninfo('pem_ingest')),
        name,
        log: openLog('ingest'),
        ...(pushSocket === undefined ? {} : { pushSocket }),
      });
      running.add(started);
      return {
        counters: started.counters,
        async stop() {
          running.delete(started);
          await started.stop();
        },
      };
    },
    spawn(name) {
      const child = spawn(
        process.execPath,
        [`${root}dist/src/cli/pem.js`, 'ingest', '--db', pem.conninfo('pem_ingest'), '--name', name],
        { stdio: ['ignore', 'ignore', 'inherit'] },
      );
      children.add(child);
      child.once('exit', () => children.delete(child));
      return child;
    },
    async drained() {
      await eventually(
        'an inbox with nothing unfinished',
        async () => {
          const [totals] = await ingesting.rows('SELECT batches FROM pem.inbox_totals()');
          return totals?.batches === '0';
        },
        90_000,
      );
    },
    rows: async (sql, parameters) => (await pem.query(sql, parameters)).rows,
    async stop() {
      await Promise.all([...running].map((one) => one.stop()));
      for (const child of children) child.kill('SIGKILL');
      fleet.close();
      await pem.stop();
    },
  };
  return ingesting;
}

/** Time of the test's rows: now, in whole ms. */
export function nowUs(): bigint {
  return BigInt(Date.now()) * 1000n;
}

/** A block of one of the rig's probes. */
export function rigBlock(
  probe: ProbeDefinition,
  target: bigint,
  rows: readonly (readonly CellValue[])[],
  more: {
    kind?: BlockKind;
    atUs?: bigint;
    scope?: string;
    version?: number;
    columns?: ReturnType<typeof specs>;
  } = {},
): Buffer {
  return blockFromRows(
    {
      target,
      probe: probe.name,
      probeVersion: more.version ?? probe.version,
      kind: more.kind ?? 'full',
      recordedAtUs: more.atUs ?? nowUs(),
      intervalUs: 1_000_000n,
      ...(more.scope === undefined ? {} : { scope: more.scope }),
    },
    more.columns ?? specs(probe),
    rows,
  );
}
