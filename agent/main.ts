/**
 * The agent's worker process: `node dist/agent/main.js --config DIR/agent.toml`, under native/watchdog. Reads the
 * configuration, starts the sending half (worker.ts), then the measuring half (scheduler) as soon as there are
 * definitions, from disk or from PEM.
 *
 * 1. One byte a second goes to PEM_HEARTBEAT_FD from the event loop: a loop that stands still is seen by the watchdog.
 * 2. SIGTERM and SIGINT: measuring stops, what was measured is written and synced, exit 0 within a few seconds; what hangs
 *    is left behind, the spool's page cache has it.
 * 3. An operator's mistake is one line with its code and exit 2; a bug ends the process loudly, the watchdog restarts it.
 */
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { errorCode, errorText, PemError } from '../src/base/errors.js';
import { openLog } from '../src/base/log.js';
import type { AgentDefinitions } from '../src/wire/config.js';
import { adviseCommand } from './advice/advise.js';
import { type AgentConfig, checkPrivate, readConfig } from './config.js';
import { commandKinds } from './link/commands.js';
import { type Scheduler, startScheduler } from './scheduler/index.js';
import { agentVersion } from './version.js';
import { startWorker, type Worker } from './worker.js';

const heartbeatMs = 1000;
const stopWithinMs = 4000;
const log = openLog('agent');

function beat(): void {
  const fd = Number(process.env.PEM_HEARTBEAT_FD ?? Number.NaN);
  if (Number.isNaN(fd)) return;
  setInterval(() => {
    try {
      writeSync(fd, '.');
    } catch (error) {
      // A full pipe means a watchdog that does not read for now; without one the kernel ends this process.
      if (errorCode(error) !== 'EAGAIN') log.debug({ code: errorCode(error) }, 'no heartbeat');
    }
  }, heartbeatMs).unref();
}

/** The measuring half, started with the first definitions and changed with each later ones. */
function measure(config: AgentConfig, worker: Worker): { scheduler(): Scheduler | null } {
  let scheduler: Scheduler | null = null;
  worker.definitions.onChange((definitions: AgentDefinitions) => {
    if (scheduler !== null) {
      scheduler.apply(definitions);
      return;
    }
    scheduler = startScheduler({
      definitions,
      outbox: worker.outbox,
      stats: worker.stats,
      log,
      stateDirectory: join(config.folder, 'state'),
      gateLimits: {
        connectsPerMinute: config.tuning.serverConnectsPerMinute,
        authenticationTimeoutMs: config.tuning.serverAuthenticationTimeoutMs,
      },
      ...(config.master === null ? {} : { masterConninfo: config.master }),
      ...(config.serverPassfile === null ? {} : { passfile: config.serverPassfile }),
    });
  });
  return { scheduler: () => scheduler };
}

/** Duties of agent 1. Loaded where they are asked for alone: the driver they use is no small one. */
async function startDuties(config: AgentConfig): Promise<{ stop(): Promise<void> } | null> {
  if (config.master === null) return null;
  const { startMaster } = await import('./master/index.js');
  log.info('duties of agent 1 begin');
  return startMaster({ db: { user: 'pem_master', dbname: 'pem', ...config.master }, log });
}

function run(): void {
  const { values } = parseArgs({ options: { config: { type: 'string' } } });
  if (values.config === undefined) {
    throw new PemError('config_missing', 'which configuration? Give --config DIR/agent.toml', 'operator');
  }
  const config = readConfig(values.config);
  checkPrivate(config.pem.sslkey ?? '');
  let measuring: ReturnType<typeof measure> | null = null;
  const worker = startWorker({
    config,
    version: agentVersion(),
    log,
    servers: () => measuring?.scheduler()?.servers() ?? [],
    commandKinds: {
      ...commandKinds,
      advise_indexes: adviseCommand({
        servers: () => worker.definitions.current?.servers ?? [],
        borrow: async (targetId, database, waitMs, task) => {
          const scheduler = measuring?.scheduler();
          if (scheduler == null) throw new PemError('server_unreachable', 'the agent begins just now');
          return scheduler.borrow(targetId, database, waitMs, task);
        },
      }),
    },
    traces: {
      pending: () => measuring?.scheduler()?.traces.pending() ?? [],
      taken: (reports) => measuring?.scheduler()?.traces.taken(reports),
      again: () => measuring?.scheduler()?.traces.again(),
    },
  });
  measuring = measure(config, worker);
  const duties = startDuties(config);
  beat();
  log.info(
    { agent: config.agentId, boot: worker.spool.boot, boots: worker.spool.boots().length },
    'agent started',
  );

  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) return;
    stopping = true;
    log.info({ signal }, 'stopping');
    setTimeout(() => {
      log.warn({ code: 'stop_slow' }, 'left before everything was stopped in order');
      process.exit(0);
    }, stopWithinMs).unref();
    (async () => {
      await Promise.all([measuring?.scheduler()?.stop(), duties.then((running) => running?.stop())]);
      await worker.stop();
      log.info('stopped');
      process.exit(0);
    })().catch((error: unknown) => {
      log.error({ code: errorCode(error), error: errorText(error) }, 'could not stop in order');
      process.exit(1);
    });
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

try {
  run();
} catch (error) {
  if (!(error instanceof PemError)) throw error;
  log.fatal({ code: error.code }, error.message);
  process.exit(2);
}
