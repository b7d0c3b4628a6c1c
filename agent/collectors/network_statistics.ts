/** Traffic of network interfaces, from /proc/net/dev; link speed from /sys/class/net. */
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { type CollectedRow, type Collector, rate } from './collector.js';

export interface InterfaceSample {
  readonly receivedBytes: number;
  readonly receivedPackets: number;
  readonly receiveErrors: number;
  readonly receiveDrops: number;
  readonly sentBytes: number;
  readonly sentPackets: number;
  readonly sendErrors: number;
  readonly sendDrops: number;
}

/** '  eth0: 430026045 9961 0 0 0 0 0 0 580209 5921 0 0 …'; a large number may touch the colon. */
export function parseNetDev(text: string): Map<string, InterfaceSample> {
  const result = new Map<string, InterfaceSample>();
  for (const match of text.matchAll(/^\s*([^\s|]+):\s*(\d[\d\s]*)$/gm)) {
    const fields = (match[2] ?? '').trim().split(/\s+/).map(Number);
    const at = (index: number): number => fields[index] ?? 0;
    result.set(match[1] ?? '', {
      receivedBytes: at(0),
      receivedPackets: at(1),
      receiveErrors: at(2),
      receiveDrops: at(3),
      sentBytes: at(8),
      sentPackets: at(9),
      sendErrors: at(10),
      sendDrops: at(11),
    });
  }
  return result;
}

export interface InterfaceFacts {
  readonly address: string | null;
  readonly speedMbit: number | null;
}

export function interfaceRow(
  name: string,
  now: InterfaceSample,
  before: InterfaceSample | undefined,
  elapsedMs: number,
  facts: InterfaceFacts,
): CollectedRow {
  return {
    interface: name,
    address: facts.address,
    link_speed_mbit: facts.speedMbit,
    received_bytes_per_s:
      before === undefined ? null : rate(now.receivedBytes, before.receivedBytes, elapsedMs),
    sent_bytes_per_s: before === undefined ? null : rate(now.sentBytes, before.sentBytes, elapsedMs),
    received_bytes: now.receivedBytes,
    sent_bytes: now.sentBytes,
    received_packets: now.receivedPackets,
    sent_packets: now.sentPackets,
    receive_errors: now.receiveErrors,
    send_errors: now.sendErrors,
    receive_drops: now.receiveDrops,
    send_drops: now.sendDrops,
  };
}

/** Mbit/s; virtual interfaces have none and say so by an error or -1. */
function speedOf(name: string): number | null {
  try {
    const speed = Number(readFileSync(`/sys/class/net/${name}/speed`, 'utf8'));
    return speed > 0 ? speed : null;
  } catch {
    return null;
  }
}

export function networkStatistics(file = '/proc/net/dev'): Collector {
  let before = new Map<string, InterfaceSample>();
  let beforeMs = 0;
  return async (nowMs) => {
    const now = parseNetDev(readFileSync(file, 'utf8'));
    const addresses = networkInterfaces();
    const rows = [...now].map(([name, sample]) =>
      interfaceRow(name, sample, before.get(name), nowMs - beforeMs, {
        address: addresses[name]?.[0]?.address ?? null,
        speedMbit: speedOf(name),
      }),
    );
    before = now;
    beforeMs = nowMs;
    return rows;
  };
}
