/**
 * The worker process as the watchdog runs it: starts from agent.toml, measures, ships, beats, is stopped in order; what it
 * says when its start is refused.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildPrograms } from '../bench/rig/conservation.js';
import { FakeIngest } from '../bench/rig/fake_ingest.js';
import { type Pem, type RigAgent, startPem } from '../bench/rig/pem.js';
import { eventually } from '../bench/rig/processes.js';
import { configText } from './config.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const worker = join(root, 'dist/agent/main.js');
let pem: Pem;
let agent: RigAgent;
let ingest: FakeIngest;
let folder: string;

beforeAll(async () => {
  await buildPrograms();
  pem = await startPem();
  agent = await pem.addAgent({ name: 'whole' });
  ingest = new FakeIngest(pem);
  ingest.start();
  folder = mkdtempSync(join(tmpdir(), 'pem-main-'));
  copyFileSync(agent.certificate, join(folder, 'agent.crt'));
  copyFileSync(agent.key, join(folder, 'agent.key'));
  copyFileSync(agent.rootCertificate, join(folder, 'root.crt'));
  chmodSync(join(folder, 'agent.key'), 0o600);
  const conninfo = `host=127.0.0.1 port=${pem.port} dbname=pem`;
  writeFileSync(
    join(folder, 'agent.toml'),
    configText({ agentId: agent.agentId, role: agent.role, conninfo }),
    {
      mode: 0o600,
    },
  );
});
afterAll(async () => {
  await ingest?.stop();
  await pem?.stop();
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

function start(): { child: ChildProcess; log: () => string } {
  const child = spawn(
    join(root, 'native/watchdog/build/pem-watchdog'),
    ['--hang-seconds', '20', '--', process.execPath, worker, '--config', join(folder, 'agent.toml')],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, PEM_LOG_LEVEL: 'info' } },
  );
  let text = '';
  child.stderr?.on('data', (data: Buffer) => {
    text += data.toString();
  });
  return { child, log: () => text };
}

async function until(what: string, condition: () => Promise<boolean>, log: () => string): Promise<void> {
  await eventually(what, condition).catch((error: unknown) => {
    throw new Error(`${error}\n${log()}`);
  });
}

test('measures and ships under the watchdog, and leaves in order', async () => {
  const { child, log } = start();
  await until(
    'batches in the received set',
    async () => {
      const set = await pem.query('SELECT 1 FROM pem.received WHERE agent_id = $1 AND ranges @> 3::int8', [
        agent.agentId,
      ]);
      return set.rowCount === 1;
    },
    log,
  );
  child.kill('SIGTERM');
  const [status] = await once(child, 'close');
  expect(status, log()).toBe(0);
  expect(log()).toContain('"msg":"stopped"');
  expect(log()).not.toMatch(/heartbeat|no beat|SIGKILL/);
  expect(readdirSync(join(folder, 'spool')).some((name) => name.endsWith('.seg'))).toBe(true);
  expect(readdirSync(join(folder, 'state'))).toContain('definitions.json');
});

test('a mistake of the operator is one line with its code, and exit 2', () => {
  const refused = (prepare: () => void, undo: () => void): { status?: number; stderr?: string } => {
    prepare();
    try {
      execFileSync(process.execPath, [worker, '--config', join(folder, 'agent.toml')], {
        stdio: 'pipe',
        encoding: 'utf8',
      });
    } catch (error) {
      return error as { status: number; stderr: string };
    } finally {
      undo();
    }
    return {};
  };
  const toml = join(folder, 'agent.toml');
  const exposed = refused(
    () => chmodSync(toml, 0o644),
    () => chmodSync(toml, 0o600),
  );
  expect(exposed.status).toBe(2);
  expect(JSON.parse(exposed.stderr ?? '')).toMatchObject({ code: 'file_exposed' });
  const key = refused(
    () => chmodSync(join(folder, 'agent.key'), 0o640),
    () => chmodSync(join(folder, 'agent.key'), 0o600),
  );
  expect(JSON.parse(key.stderr ?? '')).toMatchObject({ code: 'file_exposed' });
});
