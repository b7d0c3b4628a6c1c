import { expect, test } from 'vitest';
import { columnTypes, type ProbeColumn } from '../wire/config.js';
import { probes } from './probes/index.js';
import { checkDefinition, type ProbeDefinition, reservedColumns } from './types.js';

const device: ProbeColumn = {
  name: 'device',
  type: 'text',
  role: 'key',
  kind: 'label',
  unit: '',
  title: 'Device',
};
const used: ProbeColumn = {
  name: 'used',
  type: 'int8',
  role: 'metric',
  kind: 'gauge',
  unit: 'bytes',
  title: 'Used',
};
const good: ProbeDefinition = {
  name: 'trial',
  title: 'Trial',
  description: 'A probe of this test.',
  version: 1,
  level: 'host',
  collector: 'os',
  columns: [device, used],
  mode: 'full',
  history: true,
  intervalMs: 1000,
  retentionDays: 7,
  partition: 'day',
};

test('every built-in probe passes', () => {
  for (const probe of probes) expect(checkDefinition(probe)).toBe(probe);
});

test('every type may be a metric', () => {
  for (const type of columnTypes) checkDefinition({ ...good, columns: [device, { ...used, type }] });
});

test.each<[string, Partial<ProbeDefinition>]>([
  ['probe_name', { name: 'Trial' }],
  ['probe_name', { name: 'x'.repeat(51) }],
  ['probe_version', { version: 0 }],
  ['probe_column_name', { columns: [device, { ...used, name: 'a b' }] }],
  ['probe_column_duplicate', { columns: [device, used, used] }],
  ['probe_column_type', { columns: [device, { ...used, type: 'money' as 'int8' }] }],
  ['probe_column_order', { columns: [used, device] }],
  ['probe_key_type', { columns: [{ ...device, type: 'float8' }, used] }],
  ['probe_key_type', { columns: [{ ...device, type: 'jsonb' }, used] }],
  ['probe_no_metric', { columns: [device] }],
  ['probe_no_key', { mode: 'delta', columns: [used] }],
  ['probe_scope', { level: 'database', collector: 'sql', sql: [{ minVersion: 130000, text: 'SELECT 1' }] }],
  ['probe_scope', { scopeColumn: 'used' }],
  ['probe_scope', { scopeColumn: 'device', columns: [{ ...device, type: 'oid' }, used] }],
  ['probe_level', { collector: 'trace' }],
  ['probe_sql', { collector: 'sql' }],
  ['probe_sql', { sql: [{ minVersion: 130000, text: 'SELECT 1' }] }],
  [
    'probe_sql',
    { collector: 'sql', sql: [160000, 130000].map((minVersion) => ({ minVersion, text: 'SELECT 1' })) },
  ],
  ['probe_interval', { intervalMs: 999 }],
  ['probe_retention', { retentionDays: 0.5 }],
  ['probe_no_table', { mode: 'append', history: false }],
  ...reservedColumns.map((name): [string, Partial<ProbeDefinition>] => [
    'probe_column_reserved',
    { columns: [device, { ...used, name }] },
  ]),
])('%s', (code, changes) => {
  expect(() => checkDefinition({ ...good, ...changes })).toThrow(expect.objectContaining({ code }));
});
