/**
 * The spool against a model file system that loses, tears and reorders what was not synced, against calls that fail once,
 * a full disk, foreign files, and the real file system. Seeds are printed with every failure.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { nodeFs } from './fs.js';
import { lockSpool } from './lock.js';
import { ModelFs, seededRandom } from './model_fs.js';
import { ReceivedSet } from './received.js';
import {
  encodeSegmentHeader,
  recordHeaderBytes,
  recordSize,
  segmentHeaderBytes,
  segmentName,
} from './segment.js';
import { Spool, type SpoolOptions, type StoredBatch } from './spool.js';

interface Opened {
  spool: Spool;
  received: ReceivedSet;
  problems: string[];
}

let clockMs = 1_700_000_000_000;
let boots = 0;

function open(fs: SpoolOptions['fs'], options: Partial<SpoolOptions> = {}): Opened {
  const received = options.received ?? new ReceivedSet();
  const problems: string[] = [];
  boots += 1;
  const spool = new Spool({
    fs,
    agentId: 7,
    received,
    maxBytes: 64 * 1024,
    maxAgeMs: 86_400_000,
    segmentBytes: 8 * 1024,
    report: (problem) => problems.push(`${problem.code} ${problem.file} ${problem.offset}`),
    now: () => clockMs,
    boot: `00000000-0000-4000-8000-${boots.toString(16).padStart(12, '0')}`,
    ...options,
  });
  return { spool, received, problems };
}

async function readAll(spool: Spool, skip = (): boolean => false): Promise<StoredBatch[]> {
  const cursor = { segment: 0, offset: 0 };
  const all: StoredBatch[] = [];
  for (;;) {
    const batches = await spool.read(cursor, skip, 4096);
    if (batches.length === 0) return all;
    all.push(...batches);
  }
}

function fill(spool: Spool, count: number, bytes = 1000): number[] {
  const kept: number[] = [];
  for (let at = 0; at < count; at += 1) {
    const batch = spool.append(3, (seq) => Buffer.alloc(bytes, seq & 0xff));
    if (batch !== null) kept.push(batch.seq);
  }
  return kept;
}

/** One random life of a spool: appends, syncs, acknowledgements, crashes, restarts, against what must be true. */
async function live(seed: number, steps: number): Promise<void> {
  const random = seededRandom(seed);
  const fs = new ModelFs();
  const written = new Map<string, Buffer>();
  const bootOrder: string[] = [];
  let safe = new Set<string>();
  let { spool, received } = open(fs);
  let lastSeq = 0;
  bootOrder.push(spool.boot);
  const pick = (limit: number): number => Math.floor(random() * limit);
  const check = async (): Promise<void> => {
    const batches = await readAll(spool);
    let position = -1;
    let previous = 0;
    const found = new Set<string>();
    for (const batch of batches) {
      const key = `${batch.boot}/${batch.seq}`;
      expect(batch.payload.equals(written.get(key) as Buffer), `${key} was altered`).toBe(true);
      const boot = bootOrder.indexOf(batch.boot);
      expect(boot >= position, 'boots out of order').toBe(true);
      if (boot > position) previous = 0;
      expect(batch.seq > previous, 'seqs out of order').toBe(true);
      position = boot;
      previous = batch.seq;
      found.add(key);
    }
    for (const key of safe) {
      const [boot = '', seq] = key.split('/');
      if (!received.has(boot, Number(seq)))
        expect(found.has(key), `${key} was synced and is lost`).toBe(true);
    }
    expect(fs.used, 'bound').toBeLessThanOrEqual(64 * 1024);
  };
  const reopen = (): void => {
    ({ spool, received } = open(fs));
    bootOrder.push(spool.boot);
    lastSeq = 0;
  };
  for (let step = 0; step < steps; step += 1) {
    clockMs += 100;
    const action = random();
    if (action < 0.6) {
      const before = new Map((await ringContent(spool)).map((key) => [key, true]));
      const body = Buffer.alloc(pick(3000), pick(256));
      spool.append(pick(5), (seq) => {
        expect(seq, 'seq given twice').toBeGreaterThan(lastSeq);
        lastSeq = seq;
        written.set(`${spool.boot}/${seq}`, body);
        return body;
      });
      // What the ring dropped for its bound is gone by right.
      const after = new Set(await ringContent(spool));
      for (const key of before.keys()) if (!after.has(key)) safe.delete(key);
    } else if (action < 0.75) {
      await spool.flush();
      expect(spool.stats().syncErrors).toBe(0);
      safe = new Set(await ringContent(spool));
    } else if (action < 0.85) {
      const hi = 1 + pick(lastSeq + 1);
      received.replace(spool.boot, hi > 1 ? [[1 + pick(hi), hi]] : []);
      if (random() < 0.3) received.replace(spool.boot, []);
      await spool.tick();
    } else if (action < 0.92) {
      fs.crash(random);
      reopen();
    } else if (action < 0.96) {
      reopen(); // Killed: the page cache is still there.
    } else {
      await check();
    }
  }
  await check();
}

async function ringContent(spool: Spool): Promise<string[]> {
  return (await readAll(spool)).map((batch) => `${batch.boot}/${batch.seq}`);
}

describe('against the model file system', () => {
  test('no synced batch is lost, none is altered, order and seqs hold, over random lives', async () => {
    for (let seed = 1; seed <= 60; seed += 1) {
      try {
        await live(seed, 120);
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
    }
  });

  test.each(['EIO', 'ENOSPC', 'EMFILE'])(
    'each call failing once with %s costs at most what it carried',
    async (code) => {
      for (let nth = 0; ; nth += 1) {
        const fs = new ModelFs();
        const old = open(fs);
        fill(old.spool, 12);
        fs.calls = 0;
        fs.failAt = nth;
        fs.failCode = code;
        let opened: Opened;
        try {
          opened = open(fs);
        } catch {
          expect.unreachable(`call ${nth}: a failing call stopped the start`);
        }
        const { spool } = opened;
        const kept = fill(spool, 20);
        await spool.flush();
        kept.push(...fill(spool, 5));
        const reached = fs.calls > nth;
        let batches: StoredBatch[] = [];
        try {
          batches = await readAll(spool);
        } catch {
          batches = await readAll(spool); // EMFILE while reading: told to the caller, who comes again.
        }
        const dropped = spool.stats().dropped.batches;
        const mine = batches.filter((batch) => batch.boot === spool.boot).map((batch) => batch.seq);
        const lost = kept.filter((seq) => !mine.includes(seq)).length + (25 - kept.length);
        const oldLost = 12 - batches.filter((batch) => batch.boot === old.spool.boot).length;
        // Whatever is missing was counted, or its file was set aside and named.
        if (opened.problems.length === 0) expect(lost + oldLost, `call ${nth}`).toBeLessThanOrEqual(dropped);
        expect(lost, `call ${nth}`).toBeLessThanOrEqual(dropped);
        expect(new Set(mine).size).toBe(mine.length);
        if (!reached && fs.calls <= nth) break;
      }
    },
  );

  test('a full disk costs the oldest, counted, and the newest stay', async () => {
    const fs = new ModelFs();
    const { spool } = open(fs);
    let lossSeen = 0;
    spool.onLoss(() => {
      lossSeen += 1;
    });
    fs.capacity = 20 * 1024;
    const kept = fill(spool, 60);
    expect(kept).toHaveLength(60);
    const batches = await readAll(spool);
    expect(batches.at(-1)?.seq).toBe(60);
    expect(spool.stats().dropped).toEqual({
      batches: 60 - batches.length,
      rows: 3 * (60 - batches.length),
      bytes: 1000 * (60 - batches.length),
    });
    expect(lossSeen).toBeGreaterThan(0);
    fs.capacity = 0; // Somebody else took the rest: nothing fits until there is room.
    const after = fill(spool, 3, 60_000);
    expect(after).toEqual([]);
    fs.capacity = 1e9;
    expect(fill(spool, 2)).toEqual([64, 65]);
    expect((await readAll(spool)).map((batch) => batch.seq).slice(-2)).toEqual([64, 65]);
  });

  test('a torn tail is expected, corruption before valid batches is reported with its offset, the rest goes on', async () => {
    const fs = new ModelFs();
    const first = open(fs);
    fill(first.spool, 4, 200);
    const name = segmentName(1);
    const bytes = fs.bytesOf(name);
    bytes[segmentHeaderBytes + recordSize(200) + recordHeaderBytes + 5]! ^= 0x40;
    fs.plant(name, bytes.subarray(0, bytes.length - 30));
    const second = open(fs);
    expect((await readAll(second.spool)).map((batch) => batch.seq)).toEqual([1, 3]);
    expect(second.problems).toEqual([`spool_corrupt ${name} ${segmentHeaderBytes + recordSize(200)}`]);
    expect(second.spool.stats()).toMatchObject({ corrupt: 1, tornBytes: recordSize(200) - 30 });
  });

  test('corruption inside a sealed segment is found when it is read, and counted as dropped', async () => {
    const fs = new ModelFs();
    const first = open(fs);
    fill(first.spool, 6, 1000);
    await first.spool.close();
    const bytes = fs.bytesOf(segmentName(1));
    bytes[segmentHeaderBytes + recordHeaderBytes]! ^= 1;
    fs.plant(segmentName(1), bytes);
    const second = open(fs);
    expect(second.problems).toEqual([]);
    expect((await readAll(second.spool)).map((batch) => batch.seq)).toEqual([2, 3, 4, 5, 6]);
    expect(second.problems).toEqual([`spool_corrupt ${segmentName(1)} ${segmentHeaderBytes}`]);
    expect(second.spool.stats().dropped).toEqual({ batches: 1, bytes: 1000, rows: 3 });
  });

  test('a payload that imitates a record is not taken for one', async () => {
    const fs = new ModelFs();
    const stranger = open(new ModelFs());
    const foreign = new ModelFs();
    const source = open(foreign, { boot: '00000000-0000-4000-8000-ffffffffffff' });
    fill(source.spool, 1, 64);
    const imitation = foreign.bytesOf(segmentName(1)).subarray(segmentHeaderBytes);
    const { spool } = open(fs);
    spool.append(1, () => Buffer.concat([Buffer.alloc(8), imitation]));
    fill(spool, 1, 100);
    const bytes = fs.bytesOf(segmentName(1));
    bytes[segmentHeaderBytes] = 0; // The record's header is gone, a scan walks through its payload.
    fs.plant(segmentName(1), bytes);
    const again = open(fs);
    expect((await readAll(again.spool)).map((batch) => [batch.boot, batch.seq])).toEqual([[spool.boot, 2]]);
    expect(stranger.problems).toEqual([]);
  });

  test('junk, newer formats, another agent and damaged headers are set aside by name', async () => {
    const fs = new ModelFs();
    const first = open(fs);
    fill(first.spool, 1);
    const newer = encodeSegmentHeader({
      agentId: 7,
      boot: first.spool.boot,
      firstSeq: 1,
      createdAtUs: 1,
      number: 2,
    });
    newer.writeUInt16LE(9, 4);
    fs.plant(segmentName(2), newer);
    fs.plant('core.1234', Buffer.from('junk'));
    fs.plant(segmentName(3), Buffer.from('PEMS'));
    const foreign = encodeSegmentHeader({
      agentId: 8,
      boot: first.spool.boot,
      firstSeq: 1,
      createdAtUs: 1,
      number: 4,
    });
    fs.plant(segmentName(4), foreign);
    const damaged = encodeSegmentHeader({
      agentId: 7,
      boot: first.spool.boot,
      firstSeq: 1,
      createdAtUs: 1,
      number: 5,
    });
    damaged[20]! ^= 1;
    fs.plant(segmentName(5), damaged);
    fs.plant(segmentName(6), Buffer.alloc(0));
    const { spool, problems } = open(fs);
    expect(problems.map((text) => text.split(' ').slice(0, 2).join(' ')).sort()).toEqual([
      `spool_corrupt ${segmentName(5)}`,
      `spool_junk ${segmentName(3)}`,
      `spool_junk ${segmentName(4)}`,
      'spool_junk core.1234',
      `spool_newer ${segmentName(2)}`,
    ]);
    expect(fs.aside.sort()).toEqual(
      [segmentName(2), segmentName(3), segmentName(4), segmentName(5), 'core.1234'].sort(),
    );
    expect(await ringContent(spool)).toEqual([`${first.spool.boot}/1`]);
    // Numbers go on behind every file that was there.
    fill(spool, 1);
    expect(fs.list().map((entry) => entry.name)).toContain(segmentName(7));
  });

  test('the age of what waits is that of the oldest batch PEM does not have, not of its segment', () => {
    const { spool, received } = open(new ModelFs(), { segmentBytes: 1024 * 1024, maxBytes: 8 * 1024 * 1024 });
    const startMs = clockMs;
    for (let at = 0; at < 100; at += 1) {
      fill(spool, 1);
      clockMs += 1000;
    }
    received.replace(spool.boot, [[1, 99]]);
    expect(Math.abs(spool.stats().oldestPendingUs / 1000 - (startMs + 98_000))).toBeLessThan(10);
    received.replace(spool.boot, [[2, 101]]);
    expect(spool.stats().oldestPendingUs / 1000).toBe(startMs);
  });

  test('an acknowledgement moves the cursor, unlinks nothing, and a shrunken set brings the batches back', async () => {
    const fs = new ModelFs();
    const { spool, received } = open(fs);
    fill(spool, 20);
    const before = fs.list();
    expect(received.replace(spool.boot, [[1, 21]])).toBe(false);
    await spool.tick();
    expect(fs.list()).toEqual(before);
    expect(await readAll(spool)).toEqual([]);
    expect(spool.stats()).toMatchObject({ pendingBatches: 0, oldestPendingUs: 0 });
    expect(
      received.replace(spool.boot, [
        [1, 5],
        [10, 21],
      ]),
    ).toBe(true);
    spool.receivedShrank();
    expect((await readAll(spool)).map((batch) => batch.seq)).toEqual([5, 6, 7, 8, 9]);
    // By the bound PEM's own go uncounted, the others counted.
    fill(spool, 100);
    const { dropped, recycled } = spool.stats();
    expect(dropped.batches + recycled.batches + (await readAll(spool)).length).toBe(120);
    expect(recycled.batches).toBe(15);
  });

  test('age drops what is too old, and only that', async () => {
    const fs = new ModelFs();
    const { spool } = open(fs, { maxAgeMs: 60_000 });
    fill(spool, 10);
    clockMs += 50_000;
    fill(spool, 10);
    clockMs += 20_000;
    await spool.tick();
    const left = (await readAll(spool)).map((batch) => batch.seq);
    expect(left.at(-1)).toBe(20);
    expect(left[0]).toBeGreaterThan(1);
    expect(left[0]).toBeLessThanOrEqual(11);
    expect(spool.stats().dropped.batches).toBe((left[0] as number) - 1);
  });

  test('only what PEM does not have after a while is synced', async () => {
    const fs = new ModelFs();
    const { spool, received } = open(fs);
    fill(spool, 3);
    await spool.tick();
    expect(spool.stats().syncs).toBe(0);
    received.replace(spool.boot, [[1, 4]]);
    clockMs += 4000;
    await spool.tick();
    expect(spool.stats().syncs).toBe(0);
    fill(spool, 1);
    clockMs += 4000;
    await spool.tick();
    expect(spool.stats().syncs).toBe(1);
    await spool.tick();
    expect(spool.stats().syncs).toBe(1);
  });

  test('a batch larger than the ring is refused and counted', () => {
    const { spool } = open(new ModelFs(), { maxBytes: 8192 });
    expect(fill(spool, 1, 9000)).toEqual([]);
    expect(spool.stats().dropped).toEqual({ batches: 1, bytes: 9000, rows: 3 });
    expect(fill(spool, 1, 100)).toEqual([2]);
  });
});

describe('on the real file system', () => {
  const folders: string[] = [];
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  });
  const folder = (): string => {
    const made = mkdtempSync(join(tmpdir(), 'pem-spool-'));
    folders.push(made);
    return made;
  };

  test('batches written come back after a restart; files are 0600', async () => {
    const place = folder();
    const first = open(nodeFs(place));
    fill(first.spool, 30, 700);
    await first.spool.close();
    for (const name of readdirSync(place)) {
      if (name !== 'aside') expect(statSync(join(place, name)).mode & 0o777).toBe(0o600);
    }
    writeFileSync(join(place, 'stray.txt'), 'x');
    const second = open(nodeFs(place));
    expect((await readAll(second.spool)).map((batch) => batch.seq)).toEqual(
      fill(first.spool, 0).concat([...Array(30)].map((_, at) => at + 1)),
    );
    expect(second.problems).toEqual(['spool_junk stray.txt -1']);
    expect(readdirSync(join(place, 'aside'))).toHaveLength(1);
    expect(second.spool.boots()).toEqual([first.spool.boot, second.spool.boot]);
    await second.spool.close();
  });

  test('one folder serves one process, and a killed one lets go', async () => {
    const place = folder();
    const holder = spawn('sh', ['-c', 'exec 3>"$0/lock"; flock 3; echo held; exec sleep 1000 3>&3', place], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await once(holder.stdout as NodeJS.ReadableStream, 'data');
    expect(() => lockSpool(place, 0)).toThrow(/another agent works in/);
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    const release = lockSpool(place, 5);
    expect(() => lockSpool(place, 0)).toThrow(/another agent works in/);
    release();
    lockSpool(place, 0)();
  });
});
