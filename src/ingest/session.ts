/**
 * An ingester's life on one set of connections: the loop over the inbox, and the house-keeping beside it (knowledge,
 * figures, rotation of the inbox, trimming). Ends with an error when a connection is lost; main.ts opens the next one.
 *
 * While the ingester keeps up, a read is one transaction. A large read is cut by agents into lanes that go
 * on independently of one another: as if there were several ingesters, which is correct in any number (transaction.ts).
 *
 * The pause between cycles is 20 to 50 ms, twice the last cycle's time in between, and none while reads come back full.
 */
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { type BatchInfo, connect, type PgConn, releaseStream, verifyBatches } from '../../native/index.js';
import { errorCode, PemError } from '../base/errors.js';
import { Stages } from './apply.js';
import type { Counters } from './counters.js';
import { Cycle, type Lane, type Round } from './cycle.js';
import { Inbox, readBytes } from './inbox.js';
import { type Knowledge, readKnowledge } from './knowledge.js';
import { arrayText } from './latest.js';
import type { IngesterOptions } from './main.js';
import type { PushLinks } from './push.js';
import { trim } from './quarantine.js';
import { retryHeld } from './retry.js';
import type { InboxBatch } from './screening.js';

const connectTimeoutMs = 5000;
/** A read that comes back full lets the next one be twice as large: the first COPY of a backlog does not wait long. */
const firstReadBytes = 4 * 1024 * 1024;
const shortestPauseMs = 20;
const longestPauseMs = 50;
const rotateMs = 200;
const housekeepingMs = 1000;
const trimMs = 60_000;
/** Rows of another ingester's share that lie longer are taken over. */
const staleMs = 1500;
/** First half of the two-key advisory locks on ingesters' names. */
const nameLockClass = 0x70656e;
/** A connection that was cut holds its lock until the server notices. */
const nameTries = 20;
const nameWaitMs = 100;
/** Batches that end the process this often are set aside unread. */
const mostTries = 3;

/**
 * The agents of large reads are dealt out to this many connections. COPY is bound by the one backend that runs it,
 * so that one lane leaves cores idle and waits at each commit for its WAL. More of them shrink the merged COPYs.
 */
const laneCount = 2;
/** Chunks that lanes have not finished; one more is being read. Bounds memory: three times `readBytes` and their streams. */
const mostUnfinished = 2;

interface Chunk {
  readonly batches: readonly InboxBatch[];
  readonly infos: readonly BatchInfo[];
  readonly round: Round;
  readonly stream: Buffer;
  readonly bytes: number;
  /** There is more. */
  readonly full: boolean;
}

/**
 * Takes the ingester's name, by an advisory lock that ends with the connection, and removes the rows of ingesters that
 * are gone. Returns whether one of them did not end cleanly: a clean end removes its own row.
 */
async function takeName(control: PgConn, name: string): Promise<boolean> {
  const { rows } = await control.query(
    `DELETE FROM pem.ingester WHERE pg_try_advisory_lock(${nameLockClass}, hashtext(name)) RETURNING name`,
  );
  await control.query('SELECT pg_advisory_unlock_all()');
  for (let i = 0; i < nameTries; i += 1) {
    const lock = await control.query(`SELECT pg_try_advisory_lock(${nameLockClass}, hashtext($1)) AS mine`, [
      name,
    ]);
    if (lock.rows[0]?.mine === 't') return rows.length > 0;
    await sleep(nameWaitMs);
  }
  throw new PemError('ingester_name', `another ingester called "${name}" is running`);
}

export class Session {
  private readonly inbox: Inbox;
  private readonly cycle: Cycle;
  private share = { index: 0, of: 1 };
  private waiting = { batches: 0, bytes: 0 };
  private stopping = false;
  private failure: unknown;
  private lastCycleMs = 0;
  private limitBytes = firstReadBytes;
  private retriedFor = '';
  private lastTrim = performance.now();
  /** What each lane has to do still; rejected from its first error on. */
  private readonly tails: Promise<void>[];

  private constructor(
    private readonly options: IngesterOptions,
    private readonly counters: Counters,
    private readonly push: PushLinks,
    private readonly reader: PgConn,
    private readonly lanes: readonly Lane[],
    private readonly control: PgConn,
    knowledge: Knowledge,
    /** The process before this one did not end cleanly. */
    private readonly cautious: boolean,
  ) {
    this.inbox = new Inbox(reader);
    this.cycle = new Cycle(control, this.inbox, knowledge, counters, push, options.log);
    this.tails = lanes.map(() => Promise.resolve());
  }

  /** Opens the connections; `first`: this process has not run before. */
  static async open(
    options: IngesterOptions,
    counters: Counters,
    push: PushLinks,
    first: boolean,
  ): Promise<Session> {
    const opened: PgConn[] = [];
    const open = async (): Promise<PgConn> => {
      const connection = await connect({
        params: { ...options.db, application_name: `pem ingest ${options.name}` },
        timeoutMs: connectTimeoutMs,
      });
      opened.push(connection);
      await connection.query(
        "SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '60s'; SET jit = off",
      );
      return connection;
    };
    try {
      const [reader, control] = [await open(), await open()];
      const lanes: Lane[] = [];
      while (lanes.length < laneCount) lanes.push({ writer: await open(), stages: new Stages() });
      const knowledge = await readKnowledge(control);
      const died = await takeName(control, options.name);
      const cautious = first && died;
      const session = new Session(options, counters, push, reader, lanes, control, knowledge, cautious);
      await session.report();
      await session.inbox.survey(session.share, 0, true);
      options.log.info({ host: hostname(), cautious, probes: knowledge.probes.size }, 'ingesting');
      return session;
    } catch (error) {
      for (const connection of opened) connection.close();
      throw error;
    }
  }

  stop(): void {
    this.stopping = true;
  }

  private get connections(): readonly PgConn[] {
    return [this.reader, this.control, ...this.lanes.map((lane) => lane.writer)];
  }

  /** Server processes of this session, to ask the kernel what they cost. */
  get backendPids(): readonly number[] {
    return this.connections.map((connection) => connection.backendPid);
  }

  close(): void {
    for (const connection of this.connections) connection.close();
  }

  /** Runs until `stop` (resolves) or an error. */
  async run(): Promise<void> {
    const house = this.keepHouse().catch((error: unknown) => {
      this.failure = error;
    });
    try {
      if (this.cautious) await this.oneByOne();
      await this.loop();
    } finally {
      this.stopping = true;
      await house;
    }
    if (this.failure !== undefined) throw this.failure;
    await this.control.query('DELETE FROM pem.ingester WHERE name = $1 AND pid = $2::int', [
      this.options.name,
      String(process.pid),
    ]);
  }

  private async fetch(): Promise<Chunk> {
    const limit = this.limitBytes;
    const { batches, stream } = await this.inbox.read(this.share, limit);
    const infos = await verifyBatches(batches.map((batch) => batch.bytes));
    const bytes = batches.reduce((sum, batch) => sum + batch.bytes.length, 0);
    this.limitBytes = bytes >= limit ? Math.min(2 * limit, readBytes) : firstReadBytes;
    return { batches, infos, round: this.cycle.screen(batches, infos), stream, bytes, full: bytes >= limit };
  }

  private async loop(): Promise<void> {
    const unfinished: Promise<unknown>[] = [];
    let ahead: Promise<Chunk> | undefined;
    try {
      while (!this.stopping) {
        if (this.failure !== undefined) throw this.failure;
        const chunk = await (ahead ?? this.fetch());
        ahead = undefined;
        if (chunk.bytes >= firstReadBytes) {
          while (unfinished.length >= mostUnfinished) await unfinished.shift();
          unfinished.push(this.deal(chunk));
        }
        if (chunk.full) {
          if (!this.stopping) ahead = this.fetch();
          ahead?.catch(() => undefined); // thrown where it is awaited
          continue;
        }
        while (unfinished.length > 0) await unfinished.shift();
        const lane = this.lanes[0] as Lane;
        if (chunk.batches.length > 0 && chunk.bytes < firstReadBytes) {
          const before = performance.now();
          await this.cycle.run(lane, chunk.batches, chunk.infos, chunk.round);
          this.lastCycleMs = performance.now() - before;
        }
        await this.retry(lane);
        await sleep(Math.min(Math.max(2 * this.lastCycleMs, shortestPauseMs), longestPauseMs));
      }
    } finally {
      await Promise.allSettled([...this.tails, ahead]);
    }
    await Promise.all(unfinished);
  }

  /** Deals a chunk out to the lanes; an agent's batches stay in one of them. Resolves when they have done it. */
  private deal(chunk: Chunk): Promise<unknown> {
    const parts = this.lanes.map((): Round => ({ batches: [], refused: [] }));
    const places = this.lanes.map((): number[] => []);
    const pushed: Promise<void>[] = [];
    const laneOf = (agentId: number): number => Math.floor(agentId / this.share.of) % this.lanes.length;
    for (const [index, batch] of chunk.batches.entries()) places[laneOf(batch.agentId)]?.push(index);
    for (const batch of chunk.round.batches) parts[laneOf(batch.inbox.agentId)]?.batches.push(batch);
    for (const refused of chunk.round.refused) parts[laneOf(refused.inbox.agentId)]?.refused.push(refused);
    for (const [index, lane] of this.lanes.entries()) {
      const mine = places[index] as number[];
      const tail = (this.tails[index] as Promise<void>).then(async () => {
        if (mine.length > 0) {
          const brought = await this.cycle.run(
            lane,
            mine.map((place) => chunk.batches[place] as InboxBatch),
            mine.map((place) => chunk.infos[place] as BatchInfo),
            parts[index],
          );
          pushed.push(brought.pushed);
        }
        if (index === 0) await this.retry(lane);
      });
      tail.catch(() => undefined); // thrown where the chunk is awaited
      this.tails[index] = tail;
    }
    const done = Promise.all(this.tails);
    done
      .then(async () => {
        await Promise.all(pushed);
        releaseStream(chunk.stream);
      })
      .catch(() => undefined); // the same
    return done;
  }

  /** What was set aside for want of knowledge, whenever there is new knowledge. */
  private async retry({ writer, stages }: Lane): Promise<void> {
    const { knowledge } = this.cycle;
    if (this.retriedFor === knowledge.fingerprint) return;
    this.retriedFor = knowledge.fingerprint;
    const committed = await retryHeld(writer, knowledge, stages, BigInt(Date.now()) * 1000n, (placed) =>
      this.cycle.ensurePartitions(placed.map((item) => item.block)),
    );
    if (committed.length === 0) return;
    this.counters.retried += committed.length;
    this.options.log.info({ blocks: committed.length }, 'blocks taken out of quarantine');
    this.push.publish(committed);
  }

  /** The first batches after an end that was not clean (main.ts, rule 4). */
  private async oneByOne(): Promise<void> {
    const lane = this.lanes[0] as Lane;
    const { batches } = await this.inbox.read(this.share);
    for (const [index, batch] of batches.entries()) {
      if (this.stopping) return this.inbox.giveBack(batches.slice(index), 0);
      const { rows } = await this.control.query(
        `INSERT INTO pem.ingest_suspect AS s (inbox_id, tries) VALUES ($1::bigint, 1)
         ON CONFLICT (inbox_id) DO UPDATE SET tries = s.tries + 1 RETURNING tries`,
        [String(batch.inboxId)],
      );
      if (Number(rows[0]?.tries) > mostTries) {
        await this.cycle.refuse(lane, batch, {
          code: 'ingester_crashed',
          reason: `the ingester ended ${mostTries} times while it worked on this batch`,
        });
      } else {
        await this.cycle.run(lane, [batch], await verifyBatches([batch.bytes]));
      }
    }
    // Those of one that was killed while it did the same, too: somebody else has taken its batches in.
    await this.control.query(
      `DELETE FROM pem.ingest_suspect s WHERE inbox_id = ANY ($1::bigint[])
          OR NOT EXISTS (SELECT FROM pem_inbox.slots i WHERE i.id = s.inbox_id)`,
      [arrayText(batches.map((batch) => batch.inboxId))],
    );
  }

  private async keepHouse(): Promise<void> {
    let nextRound = performance.now() + housekeepingMs;
    while (!this.stopping) {
      await sleep(rotateMs);
      await this.rotate();
      if (performance.now() < nextRound) continue;
      nextRound = performance.now() + housekeepingMs;
      await this.report();
      this.waiting = await this.inbox.survey(this.share, staleMs, false);
      await this.cycle.learn();
      if (performance.now() - this.lastTrim > trimMs) {
        this.lastTrim = performance.now();
        await trim(this.control);
      }
    }
  }

  private async rotate(): Promise<void> {
    try {
      await this.control.query('SELECT pem_inbox.rotate()');
    } catch (error) {
      if (errorCode(error) !== '55P03' && errorCode(error) !== '40P01') throw error;
    }
  }

  /** Writes this ingester's row and finds its place among the running ones. */
  private async report(): Promise<void> {
    const { rows } = await this.control.query(
      `WITH mine AS (INSERT INTO pem.ingester AS i (name, pid, started_at, at, info) VALUES ($1, $2::int, $3::timestamptz, clock_timestamp(), $4::jsonb)
         ON CONFLICT (name) DO UPDATE SET pid = excluded.pid, started_at = excluded.started_at, at = excluded.at, info = excluded.info
         RETURNING name)
       SELECT name FROM mine UNION SELECT name FROM pem.ingester WHERE at > clock_timestamp() - interval '4 s' ORDER BY name`,
      [
        this.options.name,
        String(process.pid),
        this.counters.startedAt.toISOString(),
        this.counters.report(this.waiting, { connected: this.push.connected, dropped: this.push.dropped }),
      ],
    );
    const names = rows.map((row) => row.name);
    this.share = { index: Math.max(names.indexOf(this.options.name), 0), of: Math.max(names.length, 1) };
  }
}
