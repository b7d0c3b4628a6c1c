/** Chooses the stretch of time all charts of a page show. */
import { presets, route, setRange } from '../store/route.js';
import { formatTime } from './format.js';

export function RangeBar() {
  const range = route.value.range;
  return (
    <nav class="range" aria-label="Time range">
      {presets.map((preset) => (
        <button
          key={preset.id}
          type="button"
          aria-pressed={range.live && range.id === preset.id}
          onClick={() => setRange({ live: true, id: preset.id, ms: preset.ms })}
        >
          {preset.title}
        </button>
      ))}
      {range.live ? (
        <span class="live">● live</span>
      ) : (
        <span class="fixed">
          {formatTime(range.fromMs)} – {formatTime(range.toMs)}
        </span>
      )}
    </nav>
  );
}
