/**
 * `pem trace report` as a process that says at its end what it has used: processor time, and the most memory it had. In: the
 * command's words. Out: the command's own output, and one line of JSON on descriptor 3.
 */
import { writeSync } from 'node:fs';

export interface Used {
  readonly cpuSeconds: number;
  readonly rssBytes: number;
}

process.on('exit', () => {
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
  const used: Used = { cpuSeconds: (userCPUTime + systemCPUTime) / 1e6, rssBytes: maxRSS * 1024 };
  writeSync(3, `${JSON.stringify(used)}\n`);
});

// The command reads its words from process.argv, where they stand already.
await import('../../src/cli/pem.js');
