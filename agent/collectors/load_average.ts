/** Load, from /proc/loadavg. */
import { readFileSync } from 'node:fs';
import { PemError } from '../../src/base/errors.js';
import type { CollectedRow, Collector } from './collector.js';

/** '0.20 0.18 0.12 1/80 11206'. */
export function parseLoadavg(text: string): CollectedRow {
  const match = /^([\d.]+) ([\d.]+) ([\d.]+) (\d+)\/(\d+) /.exec(text);
  if (match === null) throw new PemError('proc_format', '/proc/loadavg has another form than known');
  const [one, five, fifteen, running, tasks] = match.slice(1).map(Number);
  return {
    load_1m: one ?? null,
    load_5m: five ?? null,
    load_15m: fifteen ?? null,
    running: running ?? null,
    tasks: tasks ?? null,
  };
}

export function loadAverage(): Collector {
  return async () => [parseLoadavg(readFileSync('/proc/loadavg', 'utf8'))];
}
