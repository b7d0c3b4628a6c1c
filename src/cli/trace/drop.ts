/** `pem trace drop`: removes traces that have ended, with all their rows. */
import type { Command } from 'commander';
import { bytes } from './format.js';

export function dropCommand(trace: Command): void {
  trace
    .command('drop')
    .description('removes traces that have ended, with their rows')
    .argument('<trace...>', 'numbers or names')
    .option('--db <conninfo>', 'the server')
    .action(async (wanted: string[], words: { db?: string }) => {
      const { findTrace, withTraced } = await import('./server.js');
      await withTraced(words.db, async (client) => {
        // All are looked for first: one that is misspelt must not leave half of them dropped.
        const found = [];
        for (const one of wanted) found.push(await findTrace(client, one));
        for (const one of found) {
          await client.query('SELECT sql_profiler.drop($1)', [one.id]);
          process.stdout.write(`trace ${one.id} "${one.name}" dropped, ${bytes(one.bytes)}\n`);
        }
      });
    });
}
