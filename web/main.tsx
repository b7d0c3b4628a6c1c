/** Entry of the UI: session, live connection, page of the address. */
import 'uplot/dist/uPlot.min.css';
import './ui/style.css';
import { effect } from '@preact/signals';
import { render } from 'preact';
import { AgentPage } from './pages/AgentPage.js';
import { Fleet } from './pages/Fleet.js';
import { Profiler } from './pages/Profiler.js';
import { ServerPage } from './pages/ServerPage.js';
import { SignIn } from './pages/SignIn.js';
import { System } from './pages/System.js';
import { applyFleet, loadFleet } from './store/fleet.js';
import { closeLive, openLive } from './store/live.js';
import { route, watchAddress } from './store/route.js';
import { openSession, session } from './store/session.js';
import { Missing } from './ui/Missing.js';
import { Shell } from './ui/Shell.js';
import { applyTheme } from './ui/theme.js';

function Page() {
  const { page, id } = route.value;
  switch (page) {
    case 'fleet':
      return <Fleet />;
    case 'agent':
      return <AgentPage key={id} id={id} />;
    case 'server':
      return <ServerPage key={id} target={id} />;
    case 'system':
      return <System />;
    case 'profiler':
      return <Profiler />;
    default:
      return <Missing what="such page" known />;
  }
}

function App() {
  const current = session.value;
  if (current.state === 'unknown') return <main class="signin" aria-busy="true" />;
  if (current.state === 'out') return <SignIn />;
  return (
    <Shell>
      <Page />
    </Shell>
  );
}

applyTheme();
watchAddress();
// "/" leads to the search field of a page, as in many tools; never while somebody types.
addEventListener('keydown', (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (event.key !== '/' || typing || event.ctrlKey || event.metaKey) return;
  const field = document.querySelector<HTMLInputElement>('input[type=search]');
  if (field === null) return;
  event.preventDefault();
  field.focus();
});
let refresh: ReturnType<typeof setInterval> | undefined;
effect(() => {
  if (session.value.state === 'in') {
    openLive(applyFleet);
    const load = (): void => void loadFleet().catch(() => undefined);
    load();
    refresh = setInterval(load, 60_000);
  } else {
    clearInterval(refresh);
    closeLive();
  }
});
render(<App />, document.getElementById('app') as HTMLElement);
void openSession();
