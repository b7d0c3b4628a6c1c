/**
 * `pem trace`: one file for each subcommand, and its line here. Each loads what it needs when it runs: native code is in no
 * process that only controls traces.
 */
import type { Command } from 'commander';
import { adviseCommand } from './advise.js';
import { dropCommand } from './drop.js';
import { exportCommand } from './export.js';
import { listCommand } from './list.js';
import { reportCommand } from './report.js';
import { startCommand } from './start.js';
import { stopCommand } from './stop.js';
import { tailCommand } from './tail.js';

export function traceCommands(pem: Command): void {
  const trace = pem
    .command('trace')
    .description('traces of statements: of servers with the extension sql_profiler, and of their files');
  // Whoever reads has had enough, as with "| head".
  trace.hook('preAction', () => {
    process.stdout.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      process.exit(0);
    });
  });
  startCommand(trace);
  stopCommand(trace);
  listCommand(trace);
  dropCommand(trace);
  tailCommand(trace);
  reportCommand(trace);
  exportCommand(trace);
  adviseCommand(trace);
}
