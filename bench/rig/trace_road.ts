/**
 * The whole road of a trace, real from end to end, for tests that look at it as a user does: PEM's database, web server,
 * ingester with its push link, an agent under its watchdog, and a monitored server that has the profiler. Out: the parts, to
 * be used and harmed. Its owner is the test; `stop` ends and removes everything.
 */
import { parseConninfo } from '../../src/base/conninfo.js';
import { openLog } from '../../src/base/log.js';
import { type Ingester, runIngester } from '../../src/ingest/main.js';
import { AgentHome } from './agent_home.js';
import type { Cluster } from './cluster.js';
import { buildPrograms } from './conservation.js';
import { type Pem, type RigAgent, startPem } from './pem.js';
import { startProfiled } from './traces.js';
import { monitorRole } from './watched.js';
import { startWeb, type WebRig } from './web.js';

export interface TraceRoad {
  readonly pem: Pem;
  /** The monitored server. */
  readonly traced: Cluster;
  readonly web: WebRig;
  readonly agent: RigAgent;
  readonly home: AgentHome;
  /** The monitored server's target. */
  readonly target: number;
  stop(): Promise<void>;
}

/** @param team whose members see the agent and its server */
export async function startTraceRoad(team: string): Promise<TraceRoad> {
  await buildPrograms();
  const started: { stop(): Promise<unknown> }[] = [];
  const stop = async (): Promise<void> => {
    for (const part of started.splice(0).reverse()) await part.stop();
  };
  const keep = <T extends { stop(): Promise<unknown> }>(part: T): T => {
    started.push(part);
    return part;
  };
  try {
    const pem = keep(await startPem());
    const traced = keep(await startProfiled());
    await traced.query(monitorRole);
    await pem.addTeam(team);
    const agent = await pem.addAgent({
      name: 'traced host',
      team,
      servers: [{ name: 'shop-db', host: traced.socketDirectory, port: traced.port }],
    });
    const web = keep(await startWeb(pem));
    const log = openLog('ingest');
    log.level = 'silent';
    const ingester: Ingester = runIngester({
      db: parseConninfo(pem.conninfo('pem_ingest')),
      name: 'one',
      pushSocket: web.pushDirectory,
      log,
    });
    keep(ingester);
    const home = AgentHome.make(pem, agent);
    keep({ stop: () => home.remove() });
    home.start();
    return { pem, traced, web, agent, home, target: agent.serverTargets[0] as number, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
