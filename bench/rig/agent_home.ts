/**
 * An agent as a host has it: a directory with configuration, key, spool and state, and the real worker in it under the real
 * watchdog. For tests of faults. Owns the directory and the processes it starts; `remove` ends and deletes them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, chmodSync, copyFileSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { configText } from '../../agent/config.js';
import { errorCode } from '../../src/base/errors.js';
import type { Pem, RigAgent } from './pem.js';
import { childrenOf, eventually } from './processes.js';
import { readSpool, type Spooled } from './spooled.js';

const root = fileURLToPath(new URL('../../', import.meta.url)).replace(/dist\/$/, '');
const stopWithinMs = 60_000;

export interface AgentHomeOptions {
  /** Where it reaches PEM; default: PEM's own port. */
  readonly port?: number;
  /** Another place for the spool. */
  readonly spoolFolder?: string;
  readonly spoolBytes?: number;
  readonly syncMs?: number;
}

export class AgentHome {
  private child: ChildProcess | null = null;
  private text = '';

  private constructor(
    readonly folder: string,
    readonly agentId: number,
  ) {}

  static make(pem: Pem, agent: RigAgent, options: AgentHomeOptions = {}): AgentHome {
    const folder = mkdtempSync(join(tmpdir(), 'pem-home-'));
    copyFileSync(agent.certificate, join(folder, 'agent.crt'));
    copyFileSync(agent.key, join(folder, 'agent.key'));
    copyFileSync(agent.rootCertificate, join(folder, 'root.crt'));
    chmodSync(join(folder, 'agent.key'), 0o600);
    const toml = join(folder, 'agent.toml');
    const conninfo = `host=127.0.0.1 port=${options.port ?? pem.port} dbname=pem`;
    writeFileSync(toml, configText({ agentId: agent.agentId, role: agent.role, conninfo }), { mode: 0o600 });
    const spool = [
      ...(options.spoolFolder === undefined ? [] : [`folder = ${JSON.stringify(options.spoolFolder)}`]),
      ...(options.spoolBytes === undefined ? [] : [`max_bytes = ${options.spoolBytes}`]),
    ];
    appendFileSync(
      toml,
      `\n[spool]\n${spool.join('\n')}\n[tuning]\nsync_ms = ${options.syncMs ?? 300}\nserver_connects_per_minute = 1000\n`,
    );
    return new AgentHome(folder, agent.agentId);
  }

  /** The directory as it is now, copied: a clone, or an image to restore from. */
  copy(): AgentHome {
    for (;;) {
      const folder = mkdtempSync(join(tmpdir(), 'pem-home-'));
      try {
        cpSync(this.folder, folder, { recursive: true, preserveTimestamps: true });
        return new AgentHome(folder, this.agentId);
      } catch (error) {
        rmSync(folder, { recursive: true, force: true });
        // The agent that runs there replaces files by renaming: one was gone before it was read.
        if (errorCode(error) !== 'ENOENT') throw error;
      }
    }
  }

  /** Puts an image in the place of what is there. */
  restore(image: AgentHome): void {
    rmSync(this.folder, { recursive: true });
    cpSync(image.folder, this.folder, { recursive: true, preserveTimestamps: true });
  }

  /** `clockMs`: how far the worker's system clock is ahead (negative: behind). */
  start(options: { clockMs?: number } = {}): void {
    const preload =
      options.clockMs === undefined ? [] : ['--import', join(root, 'dist/bench/rig/wrong_clock.js')];
    const child = spawn(
      join(root, 'native/watchdog/build/pem-watchdog'),
      [
        '--',
        process.execPath,
        ...preload,
        join(root, 'dist/agent/main.js'),
        '--config',
        join(this.folder, 'agent.toml'),
      ],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
        env: { ...process.env, PEM_LOG_LEVEL: 'info', PEM_RIG_CLOCK_MS: String(options.clockMs ?? 0) },
      },
    );
    child.stderr?.on('data', (data: Buffer) => {
      this.text += data.toString();
    });
    this.child = child;
  }

  /** All that watchdog and worker said. */
  get log(): string {
    return this.text;
  }

  /** Codes of the worker's log lines. */
  get codes(): string[] {
    return [...this.text.matchAll(/"code":"([^"]+)"/g)].map((match) => match[1] as string);
  }

  /** Times that the watchdog had to start a worker again. */
  get restarts(): number {
    return this.text.match(/"msg":"agent started"/g)?.length ?? 0;
  }

  get workerPid(): number | null {
    const pid = this.child?.pid;
    return pid === undefined ? null : (childrenOf(pid)[0] ?? null);
  }

  /** As a service manager stops it. @returns the watchdog's exit status */
  async stop(): Promise<number | null> {
    const { child } = this;
    if (child === null) return null;
    this.child = null;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    // Its log has been read to the end by then.
    const ended = new Promise<number | null>((resolve) => child.once('close', (status) => resolve(status)));
    const late = setTimeout(() => child.kill('SIGKILL'), stopWithinMs);
    child.kill('SIGTERM');
    const status = await ended;
    clearTimeout(late);
    return status;
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Its spool; stop it first. */
  spooled(folder = join(this.folder, 'spool')): Promise<Spooled> {
    return readSpool(folder, this.agentId);
  }
}

/** Sets probes of a target to one run a second. */
export async function everySecond(pem: Pem, target: number, probes: readonly string[]): Promise<void> {
  for (const probe of probes) {
    await pem.query('SELECT pem.set_probe_config($1, $2, true, 1000, NULL)', [target, probe]);
  }
}

/** What the agent last said of itself with pem.sync(). */
export async function heartbeat(pem: Pem, agentId: number): Promise<Record<string, unknown>> {
  const { rows } = await pem.query('SELECT info FROM pem.agent_heartbeat WHERE agent_id = $1', [agentId]);
  return (rows[0]?.info ?? {}) as Record<string, unknown>;
}

/**
 * Ends all measuring by configuration, then waits until PEM has all that the spool holds: what comes after this is still.
 */
export async function atRest(
  pem: Pem,
  home: AgentHome,
  targets: readonly number[],
  withinMs = 180_000,
): Promise<void> {
  for (const target of targets) {
    await pem.query('SELECT pem.set_probe_config($1, name, false, NULL, NULL) FROM pem.probe', [target]);
  }
  // Counted in words of the agent, not in time: how often it speaks is the machine's affair.
  let stillFor = 0;
  let before = '';
  let heardAt = '';
  await eventually(
    'an agent at rest with nothing pending',
    async () => {
      const { rows } = await pem.query(
        `SELECT boot || ' ' || (info ->> 'spoolBatches') AS held, info ->> 'spoolPendingBatches' AS pending, at::text AS at
           FROM pem.agent_heartbeat WHERE agent_id = $1`,
        [home.agentId],
      );
      const [beat] = rows as { held: string; pending: string; at: string }[];
      if (beat === undefined || beat.at === heardAt) return false;
      heardAt = beat.at;
      stillFor = beat.pending === '0' && beat.held === before ? stillFor + 1 : 0;
      before = beat.held;
      return stillFor >= 8;
    },
    withinMs,
  ).catch((error: unknown) => {
    throw new Error(`${error instanceof Error ? error.message : error}\n${home.log.slice(-4000)}`);
  });
}
