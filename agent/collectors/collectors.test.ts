import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { probes } from '../../src/catalog/probes/index.js';
import { costOf, newAgentStats } from '../stats.js';
import { growth, rate } from './collector.js';
import { cpuShares, parseStat } from './cpu_usage.js';
import { diskRow, parseDiskstats } from './disk_busy_info.js';
import { parseMountinfo, spaceRow } from './disk_space.js';
import { collectors } from './index.js';
import { parseLoadavg } from './load_average.js';
import { memoryRow, parseMeminfo, parsePageSize, parseVmstat } from './memory_usage.js';
import { interfaceRow, parseNetDev } from './network_statistics.js';

test('every file in the room is in its list, and every probe without SQL has one', () => {
  const files = readdirSync(import.meta.dirname)
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .map((file) => file.slice(0, -3))
    .filter((file) => file !== 'index' && file !== 'collector')
    .sort();
  expect(Object.keys(collectors).sort()).toEqual(files);
  const wanted = probes
    .filter((probe) => probe.collector !== 'sql' && probe.collector !== 'trace')
    .map((probe) => probe.name);
  expect(wanted.sort()).toEqual(files);
});

test.each(Object.keys(collectors))('%s, run here twice, gives the columns of its probe', async (name) => {
  const stats = newAgentStats('0.1.0', 'boot');
  costOf(stats, 1, 'cpu_usage');
  const collect = collectors[name]?.({ targetId: 1, stats, wallUs: () => 1_000_000n });
  const definition = probes.find((probe) => probe.name === name);
  await collect?.(0);
  // Clock ticks of /proc/stat last 10 ms.
  await new Promise((resolve) => setTimeout(resolve, 50));
  const rows = await collect?.(50);
  if (rows === undefined || rows === null) throw new Error('no rows');
  if (name !== 'disk_busy_info') expect(rows.length).toBeGreaterThan(0);
  const columns = definition?.columns ?? [];
  const keys = columns.filter((column) => column.role === 'key').map((column) => column.name);
  for (const row of rows) {
    expect(Object.keys(row).sort()).toEqual(columns.map((column) => column.name).sort());
    for (const key of keys) expect(row[key]).not.toBeNull();
    for (const value of Object.values(row)) if (typeof value === 'number') expect(value).not.toBeNaN();
  }
  expect(new Set(rows.map((row) => keys.map((key) => row[key]).join('\0'))).size).toBe(rows.length);
});

test('the cost of a probe is told of its own target alone', async () => {
  const stats = newAgentStats('0.1.0', 'boot');
  costOf(stats, 1, 'cpu_usage');
  costOf(stats, 2, 'session_info').lastError = 'of a server of another team';
  const collect = collectors.agent_probes?.({ targetId: 1, stats, wallUs: () => 0n });
  expect((await collect?.(0))?.map((row) => row.probe)).toEqual(['cpu_usage']);
});

test('a counter that went back gives no growth and no rate', () => {
  expect(growth(10, 4)).toBe(6);
  expect(growth(3, 4)).toBeNull();
  expect(rate(1500, 500, 2000)).toBe(500);
  expect(rate(3, 4, 1000)).toBeNull();
  expect(rate(5, 4, 0)).toBeNull();
});

describe('cpu_usage', () => {
  const stat = (...lines: string[]): string => ['cpu  1 2 3 4', ...lines, 'intr 5 0', 'ctxt 6'].join('\n');

  test('gives shares of the time between two samples', () => {
    const before = parseStat(stat('cpu0 100 0 100 800 0 0 0 0 0 0', 'cpu1 100 0 100 800 0 0 0 0 0 0'));
    const now = parseStat(stat('cpu0 150 10 120 810 5 2 1 2 50 0', 'cpu1 100 0 100 900 0 0 0 0 0 0'));
    const [all, first, second] = cpuShares(now, before);
    expect(first).toEqual({
      cpu: '0',
      busy_percent: 85,
      user_percent: 50,
      nice_percent: 10,
      system_percent: 20,
      iowait_percent: 5,
      irq_percent: 3,
      steal_percent: 2,
      idle_percent: 10,
    });
    expect(second).toMatchObject({ cpu: '1', busy_percent: 0, idle_percent: 100 });
    expect(all).toMatchObject({ cpu: 'all', busy_percent: 42.5, idle_percent: 55, user_percent: 25 });
  });

  test('a CPU plugged in counts from its second sample on, one unplugged leaves', () => {
    const before = parseStat(stat('cpu0 0 0 0 100', 'cpu1 0 0 0 100'));
    const now = parseStat(stat('cpu0 50 0 0 150', 'cpu2 90000 0 0 10'));
    expect(cpuShares(now, before).map((row) => [row.cpu, row.busy_percent])).toEqual([
      ['all', 50],
      ['0', 50],
    ]);
  });

  test('idle time that goes back counts as none, a standstill gives no row', () => {
    const before = parseStat(stat('cpu0 10 0 0 100 50'));
    expect(cpuShares(parseStat(stat('cpu0 20 0 0 110 40')), before)[0]).toMatchObject({
      iowait_percent: 0,
      busy_percent: 50,
    });
    expect(cpuShares(before, before)).toEqual([]);
  });
});

describe('memory_usage', () => {
  const meminfo = parseMeminfo(
    'MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    400 kB\nActive(anon):  7 kB\nSwapTotal:  50 kB\n' +
      'SwapFree:   20 kB\nHugePages_Total:       3\nHugePages_Free:        1\nHugepagesize:       2048 kB\n',
  );

  test('reads kB as bytes and pages as bytes', () => {
    const row = memoryRow(meminfo, parseVmstat('pswpin 2\npswpout 3\noom_kill 1\n'), 4096);
    expect(row).toMatchObject({
      total_bytes: 1_024_000,
      used_bytes: 600 * 1024,
      available_bytes: 400 * 1024,
      swap_used_bytes: 30 * 1024,
      huge_total_bytes: 3 * 2048 * 1024,
      huge_free_bytes: 2048 * 1024,
      swapped_in_bytes: 8192,
      swapped_out_bytes: 12_288,
      oom_kills: 1,
      buffers_bytes: null,
    });
  });

  test('finds the page size in the auxiliary vector', () => {
    const auxv = Buffer.alloc(48);
    auxv.writeBigUInt64LE(16n, 0);
    auxv.writeBigUInt64LE(6n, 16);
    auxv.writeBigUInt64LE(65_536n, 24);
    expect(parsePageSize(auxv)).toBe(65_536);
    expect(parsePageSize(Buffer.alloc(16))).toBe(4096);
  });
});

test('load_average reads its line and refuses another', () => {
  expect(parseLoadavg('0.20 1.18 15.12 3/80 11206\n')).toEqual({
    load_1m: 0.2,
    load_5m: 1.18,
    load_15m: 15.12,
    running: 3,
    tasks: 80,
  });
  expect(() => parseLoadavg('nothing')).toThrow('another form');
});

describe('disk_space', () => {
  const mountinfo = [
    '22 27 0:21 / /proc rw,relatime - proc proc rw',
    '27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard',
    '40 27 254:0 /var/x /srv/bound rw,relatime - ext4 /dev/vda rw',
    '41 27 254:16 / /data\\040disk ro,relatime shared:1 - xfs /dev/mapper/a\\134b rw',
    '42 27 0:50 / /mnt/far rw - nfs4 server:/export rw',
    '43 27 0:51 / /home/u/far rw - fuse.sshfs u@h: rw',
    '25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw',
    '26 24 0:24 / /run rw - tmpfs tmpfs rw',
    '',
  ].join('\n');

  test('takes local file systems, each once, and no network ones', () => {
    expect(parseMountinfo(mountinfo)).toEqual([
      { mount: '/', device: '/dev/vda', fsType: 'ext4', readOnly: false },
      { mount: '/data disk', device: '/dev/mapper/a\\b', fsType: 'xfs', readOnly: true },
      { mount: '/dev/shm', device: 'tmpfs', fsType: 'tmpfs', readOnly: false },
    ]);
  });

  test('counts the reserve as df does', () => {
    const [root] = parseMountinfo(mountinfo);
    if (root === undefined) throw new Error('no mount');
    const space = { bsize: 4096n, blocks: 1000n, bfree: 300n, bavail: 100n, files: 0n, ffree: 0n };
    expect(spaceRow(root, space)).toMatchObject({
      total_bytes: 4_096_000n,
      used_bytes: 2_867_200n,
      available_bytes: 409_600n,
      used_percent: 87.5,
      inodes_used_percent: null,
    });
  });
});

describe('disk_busy_info', () => {
  const line = (name: string, ...numbers: number[]): string => ` 254 0 ${name} ${numbers.join(' ')}`;
  const whole = new Set(['vda', 'loop0', 'vdb', 'cciss/c0d0']);
  const before = parseDiskstats(
    line('vda', 100, 5, 1000, 50, 200, 6, 4000, 100, 0, 500, 150, 0, 0, 0, 0, 10, 20),
    whole,
  );

  test('leaves out partitions, loops and disks that never did anything', () => {
    const text = [
      line('vda', 1, 0, 8, 1, 0, 0, 0, 0, 0, 1, 1),
      line('vda1', 1, 0, 8, 1, 0, 0, 0, 0, 0, 1, 1),
      line('loop0', 1, 0, 8, 1, 0, 0, 0, 0, 0, 1, 1),
      line('vdb', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
      line('cciss/c0d0', 0, 0, 0, 0, 4, 0, 8, 0, 0, 1, 1),
    ].join('\n');
    expect([...parseDiskstats(text, whole).keys()]).toEqual(['vda', 'cciss/c0d0']);
  });

  test('gives rates, shares and times an operation', () => {
    const now = parseDiskstats(
      line('vda', 120, 5, 1400, 90, 240, 6, 4800, 300, 0, 1500, 2150, 0, 0, 0, 0, 12, 30),
      whole,
    );
    const sample = now.get('vda');
    if (sample === undefined) throw new Error('no disk');
    expect(diskRow('vda', sample, before.get('vda'), 2000)).toEqual({
      device: 'vda',
      busy_percent: 50,
      reads_per_s: 10,
      writes_per_s: 20,
      read_bytes_per_s: 102_400,
      write_bytes_per_s: 204_800,
      read_await_ms: 2,
      write_await_ms: 5,
      flush_await_ms: 5,
      queue_length: 1,
      read_bytes: 716_800,
      written_bytes: 2_457_600,
    });
  });

  test('a disk that was swapped for another has no rates for one sample', () => {
    const sample = before.get('vda');
    if (sample === undefined) throw new Error('no disk');
    const reset = { ...sample, reads: 3, sectorsRead: 8, readMs: 1 };
    expect(diskRow('vda', reset, sample, 1000)).toMatchObject({
      reads_per_s: null,
      read_bytes_per_s: null,
      read_await_ms: null,
      writes_per_s: 0,
      write_await_ms: null,
      read_bytes: 4096,
    });
    expect(diskRow('vda', sample, undefined, 1000)).toMatchObject({
      busy_percent: null,
      read_bytes: 512_000,
    });
  });
});

describe('network_statistics', () => {
  const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0
  eth0:430026045    9961    1    2    0     0          0         0   580209    5921    3    4    0     0       0          0
eth0.7@x: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0
`;

  test('reads every interface, also where a number touches the colon', () => {
    const samples = parseNetDev(text);
    expect([...samples.keys()]).toEqual(['lo', 'eth0', 'eth0.7@x']);
    expect(samples.get('eth0')).toEqual({
      receivedBytes: 430_026_045,
      receivedPackets: 9961,
      receiveErrors: 1,
      receiveDrops: 2,
      sentBytes: 580_209,
      sentPackets: 5921,
      sendErrors: 3,
      sendDrops: 4,
    });
  });

  test('has rates from the second sample on, none over a reset', () => {
    const sample = parseNetDev(text).get('eth0');
    if (sample === undefined) throw new Error('no interface');
    const facts = { address: '192.0.2.1', speedMbit: 1000 };
    const later = { ...sample, receivedBytes: sample.receivedBytes + 5000, sentBytes: 10 };
    expect(interfaceRow('eth0', later, sample, 500, facts)).toMatchObject({
      received_bytes_per_s: 10_000,
      sent_bytes_per_s: null,
      link_speed_mbit: 1000,
    });
    expect(interfaceRow('eth0', sample, undefined, 500, facts).received_bytes_per_s).toBeNull();
  });
});
