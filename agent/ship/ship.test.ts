/** Ship against a fake connection: order, windows, acknowledgements, refusals. Time is the test's own. */
import { expect, test } from 'vitest';
import { openLog } from '../../src/base/log.js';
import { ModelFs } from '../spool/model_fs.js';
import { ReceivedSet } from '../spool/received.js';
import { Spool, type SpoolOptions } from '../spool/spool.js';
import { Ship, type ShipConnection, type ShipOptions } from './ship.js';

const log = openLog('test');
log.level = 'silent';

class FakePem implements ShipConnection {
  closed = false;
  copies: number[][] = [];
  /** Thrown by the next copies, in order; null lets one through. */
  refusals: (string | null)[] = [];
  /** When set, a COPY waits for it. */
  gate: Promise<void> | null = null;

  async copyIn(_sql: string, pieces: readonly Buffer[]): Promise<number> {
    await this.gate;
    const code = this.refusals.shift() ?? null;
    if (code !== null) throw Object.assign(new Error(code), { code });
    expect(pieces[0]?.toString('latin1').startsWith('PGCOPY\n')).toBe(true);
    expect(pieces.at(-1)).toEqual(Buffer.from([255, 255]));
    const seqs: number[] = [];
    for (let at = 1; at + 1 < pieces.length; at += 2) {
      const payload = pieces[at + 1] as Buffer;
      expect(pieces[at]?.readUInt32BE(2)).toBe(payload.length);
      seqs.push(payload.readUInt32LE(0));
    }
    this.copies.push(seqs);
    return seqs.length;
  }
}

interface Bench {
  spool: Spool;
  received: ReceivedSet;
  ship: Ship;
  pem: FakePem;
  clock: { ms: number };
  add(count: number, bytes?: number): number[];
  settled(): Promise<void>;
}

function bench(options: Partial<ShipOptions & SpoolOptions> = {}, fs = new ModelFs()): Bench {
  const received = new ReceivedSet();
  const clock = { ms: 1_000_000 };
  const spool = new Spool({
    fs,
    agentId: 1,
    received,
    maxBytes: 64 * 1024 * 1024,
    maxAgeMs: 1e12,
    segmentBytes: 256 * 1024,
    report: (problem) => expect.unreachable(problem.message),
    now: () => clock.ms,
    ...options,
  });
  const ship = new Ship({ spool, received, log, now: () => clock.ms, random: () => 0.5, ...options });
  return {
    spool,
    received,
    ship,
    pem: new FakePem(),
    clock,
    add(count, bytes = 100) {
      const seqs: number[] = [];
      for (let at = 0; at < count; at += 1) {
        const batch = spool.append(1, (seq) => {
          const payload = Buffer.alloc(bytes);
          payload.writeUInt32LE(seq, 0);
          return payload;
        });
        if (batch === null) continue;
        ship.offer(batch);
        seqs.push(batch.seq);
      }
      return seqs;
    },
    settled: async () => {
      for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

const upTo = (n: number): number[] => [...Array(n)].map((_, at) => at + 1);

test('what was written while PEM was away goes once, oldest first, several batches a COPY', async () => {
  const { ship, pem, add, settled, clock, received, spool } = bench();
  add(500);
  ship.attach(pem);
  await settled();
  expect(pem.copies.flat()).toEqual(upTo(500));
  expect(pem.copies.length).toBeLessThan(50);
  expect(ship.counts).toMatchObject({ batches: 500, backfilled: 500, resent: 0 });
  // Nothing is done before it is in the received set, and what is in it never goes again.
  received.replace(spool.boot, [[1, 501]]);
  ship.settle(false);
  clock.ms += 3_600_000;
  ship.settle(false);
  await settled();
  expect(pem.copies.flat()).toHaveLength(500);
});

test('live goes ahead of back-fill', async () => {
  const { ship, pem, add, settled } = bench();
  add(3000, 1000);
  let open: () => void = () => undefined;
  pem.gate = new Promise((resolve) => {
    open = resolve;
  });
  ship.attach(pem);
  await settled();
  const [live] = add(1, 50);
  open();
  pem.gate = null;
  await settled();
  const position = pem.copies.findIndex((copy) => copy.includes(live as number));
  expect(position).toBe(1);
  expect(pem.copies[position]).toEqual([live]);
  expect(new Set(pem.copies.flat()).size).toBe(pem.copies.flat().length);
});

test('back-fill stops at its window, live does not', async () => {
  const { ship, pem, add, settled, received, spool } = bench({ windowBytes: 100_000 });
  add(400, 1000);
  ship.attach(pem);
  await settled();
  const sent = pem.copies.flat().length;
  expect(sent).toBeGreaterThanOrEqual(100);
  expect(sent).toBeLessThan(200);
  expect(ship.hungry).toBe(true);
  const [live] = add(1);
  await settled();
  expect(pem.copies.at(-1)).toEqual([live]);
  received.replace(spool.boot, [
    [1, sent + 1],
    [live as number, (live as number) + 1],
  ]);
  ship.settle(false);
  await settled();
  expect(pem.copies.flat().length).toBeGreaterThan(sent + 50);
});

test('what does not appear in the received set is sent again, later and later', async () => {
  const { ship, pem, add, settled, clock, received, spool } = bench({ overdueMs: 5000 });
  ship.attach(pem);
  add(1);
  await settled();
  const resentAt: number[] = [];
  for (let second = 1; second <= 60; second += 1) {
    clock.ms += 1000;
    ship.settle(false);
    await settled();
    if (pem.copies.length > resentAt.length + 1) resentAt.push(second);
  }
  expect(resentAt).toEqual([5, 15, 35]);
  expect(ship.counts.resent).toBe(3);
  received.replace(spool.boot, [[1, 2]]);
  ship.settle(false);
  expect(ship.counts.acknowledged).toBe(1);
});

test('a shrunken received set brings batches back, a new connection those under way', async () => {
  const { ship, pem, add, settled, clock, received, spool } = bench();
  ship.attach(pem);
  add(50);
  await settled();
  received.replace(spool.boot, [[1, 51]]);
  ship.settle(false);
  expect(received.replace(spool.boot, [[1, 11]])).toBe(true);
  spool.receivedShrank();
  pem.copies = [];
  ship.settle(true);
  await settled();
  expect(pem.copies.flat()).toEqual(upTo(50).slice(10));
  ship.detach();
  const next = new FakePem();
  ship.attach(next);
  ship.settle(false);
  await settled();
  expect(next.copies).toEqual([]);
  clock.ms += 2001;
  ship.settle(false);
  await settled();
  expect(next.copies.flat()).toEqual(upTo(50).slice(10));
});

test('a full backlog makes it wait, the live batch stays ahead', async () => {
  const { ship, pem, add, settled, clock } = bench();
  add(3, 1000);
  pem.refusals = [null, 'PE001', 'PE001'];
  ship.attach(pem);
  await settled();
  add(1);
  await settled();
  expect(pem.copies).toEqual([[1, 2, 3]]);
  clock.ms += 50;
  add(1);
  await settled();
  expect(pem.copies).toHaveLength(1);
  for (let step = 0; step < 10 && pem.copies.length === 1; step += 1) {
    clock.ms += 1000;
    ship.settle(false);
    await settled();
  }
  expect(pem.copies.slice(1).flat()).toEqual([4, 5]);
  expect(ship.counts.errors).toBe(2);
});

test('a batch that PEM will never take is found, set aside and not sent again; the others go', async () => {
  const { ship, pem, add, settled, clock } = bench({ overdueMs: 1e9 });
  add(3);
  pem.refusals = ['PE002', null, 'PE002'];
  ship.attach(pem);
  await settled();
  expect(pem.copies.flat()).toEqual([1, 3]);
  expect(ship.counts.setAside).toBe(1);
  clock.ms += 60_000;
  ship.settle(false);
  await settled();
  expect(pem.copies.flat()).toEqual([1, 3]);
});

test('a COPY cut off with its connection goes again on the next one', async () => {
  const { ship, pem, add, settled } = bench();
  ship.attach(pem);
  pem.refusals = ['connection_lost'];
  const broken = pem.copyIn.bind(pem);
  pem.copyIn = async (sql, pieces) => {
    pem.closed = true;
    return broken(sql, pieces);
  };
  add(2);
  await settled();
  ship.detach();
  expect(pem.copies).toEqual([]);
  const next = new FakePem();
  ship.attach(next);
  await settled();
  expect(next.copies.flat()).toEqual([1, 2]);
});

test('batches of earlier boots go first, under their own boot', async () => {
  const fs = new ModelFs();
  const first = bench({}, fs);
  first.add(3);
  const second = bench({}, fs);
  second.add(2);
  second.ship.attach(second.pem);
  await second.settled();
  expect(second.pem.copies.flat()).toEqual([1, 2, 3, 1, 2]);
  expect(second.spool.boots()).toEqual([first.spool.boot, second.spool.boot]);
});
