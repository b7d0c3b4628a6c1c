/** Link against a fake PEM: what it asks first, when ship gets the connection, what it does with answers good and bad. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../../bench/rig/processes.js';
import { openLog } from '../../src/base/log.js';
import type { AgentDefinitions } from '../../src/wire/config.js';
import { Ship } from '../ship/ship.js';
import { ModelFs } from '../spool/model_fs.js';
import { ReceivedSet } from '../spool/received.js';
import { Spool } from '../spool/spool.js';
import { DefinitionsStore } from './definitions.js';
import { Link, type LinkConnection } from './link.js';
import type { TraceReport, TraceReports } from './sync.js';

const log = openLog('test');
log.level = 'silent';

const definitions: AgentDefinitions = {
  agentId: 7,
  configVersion: 3,
  hostTarget: 1,
  probes: {
    load_average: {
      name: 'load_average',
      version: 1,
      level: 'host',
      collector: 'os',
      columns: [{ name: 'one', type: 'float8', role: 'metric', kind: 'gauge', unit: '', title: '' }],
      mode: 'full',
    },
  },
  servers: [],
  schedule: [{ targetId: 1, probe: 'load_average', intervalMs: 1000 }],
};

class FakeConnection implements LinkConnection {
  closed = false;
  requests: Record<string, unknown>[] = [];
  copies = 0;
  private listeners: ((error: Error | null) => void)[] = [];

  constructor(private readonly answer: (request: Record<string, unknown>) => unknown) {}

  async query(sql: string, params: readonly (string | null | Buffer)[] = []) {
    expect(sql).toContain('pem.sync');
    const request = JSON.parse(String(params[0])) as Record<string, unknown>;
    this.requests.push(request);
    return { rows: [{ reply: JSON.stringify(this.answer(request)) }] };
  }

  async copyIn(): Promise<number> {
    expect(this.requests.length, 'a COPY before the boots were announced').toBeGreaterThan(0);
    this.copies += 1;
    return 1;
  }

  close(): void {
    this.fail(null);
  }

  fail(error: Error | null): void {
    if (this.closed) return;
    this.closed = true;
    for (const listener of this.listeners) listener(error);
  }

  onClose(listener: (error: Error | null) => void): void {
    this.listeners.push(listener);
  }
}

let folder: string;
let link: Link | null = null;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pem-link-'));
});
afterEach(async () => {
  await link?.stop();
  link = null;
  rmSync(folder, { recursive: true, force: true });
});

function setUp(answer: (request: Record<string, unknown>) => unknown, traces?: TraceReports) {
  const received = new ReceivedSet();
  const spool = new Spool({
    fs: new ModelFs(),
    agentId: 7,
    received,
    maxBytes: 1 << 20,
    maxAgeMs: 1e9,
    report: (problem) => expect.unreachable(problem.message),
  });
  const ship = new Ship({ spool, received, log });
  const store = new DefinitionsStore(join(folder, 'state', 'definitions.json'), 7, log);
  const connections: FakeConnection[] = [];
  link = new Link({
    params: {},
    connect: async () => {
      const connection = new FakeConnection(answer);
      connections.push(connection);
      return connection;
    },
    spool,
    received,
    ship,
    definitions: store,
    certificate: null,
    role: 'agent7',
    version: '0.1.0',
    log,
    ...(traces === undefined ? {} : { traces }),
    info: () => ({ spoolBytes: 5 }),
    servers: () => [],
    syncMs: 5,
    random: () => 0,
  });
  return { spool, ship, store, connections, received };
}

async function until(condition: () => boolean): Promise<void> {
  await eventually('what the test waits for', condition, 60_000, 2);
}

const reply = (request: Record<string, unknown>, more: object = {}): object => ({
  now: Date.now() * 1000,
  configVersion: 3,
  received: Object.fromEntries((request.boots as string[]).map((boot) => [boot, []])),
  commands: [],
  certificate: null,
  ...more,
});

test('boots are announced before anything is sent, definitions are kept, listeners told once a version', async () => {
  const { spool, store, connections } = setUp((request) =>
    reply(request, request.configVersion === 3 ? {} : { config: { ...definitions, newField: 1 } }),
  );
  const seen: number[] = [];
  store.onChange((changed) => seen.push(changed.configVersion));
  spool.append(1, () => Buffer.alloc(100));
  link?.start();
  await until(() => (connections[0]?.copies ?? 0) > 0 && (connections[0]?.requests.length ?? 0) > 3);
  expect(connections[0]?.requests[0]).toMatchObject({
    boots: [spool.boot],
    configVersion: 0,
    info: { spoolBytes: 5, host: { cpus: expect.any(Number) } },
  });
  expect(seen).toEqual([3]);
  const file = join(folder, 'state', 'definitions.json');
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({
    configVersion: 3,
    schedule: [{ probe: 'load_average' }],
  });
  // The next start has them without PEM; another agent's or a damaged file is not used.
  expect(new DefinitionsStore(file, 7, log).version).toBe(3);
  expect(new DefinitionsStore(file, 8, log).current).toBeNull();
  writeFileSync(file, '{"agentId": 7');
  expect(new DefinitionsStore(file, 7, log).current).toBeNull();
});

test('a probe this agent is too old for is left out, the rest is used; malformed definitions change nothing', async () => {
  const { store } = setUp((request) => reply(request));
  store.accept({
    ...definitions,
    probes: { ...definitions.probes, quantum: { name: 'quantum', version: 1, level: 'galaxy' } },
    schedule: [...definitions.schedule, { targetId: 1, probe: 'quantum', intervalMs: 1000 }],
  });
  expect(Object.keys(store.current?.probes ?? {})).toEqual(['load_average']);
  expect(store.current?.schedule).toEqual(definitions.schedule);
  expect(() => store.accept({ ...definitions, configVersion: 9, servers: 'none' })).toThrow(/servers/);
  expect(() => store.accept({ ...definitions, configVersion: 9, agentId: 8 })).toThrow(/agent 8/);
  expect(store.version).toBe(3);
});

test('a lost connection and an answer that makes no sense both end the session; the next one begins anew', async () => {
  let answers = 0;
  const { connections } = setUp((request) => {
    answers += 1;
    return answers === 4 ? { now: 'soon' } : reply(request);
  });
  link?.start();
  await until(() => connections.length === 2 && link?.connected === true);
  expect(connections[0]?.closed).toBe(true);
  connections[1]?.fail(new Error('reset'));
  expect(link?.connected).toBe(true);
  await until(() => connections.length === 3 && link?.connected === true);
  expect(link?.reconnects).toBe(2);
  expect(connections.filter((connection) => !connection.closed)).toHaveLength(1);
});

test("a command's result is sent until a sync that carried it succeeded", async () => {
  let broken = true;
  const { connections } = setUp((request) => {
    const results = request.commandResults as { id: number }[];
    if (results.length > 0 && broken) {
      broken = false;
      return null;
    }
    return reply(request, { commands: broken ? [{ id: 4, kind: 'nonsense', payload: {} }] : [] });
  });
  link?.start();
  await until(() => connections.length === 2 && (connections[1]?.requests.length ?? 0) > 2);
  const carried = connections.flatMap((connection) =>
    connection.requests.filter((request) => (request.commandResults as unknown[]).length > 0),
  );
  expect(carried.length).toBeGreaterThanOrEqual(2);
  expect(carried[1]?.commandResults).toMatchObject([
    { id: 4, ok: false, result: { code: 'command_unknown' } },
  ]);
  expect(connections[1]?.requests.at(-1)?.commandResults).toEqual([]);
});

test('what is to be said of traces is said until a sync that carried it succeeded, and again on the next session', async () => {
  const report: TraceReport = {
    id: 5,
    handledSeq: 1,
    state: 'running',
    code: null,
    error: null,
    run: 'm1',
    nextAtUs: null,
    runs: [],
  };
  let pending = [report];
  const traces: TraceReports = {
    pending: () => pending,
    taken: (reports) => {
      pending = pending.filter((each) => !reports.includes(each));
    },
    again: () => {
      pending = [report];
    },
  };
  let answers = 0;
  const { connections } = setUp((request) => {
    answers += 1;
    return answers === 1 ? null : reply(request);
  }, traces);
  link?.start();
  await until(() => connections.length === 2 && (connections[1]?.requests.length ?? 0) > 2);
  const said = connections.map((connection) => connection.requests.map((request) => request.traces));
  expect(said[0]).toEqual([[report]]);
  expect(said[1]?.slice(0, 3)).toEqual([[report], [], []]);
});

test('traces come with the definitions; one that this agent is too old for is left out', () => {
  const { store } = setUp((request) => reply(request));
  const trace = {
    id: 1,
    targetId: 2,
    token: '0123abcd',
    options: { users: ['app'] },
    schedule: { kind: 'daily', time: '03:00', timezone: 'UTC' },
    durationS: 60,
    events: true,
    eventsPerS: 10,
    continuous: false,
    keepFiles: false,
    request: 'none',
    requestSeq: 0,
    handledSeq: 0,
  };
  const moon = { ...trace, id: 2, schedule: { kind: 'moon', phase: 'full' } };
  store.accept({ ...definitions, traces: [trace, moon, null, { ...trace, token: '../../x' }] });
  expect(store.current?.traces).toEqual([trace]);
  store.accept(definitions);
  expect(store.current?.traces).toEqual([]);
});
