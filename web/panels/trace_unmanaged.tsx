/**
 * Servers without an agent: the form that makes one known, and connections to them by password. A password is in its input
 * until it is sent, in no state, address or storage of the page; after each answer the input is emptied.
 */
import { useEffect, useRef, useState } from 'preact/hooks';
import { messageOf, sendJson } from '../store/api.js';
import { loadFleet } from '../store/fleet.js';
import { mayManage, useAsk } from '../store/trace.js';
import {
  addressOf,
  emptyServer,
  readServer,
  type ServerForm,
  type ServerFormErrors,
  serverFieldOf,
  sslmodes,
  type UnmanagedAnswer,
  type UnmanagedServer,
  warningOf,
} from '../store/trace_unmanaged.js';
import { DataTable, type TableColumn } from '../ui/DataTable.js';
import { Field, wrongOf } from '../ui/Field.js';
import { formatAgo } from '../ui/format.js';
import { Panel } from '../ui/Panel.js';
import { Removal } from '../ui/Removal.js';

function stateOf(server: UnmanagedServer): { word: string; kind: 'up' | 'unknown' } {
  if (server.connected) return { word: 'you are connected', kind: 'up' };
  const others = server.connections.map(({ user }) => user);
  if (others.length > 0) return { word: `connected: ${others.join(', ')}`, kind: 'unknown' };
  return { word: 'nobody is connected', kind: 'unknown' };
}

function ConnectionState({ server }: { server: UnmanagedServer }) {
  const { word, kind } = stateOf(server);
  return (
    <span class={`status ${kind}`}>
      <span aria-hidden="true">{kind === 'up' ? '●' : '○'}</span> {word}
    </span>
  );
}

/** Asks for the password and sends it. */
function ConnectForm(props: { server: UnmanagedServer; onDone: () => void; onCancel: () => void }) {
  const { server, onDone, onCancel } = props;
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState('');
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), []);
  const submit = async (): Promise<void> => {
    const field = input.current;
    if (field === null || busy) return;
    setRefusal('');
    setBusy(true);
    const password = field.value;
    field.value = '';
    try {
      await sendJson('POST', `/unmanaged/${server.targetId}/connect`, { password });
      onDone();
    } catch (error) {
      setRefusal(messageOf(error).replace(/^body password: it/, 'The password'));
      setBusy(false);
      requestAnimationFrame(() => field.focus());
    }
  };
  const warning = warningOf(server.sslmode);
  return (
    <form
      class="connect"
      aria-label={`Connect to ${server.name}`}
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <label class={refusal === '' ? 'field' : 'field wrong'}>
        <span>
          Password of <strong>{addressOf(server)}</strong>
        </span>
        <input
          ref={input}
          type="password"
          name="server-password"
          autocomplete="off"
          maxLength={1024}
          aria-describedby="connect-says"
          {...(refusal === '' ? {} : ({ 'aria-invalid': true } as const))}
        />
      </label>
      <p id="connect-says" class="says">
        {refusal !== '' ? (
          <span class="error" role="alert">
            {refusal}
          </span>
        ) : (
          <span class="muted">
            It stays in the web server’s memory until you disconnect or sign out, and is written nowhere. TLS:{' '}
            {server.sslmode}.
          </span>
        )}
      </p>
      {warning !== undefined && <p class="warn">▲ {warning}</p>}
      <p class="buttons">
        <button type="submit" class="main" disabled={busy}>
          {busy ? 'Connecting…' : 'Connect'}
        </button>
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
      </p>
    </form>
  );
}

/** The form of a new server. */
function NewServer({ onMade, onCancel }: { onMade: (target: number) => void; onCancel: () => void }) {
  const [form, setForm] = useState<ServerForm>(emptyServer);
  const [errors, setErrors] = useState<ServerFormErrors>({});
  const [refusal, setRefusal] = useState('');
  const [busy, setBusy] = useState(false);
  const element = useRef<HTMLFormElement>(null);
  useEffect(() => element.current?.querySelector('input')?.focus(), []);
  const showFirst = (wrong: ServerFormErrors): void => {
    setErrors(wrong);
    const first = Object.keys(emptyServer).find((name) => Object.hasOwn(wrong, name));
    requestAnimationFrame(() => element.current?.querySelector<HTMLElement>(`[name="${first}"]`)?.focus());
  };
  const submit = async (): Promise<void> => {
    setRefusal('');
    const read = readServer(form);
    if ('errors' in read) {
      showFirst(read.errors);
      return;
    }
    setErrors({});
    setBusy(true);
    try {
      const made = await sendJson<{ targetId: number }>('POST', '/unmanaged', read.body);
      onMade(made?.targetId ?? 0);
    } catch (error) {
      const text = messageOf(error);
      const field = serverFieldOf(text);
      if (field === undefined) setRefusal(text);
      else showFirst({ [field]: text.replace(/^(body )?\w+: /, '') });
      setBusy(false);
    }
  };
  const shared = (name: keyof ServerForm) => ({
    name,
    value: form[name],
    ...wrongOf(name, errors[name]),
  });
  const text = (name: keyof ServerForm, title: string, hint?: string) => (
    <Field name={name} title={title} wrong={errors[name]} hint={hint}>
      <input
        {...shared(name)}
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => setForm((before) => ({ ...before, [name]: event.currentTarget.value }))}
      />
    </Field>
  );
  const warning = warningOf(form.sslmode);
  return (
    <form
      class="panel wide trace-form"
      ref={element}
      noValidate
      aria-label="New server without agent"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <header>
        <h2>Add a server without agent</h2>
      </header>
      <p class="muted">
        PEM connects to it as you, while you are connected, to run and read traces. It needs the extension
        sql_profiler and a role with pg_read_all_stats that is let in by its password; no superuser.
      </p>
      <div class="fields">
        {text('name', 'Name')}
        {text('host', 'Host', 'A name or an address, seen from the web server')}
        {text('port', 'Port')}
        {text('database', 'Database', 'The one that has the extension')}
        {text('user', 'Role')}
        <label class="field">
          <span>TLS</span>
          <select
            {...shared('sslmode')}
            onChange={(event) => setForm((before) => ({ ...before, sslmode: event.currentTarget.value }))}
          >
            {sslmodes.map(([mode, what]) => (
              <option key={mode} value={mode}>
                {mode}: {what}
              </option>
            ))}
          </select>
        </label>
        {text('team', 'Team', 'Who else sees it; empty: you alone')}
      </div>
      {warning !== undefined && (
        <p class="warn" role="status">
          ▲ {warning}
        </p>
      )}
      {refusal !== '' && (
        <p class="error" role="alert">
          {refusal}
        </p>
      )}
      <p class="buttons">
        <button type="submit" class="main" disabled={busy}>
          {busy ? 'Adding…' : 'Add server'}
        </button>
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
      </p>
    </form>
  );
}

/** Disconnect, connect, remove; a removal is asked twice, in place. */
function ServerActions(props: { server: UnmanagedServer; onConnect: () => void; onDone: () => void }) {
  const { server, onConnect, onDone } = props;
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  const send = async (method: 'POST' | 'DELETE', path: string): Promise<void> => {
    setBusy(true);
    setError('');
    try {
      await sendJson(method, `/unmanaged/${server.targetId}${path}`);
      if (method === 'DELETE') await loadFleet().catch(() => undefined);
      onDone();
    } catch (refused) {
      setError(messageOf(refused));
    } finally {
      setBusy(false);
    }
  };
  return (
    <span class="actions">
      {server.connected ? (
        <button
          type="button"
          disabled={busy}
          aria-label={`Disconnect from ${server.name}`}
          onClick={() => void send('POST', '/disconnect')}
        >
          Disconnect
        </button>
      ) : (
        <button type="button" disabled={busy} aria-label={`Connect to ${server.name}`} onClick={onConnect}>
          Connect
        </button>
      )}
      <Removal word="Remove" name={server.name} busy={busy} onSure={() => void send('DELETE', '')} />
      {error !== '' && (
        <span class="error" role="alert">
          {error}
        </span>
      )}
    </span>
  );
}

/** @param target of whose page it is; 0: of all servers, with the form of a new one */
export function UnmanagedServers({ target }: { target: number }) {
  const asked = useAsk<UnmanagedAnswer>('/unmanaged', 3000);
  const [adding, setAdding] = useState(false);
  const [connecting, setConnecting] = useState(0);
  const add = useRef<HTMLButtonElement>(null);
  const answer = asked.value;
  if (answer === undefined) return null;
  const servers = answer.servers.filter((server) => target === 0 || server.targetId === target);
  const manages = mayManage();
  if (servers.length === 0 && (target !== 0 || !manages)) return null;
  const open = servers.find((server) => server.targetId === connecting && !server.connected);
  const columns: readonly TableColumn<UnmanagedServer>[] = [
    {
      title: 'Connection',
      value: (server) => stateOf(server).word,
      cell: (server) => <ConnectionState server={server} />,
    },
    {
      title: 'Server',
      value: (server) => server.name,
      cell: (server) => <a href={`#/profiler/${server.targetId}`}>{server.name}</a>,
    },
    { title: 'Address', value: (server) => addressOf(server), minor: true },
    { title: 'TLS', value: (server) => server.sslmode, minor: true },
    { title: 'Team', value: (server) => server.team ?? '–', minor: true },
    {
      title: 'Since',
      value: (server) => server.connections[0]?.sinceUs ?? null,
      cell: (server) => formatAgo(server.connections[0]?.sinceUs ?? null, Date.now()),
      numeric: true,
      minor: true,
    },
    ...(manages
      ? [
          {
            title: 'Actions',
            value: () => null,
            cell: (server: UnmanagedServer) => (
              <ServerActions
                server={server}
                onConnect={() => setConnecting(server.targetId)}
                onDone={asked.again}
              />
            ),
          },
        ]
      : []),
  ];
  if (adding)
    return (
      <NewServer
        onCancel={() => {
          setAdding(false);
          requestAnimationFrame(() => add.current?.focus());
        }}
        onMade={(made) => {
          setAdding(false);
          setConnecting(made);
          asked.again();
          void loadFleet().catch(() => undefined);
        }}
      />
    );
  return (
    <Panel title="Servers without agent" wide error={asked.error}>
      {!answer.tracing && manages && (
        <p class="warn">
          ▲ This web server cannot trace them: its operator starts it with --state DIRECTORY.
        </p>
      )}
      {servers.length > 0 && (
        <DataTable
          label="Servers without agent"
          rows={servers}
          columns={columns}
          keyOf={(server) => server.targetId}
          sortBy={1}
          empty=""
        />
      )}
      {servers.length === 0 && (
        <p class="empty">None. A server that no agent watches can be traced over a connection of your own.</p>
      )}
      {open !== undefined && (
        <ConnectForm
          key={open.targetId}
          server={open}
          onCancel={() => setConnecting(0)}
          onDone={() => {
            setConnecting(0);
            asked.again();
          }}
        />
      )}
      {target === 0 && manages && open === undefined && (
        <p class="buttons">
          <button type="button" ref={add} onClick={() => setAdding(true)}>
            Add a server without agent
          </button>
        </p>
      )}
    </Panel>
  );
}
