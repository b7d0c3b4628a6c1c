/** Sign-in with a PostgreSQL role. */
import { useState } from 'preact/hooks';
import { signIn, signInError } from '../store/session.js';

export function SignIn() {
  const [busy, setBusy] = useState(false);
  return (
    <main class="signin">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const form = new FormData(event.currentTarget);
          setBusy(true);
          void signIn(String(form.get('username')), String(form.get('password'))).finally(() =>
            setBusy(false),
          );
        }}
      >
        <h1>PEM</h1>
        <p class="muted">PostgreSQL fleet monitoring</p>
        <label>
          User
          <input name="username" autocomplete="username" required autofocus />
        </label>
        <label>
          Password
          <input name="password" type="password" autocomplete="current-password" required />
        </label>
        <p class="error" role="alert">
          {signInError.value}
        </p>
        <button type="submit" disabled={busy}>
          {busy ? 'Signing in…' : 'Sign in'}
        </button>
      </form>
    </main>
  );
}
