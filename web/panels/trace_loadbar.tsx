/** How far the calls of a run are loaded, and what to do about it. */
import { useEffect, useState } from 'preact/hooks';
import type { Run } from '../store/trace.js';
import { type LoadedRows, mostRows } from '../store/trace_load.js';
import { formatValue } from '../ui/format.js';

export function LoadBar({ loaded, run }: { loaded: LoadedRows; run: Run }) {
  const { rows, state } = loaded;
  const [, redraw] = useState(0);
  useEffect(() => loaded.onProgress(() => redraw((count) => count + 1)), [rows]);
  const there = formatValue(rows.count, 'calls');
  const expected = Math.max(run.eventsSent, rows.count);
  if (state === 'loading') {
    return (
      <p class="loadbar">
        <progress value={rows.count} max={Math.min(expected, mostRows)} aria-label="Calls loaded" />
        <span>
          {there} of {formatValue(expected, '')} loaded
        </span>
        <button type="button" onClick={loaded.stop}>
          Stop loading
        </button>
      </p>
    );
  }
  if (state === 'failed') {
    return (
      <p class="loadbar error" role="alert">
        Loading ended after {there}: {loaded.error}
        <button type="button" onClick={loaded.more}>
          Try again
        </button>
      </p>
    );
  }
  if (state === 'stopped') {
    return (
      <p class="loadbar warn">
        {there} of {formatValue(expected, '')} are loaded: what is shown is a part.
        <button type="button" onClick={loaded.more}>
          Load the rest
        </button>
      </p>
    );
  }
  if (state === 'full') {
    return (
      <p class="loadbar warn" role="status">
        The first {there} of {formatValue(expected, '')} are loaded; a page keeps no more. Top statements are
        of all calls.
      </p>
    );
  }
  if (run.eventsSent <= rows.count) return null;
  return (
    <p class="loadbar">
      {formatValue(run.eventsSent - rows.count, 'calls')} came since.
      <button type="button" onClick={loaded.more}>
        Load them
      </button>
    </p>
  );
}
