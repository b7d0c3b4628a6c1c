/** A share as a bar with its number beside it; amber from 75 %, red from 90 %. */
import { formatValue } from './format.js';

export function Meter({ percent, label }: { percent: number; label: string }) {
  if (Number.isNaN(percent)) return <span class="muted">–</span>;
  const level = percent >= 90 ? 'high' : percent >= 75 ? 'medium' : 'low';
  return (
    <span class={`meter ${level}`}>
      <meter min={0} max={100} value={percent} aria-label={label} />
      <span>{formatValue(percent, 'percent')}</span>
    </span>
  );
}
