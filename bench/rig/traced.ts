/**
 * A trace of the SQL profiler as it lies in PEM's database when all is shipped: pem.trace, a run, calls, aggregates per
 * interval, texts. In: a rig's PEM, a target, how much; out: rows of a made-up shop with twelve sessions, the same for the
 * same seed. For tests and pictures of what stands behind the agent; the road itself has tests of its own.
 */
import { eventFlags, zeroBit, zeroColumns } from '../../src/wire/index.js';
import type { Pem } from './pem.js';

interface Statement {
  readonly text: string;
  readonly tag: string;
  readonly database: string;
  readonly username: string;
  /** Median and how far it spreads (of a log-normal distribution). */
  readonly medianUs: number;
  readonly spread: number;
  readonly weight: number;
  readonly rows: number;
  readonly blocks: number;
  readonly walBytes: number;
  readonly errorShare: number;
  readonly error?: readonly [state: string, message: string];
}

const shop = (
  text: string,
  medianUs: number,
  spread: number,
  weight: number,
  rows: number,
  blocks: number,
  more: Partial<Statement> = {},
): Statement => ({
  text,
  tag: text.split(' ')[0] ?? '',
  database: 'shop',
  username: 'web',
  medianUs,
  spread,
  weight,
  rows,
  blocks,
  walBytes: 0,
  errorShare: 0,
  ...more,
});

export const tracedStatements: readonly Statement[] = [
  shop('SELECT id, name, price, stock FROM product WHERE id = ?', 80, 0.4, 40, 1, 4),
  shop(
    'SELECT o.id, o.placed_at, sum(l.quantity * l.price) FROM "order" o JOIN order_line l ON l.order_id = o.id WHERE o.customer_id = ? GROUP BY o.id, o.placed_at ORDER BY o.placed_at DESC LIMIT ?',
    2_400,
    0.9,
    9,
    12,
    310,
  ),
  shop('UPDATE product SET stock = stock - ? WHERE id = ? AND stock >= ?', 260, 0.7, 10, 1, 9, {
    walBytes: 420,
    errorShare: 0.004,
    error: ['40001', 'could not serialize access due to concurrent update'],
  }),
  shop(
    'INSERT INTO order_line (order_id, product_id, quantity, price) VALUES (?, ?, ?, ?)',
    140,
    0.5,
    12,
    1,
    7,
    {
      walBytes: 310,
      errorShare: 0.01,
      error: [
        '23503',
        'insert or update on table "order_line" violates foreign key constraint "order_line_product_id_fkey"',
      ],
    },
  ),
  shop('INSERT INTO "order" (customer_id, placed_at) VALUES (?, now()) RETURNING id', 190, 0.5, 5, 1, 8, {
    walBytes: 280,
  }),
  shop('SELECT count(*) FROM session WHERE seen_at > now() - ?::interval', 14_000, 0.5, 1.2, 1, 2_900),
  shop('SELECT * FROM product WHERE name ILIKE ? ORDER BY rank DESC LIMIT ?', 48_000, 1.0, 0.8, 24, 5_400),
  shop(
    'WITH sold AS (SELECT product_id, sum(quantity) AS n FROM order_line GROUP BY product_id) SELECT p.name, s.n FROM sold s JOIN product p ON p.id = s.product_id ORDER BY s.n DESC LIMIT ?',
    420_000,
    0.6,
    0.06,
    100,
    61_000,
    {
      username: 'report',
      errorShare: 0.06,
      error: ['57014', 'canceling statement due to statement timeout'],
    },
  ),
  shop('UPDATE session SET seen_at = now() WHERE token = ?', 120, 0.6, 8, 1, 5, { walBytes: 190 }),
  shop('COMMIT', 590, 0.5, 9, 0, 0, { walBytes: 60 }),
  shop('SELECT balance FROM account WHERE id = ? FOR UPDATE', 300, 1.6, 2, 1, 5, {
    database: 'billing',
    username: 'biller',
    errorShare: 0.02,
    error: ['55P03', 'could not obtain lock on row in relation "account"'],
  }),
  shop('UPDATE account SET balance = balance + ? WHERE id = ?', 230, 0.6, 2, 1, 6, {
    database: 'billing',
    username: 'biller',
    walBytes: 350,
  }),
];

export interface TraceOptions {
  readonly target: number;
  readonly name: string;
  readonly serverId: number;
  readonly startUs: number;
  readonly seconds: number;
  readonly calls: number;
  readonly seed?: number;
  /** Execution times are so many times as long. */
  readonly slower?: number;
  readonly running?: boolean;
  readonly events?: boolean;
  /** False: as of a server with compute_query_id off. */
  readonly queryIds?: boolean;
  /** Calls as an agent sent them that knew version 1 of their probe: nothing left out, no fingerprint. */
  readonly version1?: boolean;
}

export interface MadeTrace {
  readonly id: number;
  readonly run: string;
}

function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** native/core/histogram.h's text of times. */
export function histogramText(timesUs: readonly number[]): string {
  const counts = new Map<number, number>();
  for (const us of timesUs) {
    const power = us < 32 ? 0 : 31 - Math.clz32(us);
    const bucket = us < 32 ? us : 16 * (power - 4) + Math.floor(us / 2 ** (power - 4));
    counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
  }
  let text = '1';
  let before = 0;
  for (const [bucket, count] of [...counts].sort(([a], [b]) => a - b)) {
    text += ` ${bucket - before}${count === 1 ? '' : `:${count}`}`;
    before = bucket;
  }
  return text;
}

const iso = (us: number): string =>
  `${new Date(Math.floor(us / 1000)).toISOString().slice(0, 23)}${String(us % 1000).padStart(3, '0')}+00`;

/** Partitions of the trace's tables for the days of [fromUs, toUs]. */
async function addPartitions(pem: Pem, fromUs: number, toUs: number): Promise<void> {
  for (const table of ['sql_trace_events', 'sql_trace_statements']) {
    for (let day = Math.floor(fromUs / 86_400_000_000); day <= Math.floor(toUs / 86_400_000_000); day += 1) {
      const from = new Date(day * 86_400_000).toISOString().slice(0, 10);
      const to = new Date((day + 1) * 86_400_000).toISOString().slice(0, 10);
      await pem.query(
        `CREATE TABLE IF NOT EXISTS pempart.${table}_${from.replaceAll('-', '')} PARTITION OF pemhistory.${table}
           FOR VALUES FROM ('${from} 00:00+00') TO ('${to} 00:00+00')`,
      );
    }
  }
}

interface Call {
  readonly endUs: number;
  readonly execUs: number;
  readonly statement: number;
  readonly session: number;
  readonly failed: boolean;
}

function makeCalls(options: TraceOptions): Call[] {
  const random = generator(options.seed ?? 1);
  const total = tracedStatements.reduce((sum, it) => sum + it.weight, 0);
  const calls: Call[] = [];
  const ends = new Array<number>(12).fill(0);
  for (let n = 0; n < options.calls; n += 1) {
    const at = options.startUs + (options.seconds * 1e6 * (n + random())) / options.calls;
    let left = random() * total;
    let statement = tracedStatements.findIndex((it) => {
      left -= it.weight;
      return left < 0;
    });
    if (statement < 0) statement = 0;
    const it = tracedStatements[statement] as Statement;
    const normal = Math.sqrt(-2 * Math.log(random() + 1e-12)) * Math.cos(2 * Math.PI * random());
    // A third of the way in something holds everybody up for a while.
    const progress = n / options.calls;
    const slow = progress > 0.33 && progress < 0.4 ? 6 : 1;
    const execUs = Math.max(
      1,
      Math.round(it.medianUs * Math.exp(it.spread * normal) * slow * (options.slower ?? 1)),
    );
    // A session does one thing after the other: one that is free is chosen, else the next to be.
    let session = Math.floor(random() * 12);
    for (let tries = 0; tries < 12 && (ends[session] ?? 0) > at - execUs; tries += 1)
      session = (session + 1) % 12;
    const endUs = Math.round(Math.max(at, (ends[session] ?? 0) + execUs));
    ends[session] = endUs;
    calls.push({
      endUs,
      execUs,
      statement,
      session,
      failed: random() < it.errorShare * (slow > 1 ? 4 : 1),
    });
  }
  return calls;
}

/** Makes a trace of PEM with one run and all that it brought. */
export async function makeTrace(pem: Pem, options: TraceOptions): Promise<MadeTrace> {
  const { target, serverId, startUs } = options;
  const endUs = startUs + options.seconds * 1e6;
  await addPartitions(pem, startUs, endUs + 60e6);
  const calls = makeCalls(options);
  const run = `run${serverId}`;
  const running = options.running === true;
  const made = await pem.query(
    `INSERT INTO pem.trace (target_id, name, options, duration_s, events, events_per_s, continuous, keep_files, created_by,
       state, run, reported_at) VALUES ($1, $2, '{"min_duration_us": 0}', 3600, $3, 100000, false, false, 'postgres', $4, $5, now())
     RETURNING id::int`,
    [target, options.name, options.events !== false, running ? 'running' : 'idle', run],
  );
  const id = made.rows[0].id as number;
  await pem.query(
    `INSERT INTO pem.trace_run (trace_id, run, target_id, server_id, server_name, state, started_at, stopped_at, stop_reason,
       rows_read, bytes_read, events_sent, events_dropped, rows_skipped, bad_rows, repeated_rows, lag_bytes, server_rows,
       server_bytes, server_lost_rows)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, 0, 0, 0, 0, $10, $11, 0)`,
    [
      id,
      run,
      target,
      serverId,
      `pem_${run}`,
      running ? 'running' : 'done',
      iso(startUs),
      running ? null : iso(endUs),
      running ? null : 'duration',
      calls.length,
      calls.length * 300,
      options.events === false ? 0 : calls.length,
    ],
  );
  await addAggregates(pem, options, calls);
  if (options.events !== false) await addEvents(pem, options, calls);
  return { id, run };
}

const queryId = (statement: number): string =>
  String((BigInt(statement + 1) * 1_000_000_007_000_000_007n) % 9_000_000_000_000_000_000n);
const fingerprint = (statement: number): string => String(-BigInt(statement + 1) * 700_000_001_000_003n);

async function insert(pem: Pem, table: string, rows: readonly object[]): Promise<void> {
  for (let at = 0; at < rows.length; at += 20_000) {
    await pem.query(`INSERT INTO ${table} SELECT * FROM json_populate_recordset(NULL::${table}, $1)`, [
      JSON.stringify(rows.slice(at, at + 20_000)),
    ]);
  }
}

async function addAggregates(pem: Pem, options: TraceOptions, calls: readonly Call[]): Promise<void> {
  const groups = new Map<string, Call[]>();
  for (const call of calls) {
    const name = `${Math.floor(call.endUs / 10_000_000)} ${call.statement}`;
    const list = groups.get(name);
    if (list === undefined) groups.set(name, [call]);
    else list.push(call);
  }
  const rows = [...groups.values()].map((list) => {
    const { statement, endUs } = list[0] as Call;
    const it = tracedStatements[statement] as Statement;
    const times = list.map((call) => call.execUs);
    const execUs = times.reduce((sum, us) => sum + us, 0);
    const errors = list.filter((call) => call.failed).length;
    return {
      recorded_at: iso((Math.floor(endUs / 10_000_000) + 1) * 10_000_000),
      target_id: options.target,
      trace: options.serverId,
      database: it.database,
      username: it.username,
      nested: false,
      query_id: options.queryIds === false ? '0' : queryId(statement),
      fingerprint: fingerprint(statement),
      tag: it.tag,
      first_at: iso(Math.min(...list.map((call) => call.endUs))),
      last_at: iso(Math.max(...list.map((call) => call.endUs))),
      calls: list.length,
      timed: list.length,
      planned: it.tag === 'COMMIT' ? 0 : list.length,
      errors,
      cancelled: it.error?.[0] === '57014' ? errors : 0,
      last_sqlstate: errors > 0 ? it.error?.[0] : null,
      exec_us: execUs,
      min_us: Math.min(...times),
      max_us: Math.max(...times),
      histogram: histogramText(times),
      elapsed_us: execUs + 40 * list.length,
      plan_us: it.tag === 'COMMIT' ? null : 35 * list.length,
      rows: it.rows * (list.length - errors),
      shared_hit: it.blocks * list.length,
      shared_read: Math.round(it.blocks * list.length * 0.03),
      shared_dirtied: it.walBytes > 0 ? 2 * list.length : 0,
      shared_written: 0,
      wal_records: it.walBytes > 0 ? 3 * list.length : 0,
      wal_bytes: it.walBytes * list.length,
      missed_calls: 0,
      missed_us: 0,
    };
  });
  await insert(pem, 'pemhistory.sql_trace_statements', rows);
  await pem.query(
    `INSERT INTO pemdata.sql_trace_texts (target_id, fingerprint, recorded_at, text, _arrival, _seq)
     SELECT $1, (x ->> 0)::int8, now(), x ->> 1, 1, 1 FROM json_array_elements($2::json) x ON CONFLICT DO NOTHING`,
    [
      options.target,
      JSON.stringify(tracedStatements.map((it, statement) => [fingerprint(statement), it.text])),
    ],
  );
}

async function addEvents(pem: Pem, options: TraceOptions, calls: readonly Call[]): Promise<void> {
  const lines = new Array<number>(12).fill(0);
  const transactions = new Array<number>(12).fill(1);
  const sampled = new Map<string, string>();
  const rows = calls.map((call, serial) => {
    const it = tracedStatements[call.statement] as Statement;
    const line = (lines[call.session] ?? 0) + 1;
    lines[call.session] = line;
    const local = transactions[call.session] ?? 0;
    if (it.tag === 'COMMIT' || call.failed) transactions[call.session] = local + 1;
    const whole = {
      recorded_at: iso((Math.floor(call.endUs / 1_000_000) + 1) * 1_000_000),
      target_id: options.target,
      trace: options.serverId,
      line,
      end_time: iso(call.endUs),
      exec_us: call.execUs,
      elapsed_us: call.execUs + 40,
      serial: serial + 1,
      parent: 0,
      level: 1,
      vxid: `${call.session + 3}/${local}`,
      xid: it.walBytes > 0 ? 7000 + local : null,
      pid: 4100 + call.session,
      backend_start: iso(options.startUs - 60e6),
      slot: call.session + 3,
      database: it.database,
      username: it.username,
      application: it.username === 'report' ? 'metabase' : 'shop-web',
      client: '10.0.0.7',
      query_id: options.queryIds === false ? null : queryId(call.statement),
      tag: it.tag,
      plan_us: it.tag === 'COMMIT' ? null : 35,
      rows: call.failed ? 0 : it.rows,
      shared_hit: it.blocks,
      shared_read: Math.round(it.blocks * 0.03),
      shared_dirtied: it.walBytes > 0 ? 2 : 0,
      shared_written: 0,
      wal_bytes: it.walBytes,
      sqlstate: call.failed ? it.error?.[0] : null,
      error: call.failed ? it.error?.[1] : null,
      flags: call.failed && it.error?.[0] === '57014' ? 32 : 0,
      // Three in four are prepared: the same text each time.
      query: it.text.replaceAll('?', () => (serial % 4 === 0 ? String(serial % 1000) : '$1')),
    };
    return options.version1 === true ? whole : asVersion2(whole, fingerprint(call.statement), sampled);
  });
  await insert(pem, 'pemhistory.sql_trace_events', rows);
}

/** What the agent leaves out (src/wire/events.ts): figures that are 0, texts that a call of the same moment has. */
function asVersion2(
  whole: Readonly<Record<string, unknown>> & { recorded_at: string; query: string; flags: number },
  print: string,
  sampled: Map<string, string>,
): object {
  const { database, username, ...row } = whole;
  const key = `${row.recorded_at} ${print}`;
  const sample = sampled.get(key);
  if (sample === undefined) sampled.set(key, row.query);
  const made: Record<string, unknown> = {
    ...row,
    ...{ database_name: database, user_name: username, fingerprint: print },
    flags: sample === undefined ? row.flags | eventFlags.sample : row.flags,
    query: sample === row.query ? null : row.query,
  };
  const left = zeroColumns.filter((name) => made[name] === 0);
  for (const name of left) made[name] = null;
  return { ...made, zeros: left.reduce((bits, name) => bits | zeroBit(name), 0) };
}
