import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FakeClock, silentLog } from '../../bench/rig/clock.js';
import { blockFromRows, blockInfo, blocksToPgcopy, connect, PgConn, PgError } from '../../native/index.js';
import { columnTypes, type ProbeRuntime } from '../../src/wire/config.js';
import type { Outbox } from '../outbox.js';
import { blockMeta, columnSpecs, Emitter } from './emit.js';
import { ConnectGate } from './gate.js';
import { type Connect, ServerLink } from './link.js';
import { KnownScopes } from './scopes.js';
import { cutPgcopy, splitBlock } from './split.js';
import { checkColumns, copyText, explain, sqlFor, typeOids } from './statement.js';

const probe: ProbeRuntime = {
  name: 'sample',
  version: 3,
  level: 'database',
  collector: 'sql',
  columns: [
    { name: 'database_name', type: 'name', role: 'key', kind: 'label', unit: '', title: 'Database' },
    { name: 'item', type: 'int4', role: 'key', kind: 'label', unit: '', title: 'Item' },
    { name: 'odd"name', type: 'text[]', role: 'metric', kind: 'label', unit: '', title: 'Words' },
  ],
  sql: [
    { minVersion: 130000, text: 'old' },
    { minVersion: 160000, text: 'new' },
  ],
  scopeColumn: 'database_name',
  mode: 'delta',
};

describe('statement', () => {
  test('takes the newest text the server has, and says when there is none', () => {
    expect(sqlFor(probe, 130021)).toBe('old');
    expect(sqlFor(probe, 159999)).toBe('old');
    expect(sqlFor(probe, 180000)).toBe('new');
    expect(() => sqlFor(probe, 120022)).toThrow('no SQL for server version 120022');
  });

  test('casts every column by name, in parentheses that a comment cannot swallow', () => {
    expect(copyText(probe, 'select 1 -- end')).toBe(
      'COPY (SELECT q."database_name"::pg_catalog.name, q."item"::pg_catalog.int4, q."odd""name"::pg_catalog.text[] FROM (\n' +
        'select 1 -- end\n) q) TO STDOUT (FORMAT binary)',
    );
  });

  test('knows every type, and refuses other types, missing and doubled columns by name', () => {
    expect(Object.keys(typeOids).sort()).toEqual([...columnTypes].sort());
    const good = [
      { name: 'item', typeOid: 23 },
      { name: 'database_name', typeOid: 19 },
      { name: 'odd"name', typeOid: 1009 },
      { name: 'more', typeOid: 25 },
    ];
    expect(() => checkColumns(probe, good)).not.toThrow();
    const wrong = good.map((field) => (field.name === 'item' ? { ...field, typeOid: 25 } : field));
    expect(() => checkColumns(probe, wrong)).toThrow(/column item \(int4\) has the type with oid 25, not 23/);
    expect(() => checkColumns(probe, good.slice(1))).toThrow(/item .* is missing/);
    expect(() => checkColumns(probe, [...good, { name: 'item', typeOid: 23 }])).toThrow(/more than once/);
  });

  test('names the grant that is missing', () => {
    const denied = new PgError('42501', 'permission denied for table t');
    expect(explain(probe, denied)).toMatchObject({ code: 'probe_not_permitted' });
    expect(String(explain({ ...probe, needs: 'SELECT on t' }, denied))).toContain('it needs SELECT on t');
    const other = new PgError('42P01', 'no table');
    expect(explain(probe, other)).toBe(other);
  });
});

describe('gate', () => {
  const limits = { connectsPerMinute: 3, authenticationTimeoutMs: 60_000 };

  test('lets through so many connects a minute and makes the others wait their turn', async () => {
    const clock = new FakeClock();
    const gate = new ConnectGate(clock, limits);
    const times: number[] = [];
    const all = Promise.all(
      Array.from({ length: 5 }, () => gate.turn().then(() => times.push(clock.monotonicMs()))),
    );
    await new Promise((resolve) => setImmediate(resolve));
    await clock.advance(120_000);
    await all;
    expect(times).toEqual([0, 0, 0, 20_000, 40_000]);
  });

  test('waits at least authentication_timeout after silence, longer each time, bounded', async () => {
    const clock = new FakeClock();
    const gate = new ConnectGate(clock, limits);
    const waits: number[] = [];
    for (let attempt = 0; attempt < 5; attempt++) {
      gate.failed('unanswered', 'no answer');
      expect(() => gate.check()).toThrow(/no answer; it is tried again every (minute|[2-5] min)$/);
      const begun = clock.monotonicMs();
      for (;;) {
        try {
          gate.check();
          break;
        } catch {
          await clock.advance(1000);
        }
      }
      waits.push(clock.monotonicMs() - begun);
    }
    expect(waits).toEqual([60_000, 120_000, 240_000, 300_000, 300_000]);
    gate.succeeded();
    expect(() => gate.check()).not.toThrow();
    expect(gate.trouble).toBe('');
  });

  test('comes back soon after a refusal', async () => {
    const clock = new FakeClock();
    const gate = new ConnectGate(clock, limits);
    for (const waitMs of [1000, 2000, 4000, 8000, 10_000, 10_000]) {
      gate.failed('refused', 'connection refused');
      await clock.advance(waitMs - 1);
      expect(() => gate.check()).toThrow('connection refused; it is tried again every few seconds');
      await clock.advance(1);
      expect(() => gate.check()).not.toThrow();
    }
  });
});

/** A server in memory: counts its connections, answers at once. */
class FakeServer {
  open = 0;
  most = 0;
  connects: string[] = [];
  refuse = new Set<string>();

  readonly connect: Connect = async ({ params }) => {
    const database = params.dbname ?? '';
    this.connects.push(database);
    await Promise.resolve();
    if (this.refuse.has(database)) throw new PgError('connect_failed', `no ${database} here`);
    this.open++;
    this.most = Math.max(this.most, this.open);
    const server = this;
    const connection = {
      serverVersion: 150000,
      backendPid: 1,
      closed: false,
      async query() {
        return { rows: [], fields: [], command: '', affected: 0 };
      },
      close() {
        if (this.closed) return;
        this.closed = true;
        server.open--;
      },
    };
    return Object.setPrototypeOf(connection, PgConn.prototype) as PgConn;
  };
}

function linkTo(server: FakeServer, clock = new FakeClock()): ServerLink {
  return new ServerLink({
    connect: server.connect,
    clock,
    gate: new ConnectGate(clock),
    params: (database) => ({ dbname: database ?? 'main' }),
    onConnect: () => undefined,
  });
}

describe('link', () => {
  test('visits each database once for all who want it, closes after the round, never has more than two', async () => {
    const server = new FakeServer();
    const link = linkTo(server);
    const seen: string[] = [];
    const note = (who: string) => async (_: PgConn, database: string) => {
      seen.push(`${who}:${database}`);
    };
    const kept = link.cluster(async () => 'kept');
    const [first, second] = await Promise.all([
      link.visit(['a', 'b', 'c'], note('x')),
      link.visit(['c', 'b', 'd'], note('y')),
    ]);
    await kept;
    expect([first.size, second.size]).toEqual([0, 0]);
    expect(seen.sort()).toEqual(['x:a', 'x:b', 'x:c', 'y:b', 'y:c', 'y:d']);
    expect(server.connects.sort()).toEqual(['a', 'b', 'c', 'd', 'main']);
    expect(server.most).toBe(2);
    expect(server.open).toBe(1);
  });

  test('one database that refuses does not end the round; its failure is named', async () => {
    const server = new FakeServer();
    server.refuse.add('b');
    const link = linkTo(server);
    const failures = await link.visit(['a', 'b', 'c'], async () => undefined);
    expect([...failures.keys()]).toEqual(['b']);
    expect(failures.get('b')?.message).toBe('no b here');
    expect(server.connects).toEqual(['a', 'b', 'c']);
  });

  test('closing ends what waits for its turn', async () => {
    const server = new FakeServer();
    const clock = new FakeClock();
    const link = new ServerLink({
      connect: server.connect,
      clock,
      gate: new ConnectGate(clock, { connectsPerMinute: 2, authenticationTimeoutMs: 60_000 }),
      params: (database) => ({ dbname: database ?? 'main' }),
      onConnect: () => undefined,
    });
    const visit = link.visit(['a', 'b', 'c', 'd'], async () => undefined);
    await new Promise((resolve) => setImmediate(resolve));
    expect(server.connects).toEqual(['a', 'b']);
    link.close();
    expect([...(await visit).keys()]).toEqual(['c', 'd']);
    expect(server.open).toBe(0);
    await expect(link.cluster(async () => 1)).rejects.toMatchObject({ code: 'server_unreachable' });
  });

  test('a server that refuses everything is left in peace after a few tries', async () => {
    const server = new FakeServer();
    const names = Array.from({ length: 50 }, (_, index) => `db${index}`);
    for (const name of names) server.refuse.add(name);
    const failures = await linkTo(server).visit(names, async () => undefined);
    expect(failures.size).toBe(50);
    expect(server.connects.length).toBe(3);
  });

  test('work on the kept connection goes one at a time and survives a failure', async () => {
    const server = new FakeServer();
    const link = linkTo(server);
    let inside = 0;
    let most = 0;
    const results = await Promise.allSettled(
      Array.from({ length: 6 }, (_, index) =>
        link.cluster(async () => {
          most = Math.max(most, ++inside);
          await Promise.resolve();
          inside--;
          if (index === 2) throw new Error('broken');
        }),
      ),
    );
    expect(results.map((result) => result.status).filter((status) => status === 'rejected').length).toBe(1);
    expect(most).toBe(1);
    expect(server.connects).toEqual(['main']);
  });

  test('a backend that hangs is not joined by another: the next connect waits as after silence', async () => {
    const server = new FakeServer();
    const clock = new FakeClock();
    const link = linkTo(server, clock);
    const hang = link.cluster(async (connection) => {
      connection.close();
      throw new PgError('query_timeout', 'no result within 7000 ms');
    });
    await expect(hang).rejects.toThrow('no result');
    await expect(link.cluster(async () => 1)).rejects.toMatchObject({ code: 'server_unreachable' });
    expect(server.connects.length).toBe(1);
    await clock.advance(60_000);
    expect(await link.cluster(async () => 1)).toBe(1);
    expect(server.connects.length).toBe(2);
  });

  test('a silent server costs one connect, everything else is refused at once', async () => {
    const clock = new FakeClock();
    let tries = 0;
    const link = new ServerLink({
      connect: async () => {
        tries++;
        throw new PgError('connect_timeout', 'no session within 5000 ms');
      },
      clock,
      gate: new ConnectGate(clock),
      params: () => ({}),
      onConnect: () => undefined,
    });
    const outcome = (): Promise<string> =>
      link.cluster(async () => '').catch((error: Error) => error.message);
    for (let run = 0; run < 5; run++) expect(await outcome()).toContain('no session');
    expect((await link.visit(['a', 'b'], async () => undefined)).size).toBe(2);
    expect(tries).toBe(1);
    await clock.advance(60_000);
    await outcome();
    expect(tries).toBe(2);
  });
});

/** Lets everything that waits for nothing but its turn go on. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('turns', () => {
  const staying = new AbortController().signal;

  test('a trace, probes in all databases and a task: three connections, everybody comes to an end', async () => {
    const server = new FakeServer();
    const link = linkTo(server);
    await link.cluster(async () => undefined);
    const lent = await link.lend(staying);
    const order: string[] = [];
    const visit = link.visit(['a', 'b', 'c'], async (_, database) => {
      order.push(database);
    });
    const task = link.borrow('x', 1000, async () => {
      order.push('task');
    });
    expect((await visit).size).toBe(0);
    await task;
    // It waits for one database, not for the round.
    expect(order).toEqual(['a', 'task', 'b', 'c']);
    expect(server.most).toBe(3);
    lent.close();
    expect(server.open).toBe(1);
  });

  test('a database that somebody wants all the time does not keep others from their turn', async () => {
    const server = new FakeServer();
    const link = linkTo(server);
    await link.lend(staying);
    let visits = 0;
    let isDone = false;
    // Before one is over the next is there.
    const again = async (): Promise<void> => {
      if (!isDone && ++visits <= 1000) void link.visit(['a'], again);
    };
    void link.visit(['a'], again);
    await link.borrow('x', 1000, async () => {
      isDone = true;
    });
    expect(visits).toBeLessThan(1000);
  });

  test('a task that gets no turn in time says so and is not done later; a trace that stops leaves the line', async () => {
    const server = new FakeServer();
    const clock = new FakeClock();
    const link = linkTo(server, clock);
    let finish: () => void = () => undefined;
    const hold = (database: string): Promise<void> =>
      link.borrow(database, 1000, () => new Promise<void>((resolve) => (finish = resolve)));
    const first = hold('a');
    await settle();
    const finishFirst = finish;
    const second = hold('b');
    await settle();
    const late = link.borrow('c', 5000, async () => 'done');
    const stop = new AbortController();
    const lend = link.lend(stop.signal);
    const visit = link.visit(['d'], async () => undefined);
    const refused = expect(late).rejects.toMatchObject({ code: 'connections_busy' });
    const left = expect(lend).rejects.toThrow('stopped');
    await settle();
    await clock.advance(5000);
    await refused;
    stop.abort(new Error('stopped'));
    await left;
    finishFirst();
    await first;
    expect((await visit).size).toBe(0);
    finish();
    await second;
    expect(server.connects).toEqual(['a', 'b', 'd']);
    expect(server.open).toBe(0);
  });

  test('a refusal while the connection that was left may still count is tried again', async () => {
    const server = new FakeServer();
    const clock = new FakeClock();
    const link = linkTo(server, clock);
    await link.cluster(async () => undefined);
    const lent = await link.lend(staying);
    server.refuse.add('b');
    const visit = link.visit(['a', 'b'], async () => undefined);
    await settle();
    expect(server.connects.slice(-2)).toEqual(['a', 'b']);
    server.refuse.clear();
    await clock.advance(100);
    expect((await visit).size).toBe(0);
    lent.close();
    // With one to spare a refusal has another reason.
    server.refuse.add('b');
    const before = server.connects.length;
    expect([...(await link.visit(['a', 'b'], async () => undefined)).keys()]).toEqual(['b']);
    expect(server.connects.slice(before)).toEqual(['a', 'b']);
  });

  test('closing ends who works, who waits and who was lent a connection', async () => {
    const server = new FakeServer();
    const link = linkTo(server);
    const lent = await link.lend(staying);
    const task = link.borrow('a', 1000, async (connection) => {
      while (!connection.closed) await settle();
      throw new PgError('connection_lost', 'closed');
    });
    await settle();
    const waiting = link.borrow('b', 1000, async () => 1);
    const ended = [
      expect(task).rejects.toMatchObject({ code: 'connection_lost' }),
      expect(waiting).rejects.toMatchObject({ code: 'server_unreachable' }),
    ];
    link.close();
    await Promise.all(ended);
    expect([lent.closed, server.open]).toEqual([true, 0]);
    await expect(link.lend(staying)).rejects.toMatchObject({ code: 'server_unreachable' });
  });
});

class FakeOutbox implements Outbox {
  readonly blocks: Buffer[] = [];
  private listener: (() => void) | null = null;

  put(blocks: readonly Buffer[]): void {
    this.blocks.push(...blocks);
  }

  onLoss(listener: () => void): () => void {
    this.listener = listener;
    return () => {
      this.listener = null;
    };
  }

  lose(): void {
    this.listener?.();
  }

  take(): { kind: string; rows: number; scope: string | undefined; tombstones: number }[] {
    return this.blocks.splice(0).map((block) => {
      const { kind, rows, scope, tombstones } = blockInfo(block);
      return { kind, rows, scope, tombstones };
    });
  }
}

describe('emit', () => {
  const context = { recordedAtUs: 1_700_000_000_000_000n, intervalUs: 1_000_000n };
  const rowsOf = (scope: string, values: readonly string[]) =>
    values.map((value, index) => [scope, index, [value]] as const);

  function rig(file: string | null = null) {
    const outbox = new FakeOutbox();
    const clock = new FakeClock();
    const { log, lines } = silentLog();
    const emitter = new Emitter(outbox, clock, new KnownScopes(file, log));
    const send = async (scope: string, values: readonly string[], definition = probe): Promise<number> => {
      const meta = blockMeta(5, definition, context, scope);
      return emitter.emit(
        definition,
        meta,
        blockFromRows(meta, columnSpecs(definition), rowsOf(scope, values)),
      );
    };
    return { outbox, clock, emitter, send, lines };
  }

  test('full first, then changes only, nothing where nothing changed, tombstones for rows that went', async () => {
    const { outbox, send } = rig();
    expect(await send('a', ['x', 'y', 'z'])).toBeGreaterThan(0);
    expect(outbox.take()).toMatchObject([{ kind: 'full', rows: 3, scope: 'a' }]);
    expect(await send('a', ['x', 'y', 'z'])).toBe(0);
    expect(outbox.take()).toEqual([]);
    await send('a', ['x', 'new']);
    expect(outbox.take()).toMatchObject([{ kind: 'delta', rows: 2, tombstones: 1, scope: 'a' }]);
    await send('b', ['x']);
    expect(outbox.take()).toMatchObject([{ kind: 'full', rows: 1, scope: 'b' }]);
  });

  test('full again after a loss, after a day, and with another version of the definition', async () => {
    const { outbox, clock, send } = rig();
    await send('a', ['x']);
    await send('b', ['x']);
    outbox.take();
    outbox.lose();
    await send('a', ['x']);
    await send('b', ['x']);
    await send('b', ['x']);
    expect(outbox.take().map((block) => block.kind)).toEqual(['full', 'full']);
    await clock.advance(24 * 3600 * 1000 - 1);
    await send('a', ['x']);
    expect(outbox.take()).toEqual([]);
    await clock.advance(1);
    await send('a', ['x']);
    expect(outbox.take()).toMatchObject([{ kind: 'full', scope: 'a' }]);
    await send('a', ['x'], { ...probe, version: 4 });
    expect(outbox.take()).toMatchObject([{ kind: 'full', scope: 'a' }]);
  });

  test('a scope that went is said to be empty: once, after a loss again, also when it went while the agent was down', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pem-scopes-'));
    const file = join(folder, 'scopes.json');
    const { outbox, emitter, send } = rig(file);
    emitter.dropMissing(probe, 5, ['a', 'b', 'c'], context);
    await send('a', ['x']);
    await send('b', ['x']);
    outbox.take();
    emitter.dropMissing(probe, 5, ['a', 'c'], context);
    emitter.dropMissing(probe, 5, ['a', 'c'], context);
    const empty = (scope: string) => ({ kind: 'full', rows: 0, scope, tombstones: 0 });
    expect(outbox.take()).toEqual([empty('b')]);
    outbox.lose();
    emitter.dropMissing(probe, 5, ['a', 'c'], context);
    expect(outbox.take()).toEqual([empty('b')]);
    emitter.dropMissing(probe, 5, ['a', 'b', 'c'], context);
    await send('b', ['x']);
    expect(outbox.take()).toMatchObject([{ kind: 'full', rows: 1, scope: 'b' }]);

    const next = rig(file);
    next.emitter.dropMissing(probe, 5, ['a', 'b'], context);
    expect(next.outbox.take()).toEqual([empty('c')]);
    next.emitter.forget(5);
    const fresh = rig(file);
    fresh.emitter.dropMissing(probe, 5, [], context);
    expect(fresh.outbox.take()).toEqual([]);
    writeFileSync(file, '{"5/sample": ["a"');
    const damaged = rig(file);
    damaged.emitter.dropMissing(probe, 5, ['a'], context);
    expect(damaged.outbox.take()).toEqual([]);
    expect(damaged.lines.length).toBe(1);
    rmSync(folder, { recursive: true });
  });

  test('a block too large for a batch travels in pieces that say the same in order', async () => {
    const meta = blockMeta(5, probe, context, 'a');
    const specs = columnSpecs(probe);
    const block = blockFromRows(
      meta,
      specs,
      rowsOf(
        'a',
        Array.from({ length: 1000 }, (_, index) => `value ${index} ${'x'.repeat(index % 50)}`),
      ),
    );
    const pieces = await splitBlock(block, meta, specs, 20_000);
    expect(pieces.length).toBeGreaterThan(3);
    for (const piece of pieces) expect(piece.length).toBeLessThanOrEqual(20_000);
    const infos = pieces.map((piece) => blockInfo(piece));
    expect(infos.map((info) => info.kind)).toEqual(['full', ...pieces.slice(1).map(() => 'delta')]);
    expect(infos.every((info) => info.scope === 'a' && info.recordedAtUs === context.recordedAtUs)).toBe(
      true,
    );
    const whole = await blocksToPgcopy([block], { columns: specs, prefix: [] });
    expect(await blocksToPgcopy(pieces, { columns: specs, prefix: [] })).toEqual(whole);
    expect(cutPgcopy(whole, Number.MAX_SAFE_INTEGER)).toEqual([whole.subarray(19, -2)]);
  });
});

test('nothing listens on the port: the connect fails with a code', async () => {
  await expect(
    connect({ params: { host: '127.0.0.1', port: '1', dbname: 'x', user: 'x' }, timeoutMs: 5000 }),
  ).rejects.toMatchObject({ code: 'connect_failed' });
});
