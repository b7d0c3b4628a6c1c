import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { columnTypes } from '../../wire/config.js';
import { probes } from './index.js';

/** Names that the tables made from a probe have for themselves. */
const reserved = new Set(['recorded_at', 'target_id', 'gone', '_arrival', '_seq', '_gone']);

test('every file in the room is in its list', () => {
  const files = readdirSync(import.meta.dirname)
    .filter((file) => file.endsWith('.ts') && file !== 'index.ts' && !file.endsWith('.test.ts'))
    .map((file) => file.slice(0, -3))
    .sort();
  expect(probes.map((probe) => probe.name).sort()).toEqual(files);
});

describe.each(probes.map((probe) => [probe.name, probe] as const))('%s', (_name, probe) => {
  test('has names PostgreSQL takes without quotes and short enough for its partitions', () => {
    // <probe>_<yyyymmdd> and its indexes have to fit into 63 bytes.
    expect(probe.name).toMatch(/^[a-z][a-z0-9_]{1,39}$/);
    expect(probe.title).not.toBe('');
    expect(probe.description).toMatch(/\.$/);
  });

  test('has columns of supported types, keys first, each once, each with a title', () => {
    const names = probe.columns.map((column) => column.name);
    expect(new Set(names).size).toBe(names.length);
    for (const column of probe.columns) {
      expect(columnTypes).toContain(column.type);
      expect(column.name).toMatch(/^[a-z][a-z0-9_]{0,62}$/);
      expect(reserved.has(column.name), column.name).toBe(false);
      expect(column.title).not.toBe('');
      expect(column.kind === 'label' ? column.unit === '' : column.unit !== '', column.name).toBe(true);
      if (column.role === 'key') expect(column.kind).toBe('label');
      if (column.kind !== 'label')
        expect(['int2', 'int4', 'int8', 'float4', 'float8', 'numeric']).toContain(column.type);
    }
    const roles = probe.columns.map((column) => column.role);
    expect(roles.lastIndexOf('key')).toBeLessThan(roles.indexOf('metric'));
  });

  test('has intervals and retention in bounds', () => {
    expect(probe.intervalMs).toBeGreaterThanOrEqual(1000);
    expect(probe.intervalMs).toBeLessThanOrEqual(60_000);
    expect(probe.retentionDays).toBeGreaterThanOrEqual(1);
    expect(probe.retentionDays).toBeLessThanOrEqual(365);
  });

  test('has SQL where SQL is its collector, by ascending version from 13 on, one statement each', () => {
    if (probe.collector !== 'sql') {
      expect(probe.sql).toBeUndefined();
      expect(probe.collector === 'trace' ? ['server'] : ['host', 'target']).toContain(probe.level);
      return;
    }
    const versions = (probe.sql ?? []).map((sql) => sql.minVersion);
    expect(versions.length).toBeGreaterThan(0);
    expect(versions).toEqual([...versions].sort((a, b) => a - b));
    // PEM's own database is 15 or newer; monitored servers begin at 13.
    expect(versions[0]).toBe(probe.level === 'pem' ? 150000 : 130000);
    for (const sql of probe.sql ?? []) expect(sql.text).not.toContain(';');
  });

  test('names its database column exactly when it runs in each database', () => {
    if (probe.level !== 'database') return expect(probe.scopeColumn).toBeUndefined();
    expect(probe.columns.some((column) => column.name === probe.scopeColumn && column.role === 'key')).toBe(
      true,
    );
  });
});
