/**
 * A workload whose statements are counted by whoever runs it, for tests that hold PEM's figures against it: plain and
 * prepared statements, errors of several kinds, nested functions, cursors, DDL, long and non-ASCII texts, transactions that
 * roll back, portals run in pieces, pgbench. In: a cluster. Out: how often each statement ran and failed, by words that its
 * normal form has and no other's. Sessions are closed when it is through.
 */
import type pg from 'pg';
import type { Cluster } from './cluster.js';
import { pgbench } from './pgbench.js';
import { bind, execute, parse, sync, WireClient } from './wire_client.js';

export const shopDatabase = 'shop';

export interface Ran {
  /** Words of the statement's normal form; all of them are in it. */
  readonly words: string;
  readonly nested: boolean;
  readonly calls: number;
  readonly errors: number;
}

/** The database and what the workload uses. */
export async function makeShop(cluster: Cluster): Promise<void> {
  await cluster.query(`CREATE DATABASE ${shopDatabase}`);
  await pgbench(cluster, ['-i', '-q', '-s', '1'], { database: shopDatabase });
  await cluster.query(
    `CREATE TABLE kunde (id serial PRIMARY KEY, größe text, name text CHECK (name <> ''));
     CREATE FUNCTION branches(n int) RETURNS int LANGUAGE plpgsql AS $$
       DECLARE t int; BEGIN SELECT count(*) INTO t FROM pgbench_branches WHERE bid = n; RETURN t; END $$;
     CREATE FUNCTION many_branches(n int) RETURNS int LANGUAGE plpgsql AS $$
       DECLARE s int := 0; t int;
       BEGIN FOR i IN 1..n LOOP SELECT branches(i) INTO t; s := s + t; END LOOP; RETURN s; END $$`,
    [],
    shopDatabase,
  );
}

/** A text of several KiB, longer than a page shows in a row. */
export const longText = (n: number): string =>
  `SELECT name, größe, '${'wörter '.repeat(400)}${n}' AS lang FROM kunde WHERE id = ${n}`;
export const strangeName = `Zoë O'Neil "żółć" 中文 🐘, a;b`;

async function appRound(client: pg.Client, n: number): Promise<void> {
  const fails = (sql: string): Promise<unknown> => client.query(sql).catch(() => undefined);
  await client.query('INSERT INTO kunde (größe, name) VALUES ($1, $2)', [`größe ${n}`, strangeName]);
  await fails(`INSERT INTO kunde (größe, name) VALUES ('x', '')`);
  await fails('SELECT 1 / 0');
  await fails('SELEKT nothing');
  await client.query('SELECT many_branches(3)');
  await client.query(longText(n));
  await client.query('BEGIN');
  await client.query(`UPDATE kunde SET name = name || '!' WHERE id <= 10`);
  await client.query('ROLLBACK');
  await client.query('BEGIN');
  await client.query('DECLARE cursor_of_shop CURSOR FOR SELECT * FROM kunde');
  await client.query('FETCH 5 FROM cursor_of_shop');
  await client.query('MOVE 5 FROM cursor_of_shop');
  await client.query('COMMIT');
  await client.query('CREATE TABLE passing (i int)');
  await client.query('DROP TABLE passing');
  await client.query('BEGIN');
  await client.query('SAVEPOINT before');
  await fails(`SELECT 'seven'::text::int`);
  await client.query('ROLLBACK TO before');
  await client.query('COMMIT');
  await client.query('BEGIN');
  // Its failure ends the limit: nothing but the sleep can be late.
  await client.query('SET LOCAL statement_timeout = 20');
  await fails('SELECT pg_sleep(30)');
  await client.query('ROLLBACK');
}

/** Rows of one portal in two pieces, its end without another message. */
async function portals(cluster: Cluster, rounds: number): Promise<void> {
  const wire = await WireClient.open(cluster, 'portals', shopDatabase);
  await wire.run(
    parse('p', 'SELECT tid, bbalance FROM pgbench_tellers JOIN pgbench_branches USING (bid)'),
    sync(),
  );
  for (let n = 0; n < rounds; n += 1) await wire.run(bind('', 'p'), execute('', 3), execute('', 0), sync());
  wire.end();
}

/** Runs the workload. @param transactions of pgbench, for each of two clients */
export async function runShop(cluster: Cluster, rounds: number, transactions: number): Promise<Ran[]> {
  const app = async (): Promise<void> => {
    const client = await cluster.client(shopDatabase);
    try {
      await client.query(`SET application_name = 'shop app'`);
      for (let n = 1; n <= rounds; n += 1) await appRound(client, n);
    } finally {
      await client.end();
    }
  };
  await Promise.all([
    app(),
    portals(cluster, rounds),
    pgbench(cluster, ['-n', '-M', 'prepared', '-c', '2', '-t', String(transactions)], {
      database: shopDatabase,
    }),
  ]);
  const top = (words: string, calls: number, errors = 0): Ran => ({ words, nested: false, calls, errors });
  const nested = (words: string, calls: number): Ran => ({ words, nested: true, calls, errors: 0 });
  const bench = 2 * transactions;
  return [
    top('insert into kunde', 2 * rounds, rounds),
    top('select ? / ?', rounds, rounds),
    top('selekt nothing', rounds, rounds),
    top('select many_branches', rounds),
    nested('select branches(i)', 3 * rounds),
    nested('count(*) from pgbench_branches', 3 * rounds),
    top('as lang from kunde', rounds),
    top('update kunde', rounds),
    top('declare cursor for', rounds),
    top('fetch from', rounds),
    top('move from', rounds),
    top('create table passing', rounds),
    top('drop table passing', rounds),
    top('::text::int', rounds, rounds),
    top('pg_sleep', rounds, rounds),
    top('pgbench_tellers join', rounds),
    top('update pgbench_accounts', bench),
    top('select abalance', bench),
    top('update pgbench_tellers', bench),
    top('update pgbench_branches', bench),
    top('insert into pgbench_history', bench),
  ];
}

/** Counts of several runs of the workload, added up. */
export function addRan(...all: readonly (readonly Ran[])[]): Ran[] {
  return (all[0] ?? []).map((one, at) => ({
    ...one,
    calls: all.reduce((sum, list) => sum + (list[at]?.calls ?? 0), 0),
    errors: all.reduce((sum, list) => sum + (list[at]?.errors ?? 0), 0),
  }));
}
