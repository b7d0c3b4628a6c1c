/**
 * The agent's configuration, agent.toml: who it is, where PEM is, what it may do, and tuning. In: the file. Out: a checked
 * AgentConfig with absolute paths. An unknown key, a wrong type or a file that others can read stops the start with the
 * name of the setting; nothing here is changed while the agent runs.
 */
import { readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parse, stringify } from 'smol-toml';
import * as v from 'valibot';
import { type Conninfo, parseConninfo } from '../src/base/conninfo.js';
import { errorCode, errorText, PemError } from '../src/base/errors.js';

const positive = v.pipe(v.number(), v.integer(), v.minValue(1));
const atLeast = (least: number) => v.pipe(v.number(), v.integer(), v.minValue(least));

const schema = v.strictObject({
  identity: v.strictObject({
    agent_id: positive,
    role: v.pipe(v.string(), v.regex(/^agent[1-9][0-9]*$/, 'is not the name of an agent role (agent<N>)')),
  }),
  pem: v.strictObject({
    /** libpq keywords; the certificate files are those of this folder unless it names others. */
    conninfo: v.string(),
  }),
  spool: v.optional(
    v.strictObject({
      folder: v.optional(v.string()),
      max_bytes: v.optional(atLeast(1024 * 1024)),
      max_age_hours: v.optional(positive),
      /** What PEM does not have after this long is flushed to disk. */
      sync_after_ms: v.optional(atLeast(0)),
    }),
    {},
  ),
  tuning: v.optional(
    v.strictObject({
      /** Between two pem.sync(). */
      sync_ms: v.optional(atLeast(200)),
      /** How long a block waits for others to travel with. */
      batch_window_ms: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1000))),
      /** Bound of connects to one monitored server. */
      server_connects_per_minute: v.optional(positive),
      /** authentication_timeout of the monitored servers: how long an unanswered connect holds a slot there. */
      server_authentication_timeout_s: v.optional(positive),
    }),
    {},
  ),
  servers: v.optional(
    v.strictObject({
      /** File of passwords for monitored servers, in the form of ~/.pgpass. */
      passfile: v.optional(v.string()),
    }),
    {},
  ),
  switches: v.optional(
    v.strictObject({
      allow_batch_tasks: v.optional(v.boolean()),
      allow_server_restart: v.optional(v.boolean()),
      /** Duties of agent 1: takes effect only where PEM's grants allow it as well. */
      master: v.optional(v.boolean()),
    }),
    {},
  ),
  master: v.optional(v.strictObject({ conninfo: v.string() })),
});

export interface AgentTuning {
  readonly syncMs: number;
  readonly batchWindowMs: number;
  readonly serverConnectsPerMinute: number;
  readonly serverAuthenticationTimeoutMs: number;
}

export interface AgentConfig {
  /** The agent's folder: that of agent.toml. */
  readonly folder: string;
  readonly agentId: number;
  readonly role: string;
  /** Complete libpq keywords, certificate files included. */
  readonly pem: Conninfo;
  readonly spool: {
    readonly folder: string;
    readonly maxBytes: number;
    readonly maxAgeMs: number;
    readonly syncAfterMs: number;
  };
  readonly tuning: AgentTuning;
  readonly serverPassfile: string | null;
  readonly switches: {
    readonly allowBatchTasks: boolean;
    readonly allowServerRestart: boolean;
    readonly master: boolean;
  };
  /** Set when `switches.master` is on. */
  readonly master: Conninfo | null;
}

/** What a configuration is that says nothing: also the base of those that tests put together. */
export const configDefaults = {
  spool: { maxBytes: 512 * 1024 * 1024, maxAgeMs: 72 * 3_600_000, syncAfterMs: 3_000 },
  tuning: {
    syncMs: 1_000,
    batchWindowMs: 15,
    serverConnectsPerMinute: 60,
    serverAuthenticationTimeoutMs: 60_000,
  },
  serverPassfile: null,
  switches: { allowBatchTasks: false, allowServerRestart: false, master: false },
  master: null,
} as const;

/** Refuses a file that its group or others may read. @throws PemError file_exposed | config_missing */
export function checkPrivate(file: string): void {
  let mode: number;
  try {
    mode = statSync(file).mode & 0o777;
  } catch (cause) {
    throw new PemError('config_missing', `cannot read ${file}: ${errorCode(cause)}`, 'operator', { cause });
  }
  if ((mode & 0o077) !== 0) {
    throw new PemError(
      'file_exposed',
      `${file} has mode 0${mode.toString(8)}: others can read it; run: chmod 600 ${file}`,
      'operator',
    );
  }
}

/** @throws PemError config_missing | file_exposed | config_syntax | config_value */
export function readConfig(file: string): AgentConfig {
  checkPrivate(file);
  let raw: unknown;
  try {
    raw = parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new PemError('config_syntax', `${file}: ${errorText(cause)}`, 'operator', { cause });
  }
  const parsed = v.safeParse(schema, raw);
  if (!parsed.success) {
    const issue = parsed.issues[0];
    const key = v.getDotPath(issue) ?? '';
    const what = issue.expected === 'never' ? 'is no setting of the agent' : issue.message;
    throw new PemError('config_value', `${file}: ${key}: ${what}`, 'operator');
  }
  const { identity, spool, tuning, servers, switches, master, pem } = parsed.output;
  if (switches.master === true && master === undefined) {
    throw new PemError(
      'config_value',
      `${file}: switches.master is on, but master.conninfo is missing`,
      'operator',
    );
  }
  const otherwise = configDefaults;
  const folder = dirname(resolve(file));
  const keyFile = join(folder, 'agent.key');
  const conninfo: Conninfo = {
    dbname: 'pem',
    user: identity.role,
    sslmode: 'verify-ca',
    sslrootcert: join(folder, 'root.crt'),
    sslcert: join(folder, 'agent.crt'),
    sslkey: keyFile,
    application_name: 'pem-agent',
    // A peer that vanished without a word is noticed in about ten seconds.
    keepalives_idle: '5',
    keepalives_interval: '2',
    keepalives_count: '3',
    tcp_user_timeout: '10000',
    target_session_attrs: 'read-write',
    ...parseConninfo(pem.conninfo),
  };
  return {
    folder,
    agentId: identity.agent_id,
    role: identity.role,
    pem: conninfo,
    spool: {
      folder: resolve(folder, spool.folder ?? 'spool'),
      maxBytes: spool.max_bytes ?? otherwise.spool.maxBytes,
      maxAgeMs:
        spool.max_age_hours === undefined ? otherwise.spool.maxAgeMs : spool.max_age_hours * 3_600_000,
      syncAfterMs: spool.sync_after_ms ?? otherwise.spool.syncAfterMs,
    },
    tuning: {
      syncMs: tuning.sync_ms ?? otherwise.tuning.syncMs,
      batchWindowMs: tuning.batch_window_ms ?? otherwise.tuning.batchWindowMs,
      serverConnectsPerMinute: tuning.server_connects_per_minute ?? otherwise.tuning.serverConnectsPerMinute,
      serverAuthenticationTimeoutMs:
        tuning.server_authentication_timeout_s === undefined
          ? otherwise.tuning.serverAuthenticationTimeoutMs
          : tuning.server_authentication_timeout_s * 1_000,
    },
    serverPassfile: servers.passfile === undefined ? null : resolve(folder, servers.passfile),
    switches: {
      allowBatchTasks: switches.allow_batch_tasks ?? otherwise.switches.allowBatchTasks,
      allowServerRestart: switches.allow_server_restart ?? otherwise.switches.allowServerRestart,
      master: switches.master ?? otherwise.switches.master,
    },
    master: switches.master === true && master !== undefined ? parseConninfo(master.conninfo) : null,
  };
}

export interface NewConfig {
  readonly agentId: number;
  readonly role: string;
  readonly conninfo: string;
  readonly master?: { readonly conninfo: string };
}

/** The text of a new agent.toml: what registration knows, and everything else named in comments with its default. */
export function configText(config: NewConfig): string {
  const settings = {
    identity: { agent_id: config.agentId, role: config.role },
    pem: { conninfo: config.conninfo },
    switches: { allow_batch_tasks: false, allow_server_restart: false, master: config.master !== undefined },
    ...(config.master === undefined ? {} : { master: config.master }),
  };
  return `# Configuration of a PEM agent. Read once at start; keep it 0600.
${stringify(settings)}
# [spool]
# max_bytes = 536870912         # the oldest batches go, counted, when the spool is full
# max_age_hours = 72
# sync_after_ms = 3000          # what PEM does not have by then is flushed to disk

# [tuning]
# sync_ms = 1000                # between two questions to PEM for configuration and commands
# batch_window_ms = 15          # how long a block waits for others to travel with
# server_connects_per_minute = 60
# server_authentication_timeout_s = 60

# [servers]
# passfile = "pgpass"           # passwords for monitored servers, in the form of ~/.pgpass, mode 0600
`;
}
