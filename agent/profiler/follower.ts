/**
 * Reads one trace of a server, running or just ended, into batches. In: a session on that server, step by step, and what is
 * to travel. Out: batches in the spool, positions behind them, counts. Owns the run's position log and its aggregate; what
 * it holds between two steps is two positions for each slot.
 *
 * 1. Position and batch go together (positions.ts, DurableOutbox.commit): a row is in one batch of events or in none, also
 *    across the end of the process. Aggregates are in a batch when their interval ends; after a restart the rows since the
 *    last one are read again, for the aggregate alone.
 * 2. What goes first when there is too much: events above the trace's own rate; all events while PEM lacks a quarter of the
 *    spool; at last rows, unread, when more than mostLagBytes wait. Each has its count. Aggregates hold all rows read.
 * 3. A slot's file is left for the next one when it was read to its end after a later one had begun.
 */
import { type CsvPiece, csvColumns, csvHeader, csvToBlock, releaseStream } from '../../native/index.js';
import { errorCode } from '../../src/base/errors.js';
import type { Log } from '../../src/base/log.js';
import type { ProbeRuntime } from '../../src/wire/config.js';
import { eventNames } from '../../src/wire/index.js';
import { type DurableOutbox, mostCommitBytes } from '../outbox.js';
import { blockMeta } from '../probes/emit.js';
import type { Clock } from '../scheduler/clock.js';
import type { TraceStats } from '../stats.js';
import { cutAt } from './cut.js';
import type { FollowLimits } from './limits.js';
import { type Position, PositionLog, type RunCounts, type SlotPosition } from './positions.js';
import type { ProfilerSession } from './session.js';
import { Statements } from './statements.js';

/** What is to travel, by the definitions in force; undefined: not at all. */
export interface Travelling {
  readonly events: ProbeRuntime | undefined;
  readonly eventsPerS: number;
  readonly statements: ProbeRuntime | undefined;
  readonly texts: ProbeRuntime | undefined;
  readonly intervalMs: number;
}

export interface FollowerOptions {
  readonly targetId: number;
  /** The trace's id on the server. */
  readonly serverId: number;
  readonly positionFile: string;
  readonly outbox: DurableOutbox;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: FollowLimits;
  /** Sums over all traces. */
  readonly stats: TraceStats;
  readonly travelling: Travelling;
}

interface Slot {
  readonly number: number;
  /** The next byte to read. */
  file: number;
  at: number;
  /** Where it ends, as the server said last. */
  end: Position;
  /** Rows before this position were counted and sent; when they are read, it is for the aggregate alone. */
  sent: Position;
}

interface Piece extends CsvPiece {
  readonly slot: Slot;
}

/** So many intervals may end within a portion. */
const mostCuts = 8;
/** Columns of events that no file has. */
const madeColumns = ['fingerprint', 'zeros', ...Object.keys(eventNames)];
/** Room for a file's header line. */
const headerBytes = 16 * 1024;

/** Nothing came from where there was to be more: of an earlier file for good, of the last one until the server tells of it. */
function leave(slot: Slot): void {
  if (slot.file < slot.end.file) Object.assign(slot, { file: slot.file + 1, at: 0 });
  else {
    slot.end = { file: slot.file, at: slot.at };
    if (isBefore(slot, slot.sent)) slot.sent = slot.end;
  }
}

/** What is left of pieces of which so many bytes were taken. */
function restOf(pieces: readonly Piece[], used: readonly number[], header: Buffer): Piece[] {
  return pieces.flatMap((piece, i) => {
    const taken = used[i] ?? 0;
    if (taken === 0) return [piece];
    if (taken >= piece.bytes.length) return [];
    const fromBytes = (piece.fromBytes ?? 0) + taken;
    return [{ slot: piece.slot, bytes: piece.bytes.subarray(taken), fromBytes, header }];
  });
}

const isBefore = (a: Position, b: Position): boolean => a.file < b.file || (a.file === b.file && a.at < b.at);

export class Follower {
  travelling: Travelling;
  /** Bytes of the trace as the server said last, header lines and all. */
  serverBytes = 0;
  /** Time that the server has spent on reading, ms. */
  serverMs = 0;
  readonly #options: FollowerOptions;
  readonly #positions: PositionLog;
  readonly #statements: Statements;
  readonly #slots = new Map<number, Slot>();
  /** Of what the server has told on this connection. */
  #version = '0';
  /** All files of a trace have the same header line. */
  #header: Buffer | undefined;
  #counts: RunCounts;
  #intervalAtMs: number;
  /** Events that may travel now; below 0: a portion was larger than that. */
  #eventTokens = 0;
  #tokensAtMs: number;
  /** Of the last block of events; no other has the same. */
  #recordedUs = 0n;

  constructor(options: FollowerOptions) {
    this.#options = options;
    this.travelling = options.travelling;
    const { outbox, log, clock, limits } = options;
    this.#positions = new PositionLog(options.positionFile, (boot, seq) => outbox.has(boot, seq), log);
    this.#counts = { ...this.#positions.counts };
    this.#statements = new Statements(limits);
    this.#intervalAtMs = clock.monotonicMs();
    this.#tokensAtMs = this.#intervalAtMs;
  }

  /** There was a log of this run's positions. */
  get isResumed(): boolean {
    return this.#positions.found;
  }

  get counts(): Readonly<RunCounts> {
    return this.#counts;
  }

  /** What the server has and nobody has read. */
  get lagBytes(): number {
    const known = [...this.#slots.values()]
      .filter((slot) => slot.file === slot.end.file)
      .reduce((sum, slot) => sum + Math.max(0, slot.end.at - slot.at), 0);
    const { bytesRead, bytesSkipped } = this.#counts;
    return Math.max(known, this.serverBytes - bytesRead - bytesSkipped, 0);
  }

  /** Everything the server spoke of is read. */
  get isThrough(): boolean {
    return this.#isIdle || this.#waiting().length === 0;
  }

  /** Another connection: the server is asked for all slots. */
  reconnected(): void {
    this.#version = '0';
  }

  /** Something was lost on its way to PEM: texts travel again. */
  lost(): void {
    this.#statements.forgetSent();
  }

  /** Asks what is new and reads a portion of it. @returns rows read, those read again not among them */
  async step(session: ProfilerSession): Promise<number> {
    const { serverId, limits, clock } = this.#options;
    const { slots, version } = await session.changed(serverId, this.#version);
    this.#version = version;
    for (const [number, end] of slots) {
      const slot = this.#slotOf(number);
      slot.end = end;
      // After a crash of the machine the server may have less than it had.
      if (isBefore(end, slot.sent)) slot.sent = end;
    }
    if (this.#isIdle) return 0;
    if (this.lagBytes > limits.mostLagBytes && !this.#isAgain) await this.skip(session);
    const chosen = this.#waiting().slice(0, limits.readSlots);
    const rows = chosen.length === 0 ? 0 : await this.#read(session, chosen);
    // No row came that would end the interval.
    const idleMs = clock.monotonicMs() - this.#intervalAtMs;
    if (idleMs >= this.travelling.intervalMs + 2 * limits.busyPollMs) await this.flush();
    return rows;
  }

  /** Goes on at the end of each slot. What lies before it is left out and counted. */
  async skip(session: ProfilerSession): Promise<void> {
    const { log, serverId, targetId } = this.#options;
    await this.flush();
    const { slots, rows } = await session.ends(serverId);
    const leftBytes = this.lagBytes;
    for (const [number, file, at] of slots) {
      const end = { file, at };
      Object.assign(this.#slotOf(number), { ...end, end, sent: end });
    }
    const { rowsRead, badRows, rowsSkipped, bytesSkipped } = this.#counts;
    const leftRows = Math.max(0, rows - rowsRead - badRows - rowsSkipped);
    this.#count({
      ...this.#counts,
      rowsSkipped: rowsSkipped + leftRows,
      bytesSkipped: bytesSkipped + leftBytes,
    });
    this.#statements.reset();
    this.#positions.settled(slots, this.#counts);
    log.warn(
      { code: 'trace_skipped', target: targetId, trace: serverId, rows: leftRows, bytes: leftBytes },
      'rows of a trace are left unread',
    );
  }

  /** Ends the interval: what was counted travels. Waits while rows are read again after a restart. */
  async flush(): Promise<void> {
    const { clock, targetId, serverId } = this.#options;
    const { statements, texts } = this.travelling;
    if (this.#isAgain) return;
    const nowMs = clock.monotonicMs();
    const context = {
      recordedAtUs: clock.wallUs(),
      intervalUs: BigInt(this.travelling.intervalMs) * 1000n,
    };
    this.#intervalAtMs = nowMs;
    if (this.#statements.rows === 0) {
      this.#statements.reset();
      return;
    }
    if (statements === undefined) this.#positions.settled([], this.#counts);
    else {
      const taken = await this.#statements.take(
        serverId,
        blockMeta(targetId, statements, context),
        texts === undefined ? undefined : { ...blockMeta(targetId, texts, context), kind: 'delta' },
        nowMs,
      );
      // Texts may come twice, so they need no position.
      this.#options.outbox.put(taken.texts);
      this.#commitAggregates(taken.statements);
    }
    this.#statements.reset();
  }

  /** Positions stay for the next start. */
  close(): void {
    this.#positions.close();
  }

  /** Nothing of the trace is to travel. */
  get #isIdle(): boolean {
    return this.travelling.events === undefined && this.travelling.statements === undefined;
  }

  /** Rows are being read again after a restart. */
  get #isAgain(): boolean {
    return [...this.#slots.values()].some((slot) => isBefore(slot, slot.sent));
  }

  /** In one batch, unless histograms are so long that it takes more: then the last one says that the interval is through. */
  #commitAggregates(blocks: readonly Buffer[]): void {
    const groups: Buffer[][] = [[]];
    let bytes = 0;
    for (const block of blocks) {
      if (bytes + block.length > mostCommitBytes && bytes > 0) {
        groups.push([]);
        bytes = 0;
      }
      groups.at(-1)?.push(block);
      bytes += block.length;
    }
    for (const [i, group] of groups.entries()) {
      const isLast = i === groups.length - 1;
      this.#options.outbox.commit(group, (boot, seq) =>
        this.#positions.writing(boot, seq, [], isLast, this.#counts),
      );
      this.#positions.written();
    }
  }

  async #read(session: ProfilerSession, slots: readonly Slot[]): Promise<number> {
    const { serverId, limits } = this.#options;
    const mostBytes = Math.max(64 * 1024, Math.floor(limits.readBytes / slots.length));
    for (const slot of slots) {
      if (this.#header !== undefined || slot.at === 0) continue;
      await this.#fetchHeader(session, slot);
    }
    const begunMs = performance.now();
    const { stream, pieces } = await session.read(
      serverId,
      slots.map((slot) => ({
        slot: slot.number,
        file: slot.file,
        from: slot.at,
        // Again for the aggregate alone: exactly up to where events had come.
        maxBytes:
          isBefore(slot, slot.sent) && slot.file === slot.sent.file
            ? Math.min(mostBytes, slot.sent.at - slot.at)
            : mostBytes,
      })),
    );
    this.serverMs += performance.now() - begunMs;
    try {
      const given: Piece[] = [];
      for (const [i, slot] of slots.entries()) {
        const bytes = pieces[i] as Buffer;
        if (bytes.length === 0) leave(slot);
        else if (this.#learnHeader(slot, bytes)) {
          given.push({
            slot,
            bytes,
            fromBytes: slot.at,
            ...(slot.at === 0 ? {} : { header: this.#header as Buffer }),
          });
        } else this.#passDamaged(slot, bytes.length);
      }
      const again = given.filter(({ slot }) => isBefore(slot, slot.sent));
      const fresh = given.filter(({ slot }) => !isBefore(slot, slot.sent));
      if (again.length > 0) {
        await this.#statements.add(again);
        for (const piece of again) piece.slot.at += piece.bytes.length;
      }
      return fresh.length === 0 ? 0 : await this.#take(fresh);
    } catch (error) {
      this.#countAgain();
      throw error;
    } finally {
      releaseStream(stream);
    }
  }

  async #fetchHeader(session: ProfilerSession, slot: Slot): Promise<void> {
    const request = { slot: slot.number, file: slot.file, from: 0, maxBytes: headerBytes };
    const { stream, pieces } = await session.read(this.#options.serverId, [request]);
    this.#learnHeader({ ...slot, at: 0 }, pieces[0] as Buffer);
    releaseStream(stream);
  }

  /** Can bytes of this slot be read? Those from a file's beginning on bring the header line themselves. */
  #learnHeader(slot: Slot, bytes: Buffer): boolean {
    if (slot.at > 0) return this.#header !== undefined;
    try {
      const header = csvHeader(bytes);
      if (header !== undefined) this.#header ??= Buffer.from(header);
      return header !== undefined;
    } catch (error) {
      if (errorCode(error) === 'codec_bad_csv') return false;
      throw error;
    }
  }

  /** A portion that nobody can read is left out; of its rows it is not known how many there are. */
  #passDamaged(slot: Slot, bytes: number): void {
    const { log, serverId, targetId } = this.#options;
    log.error(
      {
        code: 'trace_file_damaged',
        target: targetId,
        trace: serverId,
        slot: slot.number,
        file: slot.file,
        at: slot.at,
      },
      'a trace file has no header line; a portion of it is left out',
    );
    const { bytesRead, badRows } = this.#counts;
    const counts = { ...this.#counts, bytesRead: bytesRead + bytes, badRows: badRows + 1 };
    this.#moveTo([[slot, slot.at + bytes]], counts, (slots) => this.#positions.passed(slots, counts));
  }

  /**
   * New rows: counted, in the aggregate, and as events where the trace asks for it. Where an interval ends among them, they
   * are cut there, and the interval's aggregates travel with the position of the cut.
   */
  async #take(pieces: readonly Piece[]): Promise<number> {
    if (this.travelling.statements === undefined) return this.#travel(pieces, undefined);
    if (this.#isAgain) return this.#travel(pieces, await this.#statements.add(pieces));
    let taken = 0;
    let rest = pieces;
    let fromUs: number | undefined;
    for (let cuts = 0; ; cuts += 1) {
      const toUs = await this.#intervalEnd(rest, fromUs);
      const range = { ...(fromUs === undefined ? {} : { fromUs }), toUs };
      const counted = await this.#statements.add(rest, range);
      if (counted.behind === 0) {
        taken += await this.#travel(rest, counted);
        // Far behind, other slots are at other times: the next portion begins its own intervals.
        if (cuts > 1) await this.flush();
        return taken;
      }
      const { head, tail } = await cutAt(rest, toUs, this.#header as Buffer);
      if (head.length > 0) taken += await this.#travel(head, { rows: counted.rows, badRows: 0 });
      await this.flush();
      rest = tail;
      fromUs = toUs;
    }
  }

  /** By the server's clock; of one that has no rows yet it follows from the first of these. */
  async #intervalEnd(pieces: readonly Piece[], fromUs: number | undefined): Promise<number> {
    if (this.#statements.endUs !== null) return this.#statements.endUs;
    const { firstUs, lastUs } = await this.#statements.add(pieces, { fromUs: 0, toUs: 0 });
    if (firstUs === undefined || lastUs === undefined) return Number.MAX_SAFE_INTEGER;
    const beginUs = Math.max(firstUs, fromUs ?? firstUs);
    // Far behind, intervals are longer: rows are not gone through a hundred times.
    const intervalUs = this.travelling.intervalMs * 1000;
    const widthUs = Math.max(1, Math.ceil((lastUs - beginUs) / intervalUs / mostCuts)) * intervalUs;
    this.#statements.endUs = (Math.floor(beginUs / widthUs) + 1) * widthUs;
    this.#intervalAtMs = this.#options.clock.monotonicMs();
    return this.#statements.endUs;
  }

  async #travel(
    pieces: readonly Piece[],
    counted: { readonly rows: number; readonly badRows: number } | undefined,
  ): Promise<number> {
    const { events } = this.travelling;
    if (events !== undefined && this.#mayTravel()) return this.#send(events, pieces);
    const bytes = pieces.reduce((sum, piece) => sum + piece.bytes.length, 0);
    const counts = { ...this.#counts, bytesRead: this.#counts.bytesRead + bytes };
    if (counted !== undefined) {
      counts.rowsRead += counted.rows;
      counts.badRows += counted.badRows;
      if (events !== undefined) counts.eventsDropped += counted.rows;
    }
    this.#moveTo(
      pieces.map((piece) => [piece.slot, piece.slot.at + piece.bytes.length]),
      counts,
      (slots) => this.#positions.passed(slots, counts),
    );
    return counted?.rows ?? 0;
  }

  /** Pieces -> blocks of events, a batch each. */
  async #send(probe: ProbeRuntime, pieces: readonly Piece[]): Promise<number> {
    const { clock, targetId, limits, outbox } = this.#options;
    const columns = probe.columns
      .filter((column) => csvColumns.some(({ name, type }) => name === column.name && type === column.type))
      .map((column) => column.name);
    // A PEM of before knows no such rows, so it gets them whole.
    const eventRows = madeColumns.every((name) => probe.columns.some((column) => column.name === name));
    const intervalUs = BigInt(limits.busyPollMs) * 1000n;
    let rest: readonly Piece[] = pieces;
    let rows = 0;
    while (rest.length > 0) {
      // Rows share texts within a block, which their time of recording names.
      const wallUs = clock.wallUs();
      this.#recordedUs = wallUs > this.#recordedUs ? wallUs : this.#recordedUs + 1n;
      const result = await csvToBlock(
        blockMeta(targetId, probe, { recordedAtUs: this.#recordedUs, intervalUs }),
        rest.map(({ slot: _slot, ...piece }) => piece),
        {
          ...{ columns, eventRows },
          maxTextBytes: limits.eventTextBytes,
          maxBytes: limits.blockBytes,
          skipBadRows: true,
        },
      );
      if (result.usedBytes === 0)
        throw new Error('the reader of trace files takes none of the bytes it was given');
      const counts = {
        ...this.#counts,
        bytesRead: this.#counts.bytesRead + result.usedBytes,
        rowsRead: this.#counts.rowsRead + result.rows,
        badRows: this.#counts.badRows + result.badRows,
        eventsSent: this.#counts.eventsSent + result.rows,
      };
      rows += result.rows;
      this.#eventTokens -= result.rows;
      const { block } = result;
      this.#moveTo(
        rest.map((piece, i) => [piece.slot, piece.slot.at + (result.used[i] ?? 0)]),
        counts,
        (slots) => {
          if (result.rows === 0) return this.#positions.passed(slots, counts);
          const kept = outbox.commit([block], (boot, seq) =>
            this.#positions.writing(boot, seq, slots, false, counts),
          );
          this.#positions.written();
          if (kept) return;
          counts.eventsSent -= result.rows;
          counts.eventsDropped += result.rows;
        },
      );
      rest = restOf(rest, result.used, this.#header as Buffer);
    }
    return rows;
  }

  /** Writes positions down, with or without a batch, and only then believes them. */
  #moveTo(
    moves: readonly (readonly [Slot, number])[],
    counts: RunCounts,
    write: (slots: readonly SlotPosition[]) => void,
  ): void {
    const moved = moves.filter(([slot, at]) => at !== slot.at);
    write(moved.map(([slot, at]) => [slot.number, slot.file, at]));
    for (const [slot, at] of moved) Object.assign(slot, { at, sent: { file: slot.file, at } });
    this.#count(counts);
  }

  #count(counts: RunCounts): void {
    const { stats } = this.#options;
    stats.rowsRead += counts.rowsRead - this.#counts.rowsRead;
    stats.bytesRead += counts.bytesRead - this.#counts.bytesRead;
    stats.eventsSent += counts.eventsSent - this.#counts.eventsSent;
    stats.eventsDropped += counts.eventsDropped - this.#counts.eventsDropped;
    stats.rowsSkipped += counts.rowsSkipped - this.#counts.rowsSkipped;
    this.#counts = counts;
  }

  #mayTravel(): boolean {
    const { clock, outbox, limits } = this.#options;
    const { eventsPerS } = this.travelling;
    const nowMs = clock.monotonicMs();
    const grown = ((nowMs - this.#tokensAtMs) * eventsPerS) / 1000;
    this.#tokensAtMs = nowMs;
    this.#eventTokens = Math.min(eventsPerS, this.#eventTokens + grown);
    return this.#eventTokens > 0 && outbox.backlogShare() < limits.eventsBacklogShare;
  }

  /** The aggregate may have rows whose positions were not written down: they are read again, as after a restart. */
  #countAgain(): void {
    this.#statements.reset();
    if (this.travelling.statements === undefined) return;
    for (const slot of this.#slots.values()) {
      const { file, at } = this.#positions.counted.get(slot.number) ?? { file: 1, at: 0 };
      Object.assign(slot, { file, at });
    }
  }

  #slotOf(number: number): Slot {
    const known = this.#slots.get(number);
    if (known !== undefined) return known;
    const begin = { file: 1, at: 0 };
    const sent = this.#positions.read.get(number) ?? begin;
    const counted = this.#positions.counted.get(number) ?? begin;
    const from = this.travelling.statements === undefined ? sent : counted;
    const slot: Slot = { number, file: from.file, at: from.at, end: sent, sent };
    this.#slots.set(number, slot);
    return slot;
  }

  #waiting(): Slot[] {
    return [...this.#slots.values()].filter((slot) => isBefore(slot, slot.end));
  }
}
