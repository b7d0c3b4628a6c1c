/**
 * What a built-in probe is (design D6): one file in probes/, one value of this type. Tables, agents' definitions and the
 * UI's labels are made from it. Columns are only ever added; a changed type is a new column.
 */
import type { ProbeColumn, ProbeSql } from '../wire/config.js';

export interface ProbeDefinition {
  /** Name of its tables, lower_snake_case. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** Grows with every change of columns or meaning. */
  readonly version: number;
  /** host: once an agent · server: once a server · database: in each database in turn · pem: by agent 1 on PEM's database. */
  readonly level: 'host' | 'server' | 'database' | 'pem';
  readonly collector: 'os' | 'sql' | 'self';
  /** Keys first. */
  readonly columns: readonly ProbeColumn[];
  /** By minimum server version, ascending; required for collector 'sql'. */
  readonly sql?: readonly ProbeSql[];
  /** The key column that holds the database of a level 'database' probe. */
  readonly scopeColumn?: 'database_name';
  /** full: every run sends all rows · delta: only changed rows travel · append: events. */
  readonly mode: 'full' | 'delta' | 'append';
  /** false: latest values only. */
  readonly history: boolean;
  readonly intervalMs: number;
  readonly retentionDays: number;
  /** Width of a history partition. */
  readonly partition: 'day' | 'month';
  /** Optional grant without which the probe says "not permitted"; pg_monitor is always there. */
  readonly needs?: string;
}
