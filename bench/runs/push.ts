/**
 * push: what a delivery costs. 20 topics, each updated by one commit with a block of 500 bytes, 200 subscribers of all
 * of them: 4,000 deliveries a commit, 25 commits a second. Servers are processes of their own and count their CPU
 * (user + system); the 200 browsers are one more process, raw TCP, and count the bytes, so that a delivery that did not
 * happen is noticed. The four servers take turns; figures are medians, ratios are medians of the ratios of one turn.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { ReaderOrder } from '../load/push_reader.js';
import type { PushCost, PushOrder, PushVariant } from '../load/push_server.js';
import { atLeast, type BenchOptions, type BenchResult, median } from '../report.js';

const subscribers = 200;
const topics = 20;
const everyMs = 40;
const variants: readonly PushVariant[] = ['bare', 'ours', 'joined', 'plain'];

const file = (name: string): string => fileURLToPath(new URL(`../load/${name}.js`, import.meta.url));

/** The child's next message; fails where the child ends instead. */
function next<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const onExit = (): void => reject(new Error('a process of the benchmark ended'));
    child.once('exit', onExit);
    child.once('message', (message) => {
      child.off('exit', onExit);
      resolve(message as T);
    });
  });
}

interface Stage {
  readonly server: ChildProcess;
  readonly reader: ChildProcess;
  readonly frameBytes: number;
}

async function count(stage: Stage): Promise<number> {
  stage.reader.send('count');
  return (await next<{ bytes: number }>(stage.reader)).bytes;
}

async function push(stage: Stage, commits: number, paceMs = everyMs): Promise<PushCost> {
  stage.server.send({ commits, everyMs: paceMs } satisfies PushOrder);
  return next<PushCost>(stage.server);
}

async function open(variant: PushVariant): Promise<Stage> {
  const server = fork(file('push_server'), [variant]);
  const { port, frameBytes } = await next<{ port: number; frameBytes: number }>(server);
  const reader = fork(file('push_reader'));
  reader.send({ port, clients: subscribers, subscribes: variant === 'ours' } satisfies ReaderOrder);
  await next(reader);
  const stage = { server, reader, frameBytes };
  // Lets our topics' members pass from their snapshot to the stream, and compiles what is hot: these processes run for
  // weeks. Plain `ws` calls its send() 4,000 times a commit and needs fewer.
  await push(stage, variant === 'plain' ? 25 : 400, variant === 'plain' ? everyMs : 6);
  return stage;
}

export async function run({ quick, progress }: BenchOptions): Promise<BenchResult> {
  const rounds = quick ? 5 : 9;
  const commits = quick ? 25 : 60;
  const stages = new Map<PushVariant, Stage>();
  const costs = new Map<PushVariant, number[]>(variants.map((variant) => [variant, []]));
  try {
    for (const variant of variants) stages.set(variant, await open(variant));
    for (let round = 0; round < rounds; round++) {
      // Turns change direction, so that a slow moment of the machine falls on both sides.
      for (const variant of round % 2 === 0 ? variants : [...variants].reverse()) {
        const stage = stages.get(variant) as Stage;
        const before = await count(stage);
        const cost = await push(stage, commits);
        const bytes = (await count(stage)) - before;
        // A WebSocket header per message: ours sends the frames of a commit as one.
        const headers = 4 * (variant === 'ours' ? cost.deliveries / topics : cost.deliveries);
        const expected = cost.deliveries * stage.frameBytes + headers;
        if (bytes !== expected) throw new Error(`${variant}: ${bytes} bytes arrived, ${expected} were to`);
        costs.get(variant)?.push(cost.cpuUs / cost.deliveries);
      }
      progress(
        `round ${round + 1}/${rounds}: ${variants.map((v) => `${v} ${costs.get(v)?.at(-1)?.toFixed(2)}`).join(', ')} µs a delivery`,
      );
    }
  } finally {
    for (const { server, reader } of stages.values()) {
      reader.kill();
      server.kill();
    }
  }
  const of = (variant: PushVariant): readonly number[] => costs.get(variant) ?? [];
  const ratio = (variant: PushVariant): number =>
    median(of('ours').map((ours, i) => (of(variant)[i] ?? 0) / ours));
  const figures: Record<string, number> = { subscribers, topics, deliveriesPerCommit: subscribers * topics };
  for (const variant of variants)
    figures[`${variant}CpuUsPerDelivery`] = Number(median(of(variant)).toFixed(3));
  return {
    figures,
    bars: [
      atLeast('deliveries per CPU second: ours / bare uWebSockets.js', ratio('bare'), 0.8),
      atLeast('deliveries per CPU second: ours / ws with one joined write', ratio('joined'), 1.0),
    ],
  };
}
