/** `pem trace stop`: ends traces of a server; their rows stay until they are dropped. */
import type { Command } from 'commander';
import { bytes, count } from './format.js';

export function stopCommand(trace: Command): void {
  trace
    .command('stop')
    .description('ends a trace; its rows stay')
    .argument('[trace...]', 'number or name; without one the only trace that runs')
    .option('--db <conninfo>', 'the server')
    .action(async (wanted: string[], words: { db?: string }) => {
      const { findTrace, withTraced } = await import('./server.js');
      await withTraced(words.db, async (client) => {
        for (const one of wanted.length === 0 ? [undefined] : wanted) {
          const { id } = await findTrace(client, one);
          await client.query('SELECT sql_profiler.stop($1)', [id]);
          const ended = await findTrace(client, String(id));
          const lost = ended.lost_rows === 0 ? '' : `, ${count(ended.lost_rows)} lost`;
          process.stdout.write(
            `trace ${id} "${ended.name}" has ended: ${count(ended.rows)} rows${lost}, ${bytes(ended.bytes)}\n`,
          );
        }
      });
    });
}
