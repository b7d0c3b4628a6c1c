/**
 * Servers without an agent, as the page asks for them: texts as people type them → the body of POST /unmanaged, or for each
 * field that is wrong a sentence. Pure. The server checks again, and its word counts. A password is in none of it.
 */
export interface UnmanagedServer {
  readonly targetId: number;
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly sslmode: string;
  readonly owner: string;
  readonly team: string | null;
  /** By this session. */
  readonly connected: boolean;
  readonly connections: readonly { readonly user: string; readonly sinceUs: number }[];
}

export interface UnmanagedAnswer {
  /** Can this web server trace at all? */
  readonly tracing: boolean;
  readonly servers: readonly UnmanagedServer[];
}

export interface ServerForm {
  readonly name: string;
  readonly host: string;
  readonly port: string;
  readonly database: string;
  readonly user: string;
  readonly sslmode: string;
  readonly team: string;
}

export type ServerFormErrors = Partial<Record<keyof ServerForm, string>>;

export const emptyServer: ServerForm = {
  name: '',
  host: '',
  port: '5432',
  database: 'postgres',
  user: '',
  sslmode: 'verify-full',
  team: '',
};

export const sslmodes = [
  ['verify-full', 'encrypted, the server proves its name'],
  ['verify-ca', 'encrypted, the server’s certificate is checked'],
  ['require', 'encrypted, anybody may pose as the server'],
  ['disable', 'not encrypted'],
] as const;

/** What a mode does not protect from, for who is about to send a password by it. */
export function warningOf(sslmode: string): string | undefined {
  if (sslmode === 'require')
    return 'Any certificate is taken: whoever can change the traffic on the way can pose as the server, and see what is traced.';
  if (sslmode === 'disable')
    return 'Nothing is encrypted: for a server on the same machine or network that only you can listen on.';
  return undefined;
}

export const addressOf = (server: Pick<UnmanagedServer, 'host' | 'port' | 'database' | 'user'>): string =>
  `${server.user}@${server.host.includes(':') ? `[${server.host}]` : server.host}:${server.port}/${server.database}`;

/** @returns the request's body, or what is wrong */
export function readServer(
  form: ServerForm,
): { body: Record<string, unknown> } | { errors: ServerFormErrors } {
  const errors: ServerFormErrors = {};
  const text = (field: keyof ServerForm, what: string): string => {
    const value = form[field].trim();
    if (value === '') errors[field] = `Say ${what}.`;
    return value;
  };
  const body: Record<string, unknown> = {
    name: text('name', 'how the server is called in PEM'),
    host: text('host', 'its host name or address'),
    database: text('database', 'the database that has the extension'),
    user: text('user', 'the role to connect as'),
    sslmode: form.sslmode,
  };
  if (errors.host === undefined && !/^[0-9A-Za-z:][0-9A-Za-z._:%-]*$/.test(String(body.host)))
    errors.host = 'One host name or address: no path, no list, no connection string.';
  const port = Number(form.port.trim());
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    errors.port = 'A port is a number from 1 to 65535.';
  else body.port = port;
  if (form.team.trim() !== '') body.team = form.team.trim();
  return Object.keys(errors).length > 0 ? { errors } : { body };
}

/** The field that the server's refusal names. */
export function serverFieldOf(text: string): keyof ServerForm | undefined {
  const field = /^(?:body )?(\w+): /.exec(text)?.[1] ?? '';
  if (Object.hasOwn(emptyServer, field)) return field as keyof ServerForm;
  return /\bteam\b/.test(text) ? 'team' : undefined;
}
