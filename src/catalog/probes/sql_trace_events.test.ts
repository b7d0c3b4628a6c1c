/** What agents of before send is still taken: ingest matches a block's columns by name and type. */
import { expect, test } from 'vitest';
import { csvColumns } from '../../../native/index.js';
import { eventNames, zeroColumns } from '../../wire/index.js';
import { sqlTraceEvents } from './sql_trace_events.js';

/** As of version 1, which sent each column of the file but these. */
const notInVersion1 = ['encoding', 'local_read_us', 'local_write_us', 'minor_faults'];

test('the columns of version 1 are there, with their types, and none of them is a key', () => {
  for (const { name, type } of csvColumns.filter((column) => !notInVersion1.includes(column.name))) {
    const kept = sqlTraceEvents.columns.find((column) => column.name === name);
    expect(kept, name).toMatchObject({ type, role: 'metric' });
  }
});

test('what is left out of a row has columns to be told by, and is a figure of the probe', () => {
  const types = new Map(sqlTraceEvents.columns.map((column) => [column.name, column.type]));
  expect([types.get('fingerprint'), types.get('zeros'), types.get('flags')]).toEqual([
    'int8',
    'int4',
    'int4',
  ]);
  for (const name of Object.keys(eventNames)) expect(types.get(name)).toBe('text');
  expect(zeroColumns.filter((name) => !['int4', 'int8'].includes(types.get(name) ?? ''))).toEqual([]);
});
