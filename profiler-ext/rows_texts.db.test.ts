/** Texts: any bytes survive, long ones are cut at a character and marked, and no secret reaches a file. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Cluster } from '../bench/rig/cluster.js';
import {
  readTrace,
  readTraceFile,
  sortedRows,
  startProfiled,
  startTrace,
  stopTrace,
  type TraceRow,
} from '../bench/rig/traces.js';

let cluster: Cluster;
let client: pg.Client;
let id: number;

beforeAll(async () => {
  cluster = await startProfiled();
});
afterAll(() => cluster.stop());
afterEach(async () => {
  await client.end();
  await stopTrace(cluster, id);
});

async function begin(options: object = {}, database = 'postgres'): Promise<void> {
  client = await cluster.client(database);
  await client.query("SET application_name = 'texts'");
  id = await startTrace(cluster, 'texts', { applications: ['texts'], ...options });
}

const attempt = (sql: string, values?: unknown[]): Promise<unknown> =>
  client.query(sql, values).catch(() => undefined);

const rows = async (): Promise<TraceRow[]> => sortedRows(await readTrace(cluster, id), 'line');

describe('any bytes', () => {
  test('quotes, commas, line ends, spaces, controls and characters of all lengths come back', async () => {
    const texts = [
      `SELECT 'a,b', "x" FROM (SELECT 1 AS "x") AS y`,
      'SELECT \'line\nline\r\nline\r"',
      `SELECT '${'"'.repeat(100)}'`,
      `SELECT '\u0001\u007f\t\u000b é € 🐘 \u{10ffff}'`,
      `SELECT ${'1,'.repeat(5000)}1`,
      "SELECT ',', '\"'",
    ];
    await begin({ max_query_bytes: 1 << 20 });
    for (const text of texts) await attempt(text);
    const got = (await rows()).filter((row) => row.query !== '').map((row) => row.query);
    expect(got).toEqual(texts);
  });

  test('a megabyte, and the next statement is small again', async () => {
    await begin({ max_query_bytes: 8 << 20 });
    const text = `SELECT length('${'x,"'.repeat(700_000)}')`;
    await client.query(text);
    await client.query('SELECT 1');
    const got = await rows();
    expect(got[0]?.query).toBe(text);
    expect(got[1]?.query).toBe('SELECT 1');
  });

  test('statements that come again and again, in any order, each with its own text and figures', async () => {
    // Constants are no part of a query id: most of these have the same, many the same length, too.
    const from = (n: number): string => `FROM generate_series(1, ${n}) AS s`;
    const texts = [
      ...Array.from({ length: 8 }, (_, n) => `SELECT s ${from(n + 1)}`),
      ...Array.from({ length: 8 }, (_, n) => `SELECT s, ',' ${from(n + 1)}`),
      ...Array.from({ length: 8 }, (_, n) => `SELECT s AS "a ""b""" ${from(n + 1)}`),
      ...[1, 2].map((n) => `SELECT s, '${'long '.repeat(200)}' ${from(n)}`),
      ...[3, 4].map((n) => `SELECT s AS "${'q'.repeat(60)}", '${'long '.repeat(60)}' ${from(n)}`),
      ...[5, 6].map((n) => `SELECT s AS password ${from(n)}`),
      'SELECT 7',
      'SELECT',
    ];
    await begin({ kinds: ['select'] });
    const brief = await startTrace(cluster, 'brief', { applications: ['texts'], max_query_bytes: 20 });
    const counts: number[] = [];
    const ran: number[] = [];
    let random = 7;
    for (let run = 0; run < 600; run++) {
      random = (random * 48271) % 2147483647;
      // Now and then one of them is at home for a while.
      const at = run % 60 < 20 ? Math.floor(run / 60) : random % texts.length;
      const answer = await client.query({ name: `s${at}`, text: texts[at] as string });
      ran.push(at);
      counts.push(answer.rows.length);
    }
    const got = await rows();
    expect(got.map((row) => row.query)).toEqual(ran.map((at) => texts[at]));
    expect(got.map((row) => Number(row.rows))).toEqual(counts);
    expect(new Set(got.map((row) => row.tag))).toEqual(new Set(['SELECT']));
    expect(new Set(got.map((row) => row.flags))).toEqual(new Set(['0']));
    const ids = new Map(got.map((row) => [row.query, row.query_id]));
    expect(got.map((row) => row.query_id)).toEqual(got.map((row) => ids.get(row.query)));
    expect(ids.get(texts[0] as string)).toBe(ids.get(texts[7] as string));
    await stopTrace(cluster, brief);
    const cut = sortedRows(await readTrace(cluster, brief), 'line');
    expect(cut.map((row) => row.query)).toEqual(ran.map((at) => (texts[at] as string).slice(0, 20).trim()));
    expect(cut.map((row) => row.rows)).toEqual(got.map((row) => row.rows));
  });

  test("a database's own encoding: bytes as they were, and its name beside them", async () => {
    await cluster.query("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
    await begin({}, 'latin');
    await client.query("SELECT 'é'");
    await client.query('SELECT \'ü\' AS "ö"');
    const reader = await cluster.client();
    const { rows: files } = await reader.query('SELECT slot, file FROM sql_profiler.progress($1)', [id]);
    const bytes = await readTraceFile(reader, id, files[0].slot, files[0].file, 1 << 20);
    await reader.end();
    expect(bytes.includes(Buffer.from("SELECT 'é'", 'latin1'))).toBe(true);
    expect(bytes.includes(Buffer.from("SELECT 'é'", 'utf8'))).toBe(false);
    expect((await rows())[0]?.encoding).toBe('LATIN1');
  });
});

describe('cut', () => {
  test('at a character, and marked', async () => {
    await begin({ max_query_bytes: 11 });
    await client.query("SELECT 'éé'");
    await client.query("SELECT 'éé ' ");
    await client.query('SELECT 1234');
    await client.query('SELECT 12345');
    await client.query("SELECT '€€'");
    expect((await rows()).map((row) => [row.query, row.flags])).toEqual([
      ["SELECT 'é", '1'],
      ["SELECT 'é", '1'],
      ['SELECT 1234', '0'],
      ['SELECT 1234', '1'],
      ["SELECT '€", '1'],
    ]);
  });

  test('in an encoding whose characters tell nothing of their neighbours', async () => {
    await cluster.query("CREATE DATABASE euc ENCODING 'EUC_JP' TEMPLATE template0");
    await begin({ max_query_bytes: 11 }, 'euc');
    await client.query("SELECT 'ああ'");
    const reader = await cluster.client();
    const { rows: files } = await reader.query('SELECT slot, file FROM sql_profiler.progress($1)', [id]);
    const bytes = await readTraceFile(reader, id, files[0].slot, files[0].file, 1 << 20);
    await reader.end();
    // 8 bytes, then characters of two.
    const at = bytes.indexOf("SELECT '");
    expect([...bytes.subarray(at + 8, at + 13)]).toEqual([0xa4, 0xa2, 0x2c, 0x2c, 0x0a]);
  });

  test('parameters, plans and messages too', async () => {
    await begin({ params: true, plan: 'text', max_query_bytes: 20 });
    await client.query('SELECT $1::text', ['x'.repeat(1_000_000)]);
    await attempt(`SELECT '${'é'.repeat(100_000)}'::int`);
    const got = await rows();
    expect(Number(got[0]?.flags) & 2).toBe(2);
    expect(got[0]?.params?.startsWith("$1 = 'xxxx")).toBe(true);
    expect(got[0]?.params?.length).toBeLessThan(1_000_000);
    const failed = got.find((row) => row.sqlstate === '22P02');
    expect(Number(failed?.flags) & 256).toBe(256);
    expect(failed?.error).toMatch(/^invalid input syntax for type integer: "é+$/);
  });
});

describe('secrets', () => {
  const secret = 'Tr0ub4dor';

  /** Everything that lies on disk of traces. */
  function everything(): Buffer {
    const folder = join(cluster.dataDirectory, 'sql_profiler');
    return Buffer.concat(
      readdirSync(folder).flatMap((name) =>
        readdirSync(join(folder, name)).map((file) => readFileSync(join(folder, name, file))),
      ),
    );
  }

  test('of roles, mappings, servers, subscriptions, settings, in any form, are in no file', async () => {
    await cluster.query('CREATE EXTENSION IF NOT EXISTS dblink').catch(() => undefined);
    await begin({ params: true, plan: 'text' });
    const texts = [
      `CREATE ROLE a LOGIN PASSWORD '${secret}'`,
      `ALTER USER a WITH ENCRYPTED PASSWORD E'${secret}' VALID UNTIL '2030-01-01'`,
      `ALTER ROLE a PASSWORD $x$${secret}$x$`,
      `ALTER ROLE a PASWORD '${secret}'`,
      `ALTER ROLE a PASSWORD ${secret}`,
      `ALTER ROLE a PASSWORD '${secret}`,
      `CREATE ROLE a PASSWORD '${secret}'`,
      `DO $$ BEGIN EXECUTE 'ALTER ROLE a PASSWORD ''${secret}'''; END $$`,
      `DO $$ BEGIN EXECUTE format('ALTER ROLE a PASSWORD %L', '${secret}'); END $$`,
      `DO $$ BEGIN EXECUTE 'ALTER ROLE a PASSWORD ${secret}'; END $$`,
      `CREATE FUNCTION setting() RETURNS void LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE a PASSWORD '${secret}'; END $$`,
      'SELECT setting()',
      'CREATE FOREIGN DATA WRAPPER w',
      `CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'h', api_key '${secret}')`,
      `CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', token '${secret}')`,
      `ALTER USER MAPPING FOR a SERVER s OPTIONS (SET token '${secret}')`,
      `CREATE SUBSCRIPTION sub CONNECTION 'host=127.0.0.1 port=1 password=${secret}' PUBLICATION p WITH (connect = false)`,
      `ALTER SUBSCRIPTION sub CONNECTION 'host=127.0.0.1 ${secret}'`,
      `ALTER SYSTEM SET primary_conninfo = 'host=h password=${secret}'`,
      `SET primary_conninfo = '${secret}'`,
      `SELECT set_config('primary_conninfo', 'host=h password=${secret}', false)`,
      `SELECT dblink_connect('host=127.0.0.1 port=1 password=${secret}')`,
      `SELECT dblink_connect('postgresql://u:${secret}@127.0.0.1:1/db')`,
      `SELECT 1; ALTER ROLE a PASSWORD '${secret}'; SELECT 2`,
      `/* ALTER ROLE a PASSWORD '${secret}' */ SELECT 1`,
      `EXPLAIN ANALYZE SELECT 'password=${secret}'`,
      `PREPARE p AS SELECT 'password=${secret}'::text`,
      'EXECUTE p',
    ];
    for (const text of texts) await attempt(text);
    await attempt('SELECT $1::text', [`host=h password=${secret}`]);
    await attempt("SELECT * FROM (VALUES ('password=x')) v(c) WHERE c = $1", [`password=${secret}`]);
    const got = await rows();
    expect(got.filter((row) => row.level === '0' && row.query !== '').length).toBeGreaterThan(texts.length);
    for (const row of got)
      for (const [column, text] of Object.entries(row))
        expect(text, `${column} of ${row.query}`).not.toContain(secret);
    expect(everything().includes(secret)).toBe(false);
    // The rest of the statement is there.
    expect(got[0]?.query).toBe("CREATE ROLE a LOGIN PASSWORD '***'");
    expect(got[0]?.flags).toBe('128');
    expect(got.find((row) => row.error?.includes('already exists'))?.error).toBe('role "a" already exists');
    expect(got.map((row) => row.query)).toContain(
      "SELECT dblink_connect('host=127.0.0.1 port=1 password=***')",
    );
  });

  test('a text cut in the middle of one shows none of it', async () => {
    await begin({ max_query_bytes: 35 });
    await attempt(`ALTER ROLE a PASSWORD '${secret}${secret}'`);
    const got = await rows();
    expect(got[0]?.query).toBe("ALTER ROLE a PASSWORD '***");
    expect(got[0]?.flags).toBe('129');
  });

  test('files are readable by the server alone', async () => {
    await begin();
    await client.query('SELECT 1');
    const { statSync } = await import('node:fs');
    const folder = join(cluster.dataDirectory, 'sql_profiler');
    for (const name of readdirSync(folder)) {
      expect(statSync(join(folder, name)).mode & 0o777).toBe(0o700);
      for (const file of readdirSync(join(folder, name)))
        expect(statSync(join(folder, name, file)).mode & 0o777).toBe(0o600);
    }
  });
});
