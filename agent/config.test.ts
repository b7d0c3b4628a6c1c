import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { configText, readConfig } from './config.js';

const folder = mkdtempSync(join(tmpdir(), 'pem-config-'));
const file = join(folder, 'agent.toml');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const text = configText({ agentId: 12, role: 'agent12', conninfo: "host='pem.example' port='5500'" });
beforeEach(() => write(text));

function write(content: string): void {
  writeFileSync(file, content, { mode: 0o600 });
  chmodSync(file, 0o600);
}

function refusal(): { code?: string; message?: string } {
  try {
    readConfig(file);
  } catch (error) {
    return error as { code: string; message: string };
  }
  return {};
}

test('what registration writes is read back, with the certificate files of its folder and every default', () => {
  expect(readConfig(file)).toMatchObject({
    folder,
    agentId: 12,
    role: 'agent12',
    pem: {
      host: 'pem.example',
      port: '5500',
      dbname: 'pem',
      user: 'agent12',
      sslmode: 'verify-ca',
      sslcert: join(folder, 'agent.crt'),
      sslkey: join(folder, 'agent.key'),
    },
    spool: { folder: join(folder, 'spool'), maxBytes: 536870912 },
    switches: { allowBatchTasks: false, allowServerRestart: false, master: false },
    master: null,
  });
});

test('every setting that the text names in comments is one', () => {
  write(text.replaceAll(/^# (\[|[a-z_]+ = )/gm, '$1'));
  expect(readConfig(file)).toMatchObject({
    spool: { syncAfterMs: 3000 },
    serverPassfile: join(folder, 'pgpass'),
  });
});

test('duties of agent 1 need their connection', () => {
  write(
    configText({
      agentId: 1,
      role: 'agent1',
      conninfo: 'host=x',
      master: { conninfo: 'host=y user=pem_master' },
    }),
  );
  expect(readConfig(file).master).toEqual({ host: 'y', user: 'pem_master' });
  write('[identity]\nagent_id = 1\nrole = "agent1"\n[pem]\nconninfo = "host=x"\n[switches]\nmaster = true\n');
  expect(refusal()).toMatchObject({
    code: 'config_value',
    message: expect.stringContaining('master.conninfo'),
  });
});

test.each([0o640, 0o604, 0o660])(
  'a file others can use stops the start and says what to do (mode %o)',
  (mode) => {
    chmodSync(file, mode);
    expect(refusal()).toMatchObject({
      code: 'file_exposed',
      message: expect.stringContaining(`chmod 600 ${file}`),
    });
  },
);

test.each([
  ['[spool]\nmax_bites = 1048576', 'spool.max_bites'],
  ['colour = "red"', 'colour'],
  ['[spool]\nmax_bytes = 17', 'spool.max_bytes'],
  ['[switches2]\nmaster = true', 'switches2'],
])('a wrong setting is named: %s', (line, name) => {
  write(line.startsWith('[') ? `${text}\n${line}\n` : `${line}\n${text}`);
  expect(refusal()).toMatchObject({ code: 'config_value', message: expect.stringContaining(`${name}: `) });
});

test('a password in the connection string, broken TOML and a missing file are refused', () => {
  write(text.replace('port=', 'password=hunter2 port='));
  expect(refusal()).toMatchObject({ code: 'conninfo_password' });
  write('[identity');
  expect(refusal()).toMatchObject({ code: 'config_syntax' });
  rmSync(file);
  expect(refusal()).toMatchObject({ code: 'config_missing' });
});
