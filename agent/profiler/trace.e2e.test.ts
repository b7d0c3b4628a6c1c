/**
 * A trace from the request of a user to rows in history, with the real programs: web server, database, ingester, agent under
 * its watchdog, a server with the extension. The agent's worker is killed and PEM's database crashes while the trace runs;
 * afterwards the server's own count is held against history, row by row.
 */
import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AgentHome } from '../../bench/rig/agent_home.js';
import type { Cluster } from '../../bench/rig/cluster.js';
import { buildPrograms } from '../../bench/rig/conservation.js';
import { type Pem, type RigAgent, startPem } from '../../bench/rig/pem.js';
import { eventually } from '../../bench/rig/processes.js';
import { startProfiled } from '../../bench/rig/traces.js';
import { monitorRole } from '../../bench/rig/watched.js';
import { startWeb, type Visitor, type WebRig } from '../../bench/rig/web.js';
import { parseConninfo } from '../../src/base/conninfo.js';
import { openLog } from '../../src/base/log.js';
import { type Ingester, runIngester } from '../../src/ingest/main.js';

const base = '/pem/api/v1';
let pem: Pem;
let traced: Cluster;
let agent: RigAgent;
let target: number;
let home: AgentHome;
let ingester: Ingester;
let web: WebRig;
let ada: Visitor;

beforeAll(async () => {
  await buildPrograms();
  pem = await startPem();
  traced = await startProfiled();
  await traced.query(monitorRole);
  const password = await pem.addUser('ada', { level: 'pem_super_admin' });
  agent = await pem.addAgent({
    name: 'traced host',
    servers: [{ name: 'traced', host: traced.socketDirectory, port: traced.port }],
  });
  target = agent.serverTargets[0] as number;
  const log = openLog('ingest');
  log.level = 'silent';
  ingester = runIngester({ db: parseConninfo(pem.conninfo('pem_ingest')), name: 'one', log });
  web = await startWeb(pem);
  ada = await web.signIn('ada', password);
  await ada.send('PUT', `${base}/probe/config/${target}/sql_trace_statements`, { intervalMs: 1000 });
  home = AgentHome.make(pem, agent);
  home.start();
});
afterAll(async () => {
  await home?.remove();
  await web?.stop();
  await ingester?.stop();
  await traced?.stop();
  await pem?.stop();
});

interface Run {
  readonly run: string;
  readonly serverId: number;
  readonly state: string;
  readonly stopReason: string | null;
  readonly serverRows: number;
  readonly rowsRead: number;
  readonly eventsSent: number;
  readonly rowsSkipped: number;
  readonly repeatedRows: number;
}
interface Trace {
  readonly state: string;
  readonly code: string | null;
  readonly error: string | null;
  readonly nextAtUs: number | null;
  readonly runs: readonly Run[];
}

const read = async (id: number): Promise<Trace> => (await ada.get(`${base}/traces/${id}`)).json<Trace>();
const pause = (delayMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, delayMs));

async function until(what: string, id: number, holds: (trace: Trace) => boolean): Promise<Trace> {
  let last: Trace | undefined;
  return eventually(what, async () => {
    last = await read(id).catch(() => undefined);
    return last !== undefined && holds(last) ? last : false;
  }).catch((error: unknown) => {
    throw new Error(`${error}\n${JSON.stringify(last)}\n${home.log.slice(-3000)}`);
  }) as Promise<Trace>;
}

test('a user asks for a trace; workers are killed and the database crashes; every row is in history once', async () => {
  const made = await ada.send('POST', `${base}/traces`, {
    targetId: target,
    name: 'all of it',
    options: { users: ['postgres'], max_file_bytes: 262_144 },
    eventsPerS: 1_000_000,
    start: true,
  });
  expect(made.status, made.body.toString()).toBe(201);
  const { id } = made.json<{ id: number }>();
  const running = await until('running', id, (trace) => trace.state === 'running');
  expect(running.runs).toMatchObject([{ run: 'm1', state: 'running' }]);

  const clients = await Promise.all([0, 1, 2].map(() => traced.client()));
  let ending = false;
  let ran = 0;
  const load = clients.map(async (client: pg.Client, i) => {
    for (let n = 0; !ending; n++) {
      await client
        .query(n % 50 === 49 ? 'SELECT 1 / 0' : `SELECT ${n}, 'client ${i}'`)
        .catch(() => undefined);
      ran += 1;
      if (n % 20 === 0) await pause(5);
    }
  });
  // A machine with little time for us starts a worker late: each is struck once, when it is at work.
  let begun = 1;
  for (let strike = 0; strike < 6; strike++) {
    await eventually('a worker at work', () => home.restarts >= begun);
    await pause(700 + ((strike * 331) % 500));
    if (strike === 3) {
      await pem.restart('immediate');
      continue;
    }
    begun = home.restarts + 1;
    process.kill(await eventually('a worker', () => home.workerPid ?? undefined), 'SIGKILL');
  }
  await pause(1500);
  ending = true;
  await Promise.all(load);
  await Promise.all(clients.map((client) => client.end()));
  await eventually('five workers killed', () => home.restarts >= 6);

  await eventually('asked', async () => (await ada.send('POST', `${base}/traces/${id}/stop`)).status === 204);
  const done = await until('over', id, (trace) => trace.state === 'idle' && trace.runs[0]?.state === 'ended');
  const [run] = done.runs as [Run];
  expect(run).toMatchObject({ stopReason: 'requested', rowsSkipped: 0, repeatedRows: 0 });
  expect(run.serverRows).toBeGreaterThanOrEqual(ran);
  expect([run.rowsRead, run.eventsSent]).toEqual([run.serverRows, run.serverRows]);
  const count = async (sql: string): Promise<Record<string, number>> =>
    (await pem.query(sql, [target, run.serverId])).rows[0];
  await eventually(
    'all events',
    async () =>
      (
        await count(
          'SELECT count(*)::int AS n FROM pemhistory.sql_trace_events WHERE target_id = $1 AND trace = $2',
        )
      ).n === run.serverRows,
  );
  // The sums of the last interval, and texts that they brought, may come in a batch of their own.
  await eventually(
    'all sums and texts',
    async () =>
      (
        await count(`SELECT (sum(calls) FILTER (WHERE x.text IS NOT NULL))::int AS n FROM pemhistory.sql_trace_statements s
          LEFT JOIN pemdata.sql_trace_texts x USING (target_id, fingerprint) WHERE s.target_id = $1 AND s.trace = $2`)
      ).n === run.serverRows,
  );
  expect(
    await count(`SELECT count(DISTINCT (slot, line))::int AS n, count(*) FILTER (WHERE sqlstate = '22012')::int > 0 AS failed
      FROM pemhistory.sql_trace_events WHERE target_id = $1 AND trace = $2`),
  ).toEqual({ n: run.serverRows, failed: true });
  expect(
    await count(`SELECT sum(calls)::int AS calls, sum(errors)::int AS errors, count(*) FILTER (WHERE x.text IS NULL)::int AS silent
      FROM pemhistory.sql_trace_statements s LEFT JOIN pemdata.sql_trace_texts x USING (target_id, fingerprint)
     WHERE s.target_id = $1 AND s.trace = $2`),
  ).toEqual({
    calls: run.serverRows,
    errors: (
      await count(`SELECT count(*)::int AS n FROM pemhistory.sql_trace_events
      WHERE target_id = $1 AND trace = $2 AND sqlstate IS NOT NULL`)
    ).n,
    silent: 0,
  });
  // Calls and sums name a statement alike, also across restarts, with and without a query id.
  const perStatement = (from: string, calls: string): string =>
    `SELECT json_object_agg(fingerprint, calls ORDER BY fingerprint) AS of FROM (SELECT fingerprint, ${calls}::int AS calls
       FROM pemhistory.${from} WHERE target_id = $1 AND trace = $2 GROUP BY 1) x`;
  expect(await count(perStatement('sql_trace_events', 'count(*)'))).toEqual(
    await count(perStatement('sql_trace_statements', 'sum(calls)')),
  );
  await eventually('figures of the agent itself', async () => {
    const { rows } = await pem.query(
      'SELECT trace_rows::int AS n FROM pemdata.agent_self WHERE target_id = $1',
      [agent.hostTarget],
    );
    return rows[0]?.n > 0;
  });
  expect((await traced.query('SELECT count(*)::int AS n FROM sql_profiler.traces')).rows).toEqual([{ n: 0 }]);
  expect((await pem.query('SELECT code, reason FROM pem.quarantine')).rows).toEqual([]);
});

test('a schedule runs by itself, also while PEM is away', async () => {
  const atUs = Date.now() * 1000 + 12_000_000;
  const made = await ada.send('POST', `${base}/traces`, {
    targetId: target,
    name: 'once',
    options: { users: ['postgres'] },
    schedule: { kind: 'once', atUs },
    durationS: 8,
  });
  const { id } = made.json<{ id: number }>();
  await until('known', id, (trace) => trace.state === 'idle' && trace.nextAtUs === atUs);
  await pem.cluster.halt('fast');
  const runsThere = async (): Promise<boolean> => {
    const sql = `SELECT FROM sql_profiler.traces WHERE name LIKE $1 AND state = 'running'`;
    return (await traced.query(sql, [`pem_${id}_s${atUs}_%`])).rows.length === 1;
  };
  await eventually('it runs', runsThere);
  await eventually('it is over', async () => !(await runsThere()));
  await pem.cluster.start();
  const done = await until('told', id, (trace) => trace.runs[0]?.state === 'ended');
  expect(done.runs).toMatchObject([{ run: `s${atUs}`, stopReason: 'duration_s', repeatedRows: 0 }]);
});
