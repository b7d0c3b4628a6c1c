/**
 * The keeping-and-sending half of an agent put together: spool, batcher, ship, link, and the numbers they share. In: a
 * configuration. Out: an Outbox for whoever measures, definitions for whoever schedules. The order of stopping is that of
 * the road: what was collected is written, the connection ends, what PEM does not have is synced, the lock goes last.
 */
import { join } from 'node:path';
import { connect } from '../native/index.js';
import type { Log } from '../src/base/log.js';
import type { AgentConfig } from './config.js';
import { AgentCertificate } from './link/certificate.js';
import type { CommandKind } from './link/commands.js';
import { DefinitionsStore } from './link/definitions.js';
import { Link } from './link/link.js';
import type { ServerFacts, TraceReports } from './link/sync.js';
import type { DurableOutbox } from './outbox.js';
import { Batcher } from './ship/batcher.js';
import { Ship, type ShipCounts } from './ship/ship.js';
import { nodeFs } from './spool/fs.js';
import { lockSpool } from './spool/lock.js';
import { ReceivedSet } from './spool/received.js';
import { Spool, type SpoolStats } from './spool/spool.js';
import { type AgentStats, newAgentStats } from './stats.js';

export interface WorkerOptions {
  readonly config: AgentConfig;
  readonly version: string;
  readonly log: Log;
  /** False where the connection needs no certificate of ours (tests). */
  readonly certificate?: boolean;
  readonly commandKinds?: Readonly<Record<string, CommandKind>>;
  readonly servers?: () => readonly ServerFacts[];
  readonly traces?: TraceReports;
}

export interface Worker {
  readonly outbox: DurableOutbox;
  readonly definitions: DefinitionsStore;
  readonly stats: AgentStats;
  readonly spool: Spool;
  readonly link: Link;
  counts(): { readonly ship: ShipCounts; readonly spool: SpoolStats };
  stop(): Promise<void>;
}

const tickMs = 1000;
const lossNoteMs = 60_000;
/** A worker that was killed a moment ago still holds the lock until the kernel is through with it. */
const lockWaitSeconds = 5;

/** @throws PemError spool_locked | certificate_missing | … where the start is refused */
export function startWorker(options: WorkerOptions): Worker {
  const { config, log } = options;
  const unlock = lockSpool(config.spool.folder, lockWaitSeconds);
  const certificate = options.certificate === false ? null : new AgentCertificate(config.folder);
  const definitions = new DefinitionsStore(
    join(config.folder, 'state', 'definitions.json'),
    config.agentId,
    log,
  );
  const received = new ReceivedSet();
  const spool = new Spool({
    fs: nodeFs(config.spool.folder),
    agentId: config.agentId,
    received,
    maxBytes: config.spool.maxBytes,
    maxAgeMs: config.spool.maxAgeMs,
    syncAfterMs: config.spool.syncAfterMs,
    report: (problem) =>
      log.error({ code: problem.code, file: problem.file, offset: problem.offset }, problem.message),
  });
  const stats = newAgentStats(options.version, spool.boot);
  // The first sample is taken before the first tick.
  stats.ship.spoolBytes = spool.stats().bytes;
  const ship = new Ship({ spool, received, log });
  const batcher = new Batcher({
    agentId: config.agentId,
    spool,
    offer: (batch) => ship.offer(batch),
    log,
    windowMs: config.tuning.batchWindowMs,
  });
  const link = new Link({
    params: config.pem,
    connect,
    spool,
    received,
    ship,
    definitions,
    certificate,
    role: config.role,
    version: options.version,
    log,
    info: () => infoOf(spool.stats(), ship.counts, link, batcher),
    servers: options.servers ?? (() => []),
    ...(options.traces === undefined ? {} : { traces: options.traces }),
    syncMs: config.tuning.syncMs,
    ...(options.commandKinds === undefined ? {} : { commandKinds: options.commandKinds }),
  });

  const losses = lossNotes(log);
  let ticking = Promise.resolve();
  const refresh = (): void => {
    const kept = spool.stats();
    stats.ship.connected = link.connected;
    stats.ship.spoolBytes = kept.bytes;
    stats.ship.spoolBatches = kept.pendingBatches;
    stats.ship.oldestUnreceivedAtUs = kept.oldestPendingUs === 0 ? null : BigInt(kept.oldestPendingUs);
    stats.ship.shippedBatches = ship.counts.batches;
    stats.ship.shippedBytes = ship.counts.bytes;
    stats.ship.droppedBatches = kept.dropped.batches;
    stats.ship.droppedRows = kept.dropped.rows;
    stats.ship.shipErrors = ship.counts.errors;
    losses(kept);
  };
  const timer = setInterval(() => {
    refresh();
    ticking = spool.tick();
  }, tickMs);
  link.start();

  const stop = async (): Promise<void> => {
    clearInterval(timer);
    batcher.close();
    await link.stop();
    await ticking;
    await spool.close();
    unlock();
  };
  let stopped: Promise<void> | undefined;

  return {
    outbox: batcher,
    definitions,
    stats,
    spool,
    link,
    counts: () => ({ ship: ship.counts, spool: spool.stats() }),
    stop() {
      stopped ??= stop();
      return stopped;
    },
  };
}

/** Says that the spool loses what PEM does not have: when it begins, then once a minute with the sums. */
export function lossNotes(log: Log, now: () => number = () => performance.now()): (kept: SpoolStats) => void {
  let said = 0;
  let saidAtMs = Number.NEGATIVE_INFINITY;
  return ({ dropped, bytes, maxBytes }) => {
    if (dropped.batches === said || now() - saidAtMs < lossNoteMs) return;
    said = dropped.batches;
    saidAtMs = now();
    log.warn(
      { code: 'spool_dropping', batches: dropped.batches, rows: dropped.rows, spoolBytes: bytes, maxBytes },
      'the spool has dropped its oldest batches, which PEM does not have; so many since the start',
    );
  };
}

/** What PEM shows of the agent's spool and road: agent_heartbeat.info. */
function infoOf(kept: SpoolStats, sent: ShipCounts, link: Link, batcher: Batcher): Record<string, unknown> {
  return {
    spoolBytes: kept.bytes,
    spoolBatches: kept.batches,
    spoolPendingBatches: kept.pendingBatches,
    spoolOldestUs: kept.oldestPendingUs,
    dropped: kept.dropped,
    corrupt: kept.corrupt,
    writeErrors: kept.writeErrors,
    syncErrors: kept.syncErrors,
    blocksTooLarge: batcher.tooLarge,
    shippedBatches: sent.batches,
    shippedRows: sent.rows,
    shippedBytes: sent.bytes,
    backfilledBatches: sent.backfilled,
    resentBatches: sent.resent,
    setAsideBatches: sent.setAside,
    receivedShrank: sent.shrank,
    shipErrors: sent.errors,
    ackMs: Math.round(sent.ackMs),
    reconnects: link.reconnects,
  };
}
