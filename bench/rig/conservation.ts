/**
 * The conservation harness: rows go in at an agent, everything on their way is killed, cut off or set back to an older
 * state at random, and at the end an oracle of its own counts. In: a seed. Out: what happened, or an error that names the
 * seed. It owns all processes and folders it starts, and stops and removes them in any case.
 *
 * On the way: producer (real spool, ship, link) under the real watchdog, a proxy, PEM's PostgreSQL, two ingesters.
 * What happens to them: SIGKILL of worker, watchdog, ingester; immediate stop of PostgreSQL; cut and half-open connections;
 * a base backup, and later a restore from it.
 *
 * The oracle, with nothing shared but the wire format:
 * 1. every block in the spool is in pemhistory with exactly its number of rows, each key once, each value as made;
 * 2. pemhistory holds no block that is not in the spool;
 * 3. pemdata equals what the producer said last, key by key;
 * 4. nothing was quarantined, nothing strayed, nothing was dropped by the spool.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { seededRandom } from '../../agent/spool/model_fs.js';
import { parseConninfo } from '../../src/base/conninfo.js';
import { errorCode } from '../../src/base/errors.js';
import { serverUser } from './cluster.js';
import { type Pem, type RigAgent, startPem } from './pem.js';
import { childrenOf, eventually } from './processes.js';
import type { Expected, ProducerConfig } from './producer.js';
import { TestProxy } from './proxy.js';
import { readSpool } from './spooled.js';

const run = promisify(execFile);
const root = fileURLToPath(
  new URL(import.meta.url.includes('/dist/') ? '../../..' : '../..', import.meta.url),
);

export interface ConservationOptions {
  readonly seed: number;
  /** Length of the bad time; longer until three kinds of trouble have been. */
  readonly chaosMs: number;
  readonly progress?: (text: string) => void;
}

export interface ConservationResult {
  readonly events: Readonly<Record<string, number>>;
  readonly boots: number;
  readonly batches: number;
  readonly blocks: number;
  readonly rows: number;
}

type Event = 'worker' | 'watchdog' | 'ingester' | 'postgres' | 'cut' | 'half-open' | 'backup' | 'restore';

const weights: readonly [Event, number][] = [
  ['worker', 5],
  ['watchdog', 2],
  ['ingester', 6],
  ['postgres', 3],
  ['cut', 4],
  ['half-open', 2],
  ['backup', 2],
  ['restore', 2],
];

const pause = (delayMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, delayMs));

/** Is a source newer than what was compiled last? */
function isBuilt(): boolean {
  const built = statSync(`${root}/dist/src/cli/pem.js`, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  return ['agent', 'bench', 'native', 'src'].every((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).every(
      (name) => !name.endsWith('.ts') || statSync(join(root, folder, name)).mtimeMs <= built,
    ),
  );
}

/**
 * Compiles the sources into dist/, where the processes of the harness run from. Type errors are `npm run check`'s matter. Not
 * where they are compiled: the compiler writes its files in place, and another test's process may be reading one.
 */
export async function buildPrograms(): Promise<void> {
  // Held as long as its standard input is open. Also to look: who compiles has some files written and others not.
  const lock = spawn('flock', ['.build.lock', 'sh', '-c', 'echo; exec cat'], {
    cwd: root,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    await once(lock.stdout, 'data');
    if (!isBuilt()) await run('npx', ['tsc', '-p', 'tsconfig.json', '--noCheck'], { cwd: root });
  } finally {
    lock.stdin.end();
  }
}

class Harness {
  readonly folder = mkdtempSync(join(tmpdir(), 'pem-conservation-'));
  readonly counts: Record<string, number> = {};
  private readonly ingesters = new Map<string, ChildProcess>();
  private watchdog: ChildProcess | null = null;
  private log = '';
  private ending = false;
  private backedUp = false;

  constructor(
    readonly pem: Pem,
    readonly agent: RigAgent,
    readonly proxy: TestProxy,
  ) {}

  start(): void {
    const given: ProducerConfig = {
      agentId: this.agent.agentId,
      role: this.agent.role,
      pem: { ...parseConninfo(this.agent.conninfo), port: String(this.proxy.port) },
      hostTarget: this.agent.hostTarget,
      serverTarget: this.agent.serverTargets[0] as number,
    };
    writeFileSync(join(this.folder, 'producer.json'), JSON.stringify(given), { mode: 0o600 });
    this.startWatchdog();
    for (const name of ['one', 'two']) this.startIngester(name);
  }

  private keep(child: ChildProcess): ChildProcess {
    child.stderr?.on('data', (data: Buffer) => {
      this.log = (this.log + data.toString()).slice(-20_000);
    });
    return child;
  }

  /** The processes' last log lines, for the report of a failure. */
  get tail(): string {
    return this.log.slice(-4000);
  }

  private startWatchdog(): void {
    const program = join(root, 'native/watchdog/build/pem-watchdog');
    const child = spawn(
      program,
      ['--', process.execPath, join(root, 'dist/bench/rig/producer.js'), this.folder],
      { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, PEM_LOG_LEVEL: 'warn' } },
    );
    this.watchdog = this.keep(child);
    child.once('exit', () => {
      if (!this.ending) this.startWatchdog();
    });
  }

  private startIngester(name: string): void {
    const child = spawn(process.execPath, [join(root, 'dist/bench/rig/ingester.js'), name], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, PEM_LOG_LEVEL: 'warn', PEM_RIG_DB: this.pem.conninfo('pem_ingest') },
    });
    this.ingesters.set(name, this.keep(child));
    child.once('exit', () => {
      if (!this.ending) this.startIngester(name);
    });
  }

  private workerPid(): number | null {
    const pid = this.watchdog?.pid;
    if (pid === undefined) return null;
    try {
      return childrenOf(pid)[0] ?? null;
    } catch {
      return null;
    }
  }

  /** False where it ended by itself, or by the last strike, before this one. */
  private kill(pid: number): boolean {
    try {
      return process.kill(pid, 'SIGKILL');
    } catch (error) {
      if (errorCode(error) !== 'ESRCH') throw error;
      return false;
    }
  }

  /** Rows that have come all the way before anything bad happens. */
  async begun(atLeast: number): Promise<void> {
    await eventually('rows in history', async () => {
      const { rows } = await this.pem.query('SELECT count(*)::int AS n FROM pemhistory.network_statistics');
      return rows[0].n > atLeast;
    });
  }

  /** Has everything been tried that this schedule is to try? */
  hasStruck(kinds: number): boolean {
    return Object.keys(this.counts).length >= kinds;
  }

  async strike(event: Event, random: () => number): Promise<void> {
    switch (event) {
      case 'worker': {
        const pid = this.workerPid();
        if (pid === null) return;
        // Young deaths make the watchdog wait; a new one has patience again.
        if ((this.counts.worker ?? 0) % 3 === 2) this.watchdog?.kill('SIGKILL');
        else if (!this.kill(pid)) return;
        break;
      }
      case 'watchdog':
        this.watchdog?.kill('SIGKILL');
        break;
      case 'ingester':
        this.ingesters.get(random() < 0.5 ? 'one' : 'two')?.kill('SIGKILL');
        break;
      case 'postgres':
        await this.pem.restart('immediate');
        break;
      case 'cut':
      case 'half-open':
        this.proxy.set(event);
        await pause(100 + random() * 900);
        this.proxy.set('pass');
        break;
      case 'backup':
        await this.backup();
        break;
      case 'restore':
        if (!this.backedUp) return;
        await this.restore();
        break;
    }
    this.counts[event] = (this.counts[event] ?? 0) + 1;
  }

  private get backupFolder(): string {
    return join(this.pem.cluster.folder, 'backup');
  }

  private identity(): { uid?: number; gid?: number } {
    const { uid, gid } = serverUser();
    return uid === undefined || gid === undefined ? {} : { uid, gid };
  }

  private async backup(): Promise<void> {
    rmSync(this.backupFolder, { recursive: true, force: true });
    this.backedUp = false;
    const { cluster } = this.pem;
    await run(
      join(cluster.bin, 'pg_basebackup'),
      [
        ...['-h', cluster.socketDirectory, '-p', String(cluster.port), '-U', 'postgres'],
        ...['-D', this.backupFolder, '-X', 'stream', '--checkpoint=fast', '--no-sync'],
      ],
      { ...this.identity(), cwd: cluster.folder },
    );
    this.backedUp = true;
  }

  private async restore(): Promise<void> {
    const { cluster } = this.pem;
    await cluster.halt('immediate');
    rmSync(cluster.dataDirectory, { recursive: true, force: true });
    await run('cp', ['-a', this.backupFolder, cluster.dataDirectory], this.identity());
    await cluster.start();
  }

  /** No more trouble: waits until PEM has all that the spool holds. */
  async settle(): Promise<Expected> {
    writeFileSync(join(this.folder, 'calm'), '');
    const file = join(this.folder, 'expected.json');
    const endMs = performance.now() + 180_000;
    // What the agent says before the last block is in its spool is not the last word: two words that differ in time.
    const heard = new Set<string>();
    for (;;) {
      if (existsSync(file)) {
        const expected = JSON.parse(readFileSync(file, 'utf8')) as Expected;
        const beat = await this.pem.query(
          `SELECT info ->> 'spoolPendingBatches' AS pending, at::text AS at FROM pem.agent_heartbeat
            WHERE agent_id = $1 AND boot = $2 AND at > to_timestamp($3::float8 / 1000)`,
          [this.agent.agentId, expected.boot, statSync(file).mtimeMs],
        );
        const [said] = beat.rows as { pending: string; at: string }[];
        if (said !== undefined) heard.add(said.at);
        if (said?.pending === '0' && heard.size > 2) return expected;
        if (performance.now() > endMs) throw new Error(`${said?.pending ?? '?'} batches never arrived`);
      } else if (performance.now() > endMs) throw new Error('the producer never came to rest');
      await pause(100);
    }
  }

  async stop(): Promise<void> {
    this.ending = true;
    const children = [this.watchdog, ...this.ingesters.values()].filter((child) => child !== null);
    const exits = children.map(
      (child) =>
        new Promise<void>((resolve) => {
          if (child.exitCode !== null || child.signalCode !== null) resolve();
          else child.once('exit', () => resolve());
        }),
    );
    for (const child of children) child.kill('SIGTERM');
    const late = setTimeout(() => {
      for (const child of children) child.kill('SIGKILL');
    }, 60_000);
    await Promise.all(exits);
    clearTimeout(late);
  }
}

const historySql = {
  network_statistics: `SELECT (extract(epoch FROM recorded_at) * 1000000)::bigint::text AS at, count(*)::int AS rows,
      count(DISTINCT interface)::int AS keys,
      bool_and(received_bytes / 10 = (extract(epoch FROM recorded_at) * 1000000)::bigint) AS good
    FROM pemhistory.network_statistics WHERE target_id = $1 GROUP BY recorded_at`,
  settings: `SELECT (extract(epoch FROM recorded_at) * 1000000)::bigint::text AS at, count(*)::int AS rows,
      count(DISTINCT name)::int AS keys,
      coalesce(bool_and(setting::bigint <= (extract(epoch FROM recorded_at) * 1000000)::bigint) FILTER (WHERE NOT gone), true) AS good
    FROM pemhistory.settings WHERE target_id = $1 GROUP BY recorded_at`,
} as const;

const latestSql = {
  network: `SELECT interface AS key, received_bytes::text AS value FROM pemdata.network_statistics WHERE target_id = $1 AND NOT _gone`,
  settings: `SELECT name AS key, setting AS value FROM pemdata.settings WHERE target_id = $1 AND NOT _gone`,
} as const;

async function judge(harness: Harness, expected: Expected): Promise<Omit<ConservationResult, 'events'>> {
  const { pem, agent, folder } = harness;
  const server = agent.serverTargets[0] as number;
  const held = await readSpool(join(folder, 'spool'), agent.agentId);
  const wrong: string[] = [];
  let rows = 0;
  for (const [probe, sql] of Object.entries(historySql)) {
    const found = await pem.query(sql, [probe === 'settings' ? server : agent.hostTarget]);
    const history = new Map(found.rows.map((row) => [row.at as string, row]));
    for (const block of held.blocks) {
      if (block.probe !== probe || block.rows === 0) continue;
      const row = history.get(block.atUs);
      history.delete(block.atUs);
      rows += block.rows;
      if (row === undefined) wrong.push(`${probe} at ${block.atUs}: ${block.rows} rows are missing`);
      else if (row.rows !== block.rows || row.keys !== block.rows || row.good !== true) {
        wrong.push(`${probe} at ${block.atUs}: ${block.rows} rows went in, there are ${JSON.stringify(row)}`);
      }
    }
    for (const at of history.keys()) wrong.push(`${probe} at ${at}: in history, not in the spool`);
  }
  for (const [name, sql] of Object.entries(latestSql)) {
    const found = await pem.query(sql, [name === 'settings' ? server : agent.hostTarget]);
    const latest = Object.fromEntries(found.rows.map((row) => [row.key, row.value]));
    const wanted = name === 'settings' ? expected.settings : expected.network;
    for (const key of new Set([...Object.keys(latest), ...Object.keys(wanted)])) {
      if (latest[key] !== wanted[key])
        wrong.push(`latest ${name} ${key}: ${latest[key]}, should be ${wanted[key]}`);
    }
  }
  const set = await pem.query(
    'SELECT code, reason FROM pem.quarantine UNION ALL SELECT reason, probe FROM pem.stray LIMIT 5',
  );
  for (const row of set.rows) wrong.push(`set aside: ${row.code} ${row.reason}`);
  const beat = await pem.query(`SELECT info -> 'dropped' ->> 'batches' AS dropped FROM pem.agent_heartbeat`);
  if (beat.rows[0]?.dropped !== '0') wrong.push(`the spool dropped ${beat.rows[0]?.dropped} batches`);
  if (readdirSync(join(folder, 'spool', 'aside')).length > 0) wrong.push('a segment was set aside');
  if (wrong.length > 0) {
    throw new Error(`${wrong.length} differences, the first: ${wrong.slice(0, 8).join(' · ')}`);
  }
  return { boots: held.boots, batches: held.batches, blocks: held.blocks.length, rows };
}

function choose(random: () => number): Event {
  let dice = random() * weights.reduce((total, [, weight]) => total + weight, 0);
  for (const [event, weight] of weights) {
    dice -= weight;
    if (dice < 0) return event;
  }
  return 'worker';
}

/** One schedule from start to verdict; throws with the seed where anything was lost, doubled or altered. */
export async function runConservation(options: ConservationOptions): Promise<ConservationResult> {
  const random = seededRandom(options.seed);
  const say = options.progress ?? (() => undefined);
  const pem = await startPem({ hba: 'local replication postgres trust\n' });
  let harness: Harness | null = null;
  let proxy: TestProxy | null = null;
  try {
    const agent = await pem.addAgent({
      name: 'conservation',
      servers: [{ name: 'watched', host: '127.0.0.1', port: pem.port }],
    });
    proxy = await TestProxy.start({ host: '127.0.0.1', port: pem.port });
    harness = new Harness(pem, agent, proxy);
    harness.start();
    await harness.begun(100);
    const endMs = performance.now() + options.chaosMs;
    while (performance.now() < endMs || !harness.hasStruck(3)) {
      const event = choose(random);
      say(event);
      await harness.strike(event, random);
      await pause(50 + random() * 500);
    }
    say('calm');
    const expected = await harness.settle();
    await harness.stop();
    const verdict = await judge(harness, expected);
    return { events: harness.counts, ...verdict };
  } catch (error) {
    const events = JSON.stringify(harness?.counts ?? {});
    throw new Error(
      `seed ${options.seed} (${events}): ${error instanceof Error ? error.message : String(error)}\n${harness?.tail ?? ''}`,
      { cause: error },
    );
  } finally {
    await harness?.stop();
    await proxy?.stop();
    await pem.stop();
    if (harness !== null) rmSync(harness.folder, { recursive: true, force: true });
  }
}
