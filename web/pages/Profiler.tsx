/**
 * Door to the SQL profiler's pages: they come as a chunk of their own with its style sheet when somebody first goes there,
 * so that everybody else's first load stays small. A chunk that is not there any more was replaced by an upgrade.
 */
import type { FunctionComponent } from 'preact';
import { useEffect, useState } from 'preact/hooks';

let pages: FunctionComponent | undefined;

function loadStyle(): Promise<void> {
  const href = document.querySelector<HTMLMetaElement>('meta[name="style:trace"]')?.content;
  if (href === undefined || document.querySelector(`link[href="${href}"]`) !== null) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const link = document.createElement('link');
    link.rel = 'stylesheet';
    link.href = href;
    link.onload = () => resolve();
    link.onerror = () => {
      link.remove();
      reject(new Error(href));
    };
    document.head.append(link);
  });
}

async function load(): Promise<void> {
  const [chunk] = await Promise.all([import('./trace.js'), loadStyle()]);
  pages = chunk.TracePages;
}

export function Profiler() {
  const [state, setState] = useState<'loading' | 'there' | 'failed'>(
    pages === undefined ? 'loading' : 'there',
  );
  useEffect(() => {
    if (state === 'loading')
      load().then(
        () => setState('there'),
        () => setState('failed'),
      );
  }, [state]);
  if (pages !== undefined && state === 'there') {
    const Pages = pages;
    return <Pages />;
  }
  return (
    <main aria-busy={state === 'loading'}>
      {state === 'failed' ? (
        <p class="empty" role="alert">
          The profiler's pages could not be loaded: the server is away, or PEM was upgraded meanwhile.{' '}
          <button type="button" onClick={() => location.reload()}>
            Reload the page
          </button>
        </p>
      ) : (
        <p class="empty">Loading…</p>
      )}
    </main>
  );
}
