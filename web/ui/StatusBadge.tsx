/** Up, down or unknown: colour, shape and word, so that none of them alone carries the meaning. */
import type { Status } from '../store/fleet.js';

const marks: Record<Status, string> = { up: '●', down: '▲', unknown: '○' };

export function StatusBadge({ status }: { status: Status }) {
  return (
    <span class={`status ${status}`}>
      <span aria-hidden="true">{marks[status]}</span> {status}
    </span>
  );
}
