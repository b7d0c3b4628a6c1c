/** Up, down or unknown: colour, shape and word, so that none of them alone carries the meaning. */
import type { Agent, Server, Status } from '../store/fleet.js';

export const statusMarks: Record<Status, string> = { up: '●', down: '▲', unknown: '○' };

/** An agent's status; one in quarantine says so first, whatever its heartbeat says. */
export function AgentBadge({ agent }: { agent: Agent }) {
  if (agent.quarantinedReason === null) return <StatusBadge status={agent.status} />;
  return (
    <span class="status down" title={agent.quarantinedReason}>
      <span aria-hidden="true">■</span> quarantined
    </span>
  );
}

export function StatusBadge({ status }: { status: Status }) {
  return (
    <span class={`status ${status}`}>
      <span aria-hidden="true">{statusMarks[status]}</span> {status}
    </span>
  );
}

/** A server's status, and beside it why its agent cannot watch it. */
export function ServerBadge({ server }: { server: Server }) {
  return (
    <>
      <StatusBadge status={server.status} />
      {server.error !== null && server.status !== 'up' && (
        <span class="reason" title={server.error}>
          {server.error}
        </span>
      )}
    </>
  );
}
