/** Light, dark or as the system says; kept in localStorage, put on the root element for CSS. */
import { effect, signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';
const stored = typeof localStorage === 'undefined' ? null : localStorage.getItem('pem.theme');

export const theme = signal<Theme>(stored === 'light' || stored === 'dark' ? stored : 'system');

export function applyTheme(): void {
  effect(() => {
    if (theme.value === 'system') {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem('pem.theme');
    } else {
      document.documentElement.dataset.theme = theme.value;
      localStorage.setItem('pem.theme', theme.value);
    }
  });
}

export function nextTheme(): void {
  theme.value = ({ system: 'light', light: 'dark', dark: 'system' } as const)[theme.value];
}
