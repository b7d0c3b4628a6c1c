/** One PostgreSQL server, live. */
import {
  BlocksPanel,
  BuffersPanel,
  OldestTransactionPanel,
  RowsPanel,
  SessionsPanel,
  TemporaryPanel,
  TransactionsPanel,
  WalPanel,
} from '../panels/server.js';
import { DatabasesTable, SessionsTable, SettingsTable, TablesTable } from '../panels/tables.js';
import { addressOf, agentsById, fleetKnown, serversByTarget } from '../store/fleet.js';
import { linkTo } from '../store/route.js';
import { formatVersion } from '../ui/format.js';
import { Missing } from '../ui/Missing.js';
import { RangeBar } from '../ui/RangeBar.js';
import { StatusBadge } from '../ui/StatusBadge.js';

export function ServerPage({ target }: { target: number }) {
  const server = serversByTarget.value.get(target);
  if (server === undefined) return <Missing what={`server ${target}`} known={fleetKnown.value} />;
  const agent = agentsById.value.get(server.agentId ?? 0);
  return (
    <main>
      <header class="title">
        <h1>{server.name}</h1>
        <StatusBadge status={server.status} />
        <span class="muted">
          PostgreSQL {formatVersion(server.serverVersionNum)} · {addressOf(server)}
        </span>
        {agent !== undefined && <a href={linkTo(`/agent/${agent.id}`)}>host {agent.name}</a>}
        <a href={`#/profiler/${target}`}>SQL profiler</a>
        <RangeBar />
      </header>
      {server.error !== null && server.status !== 'up' && (
        <p class="error" role="alert">
          Its agent cannot watch it: {server.error}
        </p>
      )}
      <div class="grid">
        <SessionsPanel target={target} />
        <TransactionsPanel target={target} />
        <BlocksPanel target={target} />
        <RowsPanel target={target} />
        <WalPanel target={target} />
        <OldestTransactionPanel target={target} />
        <BuffersPanel target={target} />
        <TemporaryPanel target={target} />
        <SessionsTable target={target} />
        <DatabasesTable target={target} />
        <TablesTable target={target} />
        <SettingsTable target={target} />
      </div>
    </main>
  );
}
