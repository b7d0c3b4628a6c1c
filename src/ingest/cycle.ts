/**
 * One round over a chunk of batches: judge, make missing partitions, run the transaction, deal with what fails, give
 * back what belongs to others, push what is committed. In: verified batches; out: counters, messages, batches given back.
 *
 * Treatment of failures, in this order (transaction.ts rolls back each time):
 * 1. The data or a statement: once more with fresh knowledge, fresh partitions and repeated keys allowed; then the blocks
 *    of the probe that failed are searched (blame.ts), the guilty ones set aside and the rest run again.
 * 2. A deadlock or lock: again at once, a few times.
 * 3. Anything else is thrown: outside trouble ends the session, a fault of our own the process.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { BatchInfo, PgConn } from '../../native/index.js';
import type { Log } from '../base/log.js';
import { makePartition, partitionBounds } from '../history/partitions.js';
import { type Stages, StepError } from './apply.js';
import { findFaults, isDataError, serverError } from './blame.js';
import type { Counters } from './counters.js';
import type { Inbox } from './inbox.js';
import { type Knowledge, readKnowledge } from './knowledge.js';
import { arrayText, type Placed } from './latest.js';
import type { PushLinks } from './push.js';
import {
  type Batch,
  type Block,
  type Fault,
  type InboxBatch,
  retriedCodes,
  type Screened,
  screenBatch,
} from './screening.js';
import { blockKey, type CycleResult, type Refused, runCycle } from './transaction.js';

/** Knowledge younger than this, and than the batch, is not read again for something unknown. */
const learnUs = 250_000n;
/** How long a boot that was not announced by pem.sync may wait for it: the announcement orders boots. */
const announceUs = 3_000_000n;
/** A batch that another ingester holds, or whose partition cannot be made now, is read again after. */
const backMs = 100;
const partitionTries = 4;
const lockTries = 8;
const searchRounds = 16;

/** Judged batches of a chunk. */
export interface Round {
  batches: Batch[];
  refused: Refused[];
}

const nowUs = (): bigint => BigInt(Date.now()) * 1000n;

function blocksOf(batches: readonly Batch[]): Block[] {
  return batches.flatMap((batch) =>
    batch.verdicts.flatMap((verdict) => (verdict.kind === 'take' ? [verdict.block] : [])),
  );
}

function hasUnknown(batch: Batch): boolean {
  return batch.verdicts.some(
    (verdict) => verdict.kind === 'quarantine' && retriedCodes.includes(verdict.fault.code),
  );
}

/** A connection that runs ingest transactions. Lanes work beside one another, on different agents. */
export interface Lane {
  readonly writer: PgConn;
  readonly stages: Stages;
}

/** What a round has left behind. */
export interface Brought {
  /** Resolves when the batches' bytes are with all web processes; until then their memory is in use. */
  readonly pushed: Promise<void>;
}

export class Cycle {
  /** When the reading of what is known began. */
  private learnedUs = 0n;
  private learning: Promise<void> | undefined;

  constructor(
    private readonly control: PgConn,
    private readonly inbox: Inbox,
    private known: Knowledge,
    private readonly counters: Counters,
    private readonly push: PushLinks,
    private readonly log: Log,
  ) {}

  get knowledge(): Knowledge {
    return this.known;
  }

  /** Reads knowledge again; calls that come meanwhile share one reading. */
  async learn(): Promise<void> {
    const startedUs = nowUs();
    this.learning ??= readKnowledge(this.control)
      .then((knowledge) => {
        this.known = knowledge;
        this.learnedUs = startedUs;
      })
      .finally(() => {
        this.learning = undefined;
      });
    await this.learning;
  }

  /** Judges by what is known now; also ahead of time, while another cycle runs. */
  screen(batches: readonly InboxBatch[], infos: readonly BatchInfo[]): Round {
    const round: Round = { batches: [], refused: [] };
    for (const [index, inbox] of batches.entries()) {
      const screened: Screened = screenBatch(inbox, infos[index] as BatchInfo, this.known, nowUs());
      if (screened.kind === 'batch') round.batches.push(screened.batch);
      else round.refused.push(screened);
    }
    return round;
  }

  private async judge(
    batches: readonly InboxBatch[],
    infos: readonly BatchInfo[],
    ahead: Round | undefined,
  ): Promise<Round> {
    for (let readings = 0; ; readings += 1) {
      const round = readings === 0 && ahead !== undefined ? ahead : this.screen(batches, infos);
      let newestUs = 0n;
      for (const batch of round.batches) {
        if (hasUnknown(batch) && batch.inbox.arrivedUs > newestUs) newestUs = batch.inbox.arrivedUs;
      }
      const fresh = this.learnedUs > newestUs && this.learnedUs > nowUs() - learnUs;
      // Twice at most: the first may share a reading that began before the batch came.
      if (newestUs === 0n || fresh || readings === 2) return round;
      await this.learn();
    }
  }

  /** Makes partitions that the blocks need; returns names of those that locks did not let it make. */
  async ensurePartitions(blocks: readonly Block[]): Promise<Set<string>> {
    const busy = new Set<string>();
    const tried = new Set<string>();
    for (const { probe, partition, info } of blocks) {
      if (partition === undefined || tried.has(partition)) continue;
      tried.add(partition);
      const there = this.known.partitions.get(probe.name) ?? new Set<string>();
      if (there.has(partition)) continue;
      let made = 'busy';
      for (let attempt = 0; attempt < partitionTries && made === 'busy'; attempt += 1) {
        made = await makePartition(this.control, probe.name, probe.width, info.recordedAtUs);
      }
      if (made === 'busy') busy.add(partition);
      else {
        there.add(partition);
        this.known.partitions.set(probe.name, there);
        const { fromUs } = partitionBounds(probe.width, info.recordedAtUs);
        this.log.info({ partition, from: new Date(Number(fromUs / 1000n)).toISOString(), made }, 'partition');
      }
    }
    return busy;
  }

  /** Takes out batches whose partition is not there yet. */
  private async withPartitions(round: Round): Promise<Round> {
    const busy = await this.ensurePartitions(blocksOf(round.batches));
    if (busy.size === 0) return round;
    const waits = (batch: Batch): boolean =>
      blocksOf([batch]).some((block) => block.partition !== undefined && busy.has(block.partition));
    this.inbox.giveBack(
      round.batches.filter(waits).map((batch) => batch.inbox),
      backMs,
    );
    return { batches: round.batches.filter((batch) => !waits(batch)), refused: round.refused };
  }

  /** Brings the batches in, whatever it takes. */
  async run(
    lane: Lane,
    batches: readonly InboxBatch[],
    infos: readonly BatchInfo[],
    ahead?: Round,
  ): Promise<Brought> {
    const before = performance.now();
    const faults = new Map<string, Fault>();
    let round = await this.withPartitions(await this.judge(batches, infos, ahead));
    let repeated = false;
    let locks = 0;
    for (let searches = 0; ; ) {
      if (round.batches.length + round.refused.length === 0) return { pushed: Promise.resolve() };
      try {
        const result = await runCycle(lane.writer, { ...round, faults, repeated, stages: lane.stages });
        return await this.finish(result, performance.now() - before);
      } catch (error) {
        const code = serverError(error)?.code ?? '';
        if ((code === '40P01' || code === '40001' || code === '55P03') && locks < lockTries) {
          locks += 1;
          await sleep(5 * locks);
        } else if (!isDataError(error) || !(error instanceof StepError) || searches >= searchRounds) {
          throw error instanceof StepError && !isDataError(error) ? error.cause : error;
        } else if (!repeated) {
          repeated = true;
          await this.learn();
          const mine = new Set(round.batches.map((batch) => batch.inbox.inboxId));
          const kept = [...batches.keys()].filter((index) =>
            mine.has((batches[index] as InboxBatch).inboxId),
          );
          round = await this.withPartitions({
            batches: this.screen(
              kept.map((index) => batches[index] as InboxBatch),
              kept.map((index) => infos[index] as BatchInfo),
            ).batches,
            refused: round.refused,
          });
        } else {
          searches += 1;
          await this.search(lane, error, round, faults);
        }
      }
    }
  }

  private async search(
    { writer, stages }: Lane,
    error: StepError,
    round: Round,
    faults: Map<string, Fault>,
  ): Promise<void> {
    this.counters.searched += 1;
    const { rows } = await writer.query(
      'SELECT agent_id, boot, arrival FROM pem.received WHERE boot = ANY ($1::uuid[])',
      [arrayText(round.batches.map((batch) => batch.envelope.boot))],
    );
    const arrivals = new Map(
      rows.map((row) => [`${row.agent_id}:${row.boot}`, BigInt(row.arrival as string)]),
    );
    const placed: Placed[] = blocksOf(round.batches)
      .filter((block) => block.probe.name === error.probe && !faults.has(blockKey(block)))
      .map((block) => ({ block, arrival: arrivals.get(`${block.agentId}:${block.boot}`) ?? 0n }));
    const found = await findFaults(writer, placed, stages);
    for (const [{ block }, fault] of found) {
      faults.set(blockKey(block), fault);
      this.log.warn(
        {
          probe: error.probe,
          agent: block.agentId,
          seq: String(block.seq),
          block: block.index,
          reason: fault.reason,
        },
        'block set aside: PostgreSQL refused it',
      );
    }
  }

  private async finish(result: CycleResult, cycleMs: number): Promise<Brought> {
    const brought = { pushed: this.push.publish(result.committed) };
    let oldest = nowUs();
    for (const { arrivedUs } of result.finished) if (arrivedUs < oldest) oldest = arrivedUs;
    this.counters.add(result, cycleMs, oldest);
    if (result.left.length === 0) return brought;
    this.inbox.giveBack(result.left, backMs);
    // Announced boots come first; one that nobody announces is nonetheless data.
    const unknown = result.unknownBoots.filter(({ agentId }) =>
      result.left.some((inbox) => inbox.agentId === agentId && inbox.arrivedUs < nowUs() - announceUs),
    );
    if (unknown.length === 0) return brought;
    await this.control.query('SELECT pem.admit_boots($1::int[], $2::uuid[])', [
      arrayText(unknown.map(({ agentId }) => agentId)),
      arrayText(unknown.map(({ boot }) => boot)),
    ]);
    return brought;
  }

  /** Sets a batch aside unread. */
  async refuse(lane: Lane, inbox: InboxBatch, fault: Fault): Promise<void> {
    const result = await runCycle(lane.writer, {
      batches: [],
      refused: [{ inbox, fault }],
      faults: new Map(),
      repeated: false,
      stages: lane.stages,
    });
    await this.finish(result, 0);
  }
}
