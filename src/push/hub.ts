/**
 * The middle of push: commits of ingesters in, frames to browsers out. It owns topics, clients and the reads that
 * make snapshots. A commit leaves in one turn of the loop, all its frames for a browser in one message: a send costs
 * what twenty frames cost. Browsers that are live on the same topics are a group and share the message's bytes.
 *
 * Invariants:
 * 1. A client gets frames of targets its user sees: each subscription's snapshot is read as that user, and `setVisible`
 *    takes away what is not seen any more. While a user cannot be verified, nothing is sent (`setVisible(undefined)`).
 * 2. A slow client costs at most its backlog's bound: what does not fit is dropped, its topics are held until the
 *    backlog has drained, then it gets snapshots. Slow for more than `slowMs`: closed.
 * 3. At most `maxReads` snapshots are read at once; members of one user that wait for the same topic share one.
 * 4. What a client sends is bounded (size, subscriptions) and refused with a code; it never throws.
 */
import { errorCode, errorText } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { CommitEntry } from './commit.js';
import { Arrivals } from './received.js';
import { parseRequest } from './request.js';
import {
  type Member,
  type Publisher,
  type PushSocket,
  type SendResult,
  type Snapshot,
  type SnapshotJob,
  Topic,
  type TopicHost,
  topicName,
} from './topic.js';

export interface SnapshotSource {
  /** Latest rows as the user sees them; undefined where the user does not see the target or there is no such probe. */
  read(username: string, target: bigint, probe: string): Promise<Snapshot | undefined>;
}

export interface HubOptions {
  readonly publisher: Publisher;
  readonly source: SnapshotSource;
  readonly log: Log;
  readonly maxSubscriptions?: number;
  readonly maxReads?: number;
  /** A backlog above this gets no snapshot until it has drained. */
  readonly calmBytes?: number;
  readonly slowMs?: number;
  readonly retryMs?: number;
}

/** Clients that are live on the same topics: one set of the engine's, named by `key`. */
interface Group {
  readonly key: string;
  readonly topics: ReadonlySet<Topic>;
  readonly clients: Set<Client>;
}

export interface Client {
  readonly socket: PushSocket;
  readonly username: string;
  readonly members: Map<string, Member>;
  slowSinceMs: number | undefined;
  isVerified: boolean;
  /** Frames of this commit for this client alone: of topics that it joins. */
  outbox: Uint8Array[];
  group: Group | undefined;
  isSending: boolean;
  isStalling: boolean;
  /** Version of the fleet's states that it has; 0: none. */
  fleet: number;
}

/** States of agents and servers for one user's clients. */
export interface FleetNews {
  readonly version: number;
  whole(): string;
  /** What is new since the version before; undefined: the whole is to be sent. */
  readonly change: string | undefined;
}

export class PushHub implements TopicHost {
  readonly arrivals = new Arrivals();
  readonly #publisher: Publisher;
  readonly #source: SnapshotSource;
  readonly #log: Log;
  readonly #maxSubscriptions: number;
  readonly #maxReads: number;
  readonly #calmBytes: number;
  readonly #slowMs: number;
  readonly #retryMs: number;
  readonly #topics = new Map<string, Topic>();
  readonly #clients = new Set<Client>();
  readonly #queue: SnapshotJob[] = [];
  readonly #owners = new WeakMap<Member, Client>();
  readonly #groups = new Map<string, Group>();
  /** Clients whose group is no longer right; put right before the next commit. */
  readonly #changed = new Set<Client>();
  /** Of the commit that is being handed out. */
  #published: { topic: Topic; frame: Buffer }[] = [];
  #joining: Client[] = [];
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #counts = { framesSent: 0, framesDropped: 0, bytesSent: 0, snapshots: 0, commits: 0, gaps: 0 };
  #epoch = 1;
  #reads = 0;
  #stopped = false;

  constructor(options: HubOptions) {
    this.#publisher = options.publisher;
    this.#source = options.source;
    this.#log = options.log;
    this.#maxSubscriptions = options.maxSubscriptions ?? 200;
    this.#maxReads = options.maxReads ?? 3;
    this.#calmBytes = options.calmBytes ?? 64 * 1024;
    this.#slowMs = options.slowMs ?? 60_000;
    this.#retryMs = options.retryMs ?? 500;
  }

  get epoch(): number {
    return this.#epoch;
  }

  get stats(): Readonly<Record<'sockets' | 'topics' | 'framesSent' | 'framesDropped' | 'bytesSent', number>> {
    const { framesSent, framesDropped, bytesSent } = this.#counts;
    return { sockets: this.#clients.size, topics: this.#topics.size, framesSent, framesDropped, bytesSent };
  }

  get clients(): ReadonlySet<Client> {
    return this.#clients;
  }

  attach(socket: PushSocket, username: string): Client {
    const client: Client = {
      socket,
      username,
      members: new Map(),
      slowSinceMs: undefined,
      isVerified: true,
      outbox: [],
      group: undefined,
      isSending: false,
      isStalling: false,
      fleet: 0,
    };
    this.#clients.add(client);
    return client;
  }

  detach(client: Client): void {
    this.#clients.delete(client);
    this.#ungroup(client);
    for (const member of client.members.values()) this.#leave(member);
    client.members.clear();
    this.#changed.delete(client);
  }

  /** A message of a browser. */
  message(client: Client, text: string | undefined): void {
    const request = parseRequest(text, this.#maxSubscriptions);
    if ('error' in request) {
      this.#sendTo(client, JSON.stringify({ error: request.error }));
      return;
    }
    for (const { target, probe } of request.unsubscribe) {
      const member = client.members.get(topicName(target, probe));
      if (member === undefined) continue;
      client.members.delete(topicName(target, probe));
      this.#leave(member);
    }
    for (const { target, probe } of request.subscribe) this.#subscribe(client, BigInt(target), probe);
    for (const { target, probe } of request.resnapshot) {
      const member = client.members.get(topicName(target, probe));
      if (member === undefined || (member.state !== 'live' && member.state !== 'joining')) continue;
      this.#counts.gaps++;
      member.topic.hold(member, 'waiting');
      this.requestSnapshot(member);
    }
  }

  #subscribe(client: Client, target: bigint, probe: string): void {
    const name = topicName(target, probe);
    if (client.members.has(name)) return;
    if (client.members.size >= this.#maxSubscriptions) {
      const message = `a connection has at most ${this.#maxSubscriptions} subscriptions`;
      const error = { code: 'too_many_subscriptions', message, target: Number(target), probe };
      this.#sendTo(client, JSON.stringify({ error }));
      return;
    }
    let topic = this.#topics.get(name);
    if (topic === undefined) {
      topic = new Topic(this, target, probe);
      this.#topics.set(name, topic);
    }
    const member: Member = {
      username: client.username,
      topic,
      send: (frame) => this.#sendTo(client, frame),
      deliver: (frame) => {
        if (client.outbox.length === 0) this.#joining.push(client);
        client.outbox.push(frame);
      },
      state: 'waiting',
      job: undefined,
      covers: undefined,
      lastN: 0,
    };
    client.members.set(name, member);
    this.#owners.set(member, client);
    topic.members.add(member);
    if (client.isVerified && client.slowSinceMs === undefined) this.requestSnapshot(member);
    else topic.hold(member, 'stalled');
  }

  #leave(member: Member): void {
    member.topic.remove(member);
    this.#sweep(member.topic);
  }

  #sweep(topic: Topic): void {
    if (!topic.isIdle || this.#topics.get(topic.name) !== topic) return;
    topic.close();
    this.#topics.delete(topic.name);
  }

  #sendTo(client: Client, message: string | Uint8Array): SendResult {
    client.isSending = true;
    const result = client.socket.send(message);
    client.isSending = false;
    if (result === 'dropped') this.#counts.framesDropped++;
    else if (result !== 'closed') {
      this.#counts.framesSent++;
      this.#counts.bytesSent += message.length;
    }
    return result;
  }

  /** One commit: its blocks by topic, all published in this turn of the loop. Topics without members cost a look-up. */
  commit(entries: readonly CommitEntry[]): void {
    this.#counts.commits++;
    const byTopic = new Map<Topic, CommitEntry[]>();
    for (const entry of entries) {
      const topic = this.#topics.get(topicName(entry.target, entry.probe));
      if (topic === undefined) continue;
      const list = byTopic.get(topic);
      if (list === undefined) byTopic.set(topic, [entry]);
      else list.push(entry);
    }
    this.#regroup();
    for (const [topic, list] of byTopic) topic.commit(list);
    this.#flush();
  }

  publish(topic: Topic, frame: Buffer): void {
    this.#published.push({ topic, frame });
  }

  changed(member: Member): void {
    const client = this.#owners.get(member);
    if (client !== undefined) this.#changed.add(client);
  }

  #regroup(): void {
    for (const client of this.#changed) {
      this.#ungroup(client);
      const live = [...client.members.values()].filter((member) => member.state === 'live');
      if (live.length === 0) continue;
      const topics = live.map((member) => member.topic).sort((a, b) => (a.name < b.name ? -1 : 1));
      const key = topics.map((topic) => topic.name).join(' ');
      const group = this.#groups.get(key) ?? { key, topics: new Set(topics), clients: new Set() };
      this.#groups.set(key, group);
      group.clients.add(client);
      client.group = group;
      client.socket.subscribe(key);
    }
    this.#changed.clear();
  }

  #ungroup(client: Client): void {
    const group = client.group;
    if (group === undefined) return;
    client.group = undefined;
    client.socket.unsubscribe(group.key);
    group.clients.delete(client);
    if (group.clients.size === 0) this.#groups.delete(group.key);
  }

  #flush(): void {
    const published = this.#published;
    this.#published = [];
    for (const group of published.length === 0 ? [] : this.#groups.values()) {
      const frames = published.filter(({ topic }) => group.topics.has(topic)).map(({ frame }) => frame);
      if (frames.length === 0) continue;
      for (const message of bundle(frames)) {
        this.#publisher.publish(group.key, message);
        this.#counts.bytesSent += message.length * group.clients.size;
      }
      this.#counts.framesSent += frames.length * group.clients.size;
    }
    for (const client of this.#joining.splice(0)) {
      const frames = client.outbox;
      client.outbox = [];
      for (const frame of frames) {
        if (this.#sendTo(client, frame) !== 'dropped') continue;
        this.#stall(client);
        break;
      }
    }
  }

  /**
   * An ingester's messages were lost. Everything starts anew from the database, at once and again a little later: a
   * commit that was on its way when the ingester died can land after the first look.
   */
  lost(reason: string): void {
    this.#log.warn({ code: 'push_lost', reason }, 'messages of an ingester were lost; topics start anew');
    this.#restart();
    this.#later(3000, () => this.#restart());
  }

  /** An ingester begins to hand over: commits before that are in the database alone. */
  joined(name: string): void {
    this.#log.info({ ingester: name }, 'an ingester hands over its commits');
    this.#restart();
  }

  #restart(): void {
    this.#epoch++;
    for (const topic of this.#topics.values()) topic.restart();
  }

  #later(delayMs: number, work: () => void): void {
    if (this.#stopped) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      work();
    }, delayMs);
    this.#timers.add(timer);
  }

  // --- slow clients -------------------------------------------------------------------------------------------------

  /** A direct send was refused: its member waits for the drain; what the others got is whole. */
  slow(member: Member): void {
    const client = this.#owners.get(member);
    member.topic.hold(member, 'stalled');
    if (client === undefined) return;
    client.slowSinceMs ??= performance.now();
    setImmediate(() => this.drained(client));
  }

  /** The engine dropped a message that was published. */
  dropped(client: Client): void {
    if (client.isSending) return;
    this.#counts.framesDropped++;
    this.#stall(client);
  }

  /**
   * Every topic of the client begins again when its backlog has drained. Not in this turn: the engine may be in the
   * middle of a publish.
   */
  #stall(client: Client): void {
    client.slowSinceMs ??= performance.now();
    if (client.isStalling) return;
    client.isStalling = true;
    setImmediate(() => {
      client.isStalling = false;
      for (const member of client.members.values()) member.topic.hold(member, 'stalled');
      this.drained(client);
    });
  }

  drained(client: Client): void {
    if (client.isStalling) return;
    if (client.slowSinceMs !== undefined && client.socket.backlogBytes <= this.#calmBytes)
      this.#resume(client);
  }

  #resume(client: Client): void {
    client.slowSinceMs = undefined;
    if (!client.isVerified || !client.socket.isOpen) return;
    for (const member of client.members.values()) {
      if (member.state === 'stalled') this.requestSnapshot(member);
    }
  }

  // --- visibility ---------------------------------------------------------------------------------------------------

  /** What the user sees now; undefined where that could not be found out in time. */
  setVisible(client: Client, targets: ReadonlySet<bigint> | undefined): void {
    if (targets === undefined) {
      client.isVerified = false;
      for (const member of client.members.values()) member.topic.hold(member, 'stalled');
      return;
    }
    for (const [name, member] of client.members) {
      if (targets.has(member.topic.target)) continue;
      client.members.delete(name);
      member.topic.deny(member);
      this.#sweep(member.topic);
    }
    const wasVerified = client.isVerified;
    client.isVerified = true;
    if (!wasVerified && client.slowSinceMs === undefined) this.#resume(client);
    if (client.slowSinceMs !== undefined && performance.now() - client.slowSinceMs > this.#slowMs) {
      client.socket.close(1013, 'too slow');
    }
  }

  /** Agents and servers for the client, where it does not have them yet. */
  sendFleet(client: Client, news: FleetNews): void {
    if (client.fleet === news.version || client.slowSinceMs !== undefined) return;
    const text = client.fleet === news.version - 1 && client.fleet > 0 ? news.change : undefined;
    if (this.#sendTo(client, text ?? news.whole()) !== 'dropped') client.fleet = news.version;
  }

  // --- snapshots ----------------------------------------------------------------------------------------------------

  requestSnapshot(member: Member): void {
    if (this.#stopped) return;
    member.state = 'waiting';
    let job = this.#queue.find(
      (queued) => queued.topic === member.topic && queued.username === member.username,
    );
    if (job === undefined) {
      job = {
        username: member.username,
        topic: member.topic,
        members: new Set(),
        epoch: 0,
        n0: 0,
        frames: [],
        isStale: false,
      };
      this.#queue.push(job);
    }
    job.members.add(member);
    member.job = job;
    // Not in this turn: subscriptions of one message to the same topic, and of many clients, share the read.
    setImmediate(() => this.#pump());
  }

  #pump(): void {
    while (this.#reads < this.#maxReads && !this.#stopped) {
      const job = this.#queue.shift();
      if (job === undefined) return;
      if (job.members.size === 0) {
        this.#sweep(job.topic);
        continue;
      }
      this.#reads++;
      void this.#read(job).finally(() => {
        this.#reads--;
        this.#sweep(job.topic);
        this.#pump();
      });
    }
  }

  async #read(job: SnapshotJob): Promise<void> {
    const { topic, username } = job;
    topic.begin(job);
    let snapshot: Snapshot | undefined;
    try {
      snapshot = await this.#source.read(username, topic.target, topic.probe);
    } catch (error) {
      const detail = { code: errorCode(error), error: errorText(error), topic: topic.name };
      this.#log.warn(detail, 'a snapshot could not be read; trying again');
      const waiting = topic.abandon(job);
      this.#later(this.#retryMs, () => {
        for (const member of waiting) {
          if (member.state === 'waiting' && member.job === undefined) this.requestSnapshot(member);
        }
      });
      return;
    }
    this.#counts.snapshots++;
    const members = [...job.members];
    topic.finish(job, snapshot);
    if (snapshot !== undefined) return;
    for (const member of members) this.#owners.get(member)?.members.delete(topic.name);
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const topic of this.#topics.values()) topic.close();
  }
}

/** More in one message would overshoot the bound of the backlog, and leaves in several packets anyway. */
const maxMessageBytes = 64 * 1024;

/** The frames of a commit as one message, or each as its own where that would be too large. */
function bundle(frames: readonly Buffer[]): readonly Buffer[] {
  const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
  return frames.length === 1 || bytes > maxMessageBytes ? frames : [Buffer.concat(frames, bytes)];
}
