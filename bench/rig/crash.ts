/** A backend that dies: what PostgreSQL answers with a new start of all its processes. In: a cluster. Out: it is back. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from './cluster.js';

/**
 * Kills a backend with SIGKILL and waits until the server takes connections again. That it went down is told by a session
 * that it ends itself: until then it may take one more connection and break it.
 */
export async function killBackend(cluster: Cluster, pid: number): Promise<void> {
  const witness = await cluster.client();
  const ended = new Promise<void>((resolve) => witness.once('end', () => resolve()));
  process.kill(pid, 'SIGKILL');
  await ended;
  for (;;) {
    const up = await cluster.query('SELECT 1').then(
      () => true,
      () => false,
    );
    if (up) return;
    await sleep(20);
  }
}
