/**
 * The agent's sending half as a process that a conservation test can kill: real spool, ship and link, rows that count
 * instead of probes that measure. In: `producer.json` in its folder. Out: blocks of two catalogue probes, network_statistics
 * (full, a changing set of keys) and settings (delta with tombstones); each block has a recorded_at of its own and each
 * row a value that follows from it, so that an oracle can tell every row from every other.
 *
 * When the file `calm` appears it sends one last full block of each, writes what latest must hold to `expected.json`, and
 * produces no more; it goes on shipping until it is told to stop.
 */
import { existsSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type AgentConfig, configDefaults } from '../../agent/config.js';
import { startWorker } from '../../agent/worker.js';
import { blockFromRows, type CellValue, type ColumnSpec, DeltaState } from '../../native/index.js';
import type { Conninfo } from '../../src/base/conninfo.js';
import { openLog } from '../../src/base/log.js';
import { networkStatistics } from '../../src/catalog/probes/network_statistics.js';
import { settings } from '../../src/catalog/probes/settings.js';
import type { ProbeDefinition } from '../../src/catalog/types.js';

export interface ProducerConfig {
  readonly agentId: number;
  readonly role: string;
  readonly pem: Conninfo;
  readonly hostTarget: number;
  readonly serverTarget: number;
}

/** What latest holds at the end: by key, the row's value. */
export interface Expected {
  readonly boot: string;
  readonly network: Record<string, string>;
  readonly settings: Record<string, string>;
}

const folder = process.argv[2] ?? '.';
const given = JSON.parse(readFileSync(join(folder, 'producer.json'), 'utf8')) as ProducerConfig;
const config: AgentConfig = {
  ...configDefaults,
  folder,
  agentId: given.agentId,
  role: given.role,
  pem: given.pem,
  spool: { folder: join(folder, 'spool'), maxBytes: 1 << 30, maxAgeMs: 86_400_000, syncAfterMs: 1000 },
  tuning: { ...configDefaults.tuning, syncMs: 300 },
};
const worker = startWorker({ config, version: '0.1.0', log: openLog('producer'), certificate: false });
const heartbeat = Number(process.env.PEM_HEARTBEAT_FD ?? Number.NaN);
if (!Number.isNaN(heartbeat)) setInterval(() => writeSync(heartbeat, '.'), 1000);

const keys = ['eth0', 'eth1', 'eth2', 'eth3', 'wlan0', 'lo'];
const names = [...Array(40)].map((_, at) => `setting_${at}`);
const specs = (probe: ProbeDefinition): ColumnSpec[] =>
  probe.columns.map(({ name, type }) => ({ name, type }));
const delta = new DeltaState(specs(settings), [0]);
let lastUs = 0n;
let forceFull = true;
let network: Record<string, string> = {};
const values = new Map<string, string>();
worker.outbox.onLoss(() => {
  forceFull = true;
});

/** Never the same twice, not even over restarts: the clock moves on in between. */
function nextUs(): bigint {
  const nowUs = BigInt(Date.now()) * 1000n;
  lastUs = nowUs > lastUs ? nowUs : lastUs + 1n;
  return lastUs;
}

function block(probe: ProbeDefinition, target: number, atUs: bigint, rows: CellValue[][]): Buffer {
  return blockFromRows(
    {
      target: BigInt(target),
      probe: probe.name,
      probeVersion: probe.version,
      kind: 'full',
      recordedAtUs: atUs,
      intervalUs: 1_000_000n,
    },
    specs(probe),
    rows,
  );
}

function networkBlock(): Buffer {
  const atUs = nextUs();
  const there = keys.filter(() => Math.random() < 0.7);
  network = {};
  const rows = there.map((name) => {
    const value = atUs * 10n + BigInt(keys.indexOf(name));
    network[name] = String(value);
    return specs(networkStatistics).map((column) =>
      column.name === 'interface' ? name : column.name === 'received_bytes' ? value : null,
    );
  });
  return block(networkStatistics, given.hostTarget, atUs, rows);
}

function settingsBlock(): Buffer | null {
  const atUs = nextUs();
  for (const name of names) {
    const dice = Math.random();
    if (dice < 0.1) values.set(name, String(atUs));
    else if (dice < 0.13) values.delete(name);
  }
  const rows = [...values].map(([name, value]) =>
    specs(settings).map((column) =>
      column.name === 'name' ? name : column.name === 'setting' ? value : null,
    ),
  );
  const full = forceFull;
  forceFull = false;
  return delta.diff(block(settings, given.serverTarget, atUs, rows), { forceFull: full });
}

let turn = 0;
const producing = setInterval(() => {
  turn += 1;
  const blocks = [networkBlock()];
  if (turn % 3 === 1) {
    const changed = settingsBlock();
    if (changed !== null) blocks.push(changed);
  }
  worker.outbox.put(blocks);
  if (!existsSync(join(folder, 'calm'))) return;
  clearInterval(producing);
  forceFull = true;
  worker.outbox.put([networkBlock(), settingsBlock() as Buffer]);
  const expected: Expected = { boot: worker.spool.boot, network, settings: Object.fromEntries(values) };
  writeFileSync(join(folder, 'expected.json.new'), JSON.stringify(expected));
  renameSync(join(folder, 'expected.json.new'), join(folder, 'expected.json'));
}, 10);

process.once('SIGTERM', () => {
  clearInterval(producing);
  worker.stop().then(
    () => process.exit(0),
    () => process.exit(1),
  );
});
