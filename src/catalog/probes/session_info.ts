import { key, label } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

const select = (queryId: string): string =>
  `SELECT pid, backend_type, datname AS database_name, usename AS user_name, application_name,
       client_addr AS client_address, client_port, backend_start, xact_start, query_start, state_change,
       state, wait_event_type, wait_event, backend_xid, backend_xmin, leader_pid, ${queryId} AS query_id,
       left(query, 1024) AS query
  FROM pg_stat_activity
 WHERE pid <> pg_backend_pid()`;

/** One row a server process; statement text is limited to its first 1,024 characters. */
export const sessionInfo: ProbeDefinition = {
  name: 'session_info',
  title: 'Sessions',
  description:
    'One row a server process: who, from where, in which state, waiting for what, since when, running which statement.',
  version: 1,
  level: 'server',
  collector: 'sql',
  columns: [
    key('pid', 'int4', 'Process ID'),
    label('backend_type', 'text', 'Kind of process'),
    label('database_name', 'name', 'Database'),
    label('user_name', 'name', 'User'),
    label('application_name', 'text', 'Application'),
    label('client_address', 'inet', 'Client address'),
    label('client_port', 'int4', 'Client port'),
    label('backend_start', 'timestamptz', 'Connected'),
    label('xact_start', 'timestamptz', 'Transaction start'),
    label('query_start', 'timestamptz', 'Statement start'),
    label('state_change', 'timestamptz', 'State since'),
    label('state', 'text', 'State'),
    label('wait_event_type', 'text', 'Kind of wait'),
    label('wait_event', 'text', 'Wait event'),
    label('backend_xid', 'xid', 'Transaction ID'),
    label('backend_xmin', 'xid', 'Oldest transaction ID it needs'),
    label('leader_pid', 'int4', 'Parallel leader'),
    label('query_id', 'int8', 'Query ID (14 and later)'),
    label('query', 'text', 'Statement (first 1,024 characters)'),
  ],
  sql: [
    { minVersion: 130000, text: select('NULL::int8') },
    { minVersion: 140000, text: select('query_id') },
  ],
  mode: 'full',
  history: true,
  intervalMs: 1000,
  retentionDays: 2,
  partition: 'day',
};
