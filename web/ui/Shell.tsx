/** What stands around every page: where one is, the live connection's state, who is signed in, theme. */
import type { ComponentChildren } from 'preact';
import { connection } from '../store/live.js';
import { linkTo, route } from '../store/route.js';
import { session, signOut } from '../store/session.js';
import { nextTheme, theme } from './theme.js';

const words = {
  open: 'live',
  connecting: 'connecting…',
  waiting: 'reconnecting…',
  closed: 'offline',
} as const;

export function Shell({ children }: { children: ComponentChildren }) {
  const page = route.value.page;
  const current = (name: string) => (page === name ? ({ 'aria-current': 'page' } as const) : {});
  return (
    <>
      <a class="skip" href="#content">
        Skip to content
      </a>
      <header class="top">
        <a class="brand" href={linkTo('/')}>
          PEM
        </a>
        <nav aria-label="Main">
          <a href={linkTo('/')} {...current('fleet')}>
            Fleet
          </a>
          <a href="#/profiler" {...current('profiler')}>
            Profiler
          </a>
          <a href={linkTo('/system')} {...current('system')}>
            System
          </a>
        </nav>
        <span class={`connection ${connection.value}`} role="status">
          {words[connection.value]}
        </span>
        <button type="button" onClick={nextTheme} aria-label={`Theme: ${theme.value}. Change`}>
          {{ system: '◐', light: '☀', dark: '☾' }[theme.value]}
        </button>
        {session.value.state === 'in' && (
          <button type="button" onClick={() => void signOut()}>
            Sign out <span class="minor">{session.value.user}</span>
          </button>
        )}
      </header>
      <div id="content">{children}</div>
    </>
  );
}
