/**
 * One topic: (target, probe). In: the blocks of commits, in the order the ingesters hand them over, and snapshots; out:
 * frames. It owns the numbers of its frames and the states of its members:
 *
 *   waiting ──snapshot──> joining ──first frame the snapshot does not cover──> live
 *      ^                     |                                                   |
 *      +── slow reader, late data, new epoch, not verified (then `stalled` until that is over) ──+
 *
 * Invariants:
 * 1. A member gets a snapshot first, then every frame whose commit the snapshot does not cover, in order, once. Frames up
 *    to `job.n0`, the number when the read began, were published after their commit, so the snapshot has them; of later
 *    ones pem.received of the snapshot's transaction decides exactly. Covered ones are no prefix: read again.
 * 2. Frames of a topic are numbered without a hole; a frame names its predecessor as this member has it.
 * 3. What a reader cannot apply (a late delta, an unknown boot) becomes a snapshot, at most one a second and topic.
 * 4. Memory: frames are kept only while a read runs, at most `maxHeldFrames`; beyond them the read begins again.
 */
import type { CommitEntry } from './commit.js';
import { encodeFrame, frameKind, withPrevious } from './frame.js';
import { type Arrivals, type Mark, Order, type ReceivedSet } from './received.js';

export type SendResult = 'sent' | 'queued' | 'dropped' | 'closed';

/** A browser's connection, as src/http makes it. */
export interface PushSocket {
  readonly isOpen: boolean;
  readonly backlogBytes: number;
  send(message: string | Uint8Array): SendResult;
  /** Joins or leaves a set of sockets that one `publish` reaches. */
  subscribe(set: string): void;
  unsubscribe(set: string): void;
  close(code: number, reason: string): void;
}

/** Sends to all sockets of a set in one call: the engine's own loop costs less than ours. */
export interface Publisher {
  publish(set: string, message: Uint8Array): void;
}

export interface Snapshot {
  /** One full block. */
  readonly block: Uint8Array;
  readonly received: ReceivedSet;
  /** pem.probe_state of the same transaction, by scope. */
  readonly marks: ReadonlyMap<string, Mark>;
}

export interface Member {
  readonly username: string;
  readonly topic: Topic;
  /** Sends and counts; 'dropped' where the socket's backlog is full. */
  send(frame: Uint8Array): SendResult;
  /** Sends a frame of the stream with the commit that is being handed out. */
  deliver(frame: Uint8Array): void;
  state: 'waiting' | 'joining' | 'live' | 'stalled';
  job: SnapshotJob | undefined;
  covers: ReceivedSet | undefined;
  lastN: number;
}

interface Frame {
  readonly n: number;
  readonly bytes: Buffer;
  readonly entries: readonly CommitEntry[];
}

/** One read for the members of one user. */
export interface SnapshotJob {
  readonly username: string;
  readonly topic: Topic;
  readonly members: Set<Member>;
  epoch: number;
  n0: number;
  frames: Frame[];
  /** It will miss something: it has to begin again. */
  isStale: boolean;
}

const maxHeldFrames = 256;
const gapPauseMs = 1000;

export interface TopicHost {
  /** A frame for all who are live before this commit. */
  publish(topic: Topic, frame: Buffer): void;
  /** The member went live, or is no longer: it counts from the next commit on. */
  changed(member: Member): void;
  readonly arrivals: Arrivals;
  readonly epoch: number;
  /** Members that wait want a snapshot now. */
  requestSnapshot(member: Member): void;
  /** A direct send was refused: the socket is slow. */
  slow(member: Member): void;
}

export class Topic {
  readonly target: bigint;
  readonly probe: string;
  readonly name: string;
  readonly members = new Set<Member>();
  readonly #host: TopicHost;
  readonly probeBytes: Buffer;
  readonly #order = new Order();
  readonly #joining = new Set<Member>();
  readonly #jobs = new Set<SnapshotJob>();
  #n = 0;
  #gapTimer: NodeJS.Timeout | undefined;
  #gapAtMs = -gapPauseMs;

  constructor(host: TopicHost, target: bigint, probe: string) {
    this.#host = host;
    this.target = target;
    this.probe = probe;
    this.name = topicName(target, probe);
    this.probeBytes = Buffer.from(probe);
  }

  /** Publishes the blocks of one commit as one frame. */
  commit(entries: readonly CommitEntry[]): void {
    const kept: CommitEntry[] = [];
    let isLate = false;
    for (const entry of entries) {
      const verdict = this.#order.judge(entry, this.#host.arrivals);
      if (verdict === 'late') isLate = true;
      if (verdict !== 'past') kept.push(entry);
    }
    // A read that runs may not have what nobody else needs any more: it begins again.
    if (kept.length < entries.length || isLate) for (const job of this.#jobs) job.isStale = true;
    if (kept.length === 0) return;
    const prev = this.#n;
    // 32 bits: at one frame a second they last 136 years.
    this.#n = prev + 1;
    if (isLate) this.gap();
    else this.#publish(kept, prev);
  }

  #publish(entries: readonly CommitEntry[], prev: number): void {
    const blocks = entries.map((entry) => entry.block);
    const bytes = encodeFrame(frameKind.blocks, this, this.#host.epoch, this.#n, prev, blocks);
    this.#host.publish(this, bytes);
    if (this.#jobs.size === 0 && this.#joining.size === 0) return;
    const frame = { n: this.#n, bytes, entries };
    for (const job of this.#jobs) {
      if (job.frames.length < maxHeldFrames) job.frames.push(frame);
      else job.isStale = true;
    }
    for (const member of this.#joining) {
      if (member.covers === undefined || isCovered(frame, member.covers)) continue;
      member.deliver(member.lastN === prev ? bytes : withPrevious(bytes, member.lastN));
      this.#joining.delete(member);
      this.#goLive(member);
    }
  }

  /** A read for this topic begins now. */
  begin(job: SnapshotJob): void {
    job.epoch = this.#host.epoch;
    job.n0 = this.#n;
    job.frames = [];
    job.isStale = false;
    this.#jobs.add(job);
  }

  /** The read is over. `undefined`: the user does not see the target, or there is no such probe. */
  finish(job: SnapshotJob, snapshot: Snapshot | undefined): void {
    this.#jobs.delete(job);
    const members = [...job.members].filter((member) => member.job === job && member.state === 'waiting');
    for (const member of members) member.job = undefined;
    if (snapshot === undefined) {
      for (const member of members) this.deny(member);
      return;
    }
    this.#host.arrivals.learn(snapshot.received);
    const first = job.frames.findIndex((frame) => !isCovered(frame, snapshot.received));
    const rest = first < 0 ? [] : job.frames.slice(first);
    const isStale = job.isStale || job.epoch !== this.#host.epoch;
    if (
      isStale ||
      rest.some((frame) => isTouched(frame, snapshot.received)) ||
      !this.#isNext(rest, snapshot)
    ) {
      this.#schedule();
      return;
    }
    const n = rest.length === 0 ? (job.frames.at(-1)?.n ?? job.n0) : (rest[0] as Frame).n - 1;
    const bytes = encodeFrame(frameKind.snapshot, this, this.#host.epoch, n, 0, [snapshot.block]);
    for (const member of members) this.#welcome(member, bytes, n, rest, snapshot.received);
  }

  /** Begins the order with the first snapshot; frames that came before it were not judged yet. */
  #isNext(rest: readonly Frame[], snapshot: Snapshot): boolean {
    if (this.#order.isKnown) return true;
    this.#order.begin(snapshot.marks);
    const entries = rest.flatMap((frame) => frame.entries);
    if (entries.every((entry) => this.#order.judge(entry, this.#host.arrivals) === 'next')) return true;
    this.#order.reset();
    return false;
  }

  /** The read failed: its members wait, whoever drives the reads tries again. @returns who waits */
  abandon(job: SnapshotJob): Member[] {
    this.#jobs.delete(job);
    const members = [...job.members].filter((member) => member.job === job);
    for (const member of members) member.job = undefined;
    return members;
  }

  #welcome(member: Member, snapshot: Buffer, n: number, rest: readonly Frame[], received: ReceivedSet): void {
    for (const bytes of [snapshot, ...rest.map((frame) => frame.bytes)]) {
      if (member.send(bytes) === 'dropped') {
        this.#host.slow(member);
        return;
      }
    }
    if (rest.length > 0) this.#goLive(member);
    else {
      member.state = 'joining';
      member.covers = received;
      member.lastN = n;
      this.#joining.add(member);
    }
  }

  #goLive(member: Member): void {
    member.state = 'live';
    member.covers = undefined;
    this.#host.changed(member);
  }

  /** Takes a member off the stream; a snapshot brings it back. */
  hold(member: Member, state: 'waiting' | 'stalled'): void {
    if (member.state === 'live') this.#host.changed(member);
    this.#joining.delete(member);
    member.covers = undefined;
    member.job?.members.delete(member);
    member.job = undefined;
    member.state = state;
  }

  /** Everybody gets a fresh snapshot; at most once a second. */
  gap(): void {
    for (const member of this.members) {
      if (member.state === 'live' || member.state === 'joining') this.hold(member, 'waiting');
    }
    this.#schedule();
  }

  /** Members that wait without a read get one, at most once a second. */
  #schedule(): void {
    if (this.#gapTimer !== undefined) return;
    const waitMs = Math.max(0, this.#gapAtMs + gapPauseMs - performance.now());
    this.#gapTimer = setTimeout(() => {
      this.#gapTimer = undefined;
      this.#gapAtMs = performance.now();
      for (const member of this.members) {
        if (member.state === 'waiting' && member.job === undefined) this.#host.requestSnapshot(member);
      }
    }, waitMs);
  }

  /** A new epoch: what was lost is unknown, so is the order. */
  restart(): void {
    this.#order.reset();
    this.gap();
  }

  /** Tells a member that the target is not visible and lets it go. */
  deny(member: Member): void {
    this.remove(member);
    member.send(encodeFrame(frameKind.denied, this, this.#host.epoch, this.#n, 0, []));
  }

  remove(member: Member): void {
    this.hold(member, 'stalled');
    this.members.delete(member);
  }

  /** True where nobody needs it any more. */
  get isIdle(): boolean {
    return this.members.size === 0 && this.#jobs.size === 0;
  }

  close(): void {
    clearTimeout(this.#gapTimer);
  }
}

export function topicName(target: bigint | number, probe: string): string {
  return `${target}/${probe}`;
}

/** All of a frame is one commit: covered whole or not at all, unless the set was changed by hand. */
function isCovered(frame: Frame, received: ReceivedSet): boolean {
  return frame.entries.every((entry) => received.has(entry));
}

function isTouched(frame: Frame, received: ReceivedSet): boolean {
  return frame.entries.some((entry) => received.has(entry));
}
