/** Facts about this host for pem.host: read once at start, they change with a reboot. */
import { readFileSync } from 'node:fs';
import { cpus, hostname, release, totalmem, uptime } from 'node:os';

export interface HostFacts {
  readonly hostname: string;
  readonly os: string;
  readonly kernel: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly bootedAtUs: number;
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
}

export function hostFacts(): HostFacts {
  const name = /^PRETTY_NAME="?([^"\n]*)/m.exec(readOr('/etc/os-release', ''))?.[1];
  const bootedAtS = /^btime (\d+)$/m.exec(readOr('/proc/stat', ''))?.[1];
  return {
    hostname: hostname(),
    os: name ?? 'Linux',
    kernel: release(),
    cpus: cpus().length,
    memoryBytes: totalmem(),
    bootedAtUs:
      bootedAtS === undefined ? Math.round(Date.now() / 1000 - uptime()) * 1e6 : Number(bootedAtS) * 1e6,
  };
}
