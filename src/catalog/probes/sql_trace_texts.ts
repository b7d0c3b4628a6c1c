import { key, label } from '../columns.js';
import type { ProbeDefinition } from '../types.js';

/**
 * Texts of the statements that sql_trace_statements names by fingerprint. An agent sends a text when it first sees it, after
 * a loss, and once a day while its statement runs; it never sends all, so there are no full blocks and no history.
 */
export const sqlTraceTexts: ProbeDefinition = {
  name: 'sql_trace_texts',
  title: 'Normalised statements',
  description: 'The normal form of each statement that ran in a trace; only new ones travel.',
  version: 1,
  level: 'server',
  collector: 'trace',
  columns: [key('fingerprint', 'int8', 'Fingerprint'), label('text', 'text', 'Statement')],
  mode: 'delta',
  history: false,
  intervalMs: 10_000,
  retentionDays: 30,
  partition: 'month',
};
