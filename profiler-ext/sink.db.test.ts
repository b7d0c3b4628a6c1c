/** The sink in a real server: rows survive kills and restarts, files keep their limits, and nobody's query ever notices. */
import { existsSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Cluster } from '../bench/rig/cluster.js';
import { killBackend } from '../bench/rig/crash.js';
import {
  brokenLines,
  queries,
  readTrace,
  readTraceFile,
  startProfiled,
  startTrace,
  stopTrace,
  traceRows,
  traceStatus,
} from '../bench/rig/traces.js';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startProfiled();
});
afterAll(() => cluster?.stop());

const folderOf = (id: number): string => join(cluster.dataDirectory, 'sql_profiler', `pgsql_tmp_${id}`);
const csvFiles = (id: number): string[] => readdirSync(folderOf(id)).filter((name) => name.endsWith('.csv'));
const rings = (id: number): string[] => readdirSync(folderOf(id)).filter((name) => name.endsWith('.ring'));

const pidOf = async (client: pg.Client): Promise<number> =>
  (await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid;

/** Statements that name themselves, `text` bytes long. */
async function runMarked(client: pg.Client, mark: string, count: number, text = 20): Promise<string[]> {
  const sent: string[] = [];
  for (let i = 0; i < count; i++) {
    const sql = `SELECT ${i} AS ${mark} /* ${'x'.repeat(text)} */`;
    await client.query(sql);
    sent.push(sql);
  }
  return sent;
}

describe('rows of a trace', () => {
  it('are read whole in pieces of any size, and are the files', async () => {
    const id = await startTrace(cluster, 'pieces');
    const client = await cluster.client();
    const sent = [
      ...(await runMarked(client, 'short', 50)),
      ...(await runMarked(client, 'long', 10, 20_000)),
      // Longer than the ring: straight to the file.
      ...(await runMarked(client, 'longest', 2, 30_000)),
    ];
    await client.query(`SELECT 'a "quoted"\n, text\r\n' AS odd`);
    const whole = await readTrace(cluster, id);
    expect(await readTrace(cluster, id, 1)).toEqual(whole);
    expect(await readTrace(cluster, id, 5_000)).toEqual(whole);
    expect([...queries(whole, ' AS short'), ...queries(whole, ' AS long')]).toEqual(sent);
    expect(queries(whole, ' AS odd')).toEqual([`SELECT 'a "quoted"\n, text\r\n' AS odd`]);
    expect(brokenLines(whole)).toEqual([]);
    await stopTrace(cluster, id);
    await client.end();
    // Ended and let go: the CSV files alone hold all.
    const fromFiles = csvFiles(id).flatMap((name) =>
      traceRows(readFileSync(join(folderOf(id), name)), Number(name.split('.')[1])),
    );
    const stopped = await readTrace(cluster, id);
    expect(stopped).toHaveLength(fromFiles.length);
    expect(stopped.map((row) => row.query)).toEqual(expect.arrayContaining(whole.map((row) => row.query)));
  });

  it('survive kill -9 of their backend, and the slot goes on behind them', async () => {
    const id = await startTrace(cluster, 'killed');
    const client = await cluster.client();
    const sent = await runMarked(client, 'before_kill', 700);
    await killBackend(cluster, await pidOf(client));
    expect((await traceStatus(cluster, id)).state).toBe('running');
    const next = await cluster.client();
    sent.push(...(await runMarked(next, 'before_kill', 5)));
    await next.end();
    const rows = await readTrace(cluster, id);
    expect(queries(rows, ' AS before_kill')).toEqual(sent);
    expect(brokenLines(rows)).toEqual([]);
    expect((await traceStatus(cluster, id)).lost_rows).toBe('0');
    await stopTrace(cluster, id);
  });

  it.each(['fast', 'immediate'] as const)('survive a %s shutdown; the trace goes on', async (mode) => {
    const id = await startTrace(cluster, `restart ${mode}`);
    const client = await cluster.client();
    const sent = await runMarked(client, 'restarted', 300);
    await cluster.halt(mode);
    await cluster.start();
    const next = await cluster.client();
    sent.push(...(await runMarked(next, 'restarted', 300)));
    await next.end();
    const rows = await readTrace(cluster, id);
    expect(queries(rows, ' AS restarted')).toEqual(sent);
    expect(brokenLines(rows)).toEqual([]);
    await stopTrace(cluster, id);
    expect(queries(await readTrace(cluster, id), ' AS restarted')).toEqual(sent);
  });

  it('of many short sessions go into few files', async () => {
    const id = await startTrace(cluster, 'short sessions');
    for (let i = 0; i < 60; i++) await cluster.query(`SELECT ${i} AS short_session`);
    const rows = await readTrace(cluster, id);
    expect(queries(rows, ' AS short_session')).toHaveLength(60);
    expect(brokenLines(rows)).toEqual([]);
    expect(new Set(rows.map((row) => row.pid)).size).toBeGreaterThanOrEqual(60);
    expect(csvFiles(id).length).toBeLessThan(5);
    await stopTrace(cluster, id);
  });

  it('are whole for a reader that races the writers, and none is missing', async () => {
    const id = await startTrace(cluster, 'race', { max_file_bytes: 65_536 });
    const writers = await Promise.all([cluster.client(), cluster.client(), cluster.client()]);
    let writing = true;
    const work = Promise.all(
      writers.map(async (client, number) => {
        const sent: string[] = [];
        while (sent.length < 2000)
          sent.push(...(await runMarked(client, `racer${number}`, 20, (sent.length * 37) % 900)));
        return sent;
      }),
    ).finally(() => {
      writing = false;
    });
    const reader = await cluster.client();
    const got = new Map<string, Buffer[]>();
    const at = new Map<number, { file: number; from: number }>();
    for (let last = false; ; last = !writing) {
      const { rows } = await reader.query('SELECT slot, file FROM sql_profiler.progress($1)', [id]);
      for (const { slot, file } of rows) {
        const place = at.get(slot) ?? { file: 1, from: 0 };
        at.set(slot, place);
        for (;;) {
          const { rows: read } = await reader.query('SELECT sql_profiler.read($1, $2, $3, $4) AS bytes', [
            ...[id, slot, place.file, place.from],
          ]);
          const bytes = read[0].bytes as Buffer;
          place.from += bytes.length;
          const key = `${slot}.${place.file}`;
          got.set(key, [...(got.get(key) ?? []), bytes]);
          if (bytes.length > 0) continue;
          if (place.file >= file) break;
          place.file++;
          place.from = 0;
        }
      }
      if (last) break;
    }
    const rows = [...got].flatMap(([key, pieces]) =>
      traceRows(Buffer.concat(pieces), Number(key.split('.')[1])),
    );
    const sent = await work;
    for (const [number, texts] of sent.entries()) {
      const back = rows.filter((row) => row.query?.includes(`racer${number} `)).map((row) => row.query);
      expect(back).toEqual(texts);
      expect(texts.length).toBeGreaterThan(200);
    }
    expect(got.size).toBeGreaterThan(10);
    await Promise.all([...writers, reader].map((client) => client.end()));
    await stopTrace(cluster, id);
  });
});

describe('limits', () => {
  it('begin a new file at max_file_bytes, each with its header line', async () => {
    const id = await startTrace(cluster, 'rotation', { max_file_bytes: 65_536 });
    const client = await cluster.client();
    const sent = await runMarked(client, 'rotated', 600, 500);
    sent.push(...(await runMarked(client, 'rotated', 2, 30_000)));
    await stopTrace(cluster, id);
    await client.query('SELECT 1');
    const rows = await readTrace(cluster, id);
    expect(queries(rows, ' AS rotated')).toEqual(sent);
    const sizes = csvFiles(id).map((name) => statSync(join(folderOf(id), name)).size);
    expect(sizes.length).toBeGreaterThan(5);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(65_536);
    expect(await traceStatus(cluster, id)).toMatchObject({
      files: String(sizes.length),
      bytes: String(sizes.reduce((sum, size) => sum + size, 0)),
      rows: String(rows.length),
      lost_rows: '0',
    });
    await client.end();
  });

  it('stop a trace at max_total_bytes, and say so', async () => {
    const limit = 400_000;
    const id = await startTrace(cluster, 'total', { max_total_bytes: limit });
    const client = await cluster.client();
    await runMarked(client, 'much', 1200, 600);
    const status = await traceStatus(cluster, id);
    expect(status).toMatchObject({ state: 'stopped', stop_reason: 'max_total_bytes', lost_rows: '0' });
    const blocks = readdirSync(folderOf(id)).map((name) => statSync(join(folderOf(id), name)).blocks * 512);
    expect(blocks.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThanOrEqual(limit + 8192);
    const rows = await readTrace(cluster, id);
    expect(rows.length).toBe(Number(status.rows));
    expect(rows.length).toBeGreaterThan(200);
    expect(brokenLines(rows)).toEqual([]);
    await client.end();
  });

  it('stop a trace when its duration is over, whether anybody looks or not', async () => {
    const client = await cluster.client();
    const id = await startTrace(cluster, 'duration', { duration_s: 4 });
    const before = await runMarked(client, 'in_time', 3);
    await sleep(4100);
    await runMarked(client, 'too_late', 3);
    const rows = await readTrace(cluster, id);
    expect(queries(rows, ' AS in_time')).toEqual(before);
    expect(queries(rows, ' AS too_late')).toEqual([]);
    const { rows: status } = await cluster.query(
      `SELECT state, stop_reason, stopped_at - started_at = interval '4 s' AS exact
       FROM sql_profiler.traces WHERE id = $1`,
      [id],
    );
    expect(status[0]).toEqual({ state: 'stopped', stop_reason: 'duration_s', exact: true });
    await client.end();
  });

  it('of all traces together stop the one that reaches them, and let none start', async () => {
    const set = async (value: string): Promise<void> => {
      await cluster.query(`ALTER SYSTEM SET sql_profiler.max_directory_bytes = ${value}`);
      await cluster.query('SELECT pg_reload_conf()');
      const shown = async () => (await cluster.query('SHOW sql_profiler.max_directory_bytes')).rows[0];
      const wanted = value === 'DEFAULT' ? '8GB' : `${value}kB`;
      await expect.poll(shown, { timeout: 60_000 }).toEqual({ 'sql_profiler.max_directory_bytes': wanted });
    };
    const id = await startTrace(cluster, 'no more room', { applications: ['limited'] });
    try {
      await set('1');
      const client = new pg.Client({ ...cluster.config(), application_name: 'limited' });
      await client.connect();
      await runMarked(client, 'no_room', 5);
      await client.end();
      expect(await traceStatus(cluster, id)).toMatchObject({
        state: 'stopped',
        stop_reason: 'sql_profiler.max_directory_bytes',
        rows: '0',
        lost_rows: '0',
      });
      await expect(startTrace(cluster, 'no room')).rejects.toThrow(/sql_profiler.max_directory_bytes/);
    } finally {
      await set('DEFAULT');
    }
  });
});

describe('files that are harmed under a running backend', () => {
  /** Statements before and after the harm, none of which may fail. */
  async function harmed(name: string, harm: (id: number, slot: string) => void) {
    const id = await startTrace(cluster, name);
    const client = await cluster.client();
    await runMarked(client, 'before_harm', 300, 300);
    const slot = rings(id)
      .map((ring) => ({ ring, at: statSync(join(folderOf(id), ring)).mtimeMs }))
      .sort((a, b) => b.at - a.at)[0]
      ?.ring.slice(5, 11) as string;
    harm(id, slot);
    await runMarked(client, 'after_harm', 600, 300);
    const rows = await readTrace(cluster, id);
    const status = await traceStatus(cluster, id);
    expect(status.state).toBe('running');
    expect(brokenLines(rows)).toEqual([]);
    await stopTrace(cluster, id);
    // The session is the same: it was not ended.
    await client.query('SELECT 1');
    await client.end();
    const after = queries(rows, ' AS after_harm');
    expect(after.at(-1)).toContain('SELECT 599 AS');
    return { id, rows, status, after, before: queries(rows, ' AS before_harm') };
  }

  it('a truncated ring: rows that were in it are lost and counted, all others are there', async () => {
    const { rows, status, after } = await harmed('ring truncated', (id, slot) =>
      truncateSync(join(folderOf(id), `slot_${slot}.ring`), 0),
    );
    expect(after).toHaveLength(600);
    expect(Number(status.lost_rows)).toBeGreaterThan(0);
    expect(status.lost_reason).toBe('a mapped file was cut short or could not be written back');
    expect(rows.length).toBe(Number(status.rows));
  });

  it('a removed ring: nothing is lost', async () => {
    const { status, before, after } = await harmed('ring removed', (id, slot) =>
      rmSync(join(folderOf(id), `slot_${slot}.ring`)),
    );
    expect(before).toHaveLength(300);
    expect(after).toHaveLength(600);
    expect(status).toMatchObject({ lost_rows: '0', lost_reason: null });
  });

  it.each(['removed', 'truncated'])(
    'a %s CSV file: the next one takes the rows, loss is counted',
    async (how) => {
      const { status, after, rows } = await harmed(`csv ${how}`, (id, slot) => {
        const path = join(folderOf(id), `slot_${slot}.000001.v1.csv`);
        if (how === 'removed') rmSync(path);
        else truncateSync(path, 1000);
      });
      expect(after.length + Number(status.lost_rows)).toBeGreaterThanOrEqual(600);
      expect(after.length).toBeGreaterThan(300);
      expect(Number(status.lost_rows)).toBeGreaterThan(0);
      expect(status.lost_reason).toBe('a trace file was removed or cut short');
      expect(new Set(rows.map((row) => row.file))).toContain('2');
    },
  );

  it('a removed folder: rows are lost and counted, statements go on', async () => {
    const id = await startTrace(cluster, 'folder removed');
    const client = await cluster.client();
    await runMarked(client, 'before_harm', 10);
    rmSync(folderOf(id), { recursive: true });
    await runMarked(client, 'after_harm', 600, 300);
    const status = await traceStatus(cluster, id);
    expect(Number(status.lost_rows)).toBeGreaterThan(100);
    await stopTrace(cluster, id);
    await client.query('SELECT 1');
    await client.end();
    await cluster.query('SELECT sql_profiler.drop($1)', [id]);
    expect(existsSync(folderOf(id))).toBe(false);
  });
});

describe('stop and drop', () => {
  it('bring the CSV up to date under an idle backend, which lets go at its next statement', async () => {
    const id = await startTrace(cluster, 'idle');
    const client = await cluster.client();
    const sent = await runMarked(client, 'idle', 20);
    await stopTrace(cluster, id);
    const [name] = csvFiles(id);
    const rows = traceRows(readFileSync(join(folderOf(id), name as string)), 1);
    expect(queries(rows, ' AS idle')).toEqual(sent);
    const ring = join(folderOf(id), rings(id)[0] as string);
    expect(statSync(ring).blocks).toBeGreaterThan(100);
    await runMarked(client, 'after_stop', 1);
    expect(statSync(ring).blocks).toBeLessThanOrEqual(16);
    expect(queries(await readTrace(cluster, id), ' AS after_stop')).toEqual([]);
    await client.end();
  });

  it('give the room back at once while a backend still has the ring mapped', async () => {
    const id = await startTrace(cluster, 'dropped');
    const client = await cluster.client();
    await runMarked(client, 'dropped', 20);
    const pid = await pidOf(client);
    await stopTrace(cluster, id);
    await cluster.query('SELECT sql_profiler.drop($1)', [id]);
    expect(existsSync(folderOf(id))).toBe(false);
    const mapped = () => readFileSync(`/proc/${pid}/maps`, 'utf8').includes('.ring');
    expect(mapped()).toBe(true);
    await client.query('SELECT 1');
    expect(mapped()).toBe(false);
    await client.end();
  });
});

it('a reader that resumes after max_bytes gets every byte once', async () => {
  const id = await startTrace(cluster, 'resume');
  const client = await cluster.client();
  await runMarked(client, 'resumed', 400, 100);
  const reader = await cluster.client();
  const { rows } = await reader.query('SELECT slot FROM sql_profiler.progress($1)', [id]);
  for (const { slot } of rows) {
    const whole = await readTraceFile(reader, id, slot, 1, 64 << 20);
    for (const size of [1, 777, 70_000])
      expect(await readTraceFile(reader, id, slot, 1, size)).toEqual(whole);
  }
  await Promise.all([client.end(), reader.end()]);
  await stopTrace(cluster, id);
});
