/** Up, down or unknown: colour, shape and word, so that none of them alone carries the meaning. */
import type { Status } from '../store/fleet.js';

export const statusMarks: Record<Status, string> = { up: '●', down: '▲', unknown: '○' };

export function StatusBadge({ status }: { status: Status }) {
  return (
    <span class={`status ${status}`}>
      <span aria-hidden="true">{statusMarks[status]}</span> {status}
    </span>
  );
}
