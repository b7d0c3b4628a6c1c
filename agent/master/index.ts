/**
 * Duties of agent 1: what PEM needs done once, not once an ingester. In: a connection string of pem_master; out: each
 * duty's own. The switch in agent.toml asks for them, the grants of pem_master decide: without them every pass fails and
 * says so. Adding a duty is a folder here and a line below.
 */
import type { Conninfo } from '../../src/base/conninfo.js';
import type { Log } from '../../src/base/log.js';
import { type Duty, startGc } from './gc/schedule.js';

export interface MasterOptions {
  readonly db: Conninfo;
  readonly log: Log;
}

/** Starts all duties; `stop` ends the passes that run and returns then. */
export function startMaster(options: MasterOptions): { stop(): Promise<void> } {
  const duties: readonly Duty[] = [startGc(options.db, options.log)];
  return {
    async stop() {
      await Promise.all(duties.map((duty) => duty.stop()));
    },
  };
}
