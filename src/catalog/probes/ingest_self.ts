import { counter, gauge, key } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

/** The ingesters about themselves, asked from PEM's database by agent 1. */
export const ingestSelf: ProbeDefinition = {
  name: 'ingest_self',
  title: 'Ingesters',
  description:
    'Lag, inbox, rows, duplicates and quarantined blocks of each ingester, and how long one cycle takes.',
  version: 1,
  level: 'pem',
  collector: 'sql',
  columns: [
    key('name', 'text', 'Ingester'),
    gauge('lag_ms', 'float8', 'ms', 'Age of the oldest batch in the inbox'),
    gauge('inbox_batches', 'int8', 'count', 'Batches in the inbox'),
    gauge('inbox_bytes', 'int8', 'bytes', 'Bytes in the inbox'),
    counter('batches', 'int8', 'count', 'Batches'),
    counter('rows', 'int8', 'count', 'Rows'),
    counter('duplicates', 'int8', 'count', 'Duplicate batches'),
    counter('quarantined', 'int8', 'count', 'Quarantined blocks'),
    counter('stray', 'int8', 'count', 'Rows too old or too new for history'),
    gauge('cycle_ms', 'float8', 'ms', 'Time of a cycle'),
  ],
  sql: [
    {
      minVersion: 150000,
      text: `SELECT name::text AS name, lag_ms::float8 AS lag_ms, inbox_batches::int8 AS inbox_batches,
       inbox_bytes::int8 AS inbox_bytes, batches::int8 AS batches, "rows"::int8 AS "rows", duplicates::int8 AS duplicates,
       quarantined::int8 AS quarantined, stray::int8 AS stray, cycle_ms::float8 AS cycle_ms
  FROM pem.ingest_self()`,
    },
  ],
  mode: 'full',
  history: true,
  intervalMs: 5000,
  retentionDays: 30,
  partition: 'day',
};
