#!/usr/bin/env node
/**
 * The command `pem`: programs (desk, server, ingest, sign, agent run) and what operators do (init, agent register, user,
 * token, monitor, status, trace). Each command loads only its own room, so that the web server's native code is never in the
 * process that holds the authority's key. Errors: failure.ts.
 */
import { hostname } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { agentVersion } from '../../agent/version.js';
import { PemError } from '../base/errors.js';
import { openLog } from '../base/log.js';
import { checkSchema, findDatabase, readSettings, withClient } from './connect.js';
import { describeFailure, exitStatus } from './failure.js';
import { untilAsked } from './running.js';
import { traceCommands } from './trace/index.js';

interface Connection {
  readonly db?: string;
  readonly config?: string;
}

function wholeNumber(least: number, most: number) {
  return (text: string): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`a whole number from ${least} to ${most}`);
    }
    return value;
  };
}

const collect = (value: string, all: string[]): string[] => [...all, value];
const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

/** A command that talks to PEM's database: --db and --config are the same everywhere. */
function database(parent: Command, name: string, description: string): Command {
  return parent
    .command(name)
    .description(description)
    .option('--db <conninfo>', "PEM's database as libpq keywords; passwords belong in PGPASSFILE")
    .option('--config <file>', 'settings (TOML): what else would stand here, for example db = "host=…"');
}

/** Operators' commands run as the role that --db names; on a desk as its superuser, by peer. */
const operatorRole = 'postgres';

function required(value: string | undefined, option: string, setting: string): string {
  if (value !== undefined) return value;
  throw new PemError('option_missing', `give ${option}, or ${setting} in --config`, 'operator');
}

function programs(pem: Command): void {
  pem
    .command('desk')
    .description('the whole of PEM on this machine, supervised (what "npm start" runs)')
    .option('--home <directory>', 'where it lives (PEM_HOME; /var/lib/pem for root, else ~/.local/share/pem)')
    .option('--port <port>', "the page's port on 127.0.0.1", wholeNumber(1024, 65_535))
    .option('--no-agent', 'without agent 1')
    .action(async (options: { home?: string; port?: number; agent: boolean }) => {
      const { desk } = await import('./desk/desk.js');
      await desk({ home: options.home, port: options.port, agent: options.agent });
    });

  database(pem, 'server', 'the web server')
    .option('--listen <address:port>', 'default 127.0.0.1:8790; beyond loopback it needs TLS')
    .option('--push-directory <directory>', 'where its unix socket for ingesters is (0700)')
    .option(
      '--state <directory>',
      'its own folder (0700), for traces of servers without an agent; without it there are none',
    )
    .option('--tls-certificate <file>')
    .option('--tls-key <file>')
    .option('--host <name>', 'a name that browsers may use; repeatable', collect, [])
    .action(
      async (
        options: Connection & {
          listen?: string;
          pushDirectory?: string;
          state?: string;
          tlsCertificate?: string;
          tlsKey?: string;
          host: string[];
        },
      ) => {
        const settings = readSettings(options.config);
        const db = findDatabase(options.db, settings, 'pem_web');
        await checkSchema(db);
        const { startWeb } = await import('./web.js');
        await startWeb(db, {
          listen: options.listen ?? settings.listen ?? '127.0.0.1:8790',
          pushDirectory: required(
            options.pushDirectory ?? settings.push_directory,
            '--push-directory DIRECTORY',
            'push_directory',
          ),
          stateDirectory: options.state ?? settings.state_directory,
          tlsCertificate: options.tlsCertificate ?? settings.tls_certificate,
          tlsKey: options.tlsKey ?? settings.tls_key,
          hosts: [...options.host, ...(settings.hosts ?? [])],
        });
      },
    );

  database(pem, 'ingest', 'an ingester: from the inbox into history; any number may run')
    .option('--push-directory <directory>', 'where web servers of this machine have their unix sockets')
    .option('--name <name>', 'its name in "pem status"', `${hostname()}-${process.pid}`)
    .action(async (options: Connection & { pushDirectory?: string; name: string }) => {
      const settings = readSettings(options.config);
      const log = openLog('ingest');
      const db = findDatabase(options.db, settings, 'pem_ingest');
      await checkSchema(db);
      const { runIngester } = await import('../ingest/main.js');
      const pushDirectory = options.pushDirectory ?? settings.push_directory;
      const running = await runIngester({
        db,
        name: options.name,
        log,
        ...(pushDirectory === undefined ? {} : { pushSocket: pushDirectory }),
      });
      await untilAsked(running, log);
    });

  database(
    pem,
    'sign',
    "the signer: answers certificate requests; the one program that reads the authority's key",
  )
    .option('--ca <directory>', "the authority's folder")
    .action(async (options: Connection & { ca?: string }) => {
      const settings = readSettings(options.config);
      const log = openLog('sign');
      const caDirectory = required(options.ca ?? settings.ca, '--ca DIRECTORY', 'ca');
      const db = findDatabase(options.db, settings, 'pem_signer');
      await checkSchema(db);
      const { runSigner } = await import('../pki/signer.js');
      const running = await runSigner({
        db,
        caDirectory,
        log,
      });
      await untilAsked(running, log);
    });
}

function setUp(pem: Command): void {
  database(
    pem,
    'init',
    'database, roles, schema, authority and first administrator on an existing PostgreSQL',
  )
    .option('--ca <directory>', "the authority's folder (made where missing)")
    .option('--tls <directory>', 'write a certificate for that PostgreSQL there')
    .option('--name <name>', 'a name or address agents reach it by; repeatable', collect, [])
    .option('--admin <name>', 'name of the first administrator', 'admin')
    .option('--admin-password-out <file>', 'where its random password goes (0600)')
    .action(
      async (
        options: Connection & {
          ca?: string;
          tls?: string;
          name: string[];
          admin: string;
          adminPasswordOut?: string;
        },
      ) => {
        const settings = readSettings(options.config);
        const superuser = findDatabase(options.db, settings, operatorRole);
        const ca = required(options.ca ?? settings.ca, '--ca DIRECTORY', 'ca');
        const init = await import('./init.js');
        const ran = await init.ensureDatabase(superuser);
        say(`schema: ${ran.length === 0 ? 'up to date' : `${ran.length} migrations`}`);
        const authority = await init.ensureAuthority(ca);
        await init.noteAuthority(superuser, authority.fingerprint);
        say(`authority: ${authority.made ? 'made' : 'is there'} in ${ca}`);
        if (options.tls !== undefined) {
          const names = [...options.name, 'localhost', '127.0.0.1', '::1', hostname()];
          const made = await init.ensureServerCertificate(ca, options.tls, names);
          say(`server certificate: ${made ? 'made' : 'is there'} in ${options.tls}`);
        }
        if (options.adminPasswordOut !== undefined) {
          const made = await init.ensureAdministrator(superuser, options.admin, options.adminPasswordOut);
          say(
            made
              ? `administrator ${options.admin}: password in ${options.adminPasswordOut}`
              : 'administrator: is there',
          );
        }
        say(`CA SHA-256, for "pem agent register --ca-sha256": ${authority.fingerprint}`);
      },
    );
}

function agents(pem: Command): void {
  const agent = pem.command('agent').description('the agent of this host');
  agent
    .command('register')
    .description("makes this host's agent known to PEM: its key stays here, PEM signs its certificate")
    .requiredOption('--server <host:port>', "PEM's database")
    .requiredOption('--ca-sha256 <hex>', 'SHA-256 of PEM\'s authority, as "pem init" says it')
    .requiredOption('--token-file <file>', 'the registration token; "-" is standard input')
    .requiredOption('--directory <directory>', 'where the agent lives (0700)')
    .option('--database <name>', "name of PEM's database", 'pem')
    .option('--verify-name', "also hold the server's certificate against its name")
    .action(
      async (options: {
        verifyName?: boolean;
        server: string;
        caSha256: string;
        tokenFile: string;
        directory: string;
        database: string;
      }) => {
        const { registerHost } = await import('./agent.js');
        say(await registerHost(options));
      },
    );
  agent
    .command('run')
    .description('the agent under its watchdog, in the foreground')
    .requiredOption('--directory <directory>', 'where "pem agent register" put it')
    .action(async (options: { directory: string }) => {
      const { runAgent } = await import('./agent.js');
      process.exitCode = await runAgent(options.directory);
    });
  database(
    agent,
    'revoke',
    'ends an agent: no login, its sessions ended, its certificates on the revocation list',
  )
    .argument('<id>', 'number of the agent', wholeNumber(1, 2 ** 31 - 1))
    .action(async (id: number, options: Connection) => {
      await asOperator(options, (client) => client.query('SELECT pem.revoke_agent($1)', [id]));
      say(`agent ${id} revoked; PostgreSQL takes the new revocation list at its next reload`);
    });
  database(
    agent,
    'remove',
    'takes an agent whose host is gone off the lists, after revoking it; its id is not used again',
  )
    .argument('<id>', 'number of the agent', wholeNumber(1, 2 ** 31 - 1))
    .action(async (id: number, options: Connection) => {
      await asOperator(options, (client) => client.query('SELECT pem.remove_agent($1)', [id]));
      say(`agent ${id} removed`);
    });
  database(agent, 'release', 'lets a quarantined agent report again, after the copy of it was ended')
    .argument('<id>', 'number of the agent', wholeNumber(1, 2 ** 31 - 1))
    .action(async (id: number, options: Connection) => {
      await asOperator(options, (client) => client.query('SELECT pem.release_agent($1)', [id]));
      say(`agent ${id} released`);
    });
}

async function asOperator<T>(options: Connection, work: Parameters<typeof withClient<T>>[1]): Promise<T> {
  return withClient(findDatabase(options.db, readSettings(options.config), operatorRole), work);
}

function operators(pem: Command): void {
  const user = pem.command('user').description('people who sign in');
  database(user, 'add', 'makes a user: a PostgreSQL role that may sign in')
    .argument('<name>')
    .addOption(
      new Option('--role <role>', 'what they may').choices(['user', 'admin', 'super-admin']).default('user'),
    )
    .option('--team <team>', 'a team to join, made where missing; repeatable', collect, [])
    .option('--password-file <file>', 'read the password there; "-" is standard input')
    .option('--password-out <file>', 'make a random password and write it there (0600)')
    .action(
      async (
        name: string,
        options: Connection & { role: string; team: string[]; passwordFile?: string; passwordOut?: string },
      ) => {
        const { addPemUser } = await import('./operator.js');
        say(await asOperator(options, (client) => addPemUser(client, name, options)));
      },
    );

  database(user, 'list', 'users, what they may, their teams').action(async (options: Connection) => {
    const { listUsers } = await import('./operator.js');
    say(await asOperator(options, listUsers));
  });
  database(user, 'password', 'gives a user a new password; sessions with the old one end')
    .argument('<name>')
    .option('--password-file <file>', 'read it there; "-" is standard input')
    .option('--password-out <file>', 'make a random one and write it there (0600)')
    .action(async (name: string, options: Connection & { passwordFile?: string; passwordOut?: string }) => {
      const { changePassword } = await import('./operator.js');
      say(await asOperator(options, (client) => changePassword(client, name, options)));
    });
  for (const isMember of [true, false]) {
    database(
      user,
      isMember ? 'join' : 'leave',
      `${isMember ? 'puts a user into' : 'takes a user out of'} a team`,
    )
      .argument('<name>')
      .argument('<team>')
      .action(async (name: string, team: string, options: Connection) => {
        const { changeTeam } = await import('./operator.js');
        say(await asOperator(options, (client) => changeTeam(client, name, team, isMember)));
      });
  }
  for (const isAllowed of [false, true]) {
    database(
      user,
      isAllowed ? 'enable' : 'disable',
      isAllowed
        ? 'lets a user sign in again'
        : 'no sign-in for a user from now on, sessions ended; what it owns stays',
    )
      .argument('<name>')
      .action(async (name: string, options: Connection) => {
        const { setSignIn } = await import('../schema/users.js');
        await asOperator(options, (client) => setSignIn(client, name, isAllowed));
        say(`user ${name} ${isAllowed ? 'may sign in' : 'disabled'}`);
      });
  }

  const token = pem.command('token').description('registration tokens');
  database(token, 'create', 'a single-use token with which one host registers its agent')
    .argument('<agent>', 'name of the agent to be')
    .requiredOption('--out <file>', 'where the token goes (0600)')
    .option('--owner <user>', 'whose the host is (default: who runs this)')
    .option('--team <team>', 'who else sees it')
    .option('--hours <hours>', 'how long it is good', wholeNumber(1, 720), 24)
    .action(
      async (
        name: string,
        options: Connection & { out: string; owner?: string; team?: string; hours: number },
      ) => {
        const { createTokenFile } = await import('./operator.js');
        const reachedBy = findDatabase(options.db, readSettings(options.config), operatorRole).host;
        say(await asOperator(options, (client) => createTokenFile(client, name, { ...options, reachedBy })));
      },
    );

  const monitor = pem.command('monitor').description('monitored PostgreSQL servers');
  database(
    monitor,
    'add',
    "has an agent watch a server; its password, if any, lives in the agent's PGPASSFILE",
  )
    .argument('<name>')
    .requiredOption('--agent <id>', 'which agent', wholeNumber(1, 2 ** 31 - 1))
    .requiredOption('--host <host>', 'address or socket folder, seen from the agent')
    .option('--port <port>', '', wholeNumber(1, 65_535), 5432)
    .option('--database <name>', 'where it connects first', 'postgres')
    .option('--user <role>', 'a role that is in pg_monitor and nothing more', 'pem_monitor')
    .option('--sslmode <mode>', 'as in libpq', 'prefer')
    .option('--owner <user>')
    .option('--team <team>')
    .action(
      async (
        name: string,
        options: Connection & {
          agent: number;
          host: string;
          port: number;
          database: string;
          user: string;
          sslmode: string;
          owner?: string;
          team?: string;
        },
      ) => {
        const { addServer } = await import('./operator.js');
        say(`target ${await asOperator(options, (client) => addServer(client, name, options))} added`);
      },
    );
  database(monitor, 'list', 'the monitored servers that you see').action(async (options: Connection) => {
    const { listServers } = await import('./operator.js');
    say(await asOperator(options, listServers));
  });
  database(monitor, 'remove', 'stops watching a server; its history stays for its retention')
    .argument('<target>', 'number of the target', wholeNumber(1, Number.MAX_SAFE_INTEGER))
    .action(async (target: number, options: Connection) => {
      await asOperator(options, (client) => client.query('SELECT pem.remove_server($1)', [target]));
      say(`target ${target} removed`);
    });

  database(monitor, 'move', 'has another agent watch a server; its history goes on')
    .argument('<target>', 'number of the target', wholeNumber(1, Number.MAX_SAFE_INTEGER))
    .requiredOption('--agent <id>', 'which agent', wholeNumber(1, 2 ** 31 - 1))
    .action(async (target: number, options: Connection & { agent: number }) => {
      await asOperator(options, (client) =>
        client.query('SELECT pem.move_server($1, $2)', [target, options.agent]),
      );
      say(`target ${target} is watched by agent ${options.agent}`);
    });
  database(monitor, 'assign', 'says whose a server is, and which team sees it; without --team none')
    .argument('<target>', 'number of the target', wholeNumber(1, Number.MAX_SAFE_INTEGER))
    .requiredOption('--owner <user>')
    .option('--team <team>')
    .action(async (target: number, options: Connection & { owner: string; team?: string }) => {
      await asOperator(options, (client) =>
        client.query('SELECT pem.set_belonging($1, $2, $3)', [target, options.owner, options.team ?? null]),
      );
      say(
        `target ${target} is ${options.owner}'s${options.team === undefined ? '' : `, team ${options.team}`}`,
      );
    });

  database(pem, 'status', 'agents, servers, ingesters, inbox').action(async (options: Connection) => {
    const { status } = await import('./operator.js');
    say(await asOperator(options, status));
  });
}

const pem = new Command('pem')
  .description('monitoring and management for fleets of PostgreSQL servers')
  .version(agentVersion(), '--version')
  .showHelpAfterError('(pem <command> --help says what a command takes)');
programs(pem);
setUp(pem);
agents(pem);
operators(pem);
traceCommands(pem);

try {
  await pem.parseAsync();
} catch (error) {
  process.stderr.write(`${describeFailure(error)}\n`);
  process.exitCode = exitStatus(error);
  // A pool or socket left open by what failed must not keep the process.
  setImmediate(() => process.exit());
}
