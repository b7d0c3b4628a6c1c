/** `pem server`: settings of the command line into what the web server takes; it checks them itself. */
import type { Conninfo } from '../base/conninfo.js';
import { PemError } from '../base/errors.js';
import { openLog } from '../base/log.js';
import { runWeb } from '../http/main.js';
import { untilAsked } from './running.js';

export interface WebSettings {
  /** address:port */
  readonly listen: string;
  readonly pushDirectory: string;
  readonly tlsCertificate: string | undefined;
  readonly tlsKey: string | undefined;
  readonly hosts: readonly string[];
  readonly stateDirectory: string | undefined;
}

/** @throws PemError address_syntax | tls_incomplete */
export async function startWeb(db: Conninfo, settings: WebSettings): Promise<void> {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):([0-9]{1,5})$/.exec(settings.listen);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) {
    throw new PemError('address_syntax', `--listen "${settings.listen}" is not address:port`, 'operator');
  }
  const { tlsCertificate, tlsKey } = settings;
  if ((tlsCertificate === undefined) !== (tlsKey === undefined)) {
    throw new PemError('tls_incomplete', '--tls-certificate and --tls-key go together', 'operator');
  }
  const log = openLog('server');
  const running = await runWeb({
    db,
    listen: { host, port },
    hosts: settings.hosts,
    pushDirectory: settings.pushDirectory,
    ...(settings.stateDirectory === undefined ? {} : { stateDirectory: settings.stateDirectory }),
    ...(tlsCertificate === undefined || tlsKey === undefined
      ? {}
      : { tls: { certFile: tlsCertificate, keyFile: tlsKey } }),
    log,
  });
  await untilAsked(running, log);
}
